//! Dead letters: deliveries, work items and events that ended badly, and what operators do with them.

use std::collections::BTreeMap;

use diesel::sql_types::{BigInt, Nullable, Text};
use diesel_async::RunQueryDsl;
use serde::Serialize;

use super::events::Conditions;
use super::shift::{Ended, apply, lock};
use super::stats::Changes;
use super::types::Moment;
use super::{Bind, Statement, Store, StoreError, rows, transaction};
use crate::domain::{Channel, Counts, DeliveryId, DeliveryState, Instant, NotificationId};

/// One dead letter.
#[derive(Debug, Clone, Serialize)]
pub struct DeadLetter {
    /// `<notification>:<channel>`, `work:<event>:<concern>` or `event:<event>`.
    pub id: String,
    /// `delivery`, `work_item` or `event`.
    pub kind: String,
    /// For a delivery: its channel.
    pub channel: Option<String>,
    /// For a work item: its concern.
    pub concern: Option<String>,
    /// The event.
    pub event_id: String,
    /// The event's type.
    pub event_type: String,
    /// For a delivery: its notification.
    pub notification_id: Option<String>,
    /// For a delivery: the recipient.
    pub user_id: Option<i64>,
    /// What went wrong.
    pub error: Option<String>,
    /// When it died.
    pub died_at: Instant,
}

/// Which dead letters are asked for.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    /// `delivery`, `work_item` or `event`.
    pub kind: Option<String>,
    /// The channel.
    pub channel: Option<Channel>,
    /// A part of the error's text.
    pub error: Option<String>,
    /// Died at or after this.
    pub from: Option<Instant>,
    /// Died before this.
    pub to: Option<Instant>,
    /// Only these.
    pub ids: Option<Vec<String>>,
    /// Only those of this notification.
    pub notification: Option<String>,
}

type LetterSql = (
    Text,
    Text,
    Nullable<Text>,
    Nullable<Text>,
    Text,
    Text,
    Nullable<Text>,
    Nullable<BigInt>,
    Nullable<Text>,
    Moment,
);
type LetterTuple = (
    String,
    String,
    Option<String>,
    Option<String>,
    String,
    String,
    Option<String>,
    Option<i64>,
    Option<String>,
    Instant,
);

const LETTERS: &str = "
    SELECT d.notification_id || ':' || d.channel AS id, 'delivery' AS kind, d.channel AS channel, NULL AS concern,
           n.event_id AS event_id, n.event_type AS event_type, n.id AS notification_id, n.user_id AS user_id,
           d.reason AS error, d.updated_at AS died_at
    FROM deliveries d JOIN notifications n ON n.id = d.notification_id WHERE d.state = 'dead'
    UNION ALL
    SELECT 'work:' || w.event_id || ':' || w.concern, 'work_item', NULL, w.concern, w.event_id, e.type, NULL, NULL,
           w.error, w.updated_at
    FROM work_items w JOIN domain_events e ON e.id = w.event_id WHERE w.state = 'dead'
    UNION ALL
    SELECT 'event:' || f.event_id, 'event', NULL, NULL, f.event_id, e.type, NULL, NULL, f.reason, f.failed_at
    FROM event_failures f JOIN domain_events e ON e.id = f.event_id WHERE f.discarded_at IS NULL";

