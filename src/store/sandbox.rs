//! What the sandbox provider was given.

use diesel::sql_types::{BigInt, Text};
use serde::Serialize;
use serde_json::value::RawValue;

use super::events::Conditions;
use super::types::Moment;
use super::{Bind, Statement, Store, StoreError};
use crate::domain::{Content, DeliveryId, Destination, Instant};

/// A message that the sandbox kept. It is personal data.
#[derive(Clone, Serialize)]
pub struct SandboxMessage {
    /// Counts up.
    pub id: i64,
    /// The channel.
    pub channel: String,
    /// The notification.
    pub notification_id: String,
    /// The event.
    pub event_id: String,
    /// The event's type.
    pub event_type: String,
    /// Where it would have gone.
    pub to: Box<RawValue>,
    /// What it says.
    pub content: Box<RawValue>,
    /// When it was given.
    pub at: Instant,
}

type MessageSql = (BigInt, Text, Text, Text, Text, Text, Text, Moment);
type MessageTuple = (i64, String, String, String, String, String, String, Instant);

impl Store {
    /// Keeps what the sandbox was given.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn keep_sandbox_message(
        &self,
        delivery: &DeliveryId,
        event_id: &str,
        event_type: &str,
        to: &Destination,
        content: &Content,
    ) -> Result<(), StoreError> {
        let json = |result: Result<String, serde_json::Error>| {
            result
                .map_err(|error| StoreError::Invalid { field: "sandbox message", reason: error.to_string() })
        };
        let statement = Statement::new(
            "INSERT INTO sandbox_messages (channel, notification_id, event_id, event_type, destination, content)
             VALUES (?, ?, ?, ?, ?::jsonb, ?::jsonb)",
            "INSERT INTO sandbox_messages (channel, notification_id, event_id, event_type, destination, content)
             VALUES (?, ?, ?, ?, ?, ?)",
            vec![
                Bind::Text(delivery.channel.to_string()),
                Bind::Text(delivery.notification.0.clone()),
                Bind::Text(event_id.to_owned()),
                Bind::Text(event_type.to_owned()),
                Bind::Text(json(serde_json::to_string(to))?),
                Bind::Text(json(serde_json::to_string(content))?),
            ],
        );
        self.execute(statement).await.map(drop)
    }

    /// Up to `limit` messages with ids below `before`, newest first.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn sandbox_messages(
        &self,
        event_id: Option<String>,
        channel: Option<String>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<SandboxMessage>, StoreError> {
        let mut conditions = Conditions::new();
        conditions.text("event_id", event_id);
        conditions.text("channel", channel);
        if let Some(before) = before {
            conditions.same("id < ?", [Bind::BigInt(before)]);
        }
        let text = |to, content| {
            format!(
                "SELECT id, channel, notification_id, event_id, event_type, {to}, {content}, at
                 FROM sandbox_messages WHERE {{where}} ORDER BY id DESC LIMIT ?"
            )
        };
        let statement: Statement<MessageSql> = conditions.statement(
            &text("destination::text", "content::text"),
            &text("destination", "content"),
            [Bind::BigInt(limit)],
        );
        let found: Vec<MessageTuple> = self.read(statement).await?;
        let raw = |text: String| {
            RawValue::from_string(text)
                .map_err(|error| StoreError::Invalid { field: "sandbox message", reason: error.to_string() })
        };
        found
            .into_iter()
            .map(|(id, channel, notification_id, event_id, event_type, to, content, at)| {
                Ok(SandboxMessage {
                    id,
                    channel,
                    notification_id,
                    event_id,
                    event_type,
                    to: raw(to)?,
                    content: raw(content)?,
                    at,
                })
            })
            .collect()
    }

    /// Forgets all messages of the sandbox; gives how many there were.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn clear_sandbox(&self) -> Result<usize, StoreError> {
        self.execute(Statement::same("DELETE FROM sandbox_messages", vec![])).await
    }

    /// Keeps the newest messages of the sandbox only, so that it cannot fill the disk.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn trim_sandbox(&self, keep: i64) -> Result<usize, StoreError> {
        let statement = Statement::same(
            "DELETE FROM sandbox_messages WHERE id <= (SELECT max(id) FROM sandbox_messages) - ?",
            vec![Bind::BigInt(keep)],
        );
        self.execute(statement).await
    }
}
