//! Deferred deliveries that are due, as they are read to be decided on again.

use std::collections::HashMap;

use diesel::sql_types::{BigInt, Nullable, Text};

use super::types::Moment;
use super::{Bind, Statement, Store, StoreError, word};
use crate::domain::{Channel, DeliveryId, DeliveryState, Instant, Lane, NotificationId};

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
    /// Until when.
    pub not_before: Option<Instant>,
    /// What it tells of others, beside itself: JSON.
    pub digest: Option<String>,
    /// What it shares with those that it may be told with.
    pub digest_key: Option<String>,
    /// The lane.
    pub lane: Lane,
    /// The event's place in the order of storing.
    pub position: i64,
    /// The event's type.
    pub event_type: String,
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
    /// The other deliveries of its notification; known where it is released.
    pub siblings: Vec<Sibling>,
}

/// The most deliveries that are told together with those that are due.
const MOST_TOGETHER: i64 = 1_000;

type DueSql = (
    Text,
    Text,
    Nullable<Text>,
    Nullable<Moment>,
    Nullable<Text>,
    Nullable<Text>,
    BigInt,
    BigInt,
    Text,
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
    Option<Instant>,
    Option<String>,
    Option<String>,
    i64,
    i64,
    String,
    Option<Instant>,
    String,
    i64,
    Option<String>,
    Option<String>,
    i64,
);

/// Those that are due, and those that wait to be told with one of them.
fn due(limit: i64) -> Statement<DueSql> {
    let columns = "notification_id, channel, reason, not_before, digest, digest_key, lane";
    let text = |now, cast, lateral: &str, payload, shadow| {
        format!(
            "WITH due AS (
                 SELECT {columns} FROM deliveries
                 WHERE state = 'deferred' AND next_attempt_at <= {now}
                 ORDER BY next_attempt_at, notification_id LIMIT ?),
             together AS (
                 SELECT {columns} FROM deliveries
                 WHERE state = 'deferred' AND digest_key IS NOT NULL
                   AND digest_key IN (SELECT digest_key FROM due WHERE digest_key IS NOT NULL)
                 ORDER BY notification_id LIMIT {MOST_TOGETHER}),
             wanted AS (SELECT * FROM due UNION SELECT * FROM together)
             SELECT w.notification_id, w.channel, w.reason, w.not_before, w.digest, w.digest_key, w.lane{cast},
                    e.position, e.type, n.expires_at, {payload}, n.user_id, n.correlation_id, n.time_zone, {shadow}
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

pub(super) type StandingTuple = (String, String, String, Option<Instant>);

/// Where all deliveries of these notifications stand.
pub(super) fn standing(ids: Bind) -> Statement<(Text, Text, Text, Nullable<Moment>)> {
    Statement::new(
        "SELECT notification_id, channel, state, not_before FROM deliveries
         WHERE notification_id = ANY(ARRAY(SELECT json_array_elements_text(?::json)))",
        "SELECT notification_id, channel, state, not_before FROM deliveries
         WHERE notification_id IN (SELECT value FROM json_each(?))",
        vec![ids],
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
        found.into_iter().map(deferred).collect()
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
}

/// Those that are still deferred as they were, with the other deliveries of their notifications.
pub(super) fn still_deferred(
    due: Vec<DeferredDelivery>,
    standing: Vec<StandingTuple>,
) -> Result<Vec<DeferredDelivery>, StoreError> {
    let mut by_notification: HashMap<String, Vec<Sibling>> = HashMap::new();
    for (id, channel, state, not_before) in standing {
        let sibling = Sibling { channel: word(&channel)?, state: word(&state)?, not_before };
        by_notification.entry(id).or_default().push(sibling);
    }
    let still = |mut one: DeferredDelivery| {
        let all = by_notification.get(&one.id.notification.0)?;
        let (own, others): (Vec<Sibling>, Vec<Sibling>) =
            all.iter().cloned().partition(|sibling| sibling.channel == one.id.channel);
        one.siblings = others;
        // What has been deferred anew meanwhile is another decision.
        let same = |own: &Sibling| own.state == DeliveryState::Deferred && own.not_before == one.not_before;
        own.iter().any(same).then_some(one)
    };
    Ok(due.into_iter().filter_map(still).collect())
}

fn deferred(row: DueTuple) -> Result<DeferredDelivery, StoreError> {
    let (
        id,
        channel,
        reason,
        not_before,
        digest,
        digest_key,
        lane,
        position,
        event_type,
        expires_at,
        payload,
        user_id,
        correlation_id,
        time_zone,
        shadow,
    ) = row;
    let channel: Channel = word(&channel)?;
    Ok(DeferredDelivery {
        id: DeliveryId { notification: NotificationId(id), channel },
        reason,
        not_before,
        digest,
        digest_key,
        lane: Lane::from_rank(lane),
        position,
        event_type,
        expires_at,
        payload,
        user_id,
        correlation_id,
        time_zone,
        shadow: shadow != 0,
        siblings: Vec::new(),
    })
}
