//! One batch of events while it is decided on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Checked;
use crate::actors::decided::{Counted, counted};
use crate::actors::hand::Room;
use crate::actors::instance::Instance;
use crate::actors::rules::{Rules, Times};
use crate::domain::recipient::recipient_of_registration;
use crate::domain::{
    Channel, DeliveryId, DeliveryState, EventOutcome, Instant, Lane, NewEvent, NotificationId,
    Recipient as Person,
};
use crate::policy::{
    Cap, DIGEST, Mode, Plan, Record, Route, Routes, Spent, about_event, accounts_of, decide, owner_learned,
    recipient_of,
};
use crate::store::{
    Claim, ClaimedDelivery, Contacts, HandledEvent, NewDelivery, NewNotification, QueuedEvent, Store,
    StoreError,
};

/// What is known of owners and recipients, read for a batch, and added to by its own events.
pub(in crate::actors) struct Known {
    pub(in crate::actors) owners: HashMap<String, i64>,
    pub(in crate::actors) contacts: HashMap<i64, Contacts>,
    read_at: std::time::Instant,
}

impl Known {
    pub(in crate::actors) async fn load(
        store: &Store,
        routes: &Routes,
        events: &[Checked],
    ) -> Result<Self, StoreError> {
        let routed = || {
            let events = events.iter().filter_map(|(_, event)| event.as_ref().ok());
            events.filter_map(|event| Some((event, routes.get(&event.kind)?)))
        };
        let owners = store.owners(routed().flat_map(|(event, _)| accounts_of(event)).collect()).await?;
        let mut users: Vec<i64> =
            routed().filter_map(|(event, route)| told(event, route, &owners)).map(|found| found.0).collect();
        // Who an account is learned to belong to in this very batch may be told in it, too.
        users.extend(
            events.iter().filter_map(|(_, event)| event.as_ref().ok()).flat_map(owner_learned).map(|o| o.1),
        );
        users.sort_unstable();
        users.dedup();
        let read_at = std::time::Instant::now();
        let contacts = store.contacts(users).await?;
        Ok(Self { owners, contacts, read_at })
    }

    /// The caps that this batch's messages are counted by, each once.
    pub(in crate::actors) fn caps(&self, rules: &Rules, events: &[Checked]) -> Vec<(i64, Cap)> {
        let mut caps = Vec::new();
        // As the batch will teach them.
        let mut owners = self.owners.clone();
        for event in events.iter().filter_map(|(_, event)| event.as_ref().ok()) {
            for (number, user) in owner_learned(event) {
                owners.entry(number).or_insert(user);
            }
            let route = rules.routes.get(&event.kind).filter(|route| route.mode != Mode::Off);
            let Some(route) = route else { continue };
            let Some((user, _)) = told(event, route, &owners) else { continue };
            // Whoever is not known has no contact, and nothing to be counted.
            let Some(contacts) = self.contacts.get(&user) else { continue };
            let counted = crate::policy::caps_of(route, &event.kind, &contacts.preferences, &rules.bank.caps);
            for cap in counted.into_iter().map(|cap| (user, cap)) {
                if !caps.contains(&cap) {
                    caps.push(cap);
                }
            }
        }
        caps
    }
}

/// Who is told of an event, and by which rule.
pub(in crate::actors) fn told(
    event: &NewEvent,
    route: &Route,
    owners: &HashMap<String, i64>,
) -> Option<(i64, &'static str)> {
    recipient_of(event, route.recipient.as_deref(), |number| owners.get(number).copied())
}

/// An event with its outcome, and nothing made of it yet.
pub(in crate::actors) fn end(
    event: &QueuedEvent,
    outcome: EventOutcome,
    reason: Option<String>,
) -> HandledEvent {
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
        ledger: None,
    }
}

