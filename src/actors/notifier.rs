//! Turns events into notifications: reads who is concerned, has it decided, and writes the whole batch
//! in one transaction.

use std::collections::HashMap;
use std::sync::Arc;

use actix::prelude::*;

use super::hand::Room;
use super::instance::Instance;
use super::messages::{HandleEvents, NotificationsChanged, SendDeliveries};
use crate::domain::recipient::recipient_of_registration;
use crate::domain::{
    Channel, DeliveryId, DeliveryState, EventOutcome, Instant, NewEvent, NotificationId, Recipient as Person,
};
use crate::policy::{Mode, Route, Routes};
use crate::policy::{Plan, Reach, accounts_of, decide, owner_learned, recipient_of};
use crate::store::{
    Claim, ClaimedDelivery, Contacts, HandledEvent, NewDelivery, NewNotification, QueuedEvent, Store,
    StoreError,
};
use crate::supervision::SupervisedContext;

/// Which other concerns get a work item of which types.
#[derive(Debug, Clone, Default)]
pub struct Subscriptions(pub Vec<(&'static str, Vec<String>)>);

impl Subscriptions {
    fn of(&self, kind: &str) -> Vec<&'static str> {
        let wants = |(_, types): &&(&'static str, Vec<String>)| types.iter().any(|wanted| wanted == kind);
        self.0.iter().filter(wants).map(|(concern, _)| *concern).collect()
    }
}

/// The defaults for recipients that have no locale or zone of their own.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// BCP 47.
    pub locale: String,
    /// IANA.
    pub time_zone: String,
}

/// What the notifier decides by.
pub struct Rules {
    /// The routes.
    pub routes: Arc<Routes>,
    /// The other concerns.
    pub subscriptions: Subscriptions,
    /// For recipients without their own.
    pub defaults: Defaults,
}

/// The actor.
pub(super) struct Notifier {
    instance: Arc<Instance>,
    rules: Arc<Rules>,
    senders: HashMap<Channel, Recipient<SendDeliveries>>,
    feed: Recipient<NotificationsChanged>,
}

impl Notifier {
    /// A notifier that hands deliveries to these senders.
    pub(super) fn new(
        instance: Arc<Instance>,
        rules: Arc<Rules>,
        senders: HashMap<Channel, Recipient<SendDeliveries>>,
        feed: Recipient<NotificationsChanged>,
    ) -> Self {
        Self { instance, rules, senders, feed }
    }
}

impl Actor for Notifier {
    type Context = SupervisedContext<Self>;
}

/// A batch that is written, and what of it is to be sent at once.
struct Handled {
    count: usize,
    made: bool,
    waiting: Vec<Channel>,
    claimed: Vec<(ClaimedDelivery, Room)>,
}

impl Handler<HandleEvents> for Notifier {
    type Result = ResponseActFuture<Self, Result<usize, StoreError>>;

    fn handle(&mut self, message: HandleEvents, _: &mut Self::Context) -> Self::Result {
        crate::breakpoint!("notifier");
        crate::breakpoint!("notifier", message.0.iter().map(|event| event.id.as_str()));
        let work = handle_events(Arc::clone(&self.instance), Arc::clone(&self.rules), message.0);
        Box::pin(work.into_actor(self).map(|result, notifier, _| {
            let handled = result?;
            crate::breakpoint!("notifier_committed");
            let mut by_channel: HashMap<Channel, Vec<_>> = HashMap::new();
            for (delivery, room) in handled.claimed {
                by_channel.entry(delivery.id.channel).or_default().push((delivery, room));
            }
            for (channel, deliveries) in by_channel {
                if let Some(sender) = notifier.senders.get(&channel) {
                    sender.do_send(SendDeliveries(deliveries));
                }
            }
            for channel in handled.waiting {
                if let Some(sender) = notifier.senders.get(&channel) {
                    // An empty hand-over is a doorbell: something of the channel waits.
                    sender.do_send(SendDeliveries(Vec::new()));
                }
            }
            if handled.made {
                notifier.feed.do_send(NotificationsChanged { ended: Vec::new() });
            }
            Ok(handled.count)
        }))
    }
}

async fn handle_events(
    instance: Arc<Instance>,
    rules: Arc<Rules>,
    queued: Vec<QueuedEvent>,
) -> Result<Handled, StoreError> {
    let checked: Vec<(QueuedEvent, Result<NewEvent, String>)> = queued
        .into_iter()
        .map(|event| (check(&event), event))
        .map(|(checked, event)| (event, checked))
        .collect();
    let mut known = Known::load(&instance.store, &rules.routes, &checked).await?;
    let now = instance.now();

    let mut batch =
        Batch { instance: &instance, rules: &rules, now, rooms: HashMap::new(), left: Vec::new() };
    let mut handled = Vec::with_capacity(checked.len());
    for (queued, event) in &checked {
        handled.push(match event {
            Ok(event) => batch.handle(queued, event, &mut known),
            Err(reason) => end(queued, EventOutcome::Failed, Some(reason.clone())),
        });
    }
    let Batch { mut rooms, left, .. } = batch;

    let details = claimed_details(&checked, &handled, &known);
    let made = handled.iter().any(|event| !event.notifications.is_empty());
    let written = instance.store.handle(instance.epoch(), now, handled).await;
    // Whether the transaction was committed or not is not known after an error: what waits, if it
    // was, must not be overtaken.
    for channel in &left {
        if let Some(hand) = instance.hand(*channel) {
            hand.leave_waiting();
        }
    }
    let taken = written?;
    metrics::counter!("herald_events_handled_total").increment(taken.len() as u64);
    let claimed = details
        .into_iter()
        .filter(|(position, _)| taken.contains(position))
        .filter_map(|(_, delivery)| rooms.remove(&delivery.id).map(|room| (delivery, room)))
        .collect();
    Ok(Handled { count: taken.len(), made, waiting: left, claimed })
}

fn check(event: &QueuedEvent) -> Result<NewEvent, String> {
    let row = crate::domain::event::Row {
        id: &event.id,
        kind: &event.kind,
        aggregate_id: &event.aggregate_id,
        aggregate_type: &event.aggregate_type,
        payload: &event.payload,
        metadata: event.metadata.as_deref(),
        timestamp: event.timestamp,
    };
    crate::domain::event::check_row(row).map_err(|errors| {
        let each = errors.iter().map(|error| format!("{}: {}", error.pointer, error.detail));
        each.take(5).collect::<Vec<_>>().join("; ")
    })
}

/// What is known of owners and recipients, read for a batch, and added to by its own events.
struct Known {
    owners: HashMap<String, i64>,
    contacts: HashMap<i64, Contacts>,
}

impl Known {
    async fn load(
        store: &Store,
        routes: &Routes,
        events: &[(QueuedEvent, Result<NewEvent, String>)],
    ) -> Result<Self, StoreError> {
        let routed = || {
            let events = events.iter().filter_map(|(_, event)| event.as_ref().ok());
            events.filter_map(|event| Some((event, routes.get(&event.kind)?)))
        };
        let owners = store.owners(routed().flat_map(|(event, _)| accounts_of(event)).collect()).await?;
        let mut users: Vec<i64> = routed().filter_map(|(event, route)| told(event, route, &owners)).collect();
        // Who an account is learned to belong to in this very batch may be told in it, too.
        users.extend(
            events.iter().filter_map(|(_, event)| event.as_ref().ok()).flat_map(owner_learned).map(|o| o.1),
        );
        users.sort_unstable();
        users.dedup();
        let contacts = store.contacts(users).await?;
        Ok(Self { owners, contacts })
    }
}

fn told(event: &NewEvent, route: &Route, owners: &HashMap<String, i64>) -> Option<i64> {
    recipient_of(event, route.recipient.as_deref(), |number| owners.get(number).copied())
}

fn end(event: &QueuedEvent, outcome: EventOutcome, reason: Option<String>) -> HandledEvent {
    HandledEvent {
        position: event.position,
        id: event.id.clone(),
        partition: event.partition,
        outcome,
        reason,
        notifications: Vec::new(),
        concerns: Vec::new(),
        owners: Vec::new(),
        introduces: None,
    }
}

/// One batch while it is being decided.
struct Batch<'a> {
    instance: &'a Instance,
    rules: &'a Rules,
    now: Instant,
    /// Room that was taken for deliveries that are born claimed.
    rooms: HashMap<DeliveryId, Room>,
    /// Channels of which deliveries are left waiting in the database.
    left: Vec<Channel>,
}

