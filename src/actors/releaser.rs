//! Takes up what policy deferred, when it is due: the rules are asked again, and it goes, waits on, is told
//! with others, or ends. It holds nothing but the time of its next look.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::event_publisher::EventPublisher;
use super::instance::Instance;
use super::messages::{DeferredDue, DeliveriesDue, NotificationsChanged, PublishEvents};
use super::notifier::digest_key;
use super::rules::{self, Rules, Times};
use crate::domain::{Channel, DeliveryState, Document, Instant};
use crate::policy::{
    Answer, Cap, DIGEST, Digest, Escalated, FREQUENCY_CAP, Mode, NOT_ROUTED, Other, Record, Route, Spent,
    Step, Told, Verdict, decide_again, escalate_again,
};
use crate::store::{Contacts, DeferredDelivery, Release, Released, StoreError};
use crate::supervision::SupervisedContext;

/// The most deliveries that are decided on in one transaction, those beside that are told with them.
const BATCH: i64 = 256;

/// The actor.
pub(super) struct Releaser {
    instance: Arc<Instance>,
    rules: Arc<Rules>,
    senders: HashMap<Channel, Recipient<DeliveriesDue>>,
    publisher: Addr<EventPublisher>,
    feed: Recipient<NotificationsChanged>,
    looking: bool,
    again: bool,
    next_look: Option<SpawnHandle>,
}

impl Releaser {
    /// A releaser that rings these senders.
    pub(super) fn new(
        instance: Arc<Instance>,
        rules: Arc<Rules>,
        senders: HashMap<Channel, Recipient<DeliveriesDue>>,
        publisher: Addr<EventPublisher>,
        feed: Recipient<NotificationsChanged>,
    ) -> Self {
        Self { instance, rules, senders, publisher, feed, looking: false, again: false, next_look: None }
    }

    fn look(&mut self, ctx: &mut SupervisedContext<Self>) {
        crate::breakpoint!("releaser");
        if self.looking {
            self.again = true;
            return;
        }
        if let Some(planned) = self.next_look.take() {
            ctx.cancel_future(planned);
        }
        if self.instance.is_held() || !self.instance.holds_lease() {
            self.look_after(self.instance.settings.poll_interval, ctx);
            return;
        }
        self.looking = true;
        let work = release_due(Arc::clone(&self.instance), Arc::clone(&self.rules));
        ctx.spawn(work.into_actor(self).map(|result, releaser, ctx| {
            releaser.looking = false;
            let poll = releaser.instance.settings.poll_interval;
            let wait = match result {
                Ok(found) => releaser.announce(found).min(poll),
                Err(error) => {
                    tracing::warn!(%error, "deferred deliveries could not be taken up yet");
                    metrics::counter!("herald_store_errors_total", "during" => "release").increment(1);
                    poll
                }
            };
            let wait = if std::mem::take(&mut releaser.again) { Duration::ZERO } else { wait };
            releaser.look_after(wait, ctx);
        }));
    }

    /// One look is planned at a time: whoever rings starts no second row of them.
    fn look_after(&mut self, wait: Duration, ctx: &mut SupervisedContext<Self>) {
        if let Some(planned) = self.next_look.replace(ctx.run_later(wait, Self::look)) {
            ctx.cancel_future(planned);
        }
    }

    /// Tells those whom it concerns, and gives the time until the next look.
    fn announce(&self, (released, next): (Released, Option<Instant>)) -> Duration {
        for channel in &released.channels {
            if let Some(hand) = self.instance.hand(*channel) {
                hand.leave_waiting();
            }
            if let Some(sender) = self.senders.get(channel) {
                sender.do_send(DeliveriesDue);
            }
        }
        if released.taken > 0 {
            metrics::counter!("herald_deferred_released_total").increment(released.taken as u64);
            for (verdict, reason) in &released.verdicts {
                super::decided::note("release", *verdict, reason.as_deref());
            }
            self.feed.do_send(NotificationsChanged { ended: released.ended });
        }
        if !released.events.is_empty() {
            self.publisher.do_send(PublishEvents(Arc::new(released.events)));
        }
        let now = self.instance.now();
        next.map_or(Duration::MAX, |at| at.since(now) + Duration::from_millis(2))
    }
}

