//! What an operator sees, readable from any thread: also while the child's own thread is blocked.

use std::{
    sync::{
        Arc, LazyLock, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use serde::{Serialize, Serializer};

use crate::supervision::{Exit, Observation, observation::Observer};

/// Work that makes no progress for longer than this is shown as stalled, unless the reader of the
/// [`Board`](crate::supervision::Board) asks for another time.
pub(crate) const STALLED_AFTER: Duration = Duration::from_secs(30);

/// OTP: child type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An actor.
    Worker,
    /// A supervisor of further children.
    Supervisor,
}

impl Kind {
    /// `worker` or `supervisor`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Worker => "worker",
            Kind::Supervisor => "supervisor",
        }
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
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

impl State {
    /// `running`, `backing_off`, `stopping` or `stopped`.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Running => "running",
            State::BackingOff => "backing_off",
            State::Stopping => "stopping",
            State::Stopped => "stopped",
        }
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
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
    /// The last end of a life that nobody wanted; its text is for operators.
    pub last_error: Option<Exit>,
    /// When that was.
    pub last_error_at: Option<SystemTime>,
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
    /// How long it has had work, queued or in flight, and finished and begun none of it. Measured
    /// between readings: exact when the status is read regularly, as the watchdog does.
    pub no_progress_for: Duration,
    /// Whether that is longer than it may be: 30 s, or what the reader of the board asked for.
    pub stalled: bool,
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
    progress: Mutex<Progress>,
    pub(crate) observer: OnceLock<Observer>,
}

/// How far the child's work was at an earlier reading. Kept by the readers, so that it costs the
/// child nothing and is right also while its thread is blocked.
struct Progress {
    /// Messages handled and in flight; none when there was no work.
    seen: Option<(u64, usize)>,
    since: Instant,
}

impl Progress {
    /// For how long the work seen in `status` has stood still.
    fn stands_still_for(&mut self, status: &ChildStatus, now: Instant) -> Duration {
        let has_work = status.queued > 0 || status.in_flight > 0;
        let seen = has_work.then_some((status.handled, status.in_flight));
        if seen.is_none() || seen != self.seen {
            *self = Progress { seen, since: now };
        }
        now.saturating_duration_since(self.since)
    }
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
                last_error_at: None,
                queued: 0,
                in_flight: 0,
                handled: 0,
                silent_for: Duration::ZERO,
                busy: false,
                no_progress_for: Duration::ZERO,
                stalled: false,
            }),
            progress: Mutex::new(Progress { seen: None, since: Instant::now() }),
            observer: OnceLock::new(),
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

    pub(crate) fn state(&self) -> State {
        self.update(|status| status.state)
    }

    /// Notes why a life ended.
    pub(crate) fn ended(&self, exit: &Exit) {
        self.update(|status| {
            status.state = State::Stopped;
            status.since = SystemTime::now();
            if !matches!(exit, Exit::Normal | Exit::Requested) {
                status.last_error = Some(exit.clone());
                status.last_error_at = Some(status.since);
            }
        });
        self.observe(Observation::Ended { child: &self.name, exit });
    }

    /// Notes that a further life begins.
    pub(crate) fn restarted(&self) {
        self.update(|status| status.restarts += 1);
        self.observe(Observation::Restarted { child: &self.name });
    }

    fn observe(&self, observation: Observation<'_>) {
        if let Some(observer) = self.observer.get() {
            observer(observation);
        }
    }

    pub(crate) fn beat(&self) {
        self.beat_ms.store(now_ms(), Relaxed);
    }

    pub(crate) fn snapshot(&self, stalled_after: Duration) -> ChildStatus {
        let mut status = self.update(|status| status.clone());
        status.queued = self.queued.load(Relaxed);
        status.in_flight = self.in_flight.load(Relaxed);
        status.handled = self.handled.load(Relaxed);
        status.busy = self.busy.load(Relaxed);
        let silent_ms = now_ms().saturating_sub(self.beat_ms.load(Relaxed));
        status.silent_for = Duration::from_millis(silent_ms);
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        status.no_progress_for = progress.stands_still_for(&status, Instant::now());
        status.stalled = status.no_progress_for > stalled_after;
        status
    }
}

fn now_ms() -> u64 {
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(EPOCH.elapsed().as_millis()).unwrap_or(u64::MAX)
}