impl Batch<'_> {
    fn handle(&mut self, queued: &QueuedEvent, event: &NewEvent, known: &mut Known) -> HandledEvent {
        let mut handled = end(queued, EventOutcome::NotRouted, None);
        handled.concerns = self.rules.subscriptions.of(&event.kind);
        handled.owners = owner_learned(event);
        for (number, user) in &handled.owners {
            known.owners.entry(number.clone()).or_insert(*user);
        }
        handled.introduces = recipient_of_registration(event).map(|registration| {
            note_left_out(&event.id, &registration.left_out);
            registration.recipient
        });
        if let Some(person) = &handled.introduces {
            known.contacts.entry(person.id).or_insert_with(|| contacts_of(person));
        }
        let Some(route) = self.rules.routes.get(&event.kind).filter(|route| route.mode != Mode::Off) else {
            return handled;
        };
        let Some(user) = told(event, route, &known.owners) else {
            handled.outcome = EventOutcome::NoRecipient;
            return handled;
        };
        let contacts = known.contacts.get(&user);
        let reach = contacts.map_or_else(Reach::default, |contacts| Reach {
            push: !contacts.devices.is_empty(),
            email: contacts.email.is_some(),
            sms: contacts.phone.is_some(),
        });
        let plan = decide(route, reach, queued.timestamp, queued.created_at, self.now);
        handled.outcome = EventOutcome::Notified;
        handled.notifications.push(self.notification(queued, event, route, user, contacts, plan));
        handled
    }

    fn notification(
        &mut self,
        queued: &QueuedEvent,
        event: &NewEvent,
        route: &Route,
        user: i64,
        contacts: Option<&Contacts>,
        plan: Plan,
    ) -> NewNotification {
        let id = NotificationId::of(queued.position, &event.id, user);
        let defaults = &self.rules.defaults;
        let own = |choose: fn(&Contacts) -> &Option<String>, default: &str| {
            contacts.and_then(|contacts| choose(contacts).clone()).unwrap_or_else(|| default.to_owned())
        };
        let deliveries = plan
            .verdicts
            .into_iter()
            .map(|verdict| {
                let mut delivery = NewDelivery {
                    channel: verdict.channel,
                    state: verdict.state,
                    reason: verdict.reason.map(str::to_owned),
                    not_before: None,
                    claim: None,
                };
                if delivery.state == DeliveryState::Pending {
                    self.claim_at_birth(&id, &mut delivery);
                }
                delivery
            })
            .collect();
        NewNotification {
            id,
            event_id: event.id.clone(),
            event_type: event.kind.clone(),
            user_id: user,
            lane: route.priority,
            correlation_id: event.correlation_id.clone(),
            template: route.template.clone().unwrap_or_else(|| event.kind.clone()),
            locale: Some(own(|contacts| &contacts.locale, &defaults.locale)),
            time_zone: Some(own(|contacts| &contacts.time_zone, &defaults.time_zone)),
            name: contacts.and_then(|contacts| contacts.name.clone()),
            expires_at: plan.expires_at,
            deliveries,
        }
    }

    /// Where the sender has room and nothing waits before it, a delivery is born in its hand.
    fn claim_at_birth(&mut self, id: &NotificationId, delivery: &mut NewDelivery) {
        let Some(hand) = self.instance.hand(delivery.channel) else { return };
        let may = !self.left.contains(&delivery.channel)
            && !self.instance.is_paused(delivery.channel)
            && self.instance.holds_lease();
        match may.then(|| hand.room_for_new()).flatten() {
            Some(room) => {
                delivery.state = DeliveryState::Sending;
                delivery.claim = Some(Claim { epoch: self.instance.epoch(), life: hand.life() });
                self.rooms.insert(DeliveryId { notification: id.clone(), channel: delivery.channel }, room);
            }
            None if !self.left.contains(&delivery.channel) => self.left.push(delivery.channel),
            None => {}
        }
    }
}