impl Store {
    /// Up to `limit` dead letters that fit, the newest first, those that sort after `after`:
    /// `(died_at, id)` of the last one seen.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn dead_letters(
        &self,
        filter: DeadLetterFilter,
        after: Option<(Instant, String)>,
        limit: i64,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let mut conditions = Conditions::new();
        conditions.text("l.kind", filter.kind);
        conditions.text("l.channel", filter.channel.map(|channel| channel.to_string()));
        conditions.text("l.notification_id", filter.notification);
        conditions.moment("l.died_at >=", filter.from);
        conditions.moment("l.died_at <", filter.to);
        if let Some(error) = filter.error {
            conditions.and("strpos(l.error, ?) > 0", "instr(l.error, ?) > 0", [Bind::Text(error)]);
        }
        if let Some(ids) = filter.ids {
            conditions.and(
                "l.id = ANY(ARRAY(SELECT json_array_elements_text(?::json)))",
                "l.id IN (SELECT value FROM json_each(?))",
                [rows(&ids)?],
            );
        }
        if let Some((at, id)) = after {
            conditions.and(
                "(l.died_at, l.id) < (?::timestamptz, ?)",
                "(l.died_at, l.id) < (?, ?)",
                [Bind::Text(at.to_rfc3339()), Bind::Text(id)],
            );
        }
        let text =
            format!("SELECT * FROM ({LETTERS}) l WHERE {{where}} ORDER BY l.died_at DESC, l.id DESC LIMIT ?");
        let statement: Statement<LetterSql> = conditions.statement(&text, &text, [Bind::BigInt(limit)]);
        let found: Vec<LetterTuple> = self.read(statement).await?;
        Ok(found
            .into_iter()
            .map(
                |(
                    id,
                    kind,
                    channel,
                    concern,
                    event_id,
                    event_type,
                    notification_id,
                    user_id,
                    error,
                    died_at,
                )| {
                    DeadLetter {
                        id,
                        kind,
                        channel,
                        concern,
                        event_id,
                        event_type,
                        notification_id,
                        user_id,
                        error,
                        died_at,
                    }
                },
            )
            .collect())
    }

    /// Puts dead letters back to work, or gives them up; gives how many were changed and which
    /// notifications ended by it. A letter that is not dead any more is left alone.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn resolve_dead_letters(
        &self,
        epoch: i64,
        letters: Vec<DeadLetter>,
        retry: bool,
    ) -> Result<(usize, Vec<Ended>), StoreError> {
        let deliveries: Vec<DeliveryId> = letters
            .iter()
            .filter(|letter| letter.kind == "delivery")
            .filter_map(|letter| letter.id.parse().ok())
            .collect();
        let (mut changed, ended) = self.reopen_deliveries(epoch, deliveries, retry).await?;
        let work: Vec<(&str, Option<&str>)> = letters
            .iter()
            .filter(|letter| letter.kind == "work_item")
            .map(|letter| (letter.event_id.as_str(), letter.concern.as_deref()))
            .collect();
        if !work.is_empty() {
            changed += self.execute(resolve_work(rows(&work)?, retry)).await?;
        }
        let events: Vec<&str> = letters
            .iter()
            .filter(|letter| letter.kind == "event")
            .map(|letter| letter.event_id.as_str())
            .collect();
        if !events.is_empty() {
            let ids = rows(&events)?;
            changed +=
                if retry { self.requeue(ids).await? } else { self.execute(discard_events(ids)).await? };
        }
        Ok((changed, ended))
    }

    async fn reopen_deliveries(
        &self,
        epoch: i64,
        deliveries: Vec<DeliveryId>,
        retry: bool,
    ) -> Result<(usize, Vec<Ended>), StoreError> {
        if deliveries.is_empty() {
            return Ok((0, Vec::new()));
        }
        let to = if retry { DeliveryState::Pending } else { DeliveryState::Discarded };
        transaction!(self, |conn| {
            let ids: Vec<&NotificationId> = deliveries.iter().map(|id| &id.notification).collect();
            let locked = lock(conn, &ids).await?;
            let keys: Vec<(&str, &str)> =
                deliveries.iter().map(|id| (id.notification.0.as_str(), id.channel.as_str())).collect();
            let taken: Vec<(String, String)> = reopen(to, rows(&keys)?).load(conn).await?;
            let mut counted = Changes::default();
            let mut changes: BTreeMap<NotificationId, Counts> = BTreeMap::new();
            for (notification, channel) in &taken {
                let id = NotificationId(notification.clone());
                if let (Some(locked), Ok(channel)) = (locked.get(&id), channel.parse()) {
                    counted.note(locked, channel, DeliveryState::Dead, to);
                }
                *changes.entry(id).or_default() += Counts::change(DeliveryState::Dead, to);
            }
            let ended = apply(conn, &locked, &changes).await?;
            for statement in counted.statements(epoch)? {
                statement.execute(conn).await?;
            }
            Ok((taken.len(), ended))
        })
    }

    /// Puts failed events back into the open set.
    async fn requeue(&self, ids: Bind) -> Result<usize, StoreError> {
        transaction!(self, |conn| {
            let reopened: Vec<(String,)> = reopen_events(ids).load(conn).await?;
            let reopened: Vec<String> = reopened.into_iter().map(|row| row.0).collect();
            if !reopened.is_empty() {
                let ids = rows(&reopened)?;
                queue_again(ids.clone()).execute(conn).await?;
                forget_failures(ids).execute(conn).await?;
            }
            Ok(reopened.len())
        })
    }
}