/// What was decided, beside what is to be written.
pub(super) struct Decided {
    /// Room that was taken for deliveries that are born claimed.
    pub(super) rooms: HashMap<DeliveryId, Room>,
    /// Channels of which deliveries are left waiting in the database.
    pub(super) left: Vec<Channel>,
    /// The deliveries that are born claimed, with all that their senders need, by their event's position.
    pub(super) claimed: Vec<(i64, ClaimedDelivery)>,
    /// Whether there is any notification.
    pub(super) made: bool,
    /// Caps that were found to be full.
    pub(super) full: Vec<(i64, Cap, Instant)>,
    /// The time of the decision.
    pub(super) now: Instant,
    /// What was decided about each delivery, by its event's position.
    pub(super) verdicts: Vec<(i64, Counted)>,
}

/// One batch while it is being decided.
pub(super) struct Batch {
    instance: Arc<Instance>,
    rules: Arc<Rules>,
    known: Known,
    spent: Spent,
    now: Instant,
    rooms: HashMap<DeliveryId, Room>,
    left: Vec<Channel>,
    known_full: HashSet<(i64, Cap)>,
    verdicts: Vec<(i64, Counted)>,
}

impl Batch {
    /// A batch, with what its recipients have spent of their caps. `known_full` are the caps that were known
    /// to be full.
    pub(super) fn new(
        instance: Arc<Instance>,
        rules: Arc<Rules>,
        known: Known,
        (spent, known_full): (Spent, HashSet<(i64, Cap)>),
        now: Instant,
    ) -> Self {
        Self {
            instance,
            rules,
            known,
            spent,
            now,
            rooms: HashMap::new(),
            left: Vec::new(),
            known_full,
            verdicts: Vec::new(),
        }
    }

    /// Decides on all events, in their order.
    pub(super) fn decide(mut self, events: &[Checked]) -> (Vec<HandledEvent>, Decided) {
        let handled: Vec<HandledEvent> = events
            .iter()
            .map(|(queued, event)| match event {
                Ok(event) => self.handle(queued, event),
                Err(reason) => end(queued, EventOutcome::Failed, Some(reason.clone())),
            })
            .collect();
        let claimed = claimed_details(events, &handled, &self.known);
        let made = handled.iter().any(|event| !event.notifications.is_empty());
        let full = self.spent.full(self.now).map(|(user, cap, until)| (user, cap.clone(), until)).collect();
        let Self { rooms, left, now, verdicts, .. } = self;
        (handled, Decided { rooms, left, claimed, made, full, now, verdicts })
    }

    fn handle(&mut self, queued: &QueuedEvent, event: &NewEvent) -> HandledEvent {
        let rules = Arc::clone(&self.rules);
        let mut handled = end(queued, EventOutcome::NotRouted, None);
        handled.concerns = rules.subscriptions.of(&event.kind);
        handled.owners = owner_learned(event);
        for (number, user) in &handled.owners {
            self.known.owners.entry(number.clone()).or_insert(*user);
        }
        handled.introduces = recipient_of_registration(event).map(|registration| {
            note_left_out(&event.id, &registration.left_out);
            registration.recipient
        });
        if let Some(person) = &handled.introduces {
            self.known.contacts.entry(person.id).or_insert_with(|| contacts_of(person));
        }
        let route = rules.routes.get(&event.kind);
        let live = route.filter(|route| route.mode != Mode::Off);
        let told = live.and_then(|route| told(event, route, &self.known.owners));
        let user = told.map(|told| told.0);
        let steps = about_event(route, told.map(|told| told.1));
        let mut plan = None;
        if let Some(route) = live {
            handled.outcome = EventOutcome::NoRecipient;
            if let Some(user) = user {
                handled.outcome = EventOutcome::Notified;
                let expires_at = route.expires_at(queued.timestamp, queued.created_at);
                let times = Times { expires_at, now: self.now };
                let contacts = self.known.contacts.get(&user);
                let question = rules.question(&event.kind, route, user, contacts, times);
                let decided = decide(&question, &mut self.spent);
                let counted = counted(&question, &decided, &self.known_full);
                self.verdicts.extend(counted.map(|counted| (queued.position, counted)));
                plan = Some((route, user, decided));
            }
        }
        let verdicts = plan.as_ref().map_or(&[][..], |(.., plan)| &plan.verdicts);
        let record = Record { outcome: Some(handled.outcome), steps: &steps, verdicts };
        handled.ledger = Some(rules.ledger(user, &record));
        if let Some((route, user, plan)) = plan {
            let notification = self.notification(queued, event, route, user, plan);
            handled.notifications.push(notification);
        }
        handled
    }

