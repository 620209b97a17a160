//! Redis: a doorbell, and a door for applications that publish there. Nothing depends on it but the
//! time until an event is noticed, and events that their publishers store nowhere else.

mod server;
mod subscriber;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use serde::Serialize;

pub use server::{RedisError, Server};
pub(super) use subscriber::RedisSubscriber;

/// The channels that events are published on: `events:<aggregateType>`.
pub(super) const PREFIX: &str = "events:";

/// What goes over Redis, counted since the start of the process.
#[derive(Default)]
pub struct BusCounts {
    subscribed: AtomicBool,
    received: AtomicU64,
    adopted: AtomicU64,
    nonsense: AtomicU64,
    own: AtomicU64,
    conflicts: AtomicU64,
    ignored_fields: AtomicU64,
    published: AtomicU64,
    unpublished: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BusSnapshot {
    /// Whether the subscription stands.
    pub subscribed: bool,
    /// Messages that came in.
    pub received: u64,
    /// Events that were stored, since nobody else had.
    pub adopted: u64,
    /// Messages that are no event.
    pub nonsense: u64,
    /// `notification.*`: Herald's own, ignored.
    pub own: u64,
    /// Events whose id is taken by other content.
    pub conflicts: u64,
    /// Unknown fields of events, ignored.
    pub ignored_fields: u64,
    /// Events that went out.
    pub published: u64,
    /// Events that did not go out, since Redis was away for too long.
    pub unpublished: u64,
}

impl BusCounts {
    /// The counts as they stand.
    pub fn snapshot(&self) -> BusSnapshot {
        BusSnapshot {
            subscribed: self.subscribed.load(Relaxed),
            received: self.received.load(Relaxed),
            adopted: self.adopted.load(Relaxed),
            nonsense: self.nonsense.load(Relaxed),
            own: self.own.load(Relaxed),
            conflicts: self.conflicts.load(Relaxed),
            ignored_fields: self.ignored_fields.load(Relaxed),
            published: self.published.load(Relaxed),
            unpublished: self.unpublished.load(Relaxed),
        }
    }

    pub(super) fn set_subscribed(&self, subscribed: bool) {
        self.subscribed.store(subscribed, Relaxed);
        metrics::gauge!("herald_redis_subscribed").set(if subscribed { 1.0 } else { 0.0 });
    }

    pub(super) fn published(&self, count: u64) {
        self.published.fetch_add(count, Relaxed);
        metrics::counter!("herald_redis_published_total").increment(count);
    }

    pub(super) fn unpublished(&self, count: u64) {
        self.unpublished.fetch_add(count, Relaxed);
        metrics::counter!("herald_redis_unpublished_total").increment(count);
    }

    fn count(&self, what: &'static str) {
        let counter = match what {
            "received" => &self.received,
            "adopted" => &self.adopted,
            "own" => &self.own,
            "conflict" => &self.conflicts,
            _ => &self.nonsense,
        };
        counter.fetch_add(1, Relaxed);
        metrics::counter!("herald_redis_messages_total", "kind" => what).increment(1);
    }

    fn ignored(&self, fields: u64) {
        self.ignored_fields.fetch_add(fields, Relaxed);
    }
}
