//! Handling: what was decided about a batch of events becomes rows, in one transaction.

use std::collections::{BTreeMap, HashSet};

use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use serde::Serialize;

use super::caps::{self, ALL_CHANNELS, CapQuestion, GrantRow, Granted};
use super::closing::{close, dequeue, insert_failures, insert_work_items};
use super::decisions::{DecisionRow, LedgerEntry, insert_decisions};
use super::recipients::{self, UserRow};
use super::stats::{self, StatRow};
use super::{Bind, Claim, Statement, Store, StoreError, rows, transaction};
use crate::domain::{Channel, Counts, DeliveryState, EventOutcome, Instant, Lane, NotificationId, Recipient};

/// What was decided about one event.
pub struct HandledEvent {
    /// Its place in the order of storing.
    pub position: i64,
    /// Its id.
    pub id: String,
    /// Its partition.
    pub partition: i64,
    /// What became of it.
    pub outcome: EventOutcome,
    /// Why, where the outcome alone does not say.
    pub reason: Option<String>,
    /// What is made of it.
    pub notifications: Vec<NewNotification>,
    /// The other concerns that get a work item.
    pub concerns: Vec<&'static str>,
    /// Accounts' numbers and their owner, learned from it.
    pub owners: Vec<(String, i64)>,
    /// A recipient that it introduces, unless one with this id is known.
    pub introduces: Option<Recipient>,
    /// What the ledger keeps of it.
    pub ledger: Option<LedgerEntry>,
}

/// A notification to make.
#[derive(Clone, Serialize)]
pub struct NewNotification {
    /// Its id, derived from event and recipient.
    pub id: NotificationId,
    /// The event.
    pub event_id: String,
    /// The event's type.
    pub event_type: String,
    /// The recipient.
    pub user_id: i64,
    /// The lane, by rank.
    #[serde(serialize_with = "rank")]
    pub lane: Lane,
    /// Traces the work across systems.
    pub correlation_id: Option<String>,
    /// The template's name.
    pub template: String,
    /// The recipient's locale.
    pub locale: Option<String>,
    /// The recipient's zone.
    pub time_zone: Option<String>,
    /// The recipient's name.
    pub name: Option<String>,
    /// After this it is of no use.
    pub expires_at: Option<Instant>,
    /// Whether its route is in shadow mode: everything but the send.
    pub shadow: bool,
    /// The variant of its template, where it has any.
    pub variant: Option<String>,
    /// The category, for the caps.
    #[serde(skip)]
    pub category: String,
    /// Whether the flood cap let it through.
    #[serde(skip)]
    pub flood_granted: bool,
    /// One for each channel.
    #[serde(skip)]
    pub deliveries: Vec<NewDelivery>,
}

/// A delivery to make.
#[derive(Clone)]
pub struct NewDelivery {
    /// The channel.
    pub channel: Channel,
    /// `pending`, `sending` (born claimed), `deferred` or an ended state.
    pub state: DeliveryState,
    /// Why, where the state needs a reason.
    pub reason: Option<String>,
    /// For `deferred`: not sent before this.
    pub not_before: Option<Instant>,
    /// For `sending`: who holds it.
    pub claim: Option<Claim>,
    /// Whether a frequency cap let it through.
    pub granted: bool,
    /// For one that is deferred until it is told with others: what it shares with them.
    pub digest_key: Option<String>,
}

fn rank<S: serde::Serializer>(lane: &Lane, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(lane.rank())
}

#[derive(Serialize)]
struct NotificationRow<'a> {
    #[serde(flatten)]
    notification: &'a NewNotification,
    open: i64,
    sent: i64,
    failed: i64,
    status: &'static str,
}

#[derive(Serialize)]
struct DeliveryRow<'a> {
    notification_id: &'a NotificationId,
    channel: Channel,
    lane: i64,
    state: DeliveryState,
    reason: Option<&'a str>,
    not_before: Option<Instant>,
    attempt: i64,
    epoch: Option<i64>,
    life: Option<i64>,
    digest_key: Option<&'a str>,
    at: Instant,
}

