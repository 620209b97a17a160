//! Deliveries that policy deferred: when they are due they are decided anew, not just sent.

use std::collections::{BTreeMap, HashMap, HashSet};

use diesel::sql_types::{BigInt, Nullable, Text};
use diesel_async::RunQueryDsl;
use serde::Serialize;

use super::append::EventRow;
use super::caps::{self, CapQuestion, GrantRow, Granted, OwnRow};
use super::decisions::{DecisionRow, LedgerEntry, insert_decisions};
use super::record::{ended_events, insert_closed};
use super::shift::{Ended, apply, lock};
use super::stats::Changes;
use super::types::Moment;
use super::{Bind, Statement, Store, StoreError, rows, transaction, word};
use crate::domain::{Channel, Counts, DeliveryId, DeliveryState, Instant, Lane, NewEvent, NotificationId};

/// Another delivery of the same notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sibling {
    /// Its channel.
    pub channel: Channel,
    /// Where it stands.
    pub state: DeliveryState,
    /// For `deferred`: until when.
    pub not_before: Option<Instant>,
}

/// A deferred delivery that is due, with all that a decision needs but the recipient.
#[derive(Debug, Clone)]
pub struct DeferredDelivery {
    /// The delivery.
    pub id: DeliveryId,
    /// Why it was deferred.
    pub reason: Option<String>,
    /// What it shares with those that it may be told with.
    pub digest_key: Option<String>,
    /// The lane.
    pub lane: Lane,
    /// The event's place in the order of storing.
    pub position: i64,
    /// The event's type.
    pub event_type: String,
    /// When it was stored.
    pub stored_at: Instant,
    /// After this it is of no use.
    pub expires_at: Option<Instant>,
    /// The event's payload, JSON text.
    pub payload: String,
    /// The recipient's id.
    pub user_id: i64,
    /// Traces the work across systems.
    pub correlation_id: Option<String>,
    /// The zone when the notification was made.
    pub time_zone: Option<String>,
    /// Whether its route was in shadow mode.
    pub shadow: bool,
    /// The other deliveries of its notification.
    pub siblings: Vec<Sibling>,
}

/// What becomes of a deferred delivery.
#[derive(Debug, Clone)]
pub struct Release {
    /// The delivery.
    pub id: DeliveryId,
    /// `pending`, `deferred` again, or an ended state.
    pub state: DeliveryState,
    /// Why, where the state needs a reason.
    pub reason: Option<String>,
    /// For `deferred`: until when.
    pub not_before: Option<Instant>,
    /// For `deferred`: what it shares with those that it may be told with.
    pub digest_key: Option<String>,
    /// What it tells of others, beside itself: JSON.
    pub digest: Option<String>,
    /// For `digested`: the delivery that tells it.
    pub told_in: Option<DeliveryId>,
    /// Where a cap let it through: the recipient, the category, and whether in shadow mode.
    pub granted: Option<(i64, String, bool)>,
    /// The event's position, and what the ledger keeps.
    pub ledger: (i64, LedgerEntry),
}

/// What a batch of releases led to.
#[derive(Debug, Default)]
pub struct Released {
    /// The channels on which deliveries now wait to be sent.
    pub channels: HashSet<Channel>,
    /// How many deliveries were taken.
    pub taken: usize,
    /// What was decided about each of them, and why.
    pub verdicts: Vec<(DeliveryState, Option<String>)>,
    /// Notifications that ended.
    pub ended: Vec<Ended>,
    /// The events that were stored about those, to be published.
    pub events: Vec<NewEvent>,
}

/// The most deliveries that are told together with those that are due.
const MOST_TOGETHER: i64 = 1_000;

type DueSql = (
    Text,
    Text,
    Nullable<Text>,
    Nullable<Text>,
    BigInt,
    BigInt,
    Text,
    Moment,
    Nullable<Moment>,
    Text,
    BigInt,
    Nullable<Text>,
    Nullable<Text>,
    BigInt,
);
type DueTuple = (
    String,
    String,
    Option<String>,
    Option<String>,
    i64,
    i64,
    String,
    Instant,
    Option<Instant>,
    String,
    i64,
    Option<String>,
    Option<String>,
    i64,
);

