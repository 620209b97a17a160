//! Sends the deliveries of one channel: one supervised actor each for push, e-mail and SMS.
//!
//! What it has in hand is claimed in the database and bounded by its [`Hand`]. A delivery keeps its
//! room from the claim until its outcome is recorded, so a slow provider or a slow database leaves
//! the rest waiting in the database, where it costs nothing.

mod attempt;
mod recovery;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::hand::{Hand, Room};
use super::instance::Instance;
use super::messages::{DeliveriesDue, RecordOutcome, ReleaseHand, SendDeliveries};
use super::outcome_writer::OutcomeWriter;
use crate::domain::{Channel, DeliveryId, DeliveryState, Lane};
use crate::policy::Retry;
use crate::providers::Provider;
use crate::store::{Claim, ClaimedDelivery, DeliveryOutcome};
use crate::supervision::SupervisedContext;
use crate::templates::Templates;

pub(super) use attempt::interrupted;

/// How often a sender compares what it has in hand with what the database says that it holds.
const COMPARE_EVERY: Duration = Duration::from_secs(5);
/// The wait before a claim that the database did not answer is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// How long the answer of the outcome writer is waited for.
const RECORDED_WITHIN: Duration = Duration::from_secs(30);

/// How deliveries of a channel are retried, by the event's type.
pub type Retries = Arc<dyn Fn(&str, Channel) -> Retry + Send + Sync>;

/// What a sender works with.
#[derive(Clone)]
pub(super) struct Equipment {
    /// This process.
    pub instance: Arc<Instance>,
    /// Its hand.
    pub hand: Arc<Hand>,
    /// What carries the channel.
    pub provider: Arc<dyn Provider>,
    /// What messages are rendered from.
    pub templates: Arc<Templates>,
    /// When to try again.
    pub retries: Retries,
    /// Who records outcomes.
    pub outcomes: Addr<OutcomeWriter>,
    /// Sends at once.
    pub concurrency: usize,
    /// Sends a second.
    pub pace: Option<Arc<DefaultDirectRateLimiter>>,
}

/// Paces sends: one after the other, none saved up for a burst, since a provider counts in short
/// windows.
pub(super) fn pace(per_second: f64) -> Option<Arc<DefaultDirectRateLimiter>> {
    let period = Duration::try_from_secs_f64(1.0 / per_second).ok()?;
    Some(Arc::new(RateLimiter::direct(Quota::with_period(period)?)))
}

/// The actor.
pub(super) struct Sender {
    equipment: Equipment,
    life: i64,
    /// In hand and not started, by lane.
    waiting: BTreeMap<Lane, VecDeque<(ClaimedDelivery, Room)>>,
    /// In hand: waiting, being sent, or being recorded.
    /// Each with the number of its attempt.
    in_hand: HashMap<DeliveryId, i64>,
    sending: usize,
    claiming: bool,
    /// Whether more may be due than the last claim had room for.
    more: bool,
    /// Held by the database's account, and not in hand at the last comparison.
    missed: HashSet<(DeliveryId, i64)>,
    /// Whether a comparison is under way.
    comparing: bool,
    /// Claims that were taken up for lost, the latest: a hand-over that was only late finds them here.
    adopted: VecDeque<(DeliveryId, i64)>,
}

impl Sender {
    /// A sender with an empty hand; its life begins here.
    pub(super) fn new(equipment: Equipment) -> Self {
        let life = equipment.hand.begin_life();
        Self {
            equipment,
            life,
            waiting: BTreeMap::new(),
            in_hand: HashMap::new(),
            sending: 0,
            claiming: false,
            more: false,
            missed: HashSet::new(),
            comparing: false,
            adopted: VecDeque::new(),
        }
    }

    fn channel(&self) -> Channel {
        self.equipment.hand.channel()
    }

    fn claim(&self) -> Claim {
        Claim { epoch: self.equipment.instance.epoch(), life: self.life }
    }

    fn take(&mut self, delivery: ClaimedDelivery, room: Room) {
        // The next attempt may be claimed before this actor has heard that the last one is recorded.
        let is_new = self.in_hand.get(&delivery.id).is_none_or(|attempt| *attempt < delivery.attempt);
        let is_late = self.adopted.iter().any(|(id, n)| *id == delivery.id && *n == delivery.attempt);
        if is_new && !is_late {
            self.in_hand.insert(delivery.id.clone(), delivery.attempt);
            self.waiting.entry(delivery.lane).or_default().push_back((delivery, room));
        }
    }

    /// Claims as much as there is room for.
    fn claim_due(&mut self, ctx: &mut SupervisedContext<Self>) {
        let instance = &self.equipment.instance;
        if self.claiming || instance.is_paused(self.channel()) || !instance.holds_lease() {
            return;
        }
        let rooms: Vec<Room> = std::iter::from_fn(|| self.equipment.hand.room()).collect();
        if rooms.is_empty() {
            self.more = true;
            return;
        }
        self.claiming = true;
        self.more = false;
        let (store, claim, channel) = (instance.store.clone(), self.claim(), self.channel());
        let look = self.equipment.hand.before_look();
        let asked = rooms.len();
        let claimed = async move {
            let limit = i64::try_from(asked).unwrap_or(i64::MAX);
            (store.claim(channel, claim, limit).await, rooms)
        };
        ctx.spawn(claimed.into_actor(self).map(move |(result, rooms), sender, ctx| {
            sender.claiming = false;
            match result {
                Ok(deliveries) => {
                    if deliveries.len() < asked {
                        sender.equipment.hand.none_waits(look);
                    } else {
                        sender.more = true;
                    }
                    for (delivery, room) in deliveries.into_iter().zip(rooms) {
                        sender.take(delivery, room);
                    }
                    sender.send_what_waits(ctx);
                }
                Err(error) => {
                    tracing::warn!(%error, %channel, "deliveries could not be claimed yet");
                    metrics::counter!("herald_store_errors_total", "during" => "claim").increment(1);
                    ctx.run_later(AGAIN_AFTER, Self::claim_due);
                }
            }
        }));
    }

