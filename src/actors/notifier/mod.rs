//! Turns events into notifications: reads who is concerned, has it decided, and writes the whole batch
//! in one transaction.

mod batch;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use self::batch::Batch;
pub(super) use self::batch::{Known, digest_key, end, notification, told};
use super::hand::Room;
use super::instance::Instance;
use super::messages::{HandleEvents, NotificationsChanged, SendDeliveries};
use super::rate_limiter::RateLimiters;
use super::rules::{self, Rules};
use crate::domain::{Channel, NewEvent};
use crate::policy::Cap;
use crate::store::{ClaimedDelivery, QueuedEvent, StoreError};
use crate::supervision::SupervisedContext;

/// After this a batch is decided, or its transaction has failed: no call of the store takes so long.
const DECIDED_WITHIN: Duration = Duration::from_secs(10);

/// An event, and what is wrong with it, if anything.
pub(super) type Checked = (QueuedEvent, Result<NewEvent, String>);

/// The actor.
pub(super) struct Notifier {
    instance: Arc<Instance>,
    rules: Arc<Rules>,
    limiters: RateLimiters,
    senders: HashMap<Channel, Recipient<SendDeliveries>>,
    feed: Recipient<NotificationsChanged>,
}

impl Notifier {
    /// A notifier that hands deliveries to these senders.
    pub(super) fn new(
        instance: Arc<Instance>,
        rules: Arc<Rules>,
        limiters: RateLimiters,
        senders: HashMap<Channel, Recipient<SendDeliveries>>,
        feed: Recipient<NotificationsChanged>,
    ) -> Self {
        Self { instance, rules, limiters, senders, feed }
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
        let work = handle_events(
            Arc::clone(&self.instance),
            Arc::clone(&self.rules),
            self.limiters.clone(),
            message.0,
        );
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
    limiters: RateLimiters,
    queued: Vec<QueuedEvent>,
) -> Result<Handled, StoreError> {
    let checked: Vec<Checked> = queued
        .into_iter()
        .map(|event| (check(&event), event))
        .map(|(checked, event)| (event, checked))
        .collect();
    let known = Known::load(&instance.store, &rules.routes, &checked).await?;
    let now = instance.now();
    let mut asked: Vec<(i64, Cap)> = known.caps(&rules, &checked);
    let full = match asked.is_empty() {
        true => Vec::new(),
        false => limiters.full(&asked, now).await,
    };
    // One that may run out before the decision is made is for the stored grants to say.
    let full: Vec<_> = full.into_iter().filter(|(.., until)| *until > now.plus(DECIDED_WITHIN)).collect();
    asked.retain(|(user, cap)| {
        !full.iter().any(|(full_user, full_cap, _)| full_user == user && full_cap == cap)
    });

    let places = checked.iter().map(|(event, _)| (event.position, event.partition)).collect();
    let questions = asked.iter().map(|(user, cap)| rules::cap_question(*user, cap)).collect();
    let decide = {
        let instance = Arc::clone(&instance);
        move |granted: crate::store::Granted| {
            let now = granted.now;
            let known_full = full.iter().map(|(user, cap, _)| (*user, cap.clone())).collect();
            let spent = rules::spent(asked, granted, full);
            Batch::new(instance, rules, known, (spent, known_full), now).decide(&checked)
        }
    };
    let written = instance.store.handle_by(instance.epoch(), now, places, questions, decide).await;
    let (taken, decided) = written.inspect_err(|_| {
        // Whether the transaction was committed or not is not known after an error: what waits, if it
        // was, must not be overtaken.
        instance.hands().iter().for_each(|hand| hand.leave_waiting());
    })?;
    for channel in &decided.left {
        if let Some(hand) = instance.hand(*channel) {
            hand.leave_waiting();
        }
    }
    metrics::counter!("herald_events_handled_total").increment(taken.len() as u64);
    for (_, counted) in decided.verdicts.iter().filter(|(position, _)| taken.contains(position)) {
        super::decided::note("handling", counted.state, counted.reason);
        if counted.early {
            metrics::counter!("herald_caps_refused_early_total").increment(1);
        }
    }
    limiters.remember(decided.full, decided.now);
    let mut rooms = decided.rooms;
    let claimed = decided
        .claimed
        .into_iter()
        .filter(|(position, _)| taken.contains(position))
        .filter_map(|(_, delivery)| rooms.remove(&delivery.id).map(|room| (delivery, room)))
        .collect();
    Ok(Handled { count: taken.len(), made: decided.made, waiting: decided.left, claimed })
}

/// An event as it was stored, or what is wrong with it.
pub(super) fn check(event: &QueuedEvent) -> Result<NewEvent, String> {
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
