//! Every bound in one place: what waits, how much goes at once, what is held in memory.

use std::time::Duration;

use super::{error::Problems, macros::section, tree::join};
use crate::policy::BreakerRule;

section! {
    /// Every bound that can be configured. Beside them stand those that the contract fixes
    /// ([`EVENT_BYTES`], [`EVENTS_AT_ONCE`], [`PAGE`], …), `server.max_body` and a channel's
    /// `concurrency`, of which twice as much is in a sender's hand.
    pub struct Limits {
        /// The actor that stores events.
        pub event_writer: WriterLimits,
        /// The actor that takes stored events up.
        pub dispatch: BatchLimits,
        /// The actor that stores what came of attempts; what waits for it is in the senders' hands.
        pub outcome_writer: BatchLimits,
        /// The stream of Server-Sent Events.
        pub live_feed: LiveFeedLimits,
        /// The circuit breaker of each provider.
        pub breaker: BreakerLimits,
    }
}

section! {
    /// When a provider that keeps failing is left alone, and for how long.
    pub struct BreakerLimits {
        /// So many failures in a row that speak of the provider open its breaker.
        pub failures: u32,
        /// The first pause; each failed probe doubles it.
        pub pause: Duration,
        /// The longest pause, unless the provider itself asks for a longer one.
        pub max_pause: Duration,
    }
    check = check_breaker;
}

impl From<&BreakerLimits> for BreakerRule {
    fn from(limits: &BreakerLimits) -> Self {
        let BreakerLimits { failures, pause, max_pause } = *limits;
        Self { failures, pause, max_pause }
    }
}

section! {
    /// The bounds of a group commit.
    pub struct WriterLimits {
        /// How many may wait; more are refused (an event: 503 with `Retry-After`).
        pub queue: usize,
        /// How many are written in one transaction.
        pub batch: usize,
    }
    check = check_writer;
}

section! {
    /// The bound of an actor whose queue is bounded elsewhere.
    pub struct BatchLimits {
        /// How many events, or outcomes, are taken into one transaction.
        pub batch: usize,
    }
    check = |limits: &Self, at: &str, problems: &mut Problems| positive(at, "batch", limits.batch, problems);
}

section! {
    /// The bounds of the live feed.
    pub struct LiveFeedLimits {
        /// How many messages may wait for one client; one that is slower is cut off and resumes.
        pub backlog: usize,
        /// How many clients there may be.
        pub clients: usize,
    }
    check = check_live_feed;
}

/// The largest event, in bytes of JSON.
pub const EVENT_BYTES: usize = 256 << 10;

/// How deep an event may nest.
pub const EVENT_DEPTH: usize = 64;

/// How many events one request may hold.
pub const EVENTS_AT_ONCE: usize = 1_000;

/// The largest page of a list.
pub const PAGE: usize = 200;

fn check_writer(limits: &WriterLimits, at: &str, problems: &mut Problems) {
    positive(at, "queue", limits.queue, problems);
    positive(at, "batch", limits.batch, problems);
}

fn check_live_feed(limits: &LiveFeedLimits, at: &str, problems: &mut Problems) {
    positive(at, "backlog", limits.backlog, problems);
    positive(at, "clients", limits.clients, problems);
}

fn check_breaker(limits: &BreakerLimits, at: &str, problems: &mut Problems) {
    if limits.failures == 0 {
        problems.at(join(at, "failures"), "expected at least 1");
    }
    if limits.pause.is_zero() {
        problems.at(join(at, "pause"), "expected more than 0");
    }
    if limits.max_pause < limits.pause {
        problems.at(join(at, "max_pause"), "expected at least limits.breaker.pause");
    }
}

fn positive(at: &str, key: &str, value: usize, problems: &mut Problems) {
    if value == 0 {
        problems.at(join(at, key), "expected at least 1");
    }
}