impl Actor for Releaser {
    type Context = SupervisedContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}

impl Handler<DeferredDue> for Releaser {
    type Result = ();

    fn handle(&mut self, _: DeferredDue, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}

/// Takes up one batch; gives what came of it, and when the next is due.
async fn release_due(
    instance: Arc<Instance>,
    rules: Arc<Rules>,
) -> Result<(Released, Option<Instant>), StoreError> {
    let due = instance.store.deferred_due(BATCH).await?;
    if due.is_empty() {
        return Ok((Released::default(), instance.store.next_deferred().await?));
    }
    let contacts = instance.store.contacts(due.iter().map(|one| one.user_id).collect()).await?;
    let mut asked: Vec<(i64, Cap)> = Vec::new();
    for one in &due {
        let Some((route, contacts)) = routed(&rules, one).zip(contacts.get(&one.user_id)) else { continue };
        if route.mandatory {
            continue;
        }
        let caps = crate::policy::caps_of(route, &one.event_type, &contacts.preferences, &rules.bank.caps);
        for cap in caps.into_iter().map(|cap| (one.user_id, cap)) {
            if !asked.contains(&cap) {
                asked.push(cap);
            }
        }
    }
    let questions = asked.iter().map(|(user, cap)| rules::cap_question(*user, cap)).collect();
    let decide = move |granted: crate::store::Granted, due: Vec<DeferredDelivery>| {
        let now = granted.now;
        let spent = rules::spent(asked, granted, Vec::new());
        Releasing { rules: &rules, contacts: &contacts, spent, now }.decide(due)
    };
    let released = instance.store.release(instance.epoch(), due, questions, decide).await?;
    // There may be more than one batch.
    Ok((released, Some(instance.now())))
}

/// One batch while it is decided on.
struct Releasing<'a> {
    rules: &'a Rules,
    contacts: &'a HashMap<i64, Contacts>,
    spent: Spent,
    now: Instant,
}

