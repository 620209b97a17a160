//! Do events, notifications, deliveries and work items add up? Each question is asked of the whole
//! database, and names the ids where the answer is no.

use diesel::sql_types::Text;
use serde::Serialize;

use super::{Bind, Statement, Store, StoreError};

/// A question, and where the answer is not as it must be.
#[derive(Debug, Clone, Serialize)]
pub struct Discrepancy {
    /// What must hold.
    pub rule: &'static str,
    /// The ids where it does not; at most a hundred.
    pub ids: Vec<String>,
}

/// The most ids that are named for one rule.
pub(super) const MOST: i64 = 100;

const RULES: [(&str, &str); 8] = [
    (
        "an event that was handled has an outcome, one that was not is pending",
        "SELECT id FROM domain_events WHERE processed <> (outcome <> 'pending')",
    ),
    (
        "an open event is in the queue",
        "SELECT e.id FROM domain_events e WHERE NOT e.processed
           AND NOT EXISTS (SELECT 1 FROM event_queue q WHERE q.position = e.position)",
    ),
    (
        "an event in the queue is open",
        "SELECT q.event_id FROM event_queue q JOIN domain_events e ON e.position = q.position WHERE e.processed",
    ),
    (
        "an event has a notification exactly if its outcome is notified",
        "SELECT e.id FROM domain_events e
         WHERE (e.outcome = 'notified') <> EXISTS (SELECT 1 FROM notifications n WHERE n.event_id = e.id)",
    ),
    (
        "a failed event is among the dead letters",
        "SELECT e.id FROM domain_events e
         WHERE (e.outcome = 'failed') <> EXISTS (SELECT 1 FROM event_failures f WHERE f.event_id = e.id)",
    ),
    (
        "a notification's counts are those of its deliveries",
        "SELECT n.id FROM notifications n LEFT JOIN deliveries d ON d.notification_id = n.id
         GROUP BY n.id, n.open, n.retry, n.sent, n.failed
         HAVING n.open <> COALESCE(sum(CASE WHEN d.state IN ('pending', 'sending', 'retry', 'deferred') THEN 1 ELSE 0 END), 0)
             OR n.retry <> COALESCE(sum(CASE WHEN d.state = 'retry' THEN 1 ELSE 0 END), 0)
             OR n.sent <> COALESCE(sum(CASE WHEN d.state IN ('sent', 'delivered') THEN 1 ELSE 0 END), 0)
             OR n.failed <> COALESCE(sum(CASE WHEN d.state IN ('dead', 'undelivered', 'discarded') THEN 1 ELSE 0 END), 0)",
    ),
    (
        "a delivery belongs to a notification",
        "SELECT d.notification_id || ':' || d.channel FROM deliveries d
         WHERE NOT EXISTS (SELECT 1 FROM notifications n WHERE n.id = d.notification_id)",
    ),
    (
        "a work item belongs to an event",
        "SELECT w.event_id || ':' || w.concern FROM work_items w
         WHERE NOT EXISTS (SELECT 1 FROM domain_events e WHERE e.id = w.event_id)",
    ),
];

impl Store {
    /// Asks every question. On a running system an event that is being handled between two questions
    /// may be named; it is not named twice.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn reconcile(&self) -> Result<Vec<Discrepancy>, StoreError> {
        let mut found = Vec::new();
        for (rule, text) in RULES {
            let statement = Statement::<(Text,)>::same(format!("{text} LIMIT ?"), vec![Bind::BigInt(MOST)]);
            let ids: Vec<(String,)> = self.read(statement).await?;
            if !ids.is_empty() {
                found.push(Discrepancy { rule, ids: ids.into_iter().map(|row| row.0).collect() });
            }
        }
        Ok(found)
    }

    /// How many questions [`Store::reconcile`] asks.
    pub const fn reconcile_rules() -> usize {
        RULES.len()
    }
}
