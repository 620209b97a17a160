//! What the actors of one process share: the store, the epoch, the database's clock, the lease, and
//! what operators have set. All of it can be rebuilt; nothing here is the truth.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant as Tick;

use super::hand::Hand;
use crate::domain::{Channel, Instant};
use crate::store::{Controls, Store};

/// The settings that the actors need, each with its unit in its type.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How soon a stored event is found without a doorbell.
    pub poll_interval: Duration,
    /// After how long a silent instance loses what it holds.
    pub lease: Duration,
    /// Events that may wait for the group commit; beyond it publishers are turned away.
    pub writer_queue: usize,
    /// The most events in one group commit.
    pub writer_batch: usize,
    /// The most events handled in one transaction.
    pub dispatch_batch: usize,
    /// The most outcomes recorded in one transaction.
    pub outcome_batch: usize,
    /// For how many days events are kept; 0: for ever.
    pub retention_days: u32,
    /// How many messages of the sandbox are kept.
    pub sandbox_keep: i64,
}

/// This process.
pub struct Instance {
    /// The database.
    pub store: Store,
    /// The settings.
    pub settings: Settings,
    /// The name that other instances see: host and process.
    pub name: String,
    epoch: AtomicI64,
    clock: Mutex<Option<(Tick, Instant)>>,
    /// Since when heartbeats have followed each other without a gap; none while the database is not
    /// reached.
    reachable_since: Mutex<Option<Tick>>,
    /// How many instances live, by the last heartbeat.
    live: AtomicU32,
    /// Until when the others may not have noticed this one.
    joins_at: Mutex<Option<Tick>>,
    controls: RwLock<Controls>,
    stopping: AtomicBool,
    hands: Vec<Arc<Hand>>,
}

impl Instance {
    /// A process that has registered as `epoch`, at the database's time `now`.
    pub fn new(
        store: Store,
        settings: Settings,
        name: String,
        epoch: i64,
        now: Instant,
        hands: Vec<Arc<Hand>>,
    ) -> Self {
        Self {
            store,
            settings,
            name,
            epoch: AtomicI64::new(epoch),
            clock: Mutex::new(Some((Tick::now(), now))),
            reachable_since: Mutex::new(Some(Tick::now())),
            live: AtomicU32::new(1),
            joins_at: Mutex::new(None),
            controls: RwLock::new(Controls::default()),
            stopping: AtomicBool::new(false),
            hands,
        }
    }

    /// The number of this start. It changes when the others have given this instance up.
    pub fn epoch(&self) -> i64 {
        self.epoch.load(Relaxed)
    }

    /// Goes on under a new epoch: what the old one held is lost to it.
    pub fn begin_epoch(&self, epoch: i64) {
        self.epoch.store(epoch, Relaxed);
    }

    /// The database's time, kept up by this host's monotonic clock since the last heartbeat.
    pub fn now(&self) -> Instant {
        let clock = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        match clock {
            Some((tick, at)) => at.plus(tick.elapsed()),
            None => chrono::Utc::now().into(),
        }
    }

    /// A start was registered, and `live` instances were there afterwards, this one included. What they
    /// share by their number, such as a provider's limit, is not for this one before the others must
    /// have counted it: each counts at every heartbeat, and one without a heartbeat for most of a lease
    /// starts no send. Of two that start at once the later one sees both.
    pub fn has_joined(&self, live: i64) {
        self.has_counted(live);
        let joins_at = (live > 1).then(|| Tick::now() + self.settings.lease);
        *self.joins_at.lock().unwrap_or_else(PoisonError::into_inner) = joins_at;
    }

    /// How long until the others must have noticed this instance; none when they have.
    pub fn joins_in(&self) -> Option<Duration> {
        let joins_at = *self.joins_at.lock().unwrap_or_else(PoisonError::into_inner);
        joins_at.map(|at| at.duration_since(Tick::now())).filter(|left| !left.is_zero())
    }

    /// So many instances lived at a heartbeat, this one included.
    pub fn has_counted(&self, live: i64) {
        self.live.store(u32::try_from(live).unwrap_or(1).max(1), Relaxed);
    }

    /// How many instances live, this one included.
    pub fn live(&self) -> u32 {
        self.live.load(Relaxed)
    }

    /// A heartbeat, begun at `begun`, was stored at the database's time `at`.
    pub fn heart_has_beaten(&self, begun: Tick, at: Instant) {
        // From the beginning: the lease counts from when the database wrote it, which was later.
        let before = self.clock.lock().unwrap_or_else(PoisonError::into_inner).replace((begun, at));
        // One that was late or slow: meanwhile the database may have been away, for the others as well.
        let steady = self.settings.lease.mul_f64(Store::STEADY);
        let is_steady = before.is_none_or(|(tick, _)| tick.elapsed() < steady);
        let mut since = self.reachable_since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = since.filter(|_| is_steady).or_else(|| Some(Tick::now()));
    }

    /// A heartbeat could not be stored.
    pub fn heart_has_missed(&self) {
        *self.reachable_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether the last heartbeat is young enough to start a send: nobody else can have taken over
    /// what this instance holds, nor will they before the send has begun.
    pub fn holds_lease(&self) -> bool {
        let clock = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        clock.is_some_and(|(tick, _)| tick.elapsed() < self.settings.lease.mul_f64(0.8))
    }

    /// Whether the database has been there, without a gap, for a whole lease. Before that a heartbeat that is missing
    /// may be the database's fault, and nobody is given up.
    pub fn may_fence(&self) -> bool {
        let since = *self.reachable_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() > self.settings.lease)
    }

    /// Notes what operators have set.
    pub fn set_controls(&self, controls: Controls) {
        *self.controls.write().unwrap_or_else(PoisonError::into_inner) = controls;
    }

    /// Whether events are held back.
    pub fn is_held(&self) -> bool {
        self.is_stopping() || self.controls.read().unwrap_or_else(PoisonError::into_inner).held
    }

    /// Whether nothing is to be sent on a channel.
    pub fn is_paused(&self, channel: Channel) -> bool {
        self.is_stopping() || {
            let controls = self.controls.read().unwrap_or_else(PoisonError::into_inner);
            controls.held || controls.paused.contains(&channel)
        }
    }

    /// What operators have set.
    pub fn controls(&self) -> Controls {
        self.controls.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on nothing new is taken in hand.
    pub fn stop_taking(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Whether the process is about to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// What a channel's sender has room for.
    pub fn hand(&self, channel: Channel) -> Option<&Arc<Hand>> {
        self.hands.iter().find(|hand| hand.channel() == channel)
    }

    /// All hands.
    pub fn hands(&self) -> &[Arc<Hand>] {
        &self.hands
    }
}
