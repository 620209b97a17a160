//! Sends the deliveries of one channel: one supervised actor each for push, e-mail and SMS.
//!
//! What it has in hand is claimed in the database and bounded by its [`Hand`]. A delivery keeps its
//! room from the claim until its outcome is recorded, so a slow provider or a slow database leaves
//! the rest waiting in the database, where it costs nothing.

mod asking;
mod attempt;
mod looks;
mod recovery;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::carrier::{Carrier, Carriers, Intake, Way};
use super::hand::{Hand, Room, is_upper, kept_for_upper};
use super::instance::Instance;
use super::messages::{DeliveriesDue, RecordOutcome, ReleaseHand, SendDeliveries};
use super::outcome_writer::OutcomeWriter;
use super::rules::Rules;
use crate::domain::{Channel, DeliveryId, DeliveryState, Lane};
use crate::policy::{Retry, Ticket};
use crate::store::{Claim, ClaimedDelivery, DeliveryOutcome};
use crate::supervision::SupervisedContext;
use crate::templates::Templates;

use looks::Looks;

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
    pub carriers: Carriers,
    /// What messages are rendered from.
    pub templates: Arc<Templates>,
    /// What is decided by.
    pub rules: Arc<Rules>,
    /// When to try again.
    pub retries: Retries,
    /// Who records outcomes.
    pub outcomes: Addr<OutcomeWriter>,
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
    /// Sends under way, by the provider's name.
    sending: BTreeMap<&'static str, usize>,
    /// Whether it is to look again when the pace allows the next send.
    paced: bool,
    claiming: bool,
    /// Whether more may be due than the last claim had room for.
    more: bool,
    /// The comparisons with what the database says that it holds.
    looks: Looks,
}

