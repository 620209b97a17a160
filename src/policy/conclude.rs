//! What becomes of a delivery after an attempt.

use std::time::Duration;

use super::Retry;
use super::reason::EXPIRED;
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
    /// The attempt failed through its provider, which is left alone for now: the failure uses up no
    /// retry, and the delivery waits this long.
    pub pause: Option<Duration>,
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
/// Where the provider is left alone, the delivery waits for it, and its retries stay for what is its own.
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
    if waiting.is_empty() || (past.pause.is_none() && past.retries >= retry.retries) {
        return over(error);
    }
    let asked = waiting.iter().filter_map(|one| one.retry_after).max();
    let (wait, retries) = match past.pause {
        Some(pause) => (pause, past.retries),
        None => {
            let wait = asked.unwrap_or_else(|| retry.backoff(past.retries + 1, random));
            (wait, past.retries + 1)
        }
    };
    if past.expires_at.is_some_and(|at| now.plus(wait) >= at) {
        return match accepted {
            true => end(DeliveryState::Sent, None),
            false => end(DeliveryState::Expired, Some(EXPIRED.to_owned())),
        };
    }
    Conclusion { state: DeliveryState::Retry, reason: error, wait: Some(wait), retries }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_is_left_alone_uses_up_no_retry_and_outlives_no_expiry() {
        let seconds = Duration::from_secs;
        let retry =
            Retry { retries: 1, base: seconds(5), factor: 5.0, max: seconds(60), floor: Duration::ZERO };
        let now = Instant::from(chrono::DateTime::UNIX_EPOCH);
        let failed =
            Try { outcome: AttemptOutcome::Unknown, retry_after: Some(seconds(7)), error: Some("no answer") };
        let past = |retries, pause, expires_at| Past { retries, accepted: false, expires_at, pause };
        let conclude = |past| {
            let Conclusion { state, wait, retries, .. } = conclude(&[failed], past, &retry, now, 0.5);
            (state, wait, retries)
        };
        let pause = Some(seconds(20));
        use DeliveryState::{Dead, Expired, Retry as Again};
        for (past, expected) in [
            (past(0, None, None), (Again, Some(seconds(7)), 1)),
            (past(1, None, None), (Dead, None, 1)),
            (past(0, pause, None), (Again, pause, 0)),
            (past(1, pause, None), (Again, pause, 1)),
            (past(1, pause, Some(now.plus(seconds(21)))), (Again, pause, 1)),
            (past(1, pause, Some(now.plus(seconds(20)))), (Expired, None, 1)),
        ] {
            assert_eq!(conclude(past), expected, "{past:?}");
        }
        let refused = Try { outcome: AttemptOutcome::Permanent, ..failed };
        let concluded = super::conclude(&[refused], past(0, pause, None), &retry, now, 0.5);
        assert_eq!(concluded.state, Dead, "what is permanent is so whatever the provider's state");
    }
}
