//! A step of a replay that sends: what was never sent is put to work again by today's rules, the clock and
//! the caps as they are. It notifies, and does nothing else.

use std::sync::Arc;

use super::facts::{Facts, Routed, Stepped, resent, was};
use crate::actors::instance::Instance;
use crate::actors::notifier::{digest_key, end, notification};
use crate::actors::rules::{self, Rules};
use crate::domain::{DeliveryId, DeliveryState, EventOutcome, Instant, NewEvent};
use crate::policy::{
    Answer, Compared, DIGEST, Mode, Plan, Record, ReplayReport, Route, Spent, Step, Was, Would, about_event,
    decide, route_to_reopen,
};
use crate::store::{
    Granted, MadeDelivery, QueuedEvent, ReopenedNotification, Reopening, Resending, StoreError,
};

/// Makes the step. None: it is void.
pub(super) async fn step(
    instance: &Instance,
    rules: Arc<Rules>,
    facts: Facts,
    report: ReplayReport,
) -> Result<Option<Stepped>, StoreError> {
    let asked = facts.known.caps(&rules, &facts.events);
    let questions = asked.iter().map(|(user, cap)| rules::cap_question(*user, cap)).collect();
    let live =
        |event: &&NewEvent| rules.routes.get(&event.kind).is_some_and(|route| route.mode == Mode::Live);
    let events = facts.events.iter().filter_map(|(_, event)| event.as_ref().ok()).filter(live);
    let made = events.flat_map(|event| facts.made_of(event)).filter(|made| was(made).may_be_reopened());
    let candidates =
        made.map(|made| DeliveryId { notification: made.notification.clone(), channel: made.channel });
    let candidates = candidates.collect();
    let (step, events, finished) = (facts.step.clone(), facts.events.len(), facts.step.finished);
    let (id, reason) = (facts.replay.id.clone(), facts.replay.reason.clone());
    let decide = move |granted: Granted| {
        let now = granted.now;
        let spent = rules::spent(asked, granted, Vec::new());
        Deciding { rules: &rules, facts: &facts, spent, now, report, resending: Resending::default() }.all()
    };
    let write = |mut report: ReplayReport, done: &crate::store::ResentDeliveries| {
        let sent = resent(&mut report);
        sent.reopened += done.reopened as u64;
        sent.first += done.first as u64;
        serde_json::to_string(&report).unwrap_or_default()
    };
    let done = instance.store.resend(instance.epoch(), step, candidates, questions, decide, write).await?;
    Ok(done.map(|done| {
        let resent = done.reopened + done.first;
        if resent > 0 {
            let (reopened, first) = (done.reopened, done.first);
            tracing::info!(replay = id, reason, reopened, first, "a replay puts deliveries to work");
        }
        Stepped { events, resent, channels: done.channels, finished }
    }))
}

/// A step while it is decided on.
struct Deciding<'a> {
    rules: &'a Rules,
    facts: &'a Facts,
    spent: Spent,
    now: Instant,
    report: ReplayReport,
    resending: Resending,
}

