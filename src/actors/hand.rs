//! What a sender may have in hand: the bound on what is claimed and not recorded yet.
//!
//! It outlives the sender's lives, so that the next one knows what the last one had started.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::{Channel, DeliveryId, Lane};

/// Room for one delivery, from its claim until its outcome is recorded.
pub struct Room {
    _any: OwnedSemaphorePermit,
    _ordinary: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Whether a delivery of the lower lanes may take it.
    pub(super) fn is_for_any(&self) -> bool {
        self._ordinary.is_some()
    }
}

/// Whether a lane is one of those that room and sends are kept for.
pub(super) fn is_upper(lane: Lane) -> bool {
    lane <= Lane::High
}

/// How many of so many sends at once are kept for the upper lanes. A sender with few keeps none: it would
/// be too much of what there is.
pub(super) const fn kept_for_upper(concurrency: usize) -> usize {
    concurrency / 4
}

/// The hand of one channel's sender.
pub struct Hand {
    channel: Channel,
    size: usize,
    room: Arc<Semaphore>,
    /// Part of it: what the lower lanes may take.
    ordinary: Arc<Semaphore>,
    life: AtomicI64,
    /// How often deliveries were left waiting in the database, and up to which of those times the
    /// sender has seen that none waits any more.
    left_waiting: AtomicU64,
    seen_empty: AtomicU64,
    /// Whether nothing is to be taken in hand but by the sender itself: its provider is left alone.
    shut: AtomicBool,
    started: Mutex<HashSet<(DeliveryId, i64)>>,
}

impl Hand {
    /// A hand for `concurrency` sends at once: as many again may wait for their turn, and the upper lanes
    /// have room of their own beside.
    pub fn new(channel: Channel, concurrency: usize) -> Arc<Self> {
        let ordinary = concurrency.max(1) * 2;
        let size = ordinary + kept_for_upper(concurrency).max(1);
        Arc::new(Self {
            channel,
            size,
            room: Arc::new(Semaphore::new(size)),
            ordinary: Arc::new(Semaphore::new(ordinary)),
            life: AtomicI64::new(0),
            left_waiting: AtomicU64::new(1),
            seen_empty: AtomicU64::new(0),
            shut: AtomicBool::new(false),
            started: Mutex::new(HashSet::new()),
        })
    }

    /// The channel.
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// How many deliveries are in hand.
    pub fn held(&self) -> usize {
        self.size - self.room.available_permits()
    }

    /// A new life of the sender begins; gives its number.
    pub fn begin_life(&self) -> i64 {
        self.life.fetch_add(1, SeqCst) + 1
    }

    /// The current life of the sender; 0 before the first.
    pub fn life(&self) -> i64 {
        self.life.load(SeqCst)
    }

    /// Room for a delivery that is about to be made: only while nothing waits in the database, since
    /// it would overtake what waits, and while the provider is not left alone.
    pub fn room_for_new(&self, lane: Lane) -> Option<Room> {
        let none_waits = self.seen_empty.load(SeqCst) == self.left_waiting.load(SeqCst);
        (none_waits && self.life() > 0 && !self.shut.load(SeqCst)).then(|| self.room_of(lane)).flatten()
    }

    /// Room for a delivery of any lane.
    pub fn room(&self) -> Option<Room> {
        let ordinary = Arc::clone(&self.ordinary).try_acquire_owned().ok()?;
        let any = Arc::clone(&self.room).try_acquire_owned().ok()?;
        Some(Room { _any: any, _ordinary: Some(ordinary) })
    }

    /// Room for a delivery of the upper lanes alone.
    pub fn upper_room(&self) -> Option<Room> {
        let any = Arc::clone(&self.room).try_acquire_owned().ok()?;
        Some(Room { _any: any, _ordinary: None })
    }

    /// Room for a delivery of this lane.
    pub fn room_of(&self, lane: Lane) -> Option<Room> {
        if is_upper(lane) { self.upper_room() } else { self.room() }
    }

    /// Whether new deliveries are to wait in the database.
    pub fn set_shut(&self, shut: bool) {
        self.shut.store(shut, SeqCst);
    }

    /// Notes that deliveries were left waiting in the database, once they can be seen there.
    pub fn leave_waiting(&self) {
        self.left_waiting.fetch_add(1, SeqCst);
    }

    /// To be taken before a look at the database, and given to [`Hand::none_waits`] after it.
    pub fn before_look(&self) -> u64 {
        self.left_waiting.load(SeqCst)
    }

    /// The look found nothing that waits.
    pub fn none_waits(&self, before_look: u64) {
        self.seen_empty.fetch_max(before_look, SeqCst);
    }

    /// Notes that an attempt begins: from here on the delivery may have been sent.
    pub fn start(&self, id: &DeliveryId, attempt: i64) {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).insert((id.clone(), attempt));
    }

    /// Its outcome is known.
    pub fn finish(&self, id: &DeliveryId, attempt: i64) {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).remove(&(id.clone(), attempt));
    }

    /// Whether an attempt began and its outcome is not known.
    pub fn has_started(&self, id: &DeliveryId, attempt: i64) -> bool {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).contains(&(id.clone(), attempt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_deliveries_do_not_overtake_those_that_wait() {
        let hand = Hand::new(Channel::Sms, 1);
        hand.begin_life();
        assert!(
            hand.room_for_new(Lane::Normal).is_none(),
            "what an earlier process left has not been looked for"
        );
        let look = hand.before_look();
        hand.none_waits(look);
        assert!(hand.room_for_new(Lane::Normal).is_some());
        hand.set_shut(true);
        assert!(hand.room_for_new(Lane::Normal).is_none(), "the provider is left alone");
        hand.set_shut(false);

        let look = hand.before_look();
        hand.leave_waiting();
        hand.none_waits(look);
        assert!(hand.room_for_new(Lane::Normal).is_none(), "the look was older than what was left waiting");
    }

    #[test]
    fn a_hand_is_bounded() {
        let hand = Hand::new(Channel::Sms, 2);
        let rooms: Vec<_> = std::iter::from_fn(|| hand.room()).take(100).collect();
        assert_eq!(rooms.len(), 4);
        assert!(hand.room_for_new(Lane::Bulk).is_none());
        let upper: Vec<_> = std::iter::from_fn(|| hand.room_of(Lane::Critical)).take(100).collect();
        assert_eq!((upper.len(), hand.held()), (1, 5), "there is room for an urgent one all the same");
        drop((rooms, upper));
        assert_eq!(hand.held(), 0);
    }
}