impl Releasing<'_> {
    fn decide(mut self, due: Vec<DeferredDelivery>) -> Vec<Release> {
        // What is in shadow mode is never sent: it tells nothing that is live.
        let mut together: BTreeMap<(String, bool), Vec<DeferredDelivery>> = BTreeMap::new();
        let mut releases = Vec::with_capacity(due.len());
        for one in due {
            match one.digest_key.clone().filter(|_| one.reason.as_deref() == Some(DIGEST)) {
                Some(key) => together.entry((key, one.shadow)).or_default().push(one),
                None => {
                    let verdict = self.judge(&one);
                    releases.push(self.release(one, verdict));
                }
            }
        }
        for group in together.into_values() {
            self.digest(group, &mut releases);
        }
        releases
    }

    /// Of those that may go, the newest goes and tells all the others: it is of use the longest.
    fn digest(&mut self, group: Vec<DeferredDelivery>, releases: &mut Vec<Release>) {
        let mut carrier: Option<Release> = None;
        let mut told = Vec::new();
        for one in group.into_iter().rev() {
            let tells = tells(&one);
            let Some(carrier) = &carrier else {
                let verdict = self.judge(&one);
                let goes = verdict.state == DeliveryState::Pending;
                let release = self.release(one, verdict);
                if goes {
                    told.extend(tells);
                    carrier = Some(release);
                } else {
                    releases.push(release);
                }
                continue;
            };
            // What the first one was granted is enough for all; each may have an objection of its own.
            let mut verdict = self.ask_without_caps(&one);
            if verdict.state == DeliveryState::Pending {
                told.extend(tells);
                let into = carrier.id.clone();
                verdict.state = DeliveryState::Digested;
                verdict.reason = Some(DIGEST);
                let saw = format!("told by {into}").into();
                verdict.steps.push(Step { rule: "digest", saw, answer: Answer::Pass });
                let mut release = self.release(one, verdict);
                release.told_in = Some(into);
                releases.push(release);
            } else {
                releases.push(self.release(one, verdict));
            }
        }
        if let Some(mut carrier) = carrier {
            if told.len() > 1 {
                carrier.digest = Some(Digest::of(told).to_json());
            }
            releases.push(carrier);
        }
    }

    fn judge(&mut self, one: &DeferredDelivery) -> Verdict {
        let Some(route) = routed(self.rules, one) else { return not_routed(one.id.channel) };
        if let Some(verdict) = self.escalate_again(one, route) {
            return verdict;
        }
        let (rules, contacts) = (self.rules, self.contacts.get(&one.user_id));
        let question = rules.question(&one.event_type, route, one.user_id, contacts, self.times(one));
        let mut verdict = decide_again(&question, one.id.channel, &mut self.spent);
        if route.escalate.iter().any(|escalation| escalation.channel == one.id.channel) {
            let saw = "no other channel has sent it by now".into();
            verdict.steps.insert(0, Step { rule: "escalation", saw, answer: Answer::Pass });
        }
        verdict
    }

    fn ask_without_caps(&self, one: &DeferredDelivery) -> Verdict {
        let Some(route) = routed(self.rules, one) else { return not_routed(one.id.channel) };
        if let Some(verdict) = self.escalate_again(one, route) {
            return verdict;
        }
        let contacts = self.contacts.get(&one.user_id);
        let question = self.rules.question(&one.event_type, route, one.user_id, contacts, self.times(one));
        crate::policy::ask_again(&question, one.id.channel)
    }

    fn escalate_again(&self, one: &DeferredDelivery, route: &Route) -> Option<Verdict> {
        let other = |sibling: &crate::store::Sibling| Other {
            channel: sibling.channel,
            state: sibling.state,
            not_before: sibling.not_before,
        };
        let escalated = Escalated {
            channel: one.id.channel,
            reason: one.reason.as_deref(),
            not_before: one.not_before,
            expires_at: one.expires_at,
            others: one.siblings.iter().map(other).collect(),
        };
        escalate_again(&escalated, route, self.now)
    }

    fn times(&self, one: &DeferredDelivery) -> Times {
        Times { expires_at: one.expires_at, now: self.now }
    }

    fn release(&self, one: DeferredDelivery, verdict: Verdict) -> Release {
        let category = self.rules.routes.get(&one.event_type).map(|route| route.category.clone());
        let digests = verdict.state == DeliveryState::Deferred && verdict.reason == Some(DIGEST);
        let key = digests.then(|| digest_key(one.user_id, one.id.channel, &one.event_type));
        let granted = verdict.granted.then(|| (one.user_id, category.unwrap_or_default(), one.shadow));
        // A crowd that waits for room is asked again and again: that it waits on is no news.
        let waits_on = verdict.state == DeliveryState::Deferred
            && matches!(verdict.reason, Some(FREQUENCY_CAP | DIGEST))
            && verdict.reason == one.reason.as_deref();
        let ledger = (!waits_on).then(|| {
            let verdicts = std::slice::from_ref(&verdict);
            let record = Record { outcome: None, steps: &[], verdicts };
            (one.position, self.rules.ledger(Some(one.user_id), &record))
        });
        Release {
            state: verdict.state,
            reason: verdict.reason.map(str::to_owned),
            not_before: verdict.not_before,
            digest_key: key,
            digest: one.digest,
            told_in: None,
            granted,
            ledger,
            id: one.id,
        }
    }
}

/// Its route, if it has one that is not off.
fn routed<'r>(rules: &'r Rules, one: &DeferredDelivery) -> Option<&'r Route> {
    rules.routes.get(&one.event_type).filter(|route| route.mode != Mode::Off)
}

/// What a delivery adds to a digest: itself, or all that it tells already.
fn tells(one: &DeferredDelivery) -> Option<Told> {
    match one.digest.as_deref().and_then(Digest::from_json) {
        Some(digest) => Some(Told::Several(digest)),
        None => Document::parse(&one.payload).ok().map(Told::One),
    }
}

/// The type has no route any more, or one that is off: nobody says how to tell it.
fn not_routed(channel: Channel) -> Verdict {
    let saw = "none has the type, or it is off".into();
    let steps = vec![Step { rule: "route", saw, answer: Answer::Suppress }];
    let (state, reason) = (DeliveryState::Suppressed, Some(NOT_ROUTED));
    Verdict { channel, state, reason, not_before: None, granted: false, steps }
}
