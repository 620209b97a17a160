#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cloud;
mod native;
mod ways;

use serde_json::{Value, json};

use super::*;
use crate::domain::FieldError;

/// A valid event, changed as a test needs it.
fn event(change: impl FnOnce(&mut Value)) -> Value {
    let mut event = json!({
        "id": "0190-1", "type": "transaction.completed", "timestamp": "2026-11-24T09:15:00Z",
        "aggregateId": "ACC-1001", "aggregateType": "account",
        "payload": {"accountNumber": "1001", "amount": "2500.00", "currency": "MWK"},
        "metadata": {"userId": 42, "correlationId": "c-1", "causationId": "e-0", "source": "core-banking"},
    });
    change(&mut event);
    event
}

/// What was accepted, or the pointers and details of what is wrong.
fn wrong<T: std::fmt::Debug>(result: Result<T, Vec<FieldError>>) -> Vec<(String, String)> {
    let errors = result.expect_err("it should be refused");
    errors.into_iter().map(|error| (error.pointer, error.detail)).collect()
}

/// The pointers of what is wrong, sorted.
fn pointers<T: std::fmt::Debug>(result: Result<T, Vec<FieldError>>) -> Vec<String> {
    let mut pointers: Vec<String> = wrong(result).into_iter().map(|(pointer, _)| pointer).collect();
    pointers.sort();
    pointers
}
