//! The store's conformance suite: what it promises, on SQLite and on PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests do what actors must not"
)]

mod support;

mod append;
mod caps;
mod claim;
mod cost;
mod deferred;
mod growth;
mod handle;
mod instances;
mod migrate;
mod outage;
mod people;
mod plans;
mod policy_round;
mod queue;
mod reads;
mod record;
mod replays;
mod retention;
mod values;
mod variants;
