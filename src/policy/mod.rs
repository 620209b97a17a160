//! What is to be done, as pure functions: nothing here does IO, reads a clock or draws a random
//! number; they are given.

pub mod retry;
pub mod route;

pub use retry::Retry;
pub use route::{Escalation, Mode, OverCap, QuietHours, Route, Routes};
