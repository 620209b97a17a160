//! What carries a channel: a provider with its breaker and its pace, and a second one where the bank has
//! it. It outlives the sender's lives, so that a restart forgets neither a failing provider nor its pace.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant as Tick;

use super::instance::Instance;
use super::pace::Pace;
use crate::domain::{Channel, Instant};
use crate::policy::{Breaker, BreakerRule, Sign, Standing, Ticket};
use crate::providers::Provider;

/// The second provider gets nothing that the first may still deliver: so long after an attempt that
/// ended `unknown` the first one's queue is given to send or to drop it. RFC 5321 §4.5.3.2.6 grants a
/// mail server 10 minutes for the answer alone; gateways and FCM are quicker.
const MAY_STILL_DELIVER: Duration = Duration::from_secs(10 * 60);

/// A delivery that neither provider may have now is looked at again no sooner.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How a provider is used.
pub struct CarrierSetup {
    /// Its name, as attempts and deliveries keep it.
    pub name: &'static str,
    /// The provider.
    pub provider: Arc<dyn Provider>,
    /// Sends at once.
    pub concurrency: usize,
    /// Sends a second over all instances; none: as many as there are.
    pub per_second: Option<f64>,
}

/// One provider of a channel.
pub struct Carrier {
    channel: Channel,
    is_fallback: bool,
    name: &'static str,
    provider: Arc<dyn Provider>,
    concurrency: usize,
    pace: Option<Pace>,
    breaker: Mutex<Breaker>,
    /// From when on the breaker counts.
    began: Tick,
}

/// How a provider stands, for those who look.
pub struct CarrierView {
    /// The channel.
    pub channel: Channel,
    /// The provider's name.
    pub provider: &'static str,
    /// Whether it is the second one.
    pub is_fallback: bool,
    /// `closed`, `open` or `half_open`.
    pub breaker: &'static str,
    /// Since when it is closed, or not closed.
    pub since: Instant,
    /// Failures in a row while it is closed.
    pub failures: u32,
    /// While it is open: when the next probe may go.
    pub next_probe_at: Option<Instant>,
}

/// How much is to be taken in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intake {
    /// Nothing: it waits in the database.
    Nothing,
    /// One delivery, to probe with.
    One,
    /// As much as there is room for.
    All,
}

/// By whom a delivery goes now.
pub(super) enum Way {
    /// By this one.
    By(Arc<Carrier>),
    /// By nobody yet: the first one may still deliver it. It is to be looked at again after this.
    NotYet(Duration),
    /// By nobody: all are left alone.
    Shut,
}

impl Carrier {
    fn new(channel: Channel, is_fallback: bool, setup: CarrierSetup, rule: BreakerRule) -> Self {
        let CarrierSetup { name, provider, concurrency, per_second } = setup;
        let breaker = Mutex::new(Breaker::new(rule, Duration::ZERO));
        let (concurrency, pace, began) = (concurrency.max(1), per_second.map(Pace::new), Tick::now());
        Self { channel, is_fallback, name, provider, concurrency, pace, breaker, began }
    }

    /// The provider's name, as attempts and deliveries keep it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it is the second one.
    pub fn is_fallback(&self) -> bool {
        self.is_fallback
    }

    /// The provider.
    pub fn provider(&self) -> &dyn Provider {
        &*self.provider
    }

    /// Sends at once.
    pub(super) fn concurrency(&self) -> usize {
        self.concurrency
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self) -> Standing {
        self.breaker().standing(self.began.elapsed())
    }

    fn is_usable(&self) -> bool {
        matches!(self.standing(), Standing::Closed | Standing::HalfOpen { probing: false })
    }

    /// The right to send one message now, by its pace; else how long to wait before asking again.
    pub(super) fn take_turn(&self, instance: &Instance) -> Result<(), Duration> {
        let Some(pace) = &self.pace else { return Ok(()) };
        match instance.joins_in() {
            Some(wait) => Err(wait),
            None => pace.take(instance.live()),
        }
    }

    /// The right to make an attempt now, by its breaker.
    pub(super) fn begin(&self) -> Option<Ticket> {
        self.breaker().begin(self.began.elapsed())
    }

