//! Reading events back.

use diesel::sql_types::{BigInt, Nullable, Text};

use super::search::{Found, Window};
use super::types::Moment;
use super::{Bind, Statement, Store, StoreError, word};
use crate::domain::{EventOutcome, Instant, NotificationId};

/// A stored event.
#[derive(Clone)]
pub struct EventRecord {
    /// Chosen by the publisher.
    pub id: String,
    /// A dotted name.
    pub kind: String,
    /// The thing that it happened to.
    pub aggregate_id: String,
    /// The kind of that thing.
    pub aggregate_type: String,
    /// The content, JSON text.
    pub payload: String,
    /// Who, why and where from, JSON text; a foreign row may lack it.
    pub metadata: Option<String>,
    /// When it happened, by the publisher's clock.
    pub timestamp: Instant,
    /// When it was stored, by the database's clock.
    pub created_at: Instant,
    /// Its place in the order of storing; gaps are normal.
    pub position: i64,
    /// What became of it.
    pub outcome: EventOutcome,
    /// Why, where the outcome alone does not say.
    pub reason: Option<String>,
}

/// Which events are asked for; every part that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// The type.
    pub kind: Option<String>,
    /// The aggregate's id.
    pub aggregate_id: Option<String>,
    /// The aggregate's kind.
    pub aggregate_type: Option<String>,
    /// Who was told of it, or who is named in its metadata.
    pub user_id: Option<i64>,
    /// The outcome.
    pub outcome: Option<EventOutcome>,
    /// The correlation id.
    pub correlation_id: Option<String>,
    /// The event that caused it.
    pub causation_id: Option<String>,
    /// Happened at or after this.
    pub from: Option<Instant>,
    /// Happened before this.
    pub to: Option<Instant>,
}

type EventSql = (Text, Text, Text, Text, Text, Nullable<Text>, Moment, Moment, BigInt, Text, Nullable<Text>);
type EventTuple =
    (String, String, String, String, String, Option<String>, Instant, Instant, i64, String, Option<String>);

const COLUMNS: [&str; 2] = [
    "e.id, e.type, e.aggregate_id, e.aggregate_type, e.payload::text, e.metadata::text, e.timestamp, e.created_at,
     e.position, e.outcome, e.reason",
    "e.id, e.type, e.aggregate_id, e.aggregate_type, e.payload, e.metadata, e.timestamp, e.created_at,
     e.position, e.outcome, e.reason",
];

impl TryFrom<EventTuple> for EventRecord {
    type Error = StoreError;

    fn try_from(row: EventTuple) -> Result<Self, StoreError> {
        let (
            id,
            kind,
            aggregate_id,
            aggregate_type,
            payload,
            metadata,
            timestamp,
            created_at,
            position,
            outcome,
            reason,
        ) = row;
        let outcome = word(&outcome)?;
        Ok(Self {
            id,
            kind,
            aggregate_id,
            aggregate_type,
            payload,
            metadata,
            timestamp,
            created_at,
            position,
            outcome,
            reason,
        })
    }
}

/// A `WHERE` that grows: each condition is in both dialects, with its binds.
#[derive(Clone)]
pub(super) struct Conditions {
    postgres: String,
    sqlite: String,
    pub(super) binds: Vec<Bind>,
}

impl Conditions {
    pub(super) fn new() -> Self {
        Self { postgres: "TRUE".to_owned(), sqlite: "TRUE".to_owned(), binds: Vec::new() }
    }

    pub(super) fn and(&mut self, postgres: &str, sqlite: &str, binds: impl IntoIterator<Item = Bind>) {
        self.postgres.push_str(" AND ");
        self.postgres.push_str(postgres);
        self.sqlite.push_str(" AND ");
        self.sqlite.push_str(sqlite);
        self.binds.extend(binds);
    }

    pub(super) fn same(&mut self, text: &str, binds: impl IntoIterator<Item = Bind>) {
        self.and(text, text, binds);
    }

    /// A column that holds a moment, compared with one that was given.
    pub(super) fn moment(&mut self, comparison: &str, at: Option<Instant>) {
        if let Some(at) = at {
            let postgres = format!("{comparison} ?::timestamptz");
            self.and(&postgres, &format!("{comparison} ?"), [Bind::Text(at.to_rfc3339())]);
        }
    }

    pub(super) fn text(&mut self, column: &str, value: Option<String>) {
        if let Some(value) = value {
            self.same(&format!("{column} = ?"), [Bind::Text(value)]);
        }
    }