    fn notification(
        &mut self,
        queued: &QueuedEvent,
        event: &NewEvent,
        route: &Route,
        user: i64,
        plan: Plan,
    ) -> NewNotification {
        let contacts = self.known.contacts.get(&user);
        let mut made = notification(&self.rules, contacts, (queued, event), route, user, plan);
        for delivery in &mut made.deliveries {
            if delivery.state == DeliveryState::Pending {
                self.claim_at_birth(&made.id, route.priority, delivery);
            }
        }
        made
    }

    /// Where the sender has room and nothing waits before it, a delivery is born in its hand.
    fn claim_at_birth(&mut self, id: &NotificationId, lane: Lane, delivery: &mut NewDelivery) {
        let Some(hand) = self.instance.hand(delivery.channel) else { return };
        let may = !self.left.contains(&delivery.channel)
            && !self.instance.is_paused(delivery.channel)
            && self.instance.holds_lease();
        match may.then(|| hand.room_for_new(lane)).flatten() {
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

/// The notification that was planned, with deliveries that nobody holds.
pub(in crate::actors) fn notification(
    rules: &Rules,
    contacts: Option<&Contacts>,
    (queued, event): (&QueuedEvent, &NewEvent),
    route: &Route,
    user: i64,
    plan: Plan,
) -> NewNotification {
    let own = |choose: fn(&Contacts) -> &Option<String>, default: &str| {
        contacts.and_then(|contacts| choose(contacts).clone()).unwrap_or_else(|| default.to_owned())
    };
    let deliveries = plan
        .verdicts
        .into_iter()
        .map(|verdict| NewDelivery {
            channel: verdict.channel,
            state: verdict.state,
            reason: verdict.reason.map(str::to_owned),
            not_before: verdict.not_before,
            claim: None,
            granted: verdict.granted,
            digest_key: (verdict.reason == Some(DIGEST))
                .then(|| digest_key(user, verdict.channel, &event.kind)),
        })
        .collect();
    let (template, variant) = route.told_by(&event.kind, user);
    NewNotification {
        id: NotificationId::of(queued.position, &event.id, user),
        event_id: event.id.clone(),
        event_type: event.kind.clone(),
        user_id: user,
        lane: route.priority,
        correlation_id: event.correlation_id.clone(),
        template: template.to_owned(),
        locale: Some(own(|contacts| &contacts.locale, &rules.defaults.locale)),
        time_zone: Some(own(|contacts| &contacts.time_zone, &rules.defaults.time_zone)),
        name: contacts.and_then(|contacts| contacts.name.clone()),
        expires_at: route.expires_at(queued.timestamp, queued.created_at),
        shadow: route.mode == Mode::Shadow,
        variant: variant.map(str::to_owned),
        category: route.category.clone(),
        flood_granted: plan.flood_granted,
        deliveries,
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
        preferences: crate::domain::Preferences::default(),
    }
}

/// What deliveries share that may be told within one message.
pub(in crate::actors) fn digest_key(user: i64, channel: Channel, event_type: &str) -> String {
    format!("{user}:{channel}:{event_type}")
}

/// The deliveries that are born claimed, with all that their senders need, by their event's position.
fn claimed_details(
    checked: &[Checked],
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
                        shadow: notification.shadow,
                        digest: None,
                        read_at: known.read_at,
                        unknown: Vec::new(),
                    },
                ));
            }
        }
    }
    details
}