fn reopen(to: DeliveryState, keys: Bind) -> Statement<(Text, Text)> {
    Statement::new(
        "UPDATE deliveries d SET state = ?, retries = 0, cycle = d.cycle + 1, next_attempt_at = statement_timestamp(),
             updated_at = statement_timestamp()
         FROM json_array_elements(?::json) AS r
         WHERE d.notification_id = r.value->>0 AND d.channel = r.value->>1 AND d.state = 'dead'
           AND r.value->>1 = (r.value->>1) || ''
         RETURNING d.notification_id, d.channel",
        "UPDATE deliveries SET state = ?, retries = 0, cycle = cycle + 1,
             next_attempt_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'),
             updated_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
         FROM json_each(?) AS r
         WHERE notification_id = r.value->>0 AND channel = r.value->>1 AND state = 'dead'
         RETURNING notification_id, channel",
        vec![Bind::Text(to.to_string()), keys],
    )
}

fn resolve_work(keys: Bind, retry: bool) -> Statement {
    let to = if retry { "pending" } else { "discarded" };
    Statement::new(
        "UPDATE work_items w SET state = ?, attempt = 0, next_attempt_at = statement_timestamp(),
             updated_at = statement_timestamp()
         FROM json_array_elements(?::json) AS r
         WHERE w.event_id = r.value->>0 AND w.concern = r.value->>1 AND w.state = 'dead'",
        "UPDATE work_items SET state = ?, attempt = 0, next_attempt_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'),
             updated_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
         FROM json_each(?) AS r
         WHERE event_id = r.value->>0 AND concern = r.value->>1 AND state = 'dead'",
        vec![Bind::Text(to.to_owned()), keys],
    )
}

fn discard_events(ids: Bind) -> Statement {
    Statement::new(
        "UPDATE event_failures SET discarded_at = statement_timestamp()
         WHERE event_id = ANY(ARRAY(SELECT json_array_elements_text(?::json))) AND discarded_at IS NULL",
        "UPDATE event_failures SET discarded_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
         WHERE event_id IN (SELECT value FROM json_each(?)) AND discarded_at IS NULL",
        vec![ids],
    )
}

fn reopen_events(ids: Bind) -> Statement<(Text,)> {
    let text = |ids| {
        format!(
            "UPDATE domain_events SET processed = FALSE, outcome = 'pending', reason = NULL
             WHERE id {ids} AND outcome = 'failed'
               AND EXISTS (SELECT 1 FROM event_failures f WHERE f.event_id = domain_events.id AND f.discarded_at IS NULL)
             RETURNING id"
        )
    };
    Statement::new(
        text("= ANY(ARRAY(SELECT json_array_elements_text(?::json)))"),
        text("IN (SELECT value FROM json_each(?))"),
        vec![ids],
    )
}

fn queue_again(ids: Bind) -> Statement {
    Statement::new(
        "INSERT INTO event_queue (position, event_id, type, aggregate_type, aggregate_id, partition)
         SELECT position, id, type, aggregate_type, aggregate_id,
                hashtextextended(aggregate_type || ':' || aggregate_id, 0) & 63
         FROM domain_events WHERE id = ANY(ARRAY(SELECT json_array_elements_text(?::json)))
         ON CONFLICT DO NOTHING",
        "INSERT INTO event_queue (position, event_id, type, aggregate_type, aggregate_id, partition)
         SELECT position, id, type, aggregate_type, aggregate_id, 0
         FROM domain_events WHERE id IN (SELECT value FROM json_each(?)) ON CONFLICT DO NOTHING",
        vec![ids],
    )
}

fn forget_failures(ids: Bind) -> Statement {
    Statement::new(
        "DELETE FROM event_failures WHERE event_id = ANY(ARRAY(SELECT json_array_elements_text(?::json)))",
        "DELETE FROM event_failures WHERE event_id IN (SELECT value FROM json_each(?))",
        vec![ids],
    )
}
