//! Child specs, and the line between a child and its supervisor.

use std::{sync::Arc, time::Duration};

use actix::{dev::channel::channel, prelude::*};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::supervision::{
    Backoff, Exit, Kind, Restart, SupervisedContext, board::Entry, restart::LONGEST, status::StatusCell,
    worker,
};

/// From supervisor to child.
pub(crate) enum Order {
    Start(Link),
    /// Drain and end within the shutdown time.
    Stop,
    /// As `Stop`, but ask to be started again.
    Restart,
    /// To a supervisor, from an operator: the child of this name is to be restarted.
    RestartChild(Arc<str>),
}

/// From child to supervisor: a life ended.
pub(crate) struct Report {
    pub(crate) child: usize,
    pub(crate) exit: Exit,
}

/// A child's line to its supervisor for one life. It carries exactly one report: the child's, or on
/// drop that the child is lost. So a supervisor hears of every end, whatever became of the task.
pub(crate) struct Link {
    pub(crate) child: usize,
    pub(crate) shutdown: Duration,
    pub(crate) reports: Option<UnboundedSender<Report>>,
}

impl Link {
    pub(crate) fn report(mut self, exit: Exit) {
        self.send(exit);
    }

    fn send(&mut self, exit: Exit) {
        if let Some(reports) = self.reports.take() {
            // A supervisor that no longer listens has itself been given up: its parent knows.
            let _ = reports.send(Report { child: self.child, exit });
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.send(Exit::Lost);
    }
}

/// How to start, restart and stop one child (OTP: child specification).
pub struct ChildSpec {
    pub(crate) restart: Restart,
    pub(crate) backoff: Backoff,
    pub(crate) shutdown: Duration,
    pub(crate) entry: Entry,
    pub(crate) descendants: Vec<Entry>,
}

impl ChildSpec {
    /// A worker: an actor that lives on `arbiter`, and is built anew by `factory` for every life.
    ///
    /// The address is valid at once and for good; messages sent before the start are queued. So
    /// factories may capture the addresses of each other's actors, in any order.
    pub fn worker<A, F>(name: &str, arbiter: &ArbiterHandle, factory: F) -> (Self, Addr<A>)
    where
        A: Actor<Context = SupervisedContext<A>>,
        F: Fn(&mut SupervisedContext<A>) -> A + Send + 'static,
    {
        // 0 is unbounded. Any other capacity would be no bound either: see tests/supervision/actix_facts.
        let (sender, receiver) = channel(0);
        let (spec, orders) = Self::new(name, Kind::Worker);
        let status = Arc::clone(&spec.entry.status);
        // On a stopped arbiter nothing takes the orders, and the first `Link` reports it lost.
        #[expect(clippy::disallowed_methods, reason = "the supervisor watches over it")]
        arbiter.spawn_fn(move || {
            actix_rt::spawn(worker::run(factory, receiver, status, orders));
        });
        (spec, Addr::new(sender))
    }

    pub(crate) fn new(name: &str, kind: Kind) -> (Self, UnboundedReceiver<Order>) {
        let (sender, orders) = unbounded_channel();
        let entry = Entry { status: StatusCell::new(name, kind), orders: sender };
        let spec = ChildSpec {
            restart: Restart::Permanent,
            backoff: Backoff::default(),
            shutdown: Duration::from_secs(5),
            entry,
            descendants: Vec::new(),
        };
        (spec, orders)
    }

    /// When to start it again. Default: [`Restart::Permanent`].
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How long to wait before each restart. Default: [`Backoff::default`].
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How long it may take to drain and stop before it is killed. Default: 5 s; at most a day.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Duration) -> Self {
        self.shutdown = shutdown.min(LONGEST);
        self
    }
}