impl Sender {
    /// A sender with an empty hand; its life begins here.
    pub(super) fn new(equipment: Equipment) -> Self {
        let life = equipment.hand.begin_life();
        equipment.carriers.forget_probes();
        Self {
            equipment,
            life,
            waiting: BTreeMap::new(),
            in_hand: HashMap::new(),
            sending: BTreeMap::new(),
            paced: false,
            claiming: false,
            more: false,
            looks: Looks::default(),
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
        if is_new {
            self.in_hand.insert(delivery.id.clone(), delivery.attempt);
            self.waiting.entry(delivery.lane).or_default().push_back((delivery, room));
        }
    }

    /// How much is to be taken in hand now; new deliveries are told as well.
    fn intake(&self) -> Intake {
        let intake = self.equipment.carriers.intake(&self.equipment.instance);
        self.equipment.hand.set_shut(intake != Intake::All);
        intake
    }

    /// Claims as much as there is room for, and the provider is able to take.
    fn claim_due(&mut self, ctx: &mut SupervisedContext<Self>) {
        let instance = &self.equipment.instance;
        if self.claiming || instance.is_paused(self.channel()) || !instance.holds_lease() {
            return;
        }
        let most = match self.intake() {
            Intake::All => usize::MAX,
            // The one that is there already will be the probe.
            Intake::One => usize::from(self.waiting.values().all(VecDeque::is_empty)),
            Intake::Nothing => 0,
        };
        let hand = &self.equipment.hand;
        let mut rooms: Vec<Room> = std::iter::from_fn(|| hand.room()).take(most).collect();
        let lower = rooms.len();
        // Behind the others: what is claimed comes upper lanes first, and takes from the end.
        rooms.extend(std::iter::from_fn(|| hand.upper_room()).take(most - lower));
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
            let limit = |count| i64::try_from(count).unwrap_or(i64::MAX);
            (store.claim_by_lanes(channel, claim, limit(asked), limit(lower)).await, rooms)
        };
        ctx.spawn(claimed.into_actor(self).map(move |(result, mut rooms), sender, ctx| {
            sender.claiming = false;
            match result {
                Ok(deliveries) => {
                    let ordinary = deliveries.iter().filter(|delivery| !is_upper(delivery.lane)).count();
                    if deliveries.len() < asked && ordinary < lower {
                        sender.equipment.hand.none_waits(look);
                    } else {
                        sender.more = true;
                    }
                    for delivery in deliveries {
                        let upper = is_upper(delivery.lane);
                        let fits = |room: &Room| upper || room.is_for_any();
                        if let Some(room) = rooms.iter().rposition(fits).map(|at| rooms.swap_remove(at)) {
                            sender.take(delivery, room);
                        }
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

    /// Starts what there is capacity for, upper lanes first. What no provider may have goes back.
    fn send_what_waits(&mut self, ctx: &mut SupervisedContext<Self>) {
        self.intake();
        while self.equipment.instance.holds_lease() {
            let Some(lane) = self.waiting.values_mut().find(|lane| !lane.is_empty()) else { break };
            let Some((delivery, room)) = lane.pop_front() else { break };
            let instance = &self.equipment.instance;
            if delivery.claim.epoch != instance.epoch() {
                // Others have taken it over; what came of it is theirs to say.
                self.in_hand.remove(&delivery.id);
                continue;
            }
            if instance.is_paused(self.equipment.hand.channel()) {
                self.give_back(delivery, room, None, ctx);
                continue;
            }
            let carrier = match self.equipment.carriers.way(&delivery.unknown, instance.now()) {
                Way::By(carrier) => carrier,
                Way::NotYet(wait) => {
                    self.give_back(delivery, room, Some(wait), ctx);
                    continue;
                }
                Way::Shut => {
                    self.give_back(delivery, room, None, ctx);
                    continue;
                }
            };
            let kept = if is_upper(delivery.lane) { 0 } else { kept_for_upper(carrier.concurrency()) };
            if self
                .sending
                .get(carrier.name())
                .is_some_and(|sending| *sending + kept >= carrier.concurrency())
            {
                lane.push_front((delivery, room));
                break;
            }
            if let Err(wait) = carrier.take_turn(instance) {
                lane.push_front((delivery, room));
                self.look_again_after(wait, ctx);
                break;
            }
            match carrier.begin() {
                Some(ticket) => self.start(carrier, ticket, delivery, room, ctx),
                None => self.give_back(delivery, room, None, ctx),
            }
        }
    }

    /// Looks again when the pace allows the next send.
    fn look_again_after(&mut self, wait: Duration, ctx: &mut SupervisedContext<Self>) {
        if !std::mem::replace(&mut self.paced, true) {
            ctx.run_later(wait, |sender, ctx| {
                sender.paced = false;
                sender.send_what_waits(ctx);
            });
        }
    }

    fn start(
        &mut self,
        carrier: Arc<Carrier>,
        ticket: Ticket,
        delivery: ClaimedDelivery,
        room: Room,
        ctx: &mut SupervisedContext<Self>,
    ) {
        crate::breakpoint!("sender");
        let name = carrier.name();
        *self.sending.entry(name).or_default() += 1;
        self.equipment.hand.start(&delivery.id, delivery.attempt);
        let equipment = self.equipment.clone();
        let attempt = async move { attempt::make(&equipment, &carrier, ticket, delivery).await };
        ctx.spawn(attempt.into_actor(self).map(move |outcome, sender, ctx| {
            crate::breakpoint!("sender_sent");
            if let Some(sending) = sender.sending.get_mut(name) {
                *sending = sending.saturating_sub(1);
            }
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
            sender.looks.has_ended((id, attempt));
            drop(room);
            if sender.more {
                sender.claim_due(ctx);
            }
        }));
    }

    /// Puts a delivery that was not started back into the database, where it waits this long at least.
    fn give_back(
        &mut self,
        delivery: ClaimedDelivery,
        room: Room,
        wait: Option<Duration>,
        ctx: &mut SupervisedContext<Self>,
    ) {
        let outcome = DeliveryOutcome { wait, ..attempt::unchanged(&delivery, DeliveryState::Pending) };
        self.more = true;
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
            // What was born for an earlier life has been taken back by this one, and what came late may
            // have been taken up, sent and recorded by now.
            let is_late = self.looks.was_taken_up(&(delivery.id.clone(), delivery.attempt));
            if delivery.claim.life == self.life && !is_late {
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
            self.give_back(delivery, room, None, ctx);
        }
    }
}
