//! The ledger: what was decided about each event, and by which rules.

use diesel::sql_types::{BigInt, Nullable, Text};
use serde::Serialize;

use super::types::Moment;
use super::{Bind, Statement, Store, StoreError};
use crate::domain::{Channel, Instant};

/// What was decided, as it is to be kept.
#[derive(Debug, Clone, Serialize)]
pub struct LedgerEntry {
    /// The recipient, where there is one.
    pub user_id: Option<i64>,
    /// The version of the rules.
    pub rules: String,
    /// The rules that were asked, what they saw and answered, and the verdicts: JSON, without personal
    /// data.
    pub record: String,
}

/// An entry of the ledger.
#[derive(Debug, Clone)]
pub struct Decision {
    /// When it was decided.
    pub decided_at: Instant,
    /// The channel that it is about; none: when the event was handled, for all of them.
    pub channel: Option<Channel>,
    /// The recipient, where there is one.
    pub user_id: Option<i64>,
    /// The version of the rules.
    pub rules: String,
    /// The record, JSON.
    pub record: String,
}

#[derive(Serialize)]
pub(super) struct DecisionRow<'a> {
    pub(super) position: i64,
    pub(super) at: Instant,
    pub(super) channel: &'a str,
    pub(super) user_id: Option<i64>,
    pub(super) rules: &'a str,
    pub(super) record: &'a str,
}

/// Writes entries. Two about one channel within a microsecond are one.
pub(super) fn insert_decisions(decisions: Bind) -> Statement {
    Statement::new(
        "INSERT INTO decisions (position, decided_at, channel, user_id, rules, record)
         SELECT position, at, channel, user_id, rules, record
         FROM json_to_recordset(?::json) AS r(position bigint, at timestamptz, channel text, user_id bigint,
              rules text, record text)
         ON CONFLICT DO NOTHING",
        "INSERT INTO decisions (position, decided_at, channel, user_id, rules, record)
         SELECT value->>'position', value->>'at', value->>'channel', value->>'user_id', value->>'rules',
                value->>'record'
         FROM json_each(?) WHERE TRUE ON CONFLICT DO NOTHING",
        vec![decisions],
    )
}

/// An entry about one delivery, by its event.
#[derive(Serialize)]
pub(super) struct LaterRow<'a> {
    pub(super) event_id: &'a str,
    pub(super) at: Instant,
    pub(super) channel: Channel,
    #[serde(flatten)]
    pub(super) entry: &'a LedgerEntry,
}

/// Writes entries about deliveries on whose way the rules were asked again.
pub(super) fn insert_later(decisions: Bind) -> Statement {
    Statement::new(
        "INSERT INTO decisions (position, decided_at, channel, user_id, rules, record)
         SELECT e.position, r.at, r.channel, r.user_id, r.rules, r.record
         FROM json_to_recordset(?::json) AS r(event_id text, at timestamptz, channel text, user_id bigint,
              rules text, record text)
         CROSS JOIN LATERAL (SELECT position FROM domain_events WHERE id = r.event_id LIMIT 1) e
         ON CONFLICT DO NOTHING",
        "INSERT INTO decisions (position, decided_at, channel, user_id, rules, record)
         SELECT e.position, value->>'at', value->>'channel', value->>'user_id', value->>'rules', value->>'record'
         FROM json_each(?) JOIN domain_events e ON e.id = value->>'event_id' WHERE TRUE ON CONFLICT DO NOTHING",
        vec![decisions],
    )
}

type DecisionSql = (Moment, Text, Nullable<BigInt>, Text, Text);
type DecisionTuple = (Instant, String, Option<i64>, String, String);

impl Store {
    /// The ledger of one event, in the order of deciding. Bounded: the first thousand entries.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn decisions(&self, position: i64) -> Result<Vec<Decision>, StoreError> {
        let statement = Statement::<DecisionSql>::same(
            "SELECT decided_at, channel, user_id, rules, record FROM decisions
             WHERE position = ? ORDER BY position, decided_at, channel LIMIT 1000",
            vec![Bind::BigInt(position)],
        );
        let found: Vec<DecisionTuple> = self.read(statement).await?;
        let decision = |(decided_at, channel, user_id, rules, record): DecisionTuple| Decision {
            decided_at,
            channel: channel.parse().ok(),
            user_id,
            rules,
            record,
        };
        Ok(found.into_iter().map(decision).collect())
    }

    /// Keeps what the rules are, by their version; known ones stay as they are.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn keep_rules(&self, version: &str, rules: &str) -> Result<(), StoreError> {
        let statement = Statement::<()>::same(
            "INSERT INTO rule_sets (version, rules) VALUES (?, ?) ON CONFLICT DO NOTHING",
            vec![Bind::Text(version.to_owned()), Bind::Text(rules.to_owned())],
        );
        self.execute(statement).await.map(drop)
    }

    /// What the rules of a version were.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn rules(&self, version: &str) -> Result<Option<String>, StoreError> {
        let statement = Statement::<(Text,)>::same(
            "SELECT rules FROM rule_sets WHERE version = ?",
            vec![Bind::Text(version.to_owned())],
        );
        let found: Vec<(String,)> = self.read(statement).await?;
        Ok(found.into_iter().next().map(|row| row.0))
    }
}
