//! The supervisor: it decides, its children only report.
//!
//! Strategy: one-for-one (OTP): a child's end touches no sibling. Children that must be restarted
//! together go under a supervisor of their own that bears no restarts: its parent then restarts all.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, timeout_at},
};

use crate::supervision::{
    ChildSpec, Escalation, Exit, Intensity, Kind, SpecError, State,
    child::{Link, Order, Report},
    restart::RestartLog,
    status::StatusCell,
    worker::at,
};

/// What a killed child gets on top of its shutdown time to say so. A blocked thread never will.
const GRACE: Duration = Duration::from_millis(500);

/// Keeps its children running.
pub struct Supervisor {
    name: Arc<str>,
    intensity: Intensity,
    random: Box<dyn FnMut() -> f64>,
    children: Vec<Child>,
    reports: (UnboundedSender<Report>, UnboundedReceiver<Report>),
}

struct Child {
    spec: ChildSpec,
    running: bool,
    started: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    /// When to start it again.
    due: Option<Instant>,
}

impl Supervisor {
    /// A supervisor without children.
    pub fn new(name: &str, intensity: Intensity) -> Self {
        Supervisor {
            name: name.into(),
            intensity,
            random: Box::new(rand::random),
            children: Vec::new(),
            reports: unbounded_channel(),
        }
    }

    /// Where the randomness of its children's [`Backoff`](crate::supervision::Backoff) comes from:
    /// numbers from 0 to 1. Given by tests, which want the same delays each time; always 0.5 makes
    /// them nominal.
    #[must_use]
    pub fn random(mut self, random: impl FnMut() -> f64 + 'static) -> Self {
        self.random = Box::new(random);
        self
    }

    /// Adds a child. Children start in the order of their addition and stop in reverse: put those
    /// that others send to first, so that senders stop before their receivers.
    ///
    /// # Errors
    /// [`SpecError::UnreachableIntensity`].
    pub fn child(mut self, spec: ChildSpec) -> Result<Self, SpecError> {
        let status = &spec.entry.status;
        if !self.intensity.is_reachable(&spec.backoff) {
            return Err(SpecError::UnreachableIntensity {
                supervisor: self.name,
                child: Arc::clone(&status.name),
            });
        }
        status.update(|status| status.supervisor = Some(Arc::clone(&self.name)));
        self.children.push(Child { spec, running: false, started: None, failures: 0, due: None });
        Ok(self)
    }

    /// This supervisor as a child of another, living on the current thread. Its shutdown time is
    /// that of all its children.
    pub fn into_spec(self) -> ChildSpec {
        let (mut spec, orders) = ChildSpec::new(&self.name, Kind::Supervisor);
        spec.shutdown = Duration::ZERO;
        for Child { spec: child, .. } in &self.children {
            spec.shutdown += child.shutdown + GRACE;
            spec.descendants.push(child.entry.clone());
            spec.descendants.extend_from_slice(&child.descendants);
        }
        let status = Arc::clone(&spec.entry.status);
        #[expect(clippy::disallowed_methods, reason = "the parent watches over it")]
        actix_rt::spawn(self.run(orders, status));
        spec
    }

    /// Like a worker's task, but its lives consist of supervising.
    async fn run(mut self, mut orders: UnboundedReceiver<Order>, status: Arc<StatusCell>) {
        while let Some(order) = orders.recv().await {
            let Order::Start(link) = order else {
                continue;
            };
            status.enter(State::Running);
            let exit = self.supervise(&mut orders).await;
            status.enter(State::Stopping);
            let clean = self.stop_children().await;
            link.report(match exit {
                Exit::Normal if !clean => Exit::Killed,
                exit => exit,
            });
        }
    }