/// Those that are due, and those that wait to be told with one of them.
fn due(limit: i64) -> Statement<DueSql> {
    let text = |now, cast, lateral: &str, payload, shadow| {
        format!(
            "WITH due AS (
                 SELECT notification_id, channel, reason, digest_key, lane FROM deliveries
                 WHERE state = 'deferred' AND next_attempt_at <= {now} ORDER BY next_attempt_at LIMIT ?),
             together AS (
                 SELECT notification_id, channel, reason, digest_key, lane FROM deliveries
                 WHERE state = 'deferred' AND digest_key IS NOT NULL
                   AND digest_key IN (SELECT digest_key FROM due WHERE digest_key IS NOT NULL)
                 ORDER BY notification_id LIMIT {MOST_TOGETHER}),
             wanted AS (SELECT * FROM due UNION SELECT * FROM together)
             SELECT w.notification_id, w.channel, w.reason, w.digest_key, w.lane{cast}, e.position, e.type,
                    e.created_at, n.expires_at, {payload}, n.user_id, n.correlation_id, n.time_zone, {shadow}
             FROM wanted w {lateral}
             ORDER BY w.notification_id, w.channel"
        )
    };
    Statement::new(
        text(
            "statement_timestamp()",
            "::bigint",
            "CROSS JOIN LATERAL (SELECT * FROM notifications WHERE id = w.notification_id LIMIT 1) n
             CROSS JOIN LATERAL (SELECT * FROM domain_events WHERE id = n.event_id LIMIT 1) e",
            "e.payload::text",
            "n.shadow::int::bigint",
        ),
        text(
            "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')",
            "",
            "JOIN notifications n ON n.id = w.notification_id JOIN domain_events e ON e.id = n.event_id",
            "e.payload",
            "n.shadow",
        ),
        vec![Bind::BigInt(limit)],
    )
}

fn siblings(ids: Bind) -> Statement<(Text, Text, Text, Nullable<Moment>)> {
    Statement::new(
        "SELECT notification_id, channel, state, not_before FROM deliveries
         WHERE notification_id = ANY(ARRAY(SELECT json_array_elements_text(?::json)))",
        "SELECT notification_id, channel, state, not_before FROM deliveries
         WHERE notification_id IN (SELECT value FROM json_each(?))",
        vec![ids],
    )
}

#[derive(Serialize)]
struct ReleaseRow<'a> {
    notification_id: &'a NotificationId,
    channel: &'static str,
    state: DeliveryState,
    reason: Option<&'a str>,
    not_before: Option<Instant>,
    digest_key: Option<&'a str>,
    digest: Option<&'a str>,
    told_in: Option<String>,
    at: Instant,
}

fn release(releases: Bind) -> Statement<(Text, Text)> {
    Statement::new(
        "UPDATE deliveries d
         SET state = r.state, reason = r.reason, not_before = r.not_before,
             next_attempt_at = COALESCE(r.not_before, r.at), digest_key = r.digest_key, digest = r.digest,
             told_in = r.told_in, updated_at = statement_timestamp()
         FROM json_to_recordset(?::json) AS r(notification_id text, channel text, state text, reason text,
              not_before timestamptz, digest_key text, digest text, told_in text, at timestamptz)
         WHERE d.notification_id = r.notification_id AND d.channel = r.channel AND d.state = 'deferred'
           AND r.at = r.at + interval '0'
         RETURNING d.notification_id, d.channel",
        "UPDATE deliveries
         SET state = r.value->>'state', reason = r.value->>'reason', not_before = r.value->>'not_before',
             next_attempt_at = COALESCE(r.value->>'not_before', r.value->>'at'),
             digest_key = r.value->>'digest_key', digest = r.value->>'digest', told_in = r.value->>'told_in',
             updated_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
         FROM json_each(?) AS r
         WHERE notification_id = r.value->>'notification_id' AND channel = r.value->>'channel'
           AND state = 'deferred'
         RETURNING notification_id, channel",
        vec![releases],
    )
}