#[derive(Serialize)]
struct EventRow<'a> {
    position: i64,
    id: &'a str,
    outcome: EventOutcome,
    reason: Option<&'a str>,
}

impl Store {
    /// Writes what was decided about events of partitions that `epoch` holds, and takes the events
    /// out of the open set: all or nothing. Gives the positions of the events that were still open;
    /// the others have been handled already, and nothing was written for them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Fenced`] if one of the partitions is not held any more; transient ones.
    pub async fn handle(
        &self,
        epoch: i64,
        at: Instant,
        events: Vec<HandledEvent>,
    ) -> Result<HashSet<i64>, StoreError> {
        let places = events.iter().map(|event| (event.position, event.partition)).collect();
        let (taken, ()) = self.handle_by(epoch, at, places, Vec::new(), |_| (events, ())).await?;
        Ok(taken)
    }

    /// The same, where it is decided within the transaction: `decide` is given what the recipients that
    /// `questions` are about were granted, under a lock that keeps others from granting them more until
    /// this is committed. `places` are the positions and partitions of the events; without a question the
    /// time is `at`, else the database's.
    ///
    /// # Errors
    ///
    /// [`StoreError::Fenced`] if one of the partitions is not held any more; transient ones.
    pub async fn handle_by<T: Send + 'static>(
        &self,
        epoch: i64,
        at: Instant,
        places: Vec<(i64, i64)>,
        questions: Vec<CapQuestion>,
        decide: impl FnOnce(Granted) -> (Vec<HandledEvent>, T) + Send + 'static,
    ) -> Result<(HashSet<i64>, T), StoreError> {
        let partitions: HashSet<i64> = places.iter().map(|place| place.1).collect();
        let positions: Vec<i64> = places.iter().map(|place| place.0).collect();
        transaction!(self, |conn| {
            let held: Vec<(i64,)> = hold(epoch, rows(&partitions)?).load(conn).await?;
            if held.len() < partitions.len() {
                return Err(StoreError::Fenced);
            }
            dequeue(rows(&positions)?).execute(conn).await?;
            let granted = match questions.is_empty() {
                true => Granted { now: at, grants: Vec::new() },
                false => caps::look(conn, &questions).await?,
            };
            let at = granted.now;
            let (events, rest) = decide(granted);
            let closed: Vec<EventRow<'_>> = events.iter().map(event_row).collect();
            let taken: Vec<(i64,)> = close(rows(&closed)?).load(conn).await?;
            let taken: HashSet<i64> = taken.into_iter().map(|row| row.0).collect();
            let open: Vec<&HandledEvent> =
                events.iter().filter(|event| taken.contains(&event.position)).collect();
            for statement in writes(epoch, at, &open)? {
                statement.execute(conn).await?;
            }
            Ok((taken, rest))
        })
    }
}

