//! The fault table: a bank at work, one fault, and the oracle (`harness/oracle.rs`) once it is healed.
//! docs/reliability.md tells what was seen.
//!
//! In each case publishers insist, as real ones would, on an answer of 2xx; three real providers count
//! what they get. The larger numbers of a soak run (`bash tests/run --soak`) are beside the ordinary ones.

mod bank;
mod clock;
mod database;
mod disk;
mod input;
mod instances;
mod migration;
mod postgres;
mod process;
mod providers;
mod providing;
mod publishing;
mod redis;
mod transactions;
