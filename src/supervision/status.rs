//! What an operator sees, readable from any thread: also while the child's own thread is blocked.

use std::{
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::mpsc::UnboundedSender;

use crate::supervision::{Exit, child::Order};

/// OTP: child type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An actor.
    Worker,
    /// A supervisor of further children.
    Supervisor,
}

/// What a child is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Running.
    Running,
    /// It ended, and waits for its next life.
    BackingOff,
    /// It handles what was queued, before it ends.
    Stopping,
    /// Not running, and not about to.
    Stopped,
}

/// One child at one moment.
#[derive(Debug, Clone)]
pub struct ChildStatus {
    /// Unique in the tree.
    pub name: Arc<str>,
    /// Its supervisor; none for the root.
    pub supervisor: Option<Arc<str>>,
    /// Worker or supervisor.
    pub kind: Kind,
    /// What it is doing.
    pub state: State,
    /// Since when it has been in that state.
    pub since: SystemTime,
    /// Starts after the first.
    pub restarts: u64,
    /// The last end of a life that nobody wanted.
    pub last_error: Option<Exit>,
    /// Messages in the mailbox. This and the next two are as fresh as the worker's last poll, and
    /// zero for a supervisor.
    pub queued: usize,
    /// Handlers that returned a future which is not ready yet.
    pub in_flight: usize,
    /// Messages taken from the mailbox since the process started, over all lives.
    pub handled: u64,
    /// Time since a worker's last heartbeat; far above 250 ms its thread is blocked.
    pub silent_for: Duration,
    /// Whether it was being polled when it was looked at: a silent *busy* worker blocks its thread.
    pub busy: bool,
}

/// The live status of one child. Its atomics have one writer, the child's thread.
pub(crate) struct StatusCell {
    pub(crate) name: Arc<str>,
    pub(crate) queued: AtomicUsize,
    pub(crate) in_flight: AtomicUsize,
    pub(crate) handled: AtomicU64,
    pub(crate) busy: AtomicBool,
    beat_ms: AtomicU64,
    rest: Mutex<ChildStatus>,
}

impl StatusCell {
    pub(crate) fn new(name: &str, kind: Kind) -> Arc<Self> {
        let name: Arc<str> = name.into();
        Arc::new(StatusCell {
            name: Arc::clone(&name),
            queued: AtomicUsize::default(),
            in_flight: AtomicUsize::default(),
            handled: AtomicU64::default(),
            busy: AtomicBool::default(),
            beat_ms: AtomicU64::default(),
            rest: Mutex::new(ChildStatus {
                name,
                supervisor: None,
                kind,
                state: State::Stopped,
                since: SystemTime::now(),
                restarts: 0,
                last_error: None,
                queued: 0,
                in_flight: 0,
                handled: 0,
                silent_for: Duration::ZERO,
                busy: false,
            }),
        })
    }

    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut ChildStatus) -> T) -> T {
        // Nothing panics in here; should it ever, the values are still whole.
        change(&mut self.rest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn enter(&self, state: State) {
        self.update(|status| {
            status.state = state;
            status.since = SystemTime::now();
        });
    }

    pub(crate) fn beat(&self) {
        self.beat_ms.store(now_ms(), Relaxed);
    }

    fn snapshot(&self) -> ChildStatus {
        let mut status = self.update(|status| status.clone());
        status.queued = self.queued.load(Relaxed);
        status.in_flight = self.in_flight.load(Relaxed);
        status.handled = self.handled.load(Relaxed);
        status.busy = self.busy.load(Relaxed);
        let silent_ms = now_ms().saturating_sub(self.beat_ms.load(Relaxed));
        status.silent_for = Duration::from_millis(silent_ms);
        status
    }
}

fn now_ms() -> u64 {
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(EPOCH.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// A child's status, and the line on which it takes orders.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) status: Arc<StatusCell>,
    pub(crate) orders: UnboundedSender<Order>,
}

/// All children of a tree: for the status page, the metrics and the watchdog.
#[derive(Clone)]
pub struct Board(pub(crate) Arc<[Entry]>);

/// No child has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no child is named `{0}`")]
pub struct UnknownChild(pub String);

impl Board {
    /// Every child, parents before their children.
    pub fn status(&self) -> Vec<ChildStatus> {
        self.0.iter().map(|entry| entry.status.snapshot()).collect()
    }

    /// Asks one child to drain, end and start again. A child that is not running is left alone.
    ///
    /// # Errors
    /// [`UnknownChild`]: the name is not in the tree.
    pub fn restart(&self, name: &str) -> Result<(), UnknownChild> {
        let entry = self.0.iter().find(|entry| &*entry.status.name == name);
        let entry = entry.ok_or_else(|| UnknownChild(name.to_owned()))?;
        // A child whose task is gone has been reported as lost.
        let _ = entry.orders.send(Order::Restart);
        Ok(())
    }
}