/// The statements that make the rows, in an order in which none waits for a later one.
pub(super) fn writes(
    epoch: i64,
    at: Instant,
    events: &[&HandledEvent],
) -> Result<Vec<Statement>, StoreError> {
    let mut statements = Vec::with_capacity(8);
    let users: Vec<UserRow<'_>> =
        events.iter().filter_map(|event| event.introduces.as_ref()).map(Into::into).collect();
    if !users.is_empty() {
        statements.push(recipients::introduce(rows(&users)?));
    }
    let owners: Vec<_> = events.iter().flat_map(|event| &event.owners).collect();
    if !owners.is_empty() {
        statements.push(recipients::learn_owners(rows(&owners)?));
    }
    let notifications: Vec<&NewNotification> = events.iter().flat_map(|event| &event.notifications).collect();
    if !notifications.is_empty() {
        let (made, deliveries, counted) = notification_rows(at, &notifications);
        statements.push(insert_notifications(rows(&made)?));
        statements.push(insert_deliveries(rows(&deliveries)?));
        statements.extend(stats::add(epoch, &counted)?);
        let grants: Vec<GrantRow<'_>> =
            notifications.iter().flat_map(|notification| grant_rows(at, notification)).collect();
        if !grants.is_empty() {
            let users: HashSet<i64> = grants.iter().map(|grant| grant.user_id).collect();
            statements.push(caps::forget_old(rows(&users)?));
            statements.push(caps::insert_grants(rows(&grants)?));
        }
    }
    let decisions: Vec<DecisionRow<'_>> = events.iter().filter_map(|event| decision_row(at, event)).collect();
    if !decisions.is_empty() {
        statements.push(insert_decisions(rows(&decisions)?));
    }
    let work: Vec<_> = events
        .iter()
        .flat_map(|event| event.concerns.iter().map(|concern| (event.id.as_str(), *concern, event.position)))
        .collect();
    if !work.is_empty() {
        statements.push(insert_work_items(rows(&work)?));
    }
    let failed = |event: &&&HandledEvent| event.outcome == EventOutcome::Failed;
    let failures: Vec<EventRow<'_>> = events.iter().filter(failed).map(|event| event_row(event)).collect();
    if !failures.is_empty() {
        statements.push(insert_failures(rows(&failures)?));
    }
    Ok(statements)
}

fn decision_row(at: Instant, event: &HandledEvent) -> Option<DecisionRow<'_>> {
    event.ledger.as_ref().map(|LedgerEntry { user_id, rules, record }| DecisionRow {
        position: event.position,
        at,
        channel: ALL_CHANNELS,
        user_id: *user_id,
        rules,
        record,
    })
}

/// The grants of a notification: of each delivery that a cap counted, and of the flood cap.
fn grant_rows(at: Instant, notification: &NewNotification) -> impl Iterator<Item = GrantRow<'_>> {
    let row = move |channel, flood| GrantRow {
        notification_id: &notification.id,
        channel,
        user_id: notification.user_id,
        category: &notification.category,
        flood,
        shadow: notification.shadow,
        at,
    };
    let each = notification.deliveries.iter().filter(|delivery| delivery.granted);
    let flood = notification.flood_granted.then(|| row(ALL_CHANNELS, Some(notification.event_type.as_str())));
    each.map(move |delivery| row(delivery.channel.as_str(), None)).chain(flood)
}

fn event_row(event: &HandledEvent) -> EventRow<'_> {
    EventRow {
        position: event.position,
        id: &event.id,
        outcome: event.outcome,
        reason: event.reason.as_deref(),
    }
}