    /// Until it is told to end, or has to give up.
    async fn supervise(&mut self, orders: &mut UnboundedReceiver<Order>) -> Exit {
        // A new line for each life: what a child left behind in an earlier one says is not heard.
        self.reports = unbounded_channel();
        let mut log = RestartLog::new(self.intensity);
        for index in 0..self.children.len() {
            self.children[index].failures = 0;
            self.start(index);
        }
        loop {
            let due = self.children.iter().filter_map(|child| child.due).min();
            tokio::select! {
                order = orders.recv() => {
                    match order {
                        Some(Order::RestartChild(name)) => self.on_request(&name),
                        Some(Order::Restart) => return Exit::Requested,
                        _ => return Exit::Normal,
                    }
                }
                Some(report) = self.reports.1.recv() => {
                    if let Err(exit) = self.on_exit(report, &mut log) {
                        tracing::error!(supervisor = &*self.name, "{exit}");
                        return exit;
                    }
                }
                () = at(due) => self.start_due(),
            }
        }
    }

    fn start(&mut self, index: usize) {
        let child = &mut self.children[index];
        let entry = &child.spec.entry;
        if child.started.replace(Instant::now()).is_some() {
            entry.status.restarted();
        }
        child.due = None;
        child.running = true;
        // Should the child's task be gone, then the link is dropped here, and reports that.
        let _ = entry.orders.send(Order::Start(Link {
            child: index,
            shutdown: child.spec.shutdown,
            reports: Some(self.reports.0.clone()),
        }));
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        for index in 0..self.children.len() {
            if self.children[index].due.is_some_and(|due| due <= now) {
                self.start(index);
            }
        }
    }

    /// An operator asks for a new life of a child. One that does not run has nothing to drain.
    fn on_request(&mut self, name: &str) {
        let named = |child: &Child| &*child.spec.entry.status.name == name;
        let Some(index) = self.children.iter().position(named) else {
            return;
        };
        let child = &self.children[index];
        if child.running {
            let _ = child.spec.entry.orders.send(Order::Restart);
        } else {
            tracing::info!(supervisor = &*self.name, child = name, "start on request");
            self.start(index);
        }
    }

    fn note(&mut self, report: &Report) -> &mut Child {
        let child = &mut self.children[report.child];
        child.running = false;
        child.spec.entry.status.ended(&report.exit);
        child
    }

    /// Decides on a child's end; an error is the end of this supervisor.
    fn on_exit(&mut self, report: Report, log: &mut RestartLog) -> Result<(), Exit> {
        let supervisor = Arc::clone(&self.name);
        let intensity = self.intensity;
        let random = (self.random)();
        let child = self.note(&report);
        let name = Arc::clone(&child.spec.entry.status.name);
        let Report { child: index, exit } = report;

        if matches!(exit, Exit::Requested) {
            tracing::info!(%supervisor, child = %name, "restart on request");
            self.start(index);
            return Ok(());
        }
        if !child.spec.restart.applies_to(&exit) {
            tracing::info!(%supervisor, child = %name, "ended, and stays so");
            return Ok(());
        }
        let now = Instant::now();
        if exit.is_fatal() || !log.admits(now) {
            return Err(Exit::Escalated(Box::new(Escalation {
                supervisor,
                child: name,
                intensity,
                cause: exit,
            })));
        }
        let backoff = child.spec.backoff;
        if child.started.is_some_and(|start| now - start >= backoff.reset_after) {
            child.failures = 0;
        }
        let delay = backoff.delay(child.failures, random);
        child.failures += 1;
        child.due = Some(now + delay);
        child.spec.entry.status.enter(State::BackingOff);
        tracing::warn!(%supervisor, child = %name, %exit, ?delay, "restart");
        Ok(())
    }

    /// Stops the children in reverse order, one after the other. False when one had to be killed.
    async fn stop_children(&mut self) -> bool {
        let mut clean = true;
        for index in (0..self.children.len()).rev() {
            let child = &mut self.children[index];
            if child.due.take().is_some() {
                child.spec.entry.status.enter(State::Stopped);
            }
            let _ = child.spec.entry.orders.send(Order::Stop);
            let last_call = Instant::now() + child.spec.shutdown + GRACE;
            while self.children[index].running {
                let report = timeout_at(last_call, self.reports.1.recv()).await;
                // Nothing heard: its thread is blocked, and is left behind.
                let report = report.ok().flatten().unwrap_or(Report { child: index, exit: Exit::Killed });
                clean &= !matches!(report.exit, Exit::Killed);
                self.note(&report);
            }
        }
        clean
    }
}
