//! Reading notifications back, with their deliveries and attempts.

use std::collections::HashMap;

use diesel::sql_types::{BigInt, Nullable, Text};
use serde::Serialize;

use super::notification_filter::{NotificationFilter, select};
use super::search::Found;
use super::types::Moment;
use super::{Bind, Statement, Store, StoreError, rows};
use crate::domain::{DeliveryId, Instant, Lane, NotificationId};

/// A notification.
#[derive(Debug, Clone, Serialize)]
pub struct NotificationRecord {
    /// Its id.
    pub id: String,
    /// The event.
    pub event_id: String,
    /// The event's type.
    pub event_type: String,
    /// The recipient.
    pub user_id: i64,
    /// What its deliveries add up to.
    pub status: String,
    /// The lane.
    pub priority: Lane,
    /// The template's name.
    pub template: String,
    /// The variant of its template, where its route has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Traces the work across systems.
    pub correlation_id: Option<String>,
    /// When it was made.
    pub created_at: Instant,
    /// One for each channel.
    pub deliveries: Vec<DeliveryRecord>,
}

/// A delivery.
#[derive(Debug, Clone, Serialize)]
pub struct DeliveryRecord {
    /// `<notification>:<channel>`.
    pub id: String,
    /// The channel.
    pub channel: String,
    /// Where it stands.
    pub state: String,
    /// Why, or the last error.
    pub reason: Option<String>,
    /// What carried it.
    pub provider: Option<String>,
    /// The provider's id of the message.
    pub reference: Option<String>,
    /// For SMS: how many segments.
    pub segments: Option<i64>,
    /// For `retry`, `pending` and `deferred`: when it is due.
    pub next_attempt_at: Option<Instant>,
    /// For `deferred`: not sent before this.
    pub not_before: Option<Instant>,
    /// For `digested`: the delivery that tells it.
    pub told_in: Option<String>,
    /// The replay that made or reopened it, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay_id: Option<String>,
    /// When the provider accepted it.
    pub sent_at: Option<Instant>,
    /// When the state last changed.
    pub updated_at: Instant,
    /// Oldest first.
    pub attempts: Vec<AttemptRecord>,
}

/// An attempt.
#[derive(Debug, Clone, Serialize)]
pub struct AttemptRecord {
    /// Its number, from 1; the attempts at several devices share it.
    pub attempt: i64,
    /// What it came to.
    pub outcome: String,
    /// When it was recorded.
    pub at: Instant,
    /// What carried it.
    pub provider: Option<String>,
    /// The device, by the hash of its token.
    pub device: Option<String>,
    /// The provider's code.
    pub code: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// The provider's id of the message.
    pub reference: Option<String>,
    /// How long it took.
    pub latency_ms: Option<i64>,
}

pub(super) type NotificationSql =
    (Text, Text, Text, BigInt, Text, BigInt, Nullable<Text>, Moment, Text, Nullable<Text>);
type NotificationTuple =
    (String, String, String, i64, String, i64, Option<String>, Instant, String, Option<String>);
type DeliverySql = (
    Text,
    Text,
    Text,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<BigInt>,
    Moment,
    Nullable<Moment>,
    Nullable<Moment>,
    Moment,
    Nullable<Text>,
    Nullable<Text>,
);
type DeliveryTuple = (
    String,
    String,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<i64>,
    Instant,
    Option<Instant>,
    Option<Instant>,
    Instant,
    Option<String>,
    Option<String>,
);
type AttemptSql = (
    Text,
    Text,
    BigInt,
    Text,
    Moment,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<BigInt>,
);
type AttemptTuple = (
    String,
    String,
    i64,
    String,
    Instant,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<i64>,
);