fn notification_rows<'a>(
    at: Instant,
    notifications: &[&'a NewNotification],
) -> (Vec<NotificationRow<'a>>, Vec<DeliveryRow<'a>>, Vec<StatRow<'a>>) {
    let mut made = Vec::with_capacity(notifications.len());
    let mut deliveries = Vec::with_capacity(notifications.len() * 3);
    let mut counted: BTreeMap<(&str, Option<&str>, Channel, &'static str), i64> = BTreeMap::new();
    for notification in notifications {
        let mut counts = Counts::default();
        for delivery in &notification.deliveries {
            counts += delivery.state.counts();
            let mut count = |state| {
                let (kind, variant) = (notification.event_type.as_str(), notification.variant.as_deref());
                *counted.entry((kind, variant, delivery.channel, state)).or_default() += 1;
            };
            count(stats::CREATED);
            if !delivery.state.is_open() {
                count(delivery.state.as_str());
            }
            deliveries.push(DeliveryRow {
                notification_id: &notification.id,
                channel: delivery.channel,
                lane: notification.lane.rank(),
                state: delivery.state,
                reason: delivery.reason.as_deref(),
                not_before: delivery.not_before,
                attempt: i64::from(delivery.claim.is_some()),
                epoch: delivery.claim.map(|claim| claim.epoch),
                life: delivery.claim.map(|claim| claim.life),
                digest_key: delivery.digest_key.as_deref(),
                at,
            });
        }
        made.push(NotificationRow {
            notification,
            open: counts.open,
            sent: counts.sent,
            failed: counts.failed,
            status: counts.status().as_str(),
        });
    }
    let counted = counted
        .into_iter()
        .map(|((event_type, variant, channel, state), n)| StatRow {
            at,
            event_type,
            variant,
            channel,
            state,
            n,
        })
        .collect();
    (made, deliveries, counted)
}

/// The partitions of the list that this epoch holds, locked against a change of hands until the end
/// of the transaction. A plain look would race with a takeover.
pub(super) fn hold(epoch: i64, partitions: Bind) -> Statement<(BigInt,)> {
    Statement::new(
        "SELECT partition::bigint FROM partitions
         WHERE epoch = ? AND partition = ANY(ARRAY(SELECT value::smallint FROM json_array_elements_text(?::json)))
         ORDER BY partition FOR SHARE",
        "SELECT partition FROM partitions WHERE epoch = ? AND partition IN (SELECT value FROM json_each(?))",
        vec![Bind::BigInt(epoch), partitions],
    )
}

/// The time is the database's own, and not the caller's: it is taken while the partition is locked, so it
/// grows in the order in which an aggregate's notifications are made, also when the partition has changed
/// hands.
fn insert_notifications(notifications: Bind) -> Statement {
    Statement::new(
        "INSERT INTO notifications (id, event_id, event_type, user_id, lane, correlation_id, template, locale,
             time_zone, name, expires_at, shadow, variant, open, sent, failed, status, created_at, updated_at)
         SELECT id, event_id, event_type, user_id, lane, correlation_id, template, locale, time_zone, name,
             expires_at, shadow, variant, open, sent, failed, status, statement_timestamp(), statement_timestamp()
         FROM json_to_recordset(?::json) AS r(id text, event_id text, event_type text, user_id bigint,
             lane smallint, correlation_id text, template text, locale text, time_zone text, name text,
             expires_at timestamptz, shadow boolean, variant text, open smallint, sent smallint, failed smallint,
             status text)
         ON CONFLICT DO NOTHING",
        "INSERT INTO notifications (id, event_id, event_type, user_id, lane, correlation_id, template, locale,
             time_zone, name, expires_at, shadow, variant, open, sent, failed, status, created_at, updated_at)
         SELECT value->>'id', value->>'event_id', value->>'event_type', value->>'user_id', value->>'lane',
             value->>'correlation_id', value->>'template', value->>'locale', value->>'time_zone', value->>'name',
             value->>'expires_at', value->>'shadow', value->>'variant', value->>'open', value->>'sent',
             value->>'failed', value->>'status',
             strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'), strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
         FROM json_each(?) WHERE TRUE ON CONFLICT DO NOTHING",
        vec![notifications],
    )
}

fn insert_deliveries(deliveries: Bind) -> Statement {
    Statement::new(
        "INSERT INTO deliveries (notification_id, channel, lane, state, reason, not_before, next_attempt_at,
             attempt, claim_epoch, claim_life, digest_key, updated_at)
         SELECT notification_id, channel, lane, state, reason, not_before, COALESCE(not_before, at), attempt,
             epoch, life, digest_key, at
         FROM json_to_recordset(?::json) AS r(notification_id text, channel text, lane smallint, state text,
             reason text, not_before timestamptz, attempt smallint, epoch bigint, life bigint,
             digest_key text, at timestamptz)
         ON CONFLICT DO NOTHING",
        "INSERT INTO deliveries (notification_id, channel, lane, state, reason, not_before, next_attempt_at,
             attempt, claim_epoch, claim_life, digest_key, updated_at)
         SELECT value->>'notification_id', value->>'channel', value->>'lane', value->>'state', value->>'reason',
             value->>'not_before', COALESCE(value->>'not_before', value->>'at'), value->>'attempt',
             value->>'epoch', value->>'life', value->>'digest_key', value->>'at'
         FROM json_each(?) WHERE TRUE ON CONFLICT DO NOTHING",
        vec![deliveries],
    )
}