    /// The statement of a text for each dialect, in which `{where}` stands for the conditions.
    pub(super) fn statement<Row>(
        self,
        postgres: &str,
        sqlite: &str,
        more: impl IntoIterator<Item = Bind>,
    ) -> Statement<Row> {
        let mut binds = self.binds;
        binds.extend(more);
        Statement::new(
            postgres.replace("{where}", &self.postgres),
            sqlite.replace("{where}", &self.sqlite),
            binds,
        )
    }
}

impl Store {
    /// The event with this id.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn event(&self, id: &str) -> Result<Option<EventRecord>, StoreError> {
        let text = |columns| format!("SELECT {columns} FROM domain_events e WHERE e.id = ?");
        let statement =
            Statement::<EventSql>::new(text(COLUMNS[0]), text(COLUMNS[1]), vec![Bind::Text(id.to_owned())]);
        let rows: Vec<EventTuple> = self.read(statement).await?;
        rows.into_iter().next().map(EventRecord::try_from).transpose()
    }

    /// Which of these ids are stored.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn known_events(
        &self,
        ids: Vec<String>,
    ) -> Result<std::collections::HashSet<String>, StoreError> {
        if ids.is_empty() {
            return Ok(std::collections::HashSet::new());
        }
        let statement = Statement::<(Text,)>::new(
            "SELECT id FROM domain_events WHERE id = ANY(ARRAY(SELECT json_array_elements_text(?::json)))",
            "SELECT id FROM domain_events WHERE id IN (SELECT value FROM json_each(?))",
            vec![super::rows(&ids)?],
        );
        let found: Vec<(String,)> = self.read(statement).await?;
        Ok(found.into_iter().map(|row| row.0).collect())
    }

    /// Up to `limit` events that fit, newest first, stored before the position `before`; fewer where
    /// the search takes too long.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn events(
        &self,
        filter: EventFilter,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Found<EventRecord>, StoreError> {
        // These have an index, and few events each.
        if filter.aggregate_id.is_some() || filter.correlation_id.is_some() {
            return Ok(Found::all(self.load_events(select(filter, before, None, limit)).await?));
        }
        self.in_windows(before, limit, async |window, limit| {
            self.load_events(select(filter.clone(), None, Some(window), limit)).await
        })
        .await
    }

    /// Up to `limit` events for which all conditions hold, in this order.
    pub(super) async fn events_behind(
        &self,
        conditions: Conditions,
        order: &str,
        limit: i64,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let text = |columns| {
            format!("SELECT {columns} FROM domain_events e WHERE {{where}} ORDER BY {order} LIMIT ?")
        };
        let limit = [Bind::BigInt(limit)];
        self.load_events(conditions.statement(&text(COLUMNS[0]), &text(COLUMNS[1]), limit)).await
    }

    async fn load_events(&self, statement: Statement<EventSql>) -> Result<Vec<EventRecord>, StoreError> {
        let rows: Vec<EventTuple> = self.read(statement).await?;
        rows.into_iter().map(EventRecord::try_from).collect()
    }
}

fn select(
    filter: EventFilter,
    before: Option<i64>,
    window: Option<Window>,
    limit: i64,
) -> Statement<EventSql> {
    let mut conditions = Conditions::new();
    conditions.text("e.type", filter.kind);
    conditions.text("e.aggregate_id", filter.aggregate_id);
    conditions.text("e.aggregate_type", filter.aggregate_type);
    conditions.text("e.outcome", filter.outcome.map(|outcome| outcome.as_str().to_owned()));
    conditions.text("e.metadata->>'correlationId'", filter.correlation_id);
    conditions.text("e.metadata->>'causationId'", filter.causation_id);
    conditions.moment("e.timestamp >=", filter.from);
    conditions.moment("e.timestamp <", filter.to);
    if let Some(user) = filter.user_id {
        let mut told = "user_id = ?".to_owned();
        let mut binds = vec![Bind::BigInt(user), Bind::BigInt(user)];
        if let Some(window) = window {
            told.push_str(" AND id >= ? AND id < ?");
            binds.extend(NotificationId::range(window).map(Bind::Text));
        }
        let text = |user| {
            format!(
                "(e.metadata->>'userId' = {user} OR e.id IN (SELECT event_id FROM notifications WHERE {told}))"
            )
        };
        conditions.and(&text("?::text"), &text("?"), binds);
    }
    if let Some((from, below)) = window {
        conditions.same("e.position >= ? AND e.position < ?", [Bind::BigInt(from), Bind::BigInt(below)]);
    }
    if let Some(before) = before {
        conditions.same("e.position < ?", [Bind::BigInt(before)]);
    }
    let text = |columns| {
        format!("SELECT {columns} FROM domain_events e WHERE {{where}} ORDER BY e.position DESC LIMIT ?")
    };
    conditions.statement(&text(COLUMNS[0]), &text(COLUMNS[1]), [Bind::BigInt(limit)])
}
