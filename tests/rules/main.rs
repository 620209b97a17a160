//! The rules by example, and against an independent calculation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod decisions;
mod quiet;
mod table;