impl Deciding<'_> {
    fn all(mut self) -> (Resending, ReplayReport) {
        resent(&mut self.report);
        for (queued, event, was_outcome) in self.facts.decidable(&mut self.report) {
            let made = self.facts.made_of(event);
            let was: Vec<Was> = made.iter().map(was).collect();
            let (would_outcome, mut would) = match self.facts.routed(self.rules, event) {
                Err(outcome) => (outcome, Vec::new()),
                Ok(routed) => (EventOutcome::Notified, self.one(queued, event, &routed, made, &was)),
            };
            // What was sent is left alone, and counts as it is.
            would.extend(was.iter().filter(|was| was.was_sent()).map(|was| Would {
                channel: was.channel,
                state: DeliveryState::Sent,
                reason: None,
                shadow: false,
            }));
            let (id, kind) = (event.id.as_str(), event.kind.as_str());
            self.report.note(Compared { id, kind, was_outcome, would_outcome, was: &was, would: &would });
        }
        (self.resending, self.report)
    }

    /// One event that somebody is to be told of; gives what was decided now.
    fn one(
        &mut self,
        queued: &QueuedEvent,
        event: &NewEvent,
        routed: &Routed<'_>,
        made: &[MadeDelivery],
        was: &[Was],
    ) -> Vec<Would> {
        if routed.route.mode != Mode::Live {
            return Vec::new();
        }
        let (route, reopens) = match made {
            [] => (routed.route.clone(), false),
            made if made.iter().any(|made| made.user_id != routed.user) => {
                resent(&mut self.report).other_recipient += 1;
                return Vec::new();
            }
            _ => (route_to_reopen(routed.route, was), true),
        };
        if route.channels.is_empty() && route.escalate.is_empty() {
            return Vec::new();
        }
        let question = self.facts.question(self.rules, (queued, event), (&route, routed.user), self.now);
        let plan = decide(&question, &mut self.spent);
        let would: Vec<Would> = plan.verdicts.iter().map(|verdict| Would::of(verdict, route.mode)).collect();
        resent(&mut self.report).held_back +=
            plan.verdicts.iter().filter(|verdict| !verdict.state.is_open()).count() as u64;
        match reopens {
            true => self.reopen(queued, event, &route, routed, made, plan),
            false => self.make(queued, event, &route, routed, plan),
        }
        would
    }

    fn make(
        &mut self,
        queued: &QueuedEvent,
        event: &NewEvent,
        route: &Route,
        routed: &Routed<'_>,
        plan: Plan,
    ) {
        let ledger = self.ledger(route, routed, &plan);
        let contacts = self.facts.known.contacts.get(&routed.user);
        let mut handled = end(queued, EventOutcome::Notified, None);
        handled.ledger = Some(ledger);
        handled.notifications =
            vec![notification(self.rules, contacts, (queued, event), route, routed.user, plan)];
        self.resending.first.push(handled);
    }

    fn reopen(
        &mut self,
        queued: &QueuedEvent,
        event: &NewEvent,
        route: &Route,
        routed: &Routed<'_>,
        made: &[MadeDelivery],
        plan: Plan,
    ) {
        let Some(id) = made.first().map(|made| made.notification.clone()) else { return };
        let ledger = self.ledger(route, routed, &plan);
        let goes = plan.verdicts.iter().filter(|verdict| verdict.state.is_open());
        let deliveries: Vec<Reopening> = goes
            .filter_map(|verdict| {
                let from = made.iter().find(|made| made.channel == verdict.channel)?.state;
                Some(Reopening {
                    id: DeliveryId { notification: id.clone(), channel: verdict.channel },
                    from,
                    state: verdict.state,
                    reason: verdict.reason.map(str::to_owned),
                    not_before: verdict.not_before.filter(|_| verdict.state == DeliveryState::Deferred),
                    digest_key: (verdict.reason == Some(DIGEST))
                        .then(|| digest_key(routed.user, verdict.channel, &event.kind)),
                    granted: verdict.granted,
                })
            })
            .collect();
        if deliveries.is_empty() {
            return;
        }
        self.resending.reopened.push(ReopenedNotification {
            id,
            user_id: routed.user,
            flood: plan.flood_granted.then(|| event.kind.clone()),
            category: route.category.clone(),
            lane: route.priority,
            template: route.template.clone().unwrap_or_else(|| event.kind.clone()),
            expires_at: route.expires_at(queued.timestamp, queued.created_at),
            deliveries,
            ledger: (queued.position, ledger),
        });
    }

    fn ledger(&self, route: &Route, routed: &Routed<'_>, plan: &Plan) -> crate::store::LedgerEntry {
        let replay = &self.facts.replay;
        let saw = format!("{}: {}", replay.id, replay.reason.as_deref().unwrap_or("no reason is known"));
        let mut steps = vec![Step { rule: "replay", saw: saw.into(), answer: Answer::Pass }];
        steps.extend(about_event(Some(route), Some(routed.by)));
        let record =
            Record { outcome: Some(EventOutcome::Notified), steps: &steps, verdicts: &plan.verdicts };
        self.rules.ledger(Some(routed.user), &record)
    }
}
