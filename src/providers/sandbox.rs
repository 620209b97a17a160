//! The sandbox: keeps messages instead of sending them, and fails as it is told to.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};

use super::{Outgoing, Provider, ProviderError, Report, Sending};
use crate::domain::AttemptOutcome;

const NAME: &str = "sandbox";

/// Where the sandbox puts what it was given.
pub trait SandboxSink: Send + Sync {
    /// Keeps one message. A second attempt at the same delivery is kept as well.
    fn keep<'a>(&'a self, message: &'a Outgoing) -> Sending<'a, Result<(), String>>;
}

/// How often the sandbox fails or dawdles, each as a share of the attempts from 0 to 1.
pub struct Behaviour {
    /// Ends `transient`.
    pub transient: f64,
    /// Ends `permanent`.
    pub permanent: f64,
    /// Is slow, whatever it ends in.
    pub slow: f64,
    /// How slow.
    pub slow_for: Duration,
    /// Decides; the same source gives the same course.
    pub random: Box<dyn RngCore + Send>,
}

impl Behaviour {
    /// Never fails and is never slow, until a share is set; draws from a generator with this seed.
    pub fn seeded(seed: u64) -> Self {
        let random = Box::new(StdRng::seed_from_u64(seed));
        Self { transient: 0.0, permanent: 0.0, slow: 0.0, slow_for: Duration::from_secs(2), random }
    }

    /// Draws twice for each attempt, so that a changed share does not shift the rest of the course.
    fn draw(&mut self) -> (Option<AttemptOutcome>, Option<Duration>) {
        let (failure, slowness): (f64, f64) = (self.random.random(), self.random.random());
        let failed = if failure < self.transient {
            Some(AttemptOutcome::Transient)
        } else if failure < self.transient + self.permanent {
            Some(AttemptOutcome::Permanent)
        } else {
            None
        };
        (failed, (slowness < self.slow).then_some(self.slow_for))
    }
}

/// The sandbox provider.
pub struct Sandbox {
    sink: Arc<dyn SandboxSink>,
    behaviour: Option<Mutex<Behaviour>>,
}

impl Sandbox {
    /// A sandbox over a sink; without a behaviour it accepts everything at once.
    pub fn new(sink: Arc<dyn SandboxSink>, behaviour: Option<Behaviour>) -> Self {
        Self { sink, behaviour: behaviour.map(Mutex::new) }
    }

    async fn attempt(&self, message: &Outgoing) -> Report {
        let drawn = self.behaviour.as_ref().map(|b| b.lock().unwrap_or_else(PoisonError::into_inner).draw());
        let (failed, slow) = drawn.unwrap_or_default();
        if let Some(slow) = slow {
            tokio::time::sleep(slow).await;
        }
        if let Some(outcome) = failed {
            return Report::failed(outcome, "SIMULATED", "the sandbox was told to fail now and then");
        }
        match self.sink.keep(message).await {
            Ok(()) => {
                let reference = Some(message.delivery.to_string());
                Report { reference, ..Report::of(AttemptOutcome::Accepted) }
            }
            Err(problem) => Report::failed(AttemptOutcome::Transient, "sandbox", problem),
        }
    }
}

impl Provider for Sandbox {
    fn name(&self) -> &'static str {
        NAME
    }

    fn send<'a>(&'a self, message: &'a Outgoing) -> Sending<'a, Report> {
        Box::pin(self.attempt(message))
    }

    /// There is nothing to reach.
    fn check(&self) -> Sending<'_, Result<(), ProviderError>> {
        Box::pin(async { Ok(()) })
    }
}
