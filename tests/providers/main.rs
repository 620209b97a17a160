//! The providers against real peers: each answer ends in the right report, and nothing else is sent.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

#[path = "../peers/mod.rs"]
mod peers;

mod fcm;
mod messages;
mod sandbox;
mod sms_http;
mod smtp;
mod smtp_pool;
