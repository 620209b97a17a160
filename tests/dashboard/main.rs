//! The dashboard of the real binary, as a browser sees it. `bash tests/run` gives the servers and the
//! browser that the cases need.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![allow(clippy::disallowed_methods, reason = "nothing in a test is supervised")]

mod browser;
#[path = "../service/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with tests/service, which uses all of it")]
mod harness;
mod live;
mod login;
mod not_sent;
mod pages;
mod retry;
mod visitor;
