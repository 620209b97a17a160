//! The real binary, from outside: each case starts it on a database and a port of its own.
//! `bash tests/run` gives the servers that the cases need.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![allow(clippy::disallowed_methods, reason = "nothing in a test is supervised")]

mod bad_input;
mod bounds;
mod command_line;
mod dead_letters;
mod external_sends;
mod faults;
mod handling;
mod harness;
mod ingest;
mod lists;
mod order;
mod outbox;
mod packaging;
mod panics;
#[path = "../peers/mod.rs"]
mod peers;
mod policy;
mod providers;
mod redis;
mod replay;
mod restore;
mod retention;
mod runtime;
mod several;
mod systemd;
mod tokens;
mod users_import;
mod variants;
mod waiting;
