//! What becomes of a delivery after an attempt.

use std::time::Duration;

use super::Retry;
use super::decide::EXPIRED;
use crate::domain::{AttemptOutcome, DeliveryState, Instant};

/// What is known of one try.
#[derive(Debug, Clone, Copy)]
pub struct Try<'a> {
    /// What it came to.
    pub outcome: AttemptOutcome,
    /// When the provider wants to be asked again.
    pub retry_after: Option<Duration>,
    /// What went wrong.
    pub error: Option<&'a str>,
}

/// What the delivery has behind it.
#[derive(Debug, Clone, Copy)]
pub struct Past {
    /// Retries used since it was made, or last put back by an operator.
    pub retries: u32,
    /// Whether a device has accepted it in an earlier attempt.
    pub accepted: bool,
    /// After this it is of no use.
    pub expires_at: Option<Instant>,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    /// The next state: `sent`, `retry`, `dead` or `expired`.
    pub state: DeliveryState,
    /// Why, or the last error.
    pub reason: Option<String>,
    /// For `retry`: how long to wait.
    pub wait: Option<Duration>,
    /// Retries used, the one that is now due included.
    pub retries: u32,
}

/// Decides from the tries of one attempt: one, or one for each device for push. `random` is drawn from
/// [0, 1). While a try waits for another and retries are left, the delivery is retried; after that it
/// is sent if any accepted, and dead if none did. A retry that would come after the expiry is none.
pub fn conclude(tries: &[Try<'_>], past: Past, retry: &Retry, now: Instant, random: f64) -> Conclusion {
    let waits = |one: &&Try<'_>| matches!(one.outcome, AttemptOutcome::Transient | AttemptOutcome::Unknown);
    let waiting: Vec<&Try<'_>> = tries.iter().filter(waits).collect();
    let accepted = past.accepted || tries.iter().any(|one| one.outcome == AttemptOutcome::Accepted);
    let error = tries.iter().rev().find_map(|one| one.error).map(str::to_owned);
    let end = |state, reason| Conclusion { state, reason, wait: None, retries: past.retries };
    let over = |reason| match accepted {
        true => end(DeliveryState::Sent, None),
        false => end(DeliveryState::Dead, reason),
    };
    if waiting.is_empty() || past.retries >= retry.retries {
        return over(error);
    }
    let asked = waiting.iter().filter_map(|one| one.retry_after).max();
    let wait = asked.unwrap_or_else(|| retry.backoff(past.retries + 1, random));
    if past.expires_at.is_some_and(|at| now.plus(wait) >= at) {
        return match accepted {
            true => end(DeliveryState::Sent, None),
            false => end(DeliveryState::Expired, Some(EXPIRED.to_owned())),
        };
    }
    Conclusion { state: DeliveryState::Retry, reason: error, wait: Some(wait), retries: past.retries + 1 }
}
