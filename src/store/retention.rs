//! Retention: events that are over, and older than a bank keeps them, go with all that was made of them.
//!
//! A walk in the order of storing, in windows of so many events, each a short transaction. Positions
//! are in the order of time, so the walk ends at the first event that is young, and needs no index of
//! its own.

use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;

use super::handle::hold;
use super::{Bind, Statement, Store, StoreError, rows, transaction};
use crate::domain::Instant;

/// Events that one step looks at. In the statement's text, so that the planner knows how few they are.
const WINDOW: usize = 200;

/// Whoever holds this partition deletes; so one instance does, and one that was given up does not.
const WHOSE: i64 = 0;

/// What a step has deleted, and what it left although it is old.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Events.
    pub events: usize,
    /// Notifications.
    pub notifications: usize,
    /// Deliveries.
    pub deliveries: usize,
    /// Attempts.
    pub attempts: usize,
    /// Work items.
    pub work_items: usize,
    /// Entries of the ledger.
    pub decisions: usize,
    /// What another system reported.
    pub external_sends: usize,
    /// Events that were left because something of them is still open.
    pub left_open: usize,
    /// Events that were left because of a dead letter that nobody has dealt with.
    pub left_dead: usize,
    /// Where the next step begins; none: there is nothing old behind this.
    pub next: Option<i64>,
}

impl std::ops::AddAssign for Forgotten {
    fn add_assign(&mut self, step: Self) {
        self.events += step.events;
        self.notifications += step.notifications;
        self.deliveries += step.deliveries;
        self.attempts += step.attempts;
        self.work_items += step.work_items;
        self.decisions += step.decisions;
        self.external_sends += step.external_sends;
        self.left_open += step.left_open;
        self.left_dead += step.left_dead;
        self.next = step.next;
    }
}

impl Store {
    /// One step: looks at the next events stored after the position `after`, and deletes those that
    /// were stored before `before` and are over, with their notifications, deliveries, attempts, work
    /// items, failures, ledger, and what another system reported of them. Left are events of which anything is open, or a dead letter that nobody has
    /// retried with success or discarded; and the statistics.
    ///
    /// None where this is another instance's task.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn forget_older(
        &self,
        epoch: i64,
        before: Instant,
        after: i64,
    ) -> Result<Option<Forgotten>, StoreError> {
        transaction!(self, |conn| {
            let mine: Vec<(i64,)> = hold(epoch, rows(&[WHOSE])?).load(conn).await?;
            if mine.is_empty() {
                return Ok(None);
            }
            let seen: Vec<(i64, String, String)> = window(after, before).load(conn).await?;
            let count = |fate: &str| seen.iter().filter(|event| event.2 == fate).count();
            let mut step =
                Forgotten { left_open: count("open"), left_dead: count("dead"), ..Forgotten::default() };
            let last = seen.last().filter(|event| seen.len() == WINDOW && event.2 != "young");
            step.next = last.map(|event| event.0);
            let over: Vec<&str> =
                seen.iter().filter(|event| event.2 == "over").map(|event| event.1.as_str()).collect();
            if over.is_empty() {
                return Ok(Some(step));
            }
            // As every change of a notification does: locked in the order of the ids.
            let told: Vec<(String, String, i64)> = lock_of(rows(&over)?).load(conn).await?;
            let reopened: Vec<&str> =
                told.iter().filter(|told| told.2 > 0).map(|told| told.1.as_str()).collect();
            step.left_open += reopened.len();
            let over: Vec<&str> = over.into_iter().filter(|id| !reopened.contains(id)).collect();
            let told: Vec<&str> = told
                .iter()
                .filter(|told| !reopened.contains(&told.1.as_str()))
                .map(|told| told.0.as_str())
                .collect();
            let positions: Vec<i64> =
                seen.iter().filter(|event| over.contains(&event.1.as_str())).map(|event| event.0).collect();
            let (events, told) = (rows(&over)?, rows(&told)?);
            step.attempts =
                delete("notification_history", "notification_id", told.clone()).execute(conn).await?;
            step.deliveries = delete("deliveries", "notification_id", told.clone()).execute(conn).await?;
            step.notifications = delete("notifications", "id", told).execute(conn).await?;
            step.work_items = delete("work_items", "event_id", events.clone()).execute(conn).await?;
            delete("event_failures", "event_id", events.clone()).execute(conn).await?;
            step.external_sends = delete("external_sends", "event_id", events.clone()).execute(conn).await?;
            step.decisions = delete_decisions(rows(&positions)?).execute(conn).await?;
            step.events = delete("domain_events", "id", events).execute(conn).await?;
            Ok(Some(step))
        })
    }
}

/// The next events and what is to become of them: `young`, `open`, `dead` or `over`. What a newer
/// version calls by a word that is not known here counts as open, and stays.
///
/// Sub-queries that count cannot become a join, which a planner might do by reading a table through.
fn window(after: i64, before: Instant) -> Statement<(BigInt, Text, Text)> {
    let text = |moment: &str| {
        format!(
            "SELECT e.position, e.id, CASE
                 WHEN e.created_at >= {moment} THEN 'young'
                 WHEN NOT e.processed OR e.outcome NOT IN ('notified', 'not_routed', 'no_recipient', 'failed')
                   OR (SELECT count(*) FROM event_queue q WHERE q.position = e.position) > 0
                   OR (SELECT count(*) FROM notifications n WHERE n.event_id = e.id AND n.open > 0) > 0
                   OR (SELECT count(*) FROM work_items w
                       WHERE w.event_id = e.id AND w.state NOT IN ('done', 'dead', 'discarded')) > 0
                 THEN 'open'
                 WHEN (SELECT count(*) FROM event_failures f
                       WHERE f.event_id = e.id AND f.discarded_at IS NULL) > 0
                   OR (SELECT count(*) FROM work_items w WHERE w.event_id = e.id AND w.state = 'dead') > 0
                   OR (SELECT count(*) FROM notifications n JOIN deliveries d ON d.notification_id = n.id
                       WHERE n.event_id = e.id AND n.failed > 0 AND d.state = 'dead') > 0
                 THEN 'dead'
                 ELSE 'over' END
             FROM (SELECT * FROM domain_events WHERE position > ? ORDER BY position LIMIT {WINDOW}) e
             ORDER BY e.position"
        )
    };
    Statement::new(
        text("?::timestamptz"),
        text("?"),
        vec![Bind::Text(before.to_rfc3339()), Bind::BigInt(after)],
    )
}

/// The notifications of these events, locked: id, event, how many deliveries are open.
fn lock_of(events: Bind) -> Statement<(Text, Text, BigInt)> {
    Statement::new(
        "SELECT id, event_id, open::bigint FROM notifications
         WHERE event_id = ANY(ARRAY(SELECT json_array_elements_text(?::json))) ORDER BY id FOR UPDATE",
        "SELECT id, event_id, open FROM notifications
         WHERE event_id IN (SELECT value FROM json_each(?)) ORDER BY id",
        vec![events],
    )
}

fn delete(table: &str, column: &str, ids: Bind) -> Statement {
    Statement::new(
        format!("DELETE FROM {table} WHERE {column} = ANY(ARRAY(SELECT json_array_elements_text(?::json)))"),
        format!("DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))"),
        vec![ids],
    )
}

fn delete_decisions(positions: Bind) -> Statement {
    Statement::new(
        "DELETE FROM decisions
         WHERE position = ANY(ARRAY(SELECT value::bigint FROM json_array_elements_text(?::json)))",
        "DELETE FROM decisions WHERE position IN (SELECT value FROM json_each(?))",
        vec![positions],
    )
}
