//! Supervision: what actix does by itself, what the tree makes of it, and what remains outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    reason = "tests do what actors must not"
)]

mod actix_facts;
mod common;
mod holes;
mod observing;
mod panics;
mod placement;
mod policy;
mod process;
mod queue;
mod requests;
mod stopping;
mod survival;
mod unwind_only;
