//! What came of events so far, for a caller that waits.

use std::collections::HashMap;

use diesel::sql_types::{BigInt, Nullable, Text};

use super::{Bind, Statement, Store, StoreError, rows, word};
use crate::domain::EventOutcome;

/// What came of an event so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventEnds {
    /// Its outcome.
    pub outcome: EventOutcome,
    /// The deliveries: channel, state and reason.
    pub deliveries: Vec<(String, String, Option<String>)>,
}

type Row = (String, String, Option<String>, Option<String>, Option<String>);

impl Store {
    /// What came of each of these events, as of one moment.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn ends_of_events(&self, ids: &[String]) -> Result<HashMap<String, EventEnds>, StoreError> {
        let statement = Statement::<(Text, Text, Nullable<Text>, Nullable<Text>, Nullable<Text>)>::new(
            "SELECT e.id, e.outcome, d.channel, d.state, d.reason
             FROM json_array_elements_text(?::json) AS i(id)
             CROSS JOIN LATERAL (SELECT id, outcome FROM domain_events WHERE id = i.id LIMIT 1) e
             LEFT JOIN LATERAL (SELECT id FROM notifications WHERE event_id = e.id LIMIT 100) n ON TRUE
             LEFT JOIN LATERAL (SELECT channel, state, reason FROM deliveries WHERE notification_id = n.id
                 LIMIT 100) d ON TRUE
             ORDER BY e.id, n.id, d.channel",
            "SELECT e.id, e.outcome, d.channel, d.state, d.reason
             FROM domain_events e LEFT JOIN notifications n ON n.event_id = e.id
             LEFT JOIN deliveries d ON d.notification_id = n.id
             WHERE e.id IN (SELECT value FROM json_each(?)) ORDER BY e.id, n.id, d.channel",
            vec![rows(&ids)?],
        );
        let found: Vec<Row> = self.read(statement).await?;
        let mut ends: HashMap<String, EventEnds> = HashMap::new();
        for (id, outcome, channel, state, reason) in found {
            let outcome = word(&outcome)?;
            let of = ends.entry(id).or_insert(EventEnds { outcome, deliveries: Vec::new() });
            of.deliveries.extend(channel.zip(state).map(|(channel, state)| (channel, state, reason)));
        }
        Ok(ends)
    }

    /// How often each notification of an event has ended so far.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn times_ended(&self, event_id: &str) -> Result<Vec<(String, i64)>, StoreError> {
        let statement = Statement::<(Text, BigInt)>::new(
            "SELECT id, ends::bigint FROM notifications WHERE event_id = ? ORDER BY id LIMIT 100",
            "SELECT id, ends FROM notifications WHERE event_id = ? ORDER BY id LIMIT 100",
            vec![Bind::Text(event_id.to_owned())],
        );
        self.read(statement).await
    }
}