impl Store {
    /// Up to `limit` notifications that fit, newest first, with ids below `before`; fewer where the
    /// search takes too long.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn notifications(
        &self,
        filter: NotificationFilter,
        before: Option<NotificationId>,
        limit: i64,
    ) -> Result<Found<NotificationRecord>, StoreError> {
        let below = before.as_ref().map(|before| before.position().map(|position| position + 1));
        match below {
            // An id that is none of ours has no place among the others.
            Some(None) => Ok(Found::all(self.load_notifications(select(filter, before, None, limit)).await?)),
            _ if filter.has_index() => {
                Ok(Found::all(self.load_notifications(select(filter, before, None, limit)).await?))
            }
            below => {
                self.in_windows(below.flatten(), limit, async |window, limit| {
                    let statement = select(filter.clone(), before.clone(), Some(window), limit);
                    self.load_notifications(statement).await
                })
                .await
            }
        }
    }

    async fn load_notifications(
        &self,
        statement: Statement<NotificationSql>,
    ) -> Result<Vec<NotificationRecord>, StoreError> {
        let found: Vec<NotificationTuple> = self.read(statement).await?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = found.iter().map(|row| row.0.as_str()).collect();
        let ids = rows(&ids)?;
        let mut deliveries = self.deliveries_of(ids).await?;
        Ok(found
            .into_iter()
            .map(|row| {
                let (id, event_id, event_type, user_id, status, lane, correlation_id, created_at, ..) = row;
                let (.., template, variant) = row;
                NotificationRecord {
                    deliveries: deliveries.remove(&id).unwrap_or_default(),
                    id,
                    event_id,
                    event_type,
                    user_id,
                    status,
                    priority: Lane::from_rank(lane),
                    template,
                    variant,
                    correlation_id,
                    created_at,
                }
            })
            .collect())
    }

    async fn deliveries_of(&self, ids: Bind) -> Result<HashMap<String, Vec<DeliveryRecord>>, StoreError> {
        let found: Vec<DeliveryTuple> = self.read(select_deliveries(ids.clone())).await?;
        let attempts: Vec<AttemptTuple> = self.read(select_attempts(ids)).await?;
        let mut by_delivery: HashMap<(String, String), Vec<AttemptRecord>> = HashMap::new();
        for (
            notification,
            channel,
            attempt,
            outcome,
            at,
            device,
            provider,
            code,
            error,
            reference,
            latency_ms,
        ) in attempts
        {
            by_delivery.entry((notification, channel)).or_default().push(AttemptRecord {
                attempt,
                outcome,
                at,
                provider,
                device,
                code,
                error,
                reference,
                latency_ms,
            });
        }
        let mut deliveries: HashMap<String, Vec<DeliveryRecord>> = HashMap::new();
        for (
            notification,
            channel,
            state,
            reason,
            provider,
            reference,
            segments,
            next,
            not_before,
            sent_at,
            updated_at,
            told_in,
            replay_id,
        ) in found
        {
            let waits = ["pending", "retry", "deferred"].contains(&state.as_str());
            let attempts = by_delivery.remove(&(notification.clone(), channel.clone())).unwrap_or_default();
            deliveries.entry(notification.clone()).or_default().push(DeliveryRecord {
                id: format!("{notification}:{channel}"),
                channel,
                state,
                reason,
                provider,
                reference,
                segments,
                next_attempt_at: waits.then_some(next),
                not_before,
                told_in,
                replay_id,
                sent_at,
                updated_at,
                attempts,
            });
        }
        Ok(deliveries)
    }

    /// How a delivery stands, if it exists.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn delivery_state(&self, id: &DeliveryId) -> Result<Option<String>, StoreError> {
        let statement = Statement::<(Text,)>::same(
            "SELECT state FROM deliveries WHERE notification_id = ? AND channel = ?",
            vec![Bind::Text(id.notification.0.clone()), Bind::Text(id.channel.to_string())],
        );
        let found: Vec<(String,)> = self.read(statement).await?;
        Ok(found.into_iter().next().map(|row| row.0))
    }
}

fn select_deliveries(ids: Bind) -> Statement<DeliverySql> {
    Statement::new(
        "SELECT notification_id, channel, state, reason, provider, reference, segments::bigint, next_attempt_at,
                not_before, sent_at, updated_at, told_in, replay_id
         FROM deliveries WHERE notification_id = ANY(ARRAY(SELECT json_array_elements_text(?::json))) ORDER BY channel",
        "SELECT notification_id, channel, state, reason, provider, reference, segments, next_attempt_at,
                not_before, sent_at, updated_at, told_in, replay_id
         FROM deliveries WHERE notification_id IN (SELECT value FROM json_each(?)) ORDER BY channel",
        vec![ids],
    )
}

fn select_attempts(ids: Bind) -> Statement<AttemptSql> {
    Statement::new(
        "SELECT notification_id, channel, attempt::bigint, outcome, at, device, provider, code, error, reference,
                latency_ms::bigint
         FROM notification_history WHERE notification_id = ANY(ARRAY(SELECT json_array_elements_text(?::json))) ORDER BY id",
        "SELECT notification_id, channel, attempt, outcome, at, device, provider, code, error, reference, latency_ms
         FROM notification_history WHERE notification_id IN (SELECT value FROM json_each(?)) ORDER BY id",
        vec![ids],
    )
}