/// A customer who misses a contact is told less, so somebody has to know. Names only: the values are
/// personal.
fn note_left_out(event_id: &str, fields: &[&str]) {
    if !fields.is_empty() {
        metrics::counter!("herald_registration_fields_left_out_total").increment(fields.len() as u64);
        tracing::warn!(%event_id, ?fields, "fields of a registration are not valid and were left out");
    }
}

fn contacts_of(person: &Person) -> Contacts {
    Contacts {
        name: person.name.clone(),
        email: person.email.clone(),
        phone: person.phone.clone(),
        locale: person.locale.clone(),
        time_zone: person.time_zone.clone(),
        devices: Vec::new(),
    }
}

/// The deliveries that are born claimed, with all that their senders need, by their event's position.
fn claimed_details(
    checked: &[(QueuedEvent, Result<NewEvent, String>)],
    handled: &[HandledEvent],
    known: &Known,
) -> Vec<(i64, ClaimedDelivery)> {
    let mut details = Vec::new();
    for ((queued, _), handled) in checked.iter().zip(handled) {
        for notification in &handled.notifications {
            for delivery in &notification.deliveries {
                let Some(claim) = delivery.claim else { continue };
                details.push((
                    queued.position,
                    ClaimedDelivery {
                        id: DeliveryId { notification: notification.id.clone(), channel: delivery.channel },
                        claim,
                        attempt: 1,
                        retries: 0,
                        cycle: 0,
                        lane: notification.lane,
                        event_id: queued.id.clone(),
                        event_type: queued.kind.clone(),
                        occurred_at: queued.timestamp,
                        aggregate_id: queued.aggregate_id.clone(),
                        aggregate_type: queued.aggregate_type.clone(),
                        payload: queued.payload.clone(),
                        correlation_id: notification.correlation_id.clone(),
                        user_id: notification.user_id,
                        template: notification.template.clone(),
                        name: notification.name.clone(),
                        locale: notification.locale.clone(),
                        time_zone: notification.time_zone.clone(),
                        expires_at: notification.expires_at,
                        contacts: known.contacts.get(&notification.user_id).cloned(),
                        done_devices: Vec::new(),
                        accepted: false,
                        unknown: Vec::new(),
                    },
                ));
            }
        }
    }
    details
}
