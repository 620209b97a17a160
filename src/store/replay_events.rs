//! The events that a replay decides anew, and what was made of them.

use std::collections::HashMap;

use diesel::sql_types::{BigInt, Nullable, Text};

use super::events::{Conditions, EventRecord};
use super::{Bind, Statement, Store, StoreError, rows, word};
use crate::domain::{Channel, DeliveryState, NotificationId, ReplayFilter};

/// A delivery that was made of an event.
#[derive(Debug, Clone)]
pub struct MadeDelivery {
    /// The notification.
    pub notification: NotificationId,
    /// Its recipient.
    pub user_id: i64,
    /// The channel.
    pub channel: Channel,
    /// Where it stands.
    pub state: DeliveryState,
    /// Why.
    pub reason: Option<String>,
    /// For SMS: how many segments.
    pub segments: Option<i64>,
}

impl Store {
    /// Up to `limit` events that fit, in the order of storing, behind the position `after` and up to `until`.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn replay_events(
        &self,
        filter: &ReplayFilter,
        after: i64,
        until: i64,
        limit: i64,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let mut conditions = Conditions::new();
        conditions.moment("e.created_at >=", filter.from);
        conditions.moment("e.created_at <", filter.to);
        conditions.text("e.aggregate_id", filter.aggregate.clone());
        let mut found = Vec::new();
        // Herald's own are about the ends of notifications: no route may name them.
        for kind in filter.types.iter().filter(|kind| !kind.starts_with("notification.")) {
            let mut conditions = conditions.clone();
            // Each type has its place in an index, and pairs can be found in no other: a rare type is not
            // looked for among all events.
            let bounds = [(kind, after), (kind, until)];
            let binds =
                bounds.into_iter().flat_map(|(kind, at)| [Bind::Text(kind.clone()), Bind::BigInt(at)]);
            conditions.same("(e.type, e.position) > (?, ?) AND (e.type, e.position) <= (?, ?)", binds);
            found.extend(self.events_behind(conditions, "e.type, e.position", limit).await?);
        }
        if filter.types.is_empty() {
            conditions.same("e.position > ? AND e.position <= ?", [Bind::BigInt(after), Bind::BigInt(until)]);
            conditions.same("e.type NOT LIKE 'notification.%'", []);
            found = self.events_behind(conditions, "e.position", limit).await?;
        }
        found.sort_unstable_by_key(|event| event.position);
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    /// The deliveries that were made of these events, by event.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn deliveries_made(
        &self,
        events: &[&str],
    ) -> Result<HashMap<String, Vec<MadeDelivery>>, StoreError> {
        if events.is_empty() {
            return Ok(HashMap::new());
        }
        let statement = Statement::<(Text, Text, BigInt, Text, Text, Nullable<Text>, Nullable<BigInt>)>::new(
            "SELECT n.event_id, n.id, n.user_id, d.channel, d.state, d.reason, d.segments::bigint
                 FROM json_array_elements_text(?::json) AS r
                 CROSS JOIN LATERAL (SELECT * FROM notifications WHERE event_id = r.value OFFSET 0) n
                 CROSS JOIN LATERAL (SELECT * FROM deliveries WHERE notification_id = n.id OFFSET 0) d",
            "SELECT n.event_id, n.id, n.user_id, d.channel, d.state, d.reason, d.segments
                 FROM json_each(?) AS r CROSS JOIN notifications n ON n.event_id = r.value
                 CROSS JOIN deliveries d ON d.notification_id = n.id",
            vec![rows(events)?],
        );
        type Row = (String, String, i64, String, String, Option<String>, Option<i64>);
        let found: Vec<Row> = self.read(statement).await?;
        let mut made: HashMap<String, Vec<MadeDelivery>> = HashMap::new();
        for (event, notification, user_id, channel, state, reason, segments) in found {
            made.entry(event).or_default().push(MadeDelivery {
                notification: NotificationId(notification),
                user_id,
                channel: word(&channel)?,
                state: word(&state)?,
                reason,
                segments,
            });
        }
        Ok(made)
    }
}