    /// Starts what there is capacity for, upper lanes first.
    fn send_what_waits(&mut self, ctx: &mut SupervisedContext<Self>) {
        while self.sending < self.equipment.concurrency {
            if !self.equipment.instance.holds_lease() {
                break;
            }
            let next = self.waiting.values_mut().find_map(VecDeque::pop_front);
            let Some((delivery, room)) = next else { break };
            if delivery.claim.epoch != self.equipment.instance.epoch() {
                // Others have taken it over; what came of it is theirs to say.
                self.in_hand.remove(&delivery.id);
                continue;
            }
            if self.equipment.instance.is_paused(self.channel()) {
                self.give_back(delivery, room, ctx);
                continue;
            }
            self.start(delivery, room, ctx);
        }
    }

    fn start(&mut self, delivery: ClaimedDelivery, room: Room, ctx: &mut SupervisedContext<Self>) {
        crate::breakpoint!("sender");
        self.sending += 1;
        self.equipment.hand.start(&delivery.id, delivery.attempt);
        let equipment = self.equipment.clone();
        let attempt = async move { attempt::make(&equipment, delivery).await };
        ctx.spawn(attempt.into_actor(self).map(|outcome, sender, ctx| {
            crate::breakpoint!("sender_sent");
            sender.sending -= 1;
            sender.record(outcome, room, ctx);
            sender.send_what_waits(ctx);
        }));
    }

    /// Has an outcome recorded; the delivery keeps its room until then.
    fn record(&mut self, outcome: DeliveryOutcome, room: Room, ctx: &mut SupervisedContext<Self>) {
        let (id, attempt) = (outcome.id.clone(), outcome.attempt);
        let outcomes = self.equipment.outcomes.clone();
        let recorded = record_until_taken(outcomes, outcome);
        ctx.spawn(recorded.into_actor(self).map(move |(), sender, ctx| {
            sender.equipment.hand.finish(&id, attempt);
            if sender.in_hand.get(&id) == Some(&attempt) {
                sender.in_hand.remove(&id);
            }
            drop(room);
            if sender.more {
                sender.claim_due(ctx);
            }
        }));
    }

    /// Puts a delivery that was not started back into the database.
    fn give_back(&mut self, delivery: ClaimedDelivery, room: Room, ctx: &mut SupervisedContext<Self>) {
        let outcome = attempt::unchanged(&delivery, DeliveryState::Pending);
        self.equipment.hand.leave_waiting();
        self.record(outcome, room, ctx);
    }
}

/// Has an outcome recorded, however long it takes. One that the database refuses for good is replaced
/// by a bare one: the delivery dies visibly, and its attempt is `unknown`.
async fn record_until_taken(outcomes: Addr<OutcomeWriter>, mut outcome: DeliveryOutcome) {
    let mut bare = false;
    loop {
        match outcomes.send(RecordOutcome(outcome.clone())).timeout(RECORDED_WITHIN).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) if error.is_transient() => {}
            Ok(Err(error)) => {
                tracing::error!(%error, delivery = %outcome.id, bare, "an outcome is refused by the database");
                if bare {
                    return;
                }
                bare = true;
                outcome = attempt::unrecordable(outcome);
            }
            // The writer crashed or is slow. The claim makes a second record harmless.
            Err(_) => {}
        }
        actix::clock::sleep(AGAIN_AFTER).await;
    }
}

impl Actor for Sender {
    type Context = SupervisedContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.take_back_from_earlier_lives(ctx);
        ctx.run_interval(COMPARE_EVERY, Self::compare_with_database);
        // A pause that was lifted, or a lease that is held again, is noticed here.
        ctx.run_interval(Duration::from_millis(200), |sender, ctx| {
            sender.send_what_waits(ctx);
            if sender.more {
                sender.claim_due(ctx);
            }
        });
    }
}

impl Handler<SendDeliveries> for Sender {
    type Result = ();

    fn handle(&mut self, message: SendDeliveries, ctx: &mut Self::Context) {
        if message.0.is_empty() {
            self.more = true;
            self.claim_due(ctx);
        }
        for (delivery, room) in message.0 {
            // What was born for an earlier life has been taken back by this one.
            if delivery.claim.life == self.life {
                self.take(delivery, room);
            }
        }
        self.send_what_waits(ctx);
    }
}

impl Handler<DeliveriesDue> for Sender {
    type Result = ();

    fn handle(&mut self, _: DeliveriesDue, ctx: &mut Self::Context) {
        self.claim_due(ctx);
    }
}

impl Handler<ReleaseHand> for Sender {
    type Result = ();

    fn handle(&mut self, _: ReleaseHand, ctx: &mut Self::Context) {
        let waiting = std::mem::take(&mut self.waiting);
        for (delivery, room) in waiting.into_values().flatten() {
            self.give_back(delivery, room, ctx);
        }
    }
}
