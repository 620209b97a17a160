//! What one step of a replay works with: the next events, who they are for, and what was made of them.

use std::collections::{HashMap, HashSet};

use crate::actors::instance::Instance;
use crate::actors::notifier::{Checked, Known, check, told};
use crate::actors::rules::{Rules, Times};
use crate::domain::{Channel, EventOutcome, Instant, NewEvent, ReplayFilter};
use crate::policy::{Mode, Question, ReplayReport, Resent, Route, Was};
use crate::store::{EventRecord, MadeDelivery, QueuedEvent, ReplayRecord, ReplayStep, StoreError};

/// What a step has done.
#[derive(Debug, Default)]
pub(super) struct Stepped {
    /// How many events it looked at.
    pub(super) events: usize,
    /// How many deliveries it put to work.
    pub(super) resent: usize,
    /// The channels on which deliveries wait now.
    pub(super) channels: HashSet<Channel>,
    /// Whether the replay is over.
    pub(super) finished: bool,
}

/// The facts.
pub(super) struct Facts {
    pub(super) replay: ReplayRecord,
    pub(super) step: ReplayStep,
    pub(super) events: Vec<Checked>,
    /// In the order of the events.
    pub(super) outcomes: Vec<EventOutcome>,
    pub(super) known: Known,
    pub(super) made: HashMap<String, Vec<MadeDelivery>>,
}

/// An event that today's rules tell somebody of.
pub(super) struct Routed<'a> {
    pub(super) route: &'a Route,
    pub(super) user: i64,
    /// The rule that found the recipient.
    pub(super) by: &'static str,
}

impl Facts {
    /// Reads them.
    pub(super) async fn load(
        instance: &Instance,
        rules: &Rules,
        replay: ReplayRecord,
        filter: &ReplayFilter,
        batch: i64,
    ) -> Result<Self, StoreError> {
        let store = &instance.store;
        let found = store.replay_events(filter, replay.cursor, replay.until, batch).await?;
        let full = i64::try_from(found.len()).is_ok_and(|found| found >= batch);
        let to = found.last().filter(|_| full).map_or(replay.until, |last| last.position);
        let (id, from, finished) = (replay.id.clone(), replay.cursor, to >= replay.until);
        let step = ReplayStep { id, from, to, finished };
        let outcomes: Vec<EventOutcome> = found.iter().map(|event| event.outcome).collect();
        let events: Vec<Checked> = found
            .into_iter()
            .map(queued)
            .map(|event| (check(&event), event))
            .map(|(checked, event)| (event, checked))
            .collect();
        let known = Known::load(store, &rules.routes, &events).await?;
        let ids: Vec<&str> = events.iter().map(|(event, _)| event.id.as_str()).collect();
        let made = store.deliveries_made(&ids).await?;
        Ok(Self { replay, step, events, outcomes, known, made })
    }

    /// The events that are decided anew, each with its outcome; the others are counted.
    pub(super) fn decidable<'f>(
        &'f self,
        report: &mut ReplayReport,
    ) -> Vec<(&'f QueuedEvent, &'f NewEvent, EventOutcome)> {
        let mut decidable = Vec::with_capacity(self.events.len());
        for ((queued, event), outcome) in self.events.iter().zip(&self.outcomes) {
            match (event, outcome) {
                (Ok(event), EventOutcome::Notified | EventOutcome::NotRouted | EventOutcome::NoRecipient) => {
                    decidable.push((queued, event, *outcome));
                }
                (Ok(_), EventOutcome::Pending | EventOutcome::Failed) => report.leave(*outcome),
                // It breaks the rules for events that hold now.
                (Err(_), _) => report.leave(EventOutcome::Failed),
            }
        }
        decidable
    }

    /// The route and the recipient of an event by today's rules, or the outcome that it would have without.
    pub(super) fn routed<'r>(&self, rules: &'r Rules, event: &NewEvent) -> Result<Routed<'r>, EventOutcome> {
        let route = rules.routes.get(&event.kind).filter(|route| route.mode != Mode::Off);
        let route = route.ok_or(EventOutcome::NotRouted)?;
        let (user, by) = told(event, route, &self.known.owners).ok_or(EventOutcome::NoRecipient)?;
        Ok(Routed { route, user, by })
    }

    /// What a decision sees at a time.
    pub(super) fn question<'q>(
        &'q self,
        rules: &'q Rules,
        (queued, event): (&QueuedEvent, &'q NewEvent),
        (route, user): (&'q Route, i64),
        now: Instant,
    ) -> Question<'q> {
        let expires_at = route.expires_at(queued.timestamp, queued.created_at);
        let times = Times { expires_at, now };
        rules.question(&event.kind, route, user, self.known.contacts.get(&user), times)
    }

    /// The deliveries of an event.
    pub(super) fn made_of(&self, event: &NewEvent) -> &[MadeDelivery] {
        self.made.get(&event.id).map_or(&[], Vec::as_slice)
    }
}

/// What a delivery is to the report.
pub(super) fn was(made: &MadeDelivery) -> Was {
    let MadeDelivery { channel, state, reason, segments, .. } = made.clone();
    Was { channel, state, reason, segments }
}

/// The part of a report that tells what was sent.
pub(super) fn resent(report: &mut ReplayReport) -> &mut Resent {
    report.sent.get_or_insert_default()
}

fn queued(event: EventRecord) -> QueuedEvent {
    QueuedEvent {
        position: event.position,
        id: event.id,
        kind: event.kind,
        aggregate_id: event.aggregate_id,
        aggregate_type: event.aggregate_type,
        payload: event.payload,
        metadata: event.metadata,
        timestamp: event.timestamp,
        created_at: event.created_at,
        partition: 0,
        crashes: 0,
    }
}
