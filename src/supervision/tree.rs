//! The root of the tree, whose end is the end of the process.

use std::{collections::HashSet, future::Future, pin::pin, process::ExitCode, sync::Arc};

use tokio::sync::mpsc::unbounded_channel;

use crate::supervision::{
    Board, Exit, Observation, Supervisor,
    board::Entry,
    child::{Link, Order},
    observation::Observer,
    restart::LONGEST,
};

/// A tree that cannot work as described.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Names are how operators, logs and metrics tell children apart.
    #[error("two children are named `{0}`")]
    DuplicateName(Arc<str>),
    /// With this backoff a child that never comes up is restarted for ever, without escalation.
    #[error("`{child}` backs off so long that `{supervisor}` never reaches its restart intensity")]
    UnreachableIntensity {
        /// The supervisor with the limit.
        supervisor: Arc<str>,
        /// The child with the backoff.
        child: Arc<str>,
    },
}

/// A tree, ready to run.
pub struct Tree {
    root: Entry,
    board: Board,
}

impl Tree {
    /// Takes the root. All supervisors live on the thread that built them, and no worker should, so
    /// that no worker can block them.
    ///
    /// # Errors
    /// [`SpecError::DuplicateName`].
    pub fn new(root: Supervisor) -> Result<Self, SpecError> {
        let spec = root.into_spec();
        let mut entries = vec![spec.entry.clone()];
        entries.extend(spec.descendants);
        let mut names = HashSet::new();
        for entry in &entries {
            if !names.insert(&entry.status.name) {
                return Err(SpecError::DuplicateName(Arc::clone(&entry.status.name)));
            }
        }
        Ok(Tree { root: spec.entry, board: Board::new(entries) })
    }

    /// Tells `observer` of every end and every restart below the root, on the supervisors' thread:
    /// it must neither block nor panic. Only the first observer of a tree is told.
    #[must_use]
    pub fn observed_by(self, observer: impl Fn(Observation<'_>) + Send + Sync + 'static) -> Self {
        let observer: Observer = Arc::new(observer);
        for entry in self.board.entries() {
            let _ = entry.status.observer.set(Arc::clone(&observer));
        }
        self
    }

    /// The status of all children.
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// Starts the tree, runs it until `shutdown` is ready, then stops it in reverse order.
    ///
    /// # Errors
    /// Why the root ended by itself, or [`Exit::Killed`] when a child had to be killed at the stop.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<(), Exit> {
        let orders = &self.root.orders;
        let mut shutdown = pin!(shutdown);
        loop {
            let (sender, mut reports) = unbounded_channel();
            // Each send fails only when the root's task is gone, and the link then says so.
            let _ = orders.send(Order::Start(Link { child: 0, shutdown: LONGEST, reports: Some(sender) }));
            let report = tokio::select! {
                report = reports.recv() => report,
                () = &mut shutdown => {
                    let _ = orders.send(Order::Stop);
                    reports.recv().await
                }
            };
            match report.map_or(Exit::Lost, |report| report.exit) {
                Exit::Normal => return Ok(()),
                Exit::Requested => {}
                exit => return Err(exit),
            }
        }
    }
}

/// The process's exit status for a tree's outcome; a failure is also the last line on stderr.
#[expect(clippy::print_stderr, reason = "what a process manager shows; the log may be elsewhere")]
pub fn exit_code(outcome: Result<(), Exit>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            eprintln!("fatal: {exit}");
            ExitCode::FAILURE
        }
    }
}
