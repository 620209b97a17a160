//! Noticing a worker that blocks its thread.
//!
//! No code of ours runs on a blocked thread, so such a worker can be neither stopped nor restarted in
//! this process: what is left is to say who it is, and to have the process replaced.

use std::{collections::HashSet, io, sync::Arc, thread, time::Duration};

use crate::supervision::{Board, Kind, State, worker::HEARTBEAT};

/// A worker whose heartbeat is overdue.
#[derive(Debug, Clone)]
pub struct Stall {
    /// The worker.
    pub worker: Arc<str>,
    /// Time since its last heartbeat.
    pub silent_for: Duration,
    /// Whether it is the one that blocks its thread. The others only wait behind it; when none is,
    /// the thread is held by something that is no actor, such as a `ResponseFuture`.
    pub culprit: bool,
}

impl Board {
    /// The workers that run, but whose last heartbeat is longer ago than `limit`.
    pub fn stalls(&self, limit: Duration) -> Vec<Stall> {
        let live = |state| matches!(state, State::Running | State::Stopping);
        self.status()
            .into_iter()
            .filter(|child| child.kind == Kind::Worker)
            .filter(|child| live(child.state) && child.silent_for > limit)
            .map(|child| Stall { worker: child.name, silent_for: child.silent_for, culprit: child.busy })
            .collect()
    }
}

/// Starts a thread that calls `on_stall` once for each stall longer than `limit` (at least 1 s). It is
/// an OS thread because every async runtime here may be the one that is blocked.
///
/// # Errors
/// The thread could not be started.
pub fn watch(board: Board, limit: Duration, on_stall: impl Fn(&Stall) + Send + 'static) -> io::Result<()> {
    let limit = limit.max(4 * HEARTBEAT);
    #[expect(clippy::disallowed_methods, reason = "a thread of its own, without actors")]
    let watch = move || {
        let mut known = HashSet::new();
        loop {
            thread::sleep(HEARTBEAT);
            let stalls = board.stalls(limit);
            for stall in stalls.iter().filter(|stall| !known.contains(&stall.worker)) {
                on_stall(stall);
            }
            known = stalls.into_iter().map(|stall| stall.worker).collect();
        }
    };
    thread::Builder::new().name("watchdog".into()).spawn(watch)?;
    Ok(())
}