    /// Notes what an attempt showed, and tells of a change.
    pub(super) fn note(&self, ticket: Ticket, sign: Sign, retry_after: Option<Duration>) {
        let (before, after) = {
            let mut breaker = self.breaker();
            let now = self.began.elapsed();
            let before = breaker.standing(now);
            breaker.note(ticket, sign, retry_after, now, rand::random());
            (before, breaker.standing(now))
        };
        let (channel, provider) = (self.channel, self.name);
        match (before, after) {
            (Standing::Closed, Standing::Open { until }) => {
                let pause = until.saturating_sub(self.began.elapsed());
                tracing::error!(%channel, provider, ?pause, "the provider fails again and again: it is left alone, what is to be sent waits");
                metrics::counter!("herald_breaker_openings_total", "channel" => channel.as_str(), "provider" => provider).increment(1);
            }
            (Standing::HalfOpen { .. }, Standing::Open { until }) => {
                let pause = until.saturating_sub(self.began.elapsed());
                tracing::warn!(%channel, provider, ?pause, "the provider still fails: it is left alone for longer");
            }
            (Standing::HalfOpen { .. }, Standing::Closed) => {
                tracing::info!(%channel, provider, "the provider works again");
            }
            _ => {}
        }
    }

    /// While the breaker is not closed: how long until the next probe may go.
    pub(super) fn pause_left(&self) -> Option<Duration> {
        self.breaker().pause_left(self.began.elapsed())
    }

    /// How it stands; `now` is the database's time.
    pub fn view(&self, now: Instant) -> CarrierView {
        let breaker = self.breaker();
        let elapsed = self.began.elapsed();
        let ago = elapsed.saturating_sub(breaker.since());
        let (word, next_probe_at) = match breaker.standing(elapsed) {
            Standing::Closed => ("closed", None),
            Standing::Open { until } => ("open", Some(now.plus(until.saturating_sub(elapsed)))),
            Standing::HalfOpen { .. } => ("half_open", None),
        };
        CarrierView {
            channel: self.channel,
            provider: self.name,
            is_fallback: self.is_fallback,
            breaker: word,
            since: now.minus(ago),
            failures: breaker.failures(),
            next_probe_at,
        }
    }
}

/// The providers of one channel.
#[derive(Clone)]
pub struct Carriers {
    first: Arc<Carrier>,
    fallback: Option<Arc<Carrier>>,
}

impl Carriers {
    /// The providers of a channel, whose breakers open by this rule.
    pub fn new(
        channel: Channel,
        first: CarrierSetup,
        fallback: Option<CarrierSetup>,
        rule: BreakerRule,
    ) -> Self {
        Self {
            first: Arc::new(Carrier::new(channel, false, first, rule)),
            fallback: fallback.map(|fallback| Arc::new(Carrier::new(channel, true, fallback, rule))),
        }
    }

    /// The first one, and the second where there is one.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Carrier>> {
        std::iter::once(&self.first).chain(&self.fallback)
    }

    /// The probes of a life that has ended came to nothing.
    pub(super) fn forget_probes(&self) {
        for carrier in self.all() {
            carrier.breaker().forget_probe(carrier.began.elapsed());
        }
    }

    /// How much is to be taken in hand now.
    pub(super) fn intake(&self, instance: &Instance) -> Intake {
        let closed = self.all().find(|carrier| carrier.standing() == Standing::Closed);
        let intake = match closed {
            Some(_) => Intake::All,
            None if self.all().any(|carrier| carrier.is_usable()) => Intake::One,
            None => Intake::Nothing,
        };
        // Other instances may send meanwhile what this one may not yet.
        let waits = instance.joins_in().is_some() && closed.is_some_and(|carrier| carrier.pace.is_some());
        if waits { Intake::Nothing } else { intake }
    }

    /// By whom a delivery goes now: by the first one where its breaker lets it, also as its probe; else
    /// by the second. `unknown` are the attempts of the delivery that may have been sent, with their
    /// providers' names where they are known.
    pub(super) fn way(&self, unknown: &[(Option<String>, Instant)], now: Instant) -> Way {
        if self.first.is_usable() {
            return Way::By(Arc::clone(&self.first));
        }
        let Some(fallback) = self.fallback.as_ref().filter(|carrier| carrier.is_usable()) else {
            return Way::Shut;
        };
        let window = unknown
            .iter()
            .filter(|(provider, _)| provider.as_deref() != Some(fallback.name))
            .map(|(_, at)| at.plus(MAY_STILL_DELIVER))
            .filter(|ends| *ends > now)
            .max();
        match window {
            None => Way::By(Arc::clone(fallback)),
            Some(ends) => {
                let wait = ends.since(now).min(self.first.pause_left().unwrap_or_default());
                Way::NotYet(wait.max(LOOK_AGAIN))
            }
        }
    }

    /// Whether what the first one could not take may go by the second at once.
    pub(super) fn has_usable_fallback(&self) -> bool {
        self.fallback.as_ref().is_some_and(|carrier| carrier.is_usable())
    }
}
