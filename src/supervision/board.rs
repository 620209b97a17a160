//! All children of a tree at one glance, and what an operator may ask of them.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc::UnboundedSender;

use crate::supervision::{
    ChildStatus, State,
    child::Order,
    status::{STALLED_AFTER, StatusCell},
};

/// A child's status, and the line on which it takes orders.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) status: Arc<StatusCell>,
    pub(crate) orders: UnboundedSender<Order>,
}

/// All children of a tree: for the status page, the metrics and the watchdog.
#[derive(Clone)]
pub struct Board {
    entries: Arc<[Entry]>,
    stalled_after: Duration,
}

/// No child has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no child is named `{0}`")]
pub struct UnknownChild(pub String);

impl Board {
    pub(crate) fn new(entries: Vec<Entry>) -> Self {
        Board { entries: entries.into(), stalled_after: STALLED_AFTER }
    }

    /// The same children, shown as stalled after another time than 30 s.
    #[must_use]
    pub fn stalled_after(mut self, limit: Duration) -> Self {
        self.stalled_after = limit;
        self
    }

    /// Every child, parents before their children.
    pub fn status(&self) -> Vec<ChildStatus> {
        self.entries.iter().map(|entry| entry.status.snapshot(self.stalled_after)).collect()
    }

    /// Asks for a new life of one child. If it runs, it drains and ends first; if it backs off or
    /// has ended, it is started at once. Where its supervisor does not run, that is started, and with
    /// it all its children. A child that is already stopping is left alone.
    ///
    /// # Errors
    /// [`UnknownChild`]: the name is not in the tree.
    pub fn restart(&self, name: &str) -> Result<(), UnknownChild> {
        let mut child = self.entry(name).ok_or_else(|| UnknownChild(name.to_owned()))?;
        loop {
            let supervisor = child.status.update(|status| status.supervisor.clone());
            let Some(supervisor) = supervisor.and_then(|name| self.entry(&name)) else {
                // The root: no one is above it, so it takes the order itself.
                let _ = child.orders.send(Order::Restart);
                return Ok(());
            };
            if matches!(supervisor.status.state(), State::Running | State::Stopping) {
                // A supervisor whose task is gone has been reported as lost.
                let _ = supervisor.orders.send(Order::RestartChild(Arc::clone(&child.status.name)));
                return Ok(());
            }
            child = supervisor;
        }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| &*entry.status.name == name)
    }
}