impl Store {
    /// Up to `limit` deferred deliveries that are due, and those that wait to be told with one of them, in
    /// the order in which their events were stored.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn deferred_due(&self, limit: i64) -> Result<Vec<DeferredDelivery>, StoreError> {
        let found: Vec<DueTuple> = self.read(due(limit)).await?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let ids: HashSet<&str> = found.iter().map(|row| row.0.as_str()).collect();
        let others: Vec<(String, String, String, Option<Instant>)> = self.read(siblings(rows(&ids)?)).await?;
        let mut by_notification: HashMap<String, Vec<Sibling>> = HashMap::new();
        for (id, channel, state, not_before) in others {
            let sibling = Sibling { channel: word(&channel)?, state: word(&state)?, not_before };
            by_notification.entry(id).or_default().push(sibling);
        }
        found.into_iter().map(|row| deferred(row, &by_notification)).collect()
    }

    /// When the next deferred delivery is due.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn next_deferred(&self) -> Result<Option<Instant>, StoreError> {
        let statement = Statement::<(Moment,)>::same(
            "SELECT next_attempt_at FROM deliveries WHERE state = 'deferred' ORDER BY next_attempt_at LIMIT 1",
            vec![],
        );
        let found: Vec<(Instant,)> = self.read(statement).await?;
        Ok(found.into_iter().next().map(|row| row.0))
    }

    /// Writes what becomes of deferred deliveries, all or none. `decide` is given what the recipients that
    /// `questions` are about were granted, but for `deliveries` themselves, under a lock that keeps others
    /// from granting them more. What somebody else has released meanwhile is left alone.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn release(
        &self,
        epoch: i64,
        deliveries: Vec<DeliveryId>,
        questions: Vec<CapQuestion>,
        decide: impl FnOnce(Granted) -> Vec<Release> + Send + 'static,
    ) -> Result<Released, StoreError> {
        transaction!(self, |conn| {
            let own: Vec<OwnRow<'_>> = deliveries
                .iter()
                .map(|id| OwnRow { notification_id: &id.notification, channel: id.channel.as_str() })
                .collect();
            let granted = caps::look_but_for(conn, &questions, rows(&own)?).await?;
            let now = granted.now;
            let releases = decide(granted);
            let ids: Vec<&NotificationId> = releases.iter().map(|one| &one.id.notification).collect();
            let locked = lock(conn, &ids).await?;
            let written: Vec<ReleaseRow<'_>> = releases.iter().map(|one| release_row(now, one)).collect();
            let taken: Vec<(String, String)> = release(rows(&written)?).load(conn).await?;
            let taken: HashSet<(String, String)> = taken.into_iter().collect();
            let key = |one: &&Release| (one.id.notification.0.clone(), one.id.channel.to_string());
            let taken: Vec<&Release> = releases.iter().filter(|one| taken.contains(&key(one))).collect();

            let mut changes: BTreeMap<NotificationId, Counts> = BTreeMap::new();
            let mut counted = Changes::default();
            for one in &taken {
                *changes.entry(one.id.notification.clone()).or_default() +=
                    Counts::change(DeliveryState::Deferred, one.state);
                if let Some(notification) = locked.get(&one.id.notification) {
                    counted.note(notification, one.id.channel, DeliveryState::Deferred, one.state);
                }
            }
            let grants: Vec<GrantRow<'_>> = taken.iter().filter_map(|one| grant_row(now, one)).collect();
            if !grants.is_empty() {
                caps::insert_grants(rows(&grants)?).execute(conn).await?;
            }
            let decisions: Vec<DecisionRow<'_>> = taken.iter().map(|one| decision_row(now, one)).collect();
            if !decisions.is_empty() {
                insert_decisions(rows(&decisions)?).execute(conn).await?;
            }
            let ended = apply(conn, &locked, &changes).await?;
            let events = ended_events(&ended, now);
            if !events.is_empty() {
                let made: Vec<EventRow<'_>> = events.iter().map(Into::into).collect();
                insert_closed(rows(&made)?).execute(conn).await?;
            }
            for statement in counted.statements(epoch)? {
                statement.execute(conn).await?;
            }
            let waiting = taken.iter().filter(|one| one.state == DeliveryState::Pending);
            let channels = waiting.map(|one| one.id.channel).collect();
            let verdicts = taken.iter().map(|one| (one.state, one.reason.clone())).collect();
            Ok(Released { channels, taken: taken.len(), verdicts, ended, events })
        })
    }
}

fn deferred(row: DueTuple, siblings: &HashMap<String, Vec<Sibling>>) -> Result<DeferredDelivery, StoreError> {
    let (
        id,
        channel,
        reason,
        digest_key,
        lane,
        position,
        event_type,
        stored_at,
        expires_at,
        payload,
        user_id,
        correlation_id,
        time_zone,
        shadow,
    ) = row;
    let channel: Channel = word(&channel)?;
    let others = siblings.get(&id).into_iter().flatten().filter(|sibling| sibling.channel != channel);
    let siblings = others.cloned().collect();
    Ok(DeferredDelivery {
        id: DeliveryId { notification: NotificationId(id), channel },
        reason,
        digest_key,
        lane: Lane::from_rank(lane),
        position,
        event_type,
        stored_at,
        expires_at,
        payload,
        user_id,
        correlation_id,
        time_zone,
        shadow: shadow != 0,
        siblings,
    })
}

fn release_row(at: Instant, one: &Release) -> ReleaseRow<'_> {
    ReleaseRow {
        notification_id: &one.id.notification,
        channel: one.id.channel.as_str(),
        state: one.state,
        reason: one.reason.as_deref(),
        not_before: one.not_before,
        digest_key: one.digest_key.as_deref(),
        digest: one.digest.as_deref(),
        told_in: one.told_in.as_ref().map(ToString::to_string),
        at,
    }
}

fn grant_row(at: Instant, one: &Release) -> Option<GrantRow<'_>> {
    one.granted.as_ref().map(|(user_id, category, shadow)| GrantRow {
        notification_id: &one.id.notification,
        channel: one.id.channel.as_str(),
        user_id: *user_id,
        category,
        flood: None,
        shadow: *shadow,
        at,
    })
}

fn decision_row(at: Instant, one: &Release) -> DecisionRow<'_> {
    let (position, LedgerEntry { user_id, rules, record }) = &one.ledger;
    DecisionRow {
        position: *position,
        at,
        channel: one.id.channel.as_str(),
        user_id: *user_id,
        rules,
        record,
    }
}
