//! Work items: an event's work for another concern, claimed, retried and ended like a delivery.

use std::time::Duration;

use diesel::sql_types::{BigInt, Nullable, Text};
use diesel_async::RunQueryDsl;
use serde::Serialize;

use super::{Bind, Claim, Statement, Store, StoreError, rows, transaction};

/// A work item under a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedWork {
    /// The event.
    pub event_id: String,
    /// The number of this attempt, from 1.
    pub attempt: i64,
}

/// What came of a claimed work item.
#[derive(Debug, Clone, Serialize)]
pub struct WorkOutcome {
    /// The event.
    pub event_id: String,
    /// The number of the attempt, from the claim.
    pub attempt: i64,
    /// `done`, `retry` or `dead`.
    pub state: &'static str,
    /// What went wrong, without personal data.
    pub error: Option<String>,
    /// For `retry`: seconds until the next attempt.
    pub wait_s: f64,
}

fn due(concern: &str, limit: i64) -> Statement<(Text, BigInt)> {
    Statement::new(
        "SELECT event_id, attempt::bigint FROM work_items
         WHERE concern = ? AND state IN ('pending', 'retry') AND next_attempt_at <= statement_timestamp()
         ORDER BY next_attempt_at, position LIMIT ? FOR UPDATE SKIP LOCKED",
        "SELECT event_id, attempt FROM work_items
         WHERE concern = ? AND state IN ('pending', 'retry')
           AND next_attempt_at <= strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
         ORDER BY next_attempt_at, position LIMIT ?",
        vec![Bind::Text(concern.to_owned()), Bind::BigInt(limit)],
    )
}

fn take(concern: &str, claim: Claim, ids: Bind) -> Statement {
    let text = |ids, now| {
        format!(
            "UPDATE work_items SET state = 'working', attempt = attempt + 1, claim_epoch = ?, claim_life = ?,
                 updated_at = {now}
             WHERE concern = ? AND event_id {ids}"
        )
    };
    Statement::new(
        text("= ANY(ARRAY(SELECT json_array_elements_text(?::json)))", "statement_timestamp()"),
        text("IN (SELECT value FROM json_each(?))", "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')"),
        vec![Bind::BigInt(claim.epoch), Bind::BigInt(claim.life), Bind::Text(concern.to_owned()), ids],
    )
}

/// A work item, read back.
#[derive(Debug, Clone, Serialize)]
pub struct WorkRecord {
    /// Whose work it is.
    pub concern: String,
    /// Where it stands.
    pub state: String,
    /// What went wrong the last time.
    pub error: Option<String>,
    /// How many attempts there were.
    pub attempts: i64,
}

impl Store {
    /// The work items of an event.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn work_of_event(&self, event_id: &str) -> Result<Vec<WorkRecord>, StoreError> {
        let statement = Statement::<(Text, Text, Nullable<Text>, BigInt)>::new(
            "SELECT concern, state, error, attempt::bigint FROM work_items WHERE event_id = ? ORDER BY concern",
            "SELECT concern, state, error, attempt FROM work_items WHERE event_id = ? ORDER BY concern",
            vec![Bind::Text(event_id.to_owned())],
        );
        let found: Vec<(String, String, Option<String>, i64)> = self.read(statement).await?;
        let record = |(concern, state, error, attempts)| WorkRecord { concern, state, error, attempts };
        Ok(found.into_iter().map(record).collect())
    }

    /// Claims up to `limit` work items of a concern that are due, in the order of their events.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn claim_work(
        &self,
        concern: &str,
        claim: Claim,
        limit: i64,
    ) -> Result<Vec<ClaimedWork>, StoreError> {
        let concern = concern.to_owned();
        transaction!(self, |conn| {
            let found: Vec<(String, i64)> = due(&concern, limit).load(conn).await?;
            if !found.is_empty() {
                let ids: Vec<&str> = found.iter().map(|row| row.0.as_str()).collect();
                take(&concern, claim, rows(&ids)?).execute(conn).await?;
            }
            Ok(found
                .into_iter()
                .map(|(event_id, attempt)| ClaimedWork { event_id, attempt: attempt + 1 })
                .collect())
        })
    }

    /// Records outcomes of work items; gives the events whose outcome was taken. The others are in
    /// other hands by now.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn record_work(
        &self,
        concern: &str,
        claim: Claim,
        outcomes: Vec<WorkOutcome>,
    ) -> Result<Vec<String>, StoreError> {
        let statement = Statement::<(Text,)>::new(
            "UPDATE work_items w SET state = o.state, error = o.error, claim_epoch = NULL, claim_life = NULL,
                 next_attempt_at = statement_timestamp() + make_interval(secs => o.wait_s),
                 updated_at = statement_timestamp()
             FROM json_to_recordset(?::json)
                  AS o(event_id text, attempt smallint, state text, error text, wait_s double precision)
             WHERE w.concern = ? AND w.claim_epoch = ? AND w.claim_life = ? AND w.event_id = o.event_id
               AND w.attempt = o.attempt AND w.state = 'working' AND o.attempt = o.attempt + 0
             RETURNING w.event_id",
            "UPDATE work_items SET state = o.value->>'state', error = o.value->>'error', claim_epoch = NULL,
                 claim_life = NULL,
                 next_attempt_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', (o.value->>'wait_s') || ' seconds'),
                 updated_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
             FROM json_each(?) AS o
             WHERE concern = ? AND claim_epoch = ? AND claim_life = ? AND event_id = o.value->>'event_id'
               AND attempt = o.value->>'attempt' AND state = 'working'
             RETURNING event_id",
            vec![
                rows(&outcomes)?,
                Bind::Text(concern.to_owned()),
                Bind::BigInt(claim.epoch),
                Bind::BigInt(claim.life),
            ],
        );
        let taken: Vec<(String,)> = self.write(statement).await?;
        Ok(taken.into_iter().map(|row| row.0).collect())
    }

    /// Gives work back whose claimant has ended, to be tried again after `wait`; gives how many.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn release_abandoned_work(&self, wait: Duration) -> Result<usize, StoreError> {
        self.execute(Statement::new(
            "UPDATE work_items SET state = 'retry', claim_epoch = NULL, claim_life = NULL,
                 next_attempt_at = statement_timestamp() + make_interval(secs => ?)
             WHERE state = 'working' AND claim_epoch NOT IN (SELECT epoch FROM instances WHERE ended_at IS NULL)",
            "UPDATE work_items SET state = 'retry', claim_epoch = NULL, claim_life = NULL,
                 next_attempt_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', ? || ' seconds')
             WHERE state = 'working' AND claim_epoch NOT IN (SELECT epoch FROM instances WHERE ended_at IS NULL)",
            vec![Bind::Double(wait.as_secs_f64())],
        ))
        .await
    }
}
