//! The open set: events that are still to be handled.

use diesel::sql_types::{BigInt, Nullable, Text};

use super::types::Moment;
use super::{Bind, Statement, Store, StoreError, rows};
use crate::domain::Instant;

/// An event that waits for its handling.
#[derive(Clone)]
pub struct QueuedEvent {
    /// Its place in the order of storing.
    pub position: i64,
    /// Its id.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// The thing that it happened to.
    pub aggregate_id: String,
    /// The kind of that thing.
    pub aggregate_type: String,
    /// JSON text.
    pub payload: String,
    /// JSON text; a foreign row may lack it.
    pub metadata: Option<String>,
    /// When it happened, by the publisher's clock.
    pub timestamp: Instant,
    /// When it was stored, by the database's clock.
    pub created_at: Instant,
    /// The part of the aggregates that it belongs to.
    pub partition: i64,
    /// How often its handling crashed.
    pub crashes: i64,
}

type QueuedSql = (BigInt, Text, Text, Text, Text, Text, Nullable<Text>, Moment, Moment, BigInt, BigInt);
type QueuedTuple = (i64, String, String, String, String, String, Option<String>, Instant, Instant, i64, i64);

impl From<QueuedTuple> for QueuedEvent {
    fn from(row: QueuedTuple) -> Self {
        let (
            position,
            id,
            kind,
            aggregate_id,
            aggregate_type,
            payload,
            metadata,
            timestamp,
            created_at,
            partition,
            crashes,
        ) = row;
        Self {
            position,
            id,
            kind,
            aggregate_id,
            aggregate_type,
            payload,
            metadata,
            timestamp,
            created_at,
            partition,
            crashes,
        }
    }
}

impl Store {
    /// Up to `limit` open events of the partitions that `epoch` holds, the oldest first, with
    /// everything that is needed to handle them.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn open_events(&self, epoch: i64, limit: i64) -> Result<Vec<QueuedEvent>, StoreError> {
        self.load_open(oldest_events(epoch, limit)).await
    }

    /// The same for events of these types alone, each with the earlier open ones of its aggregate: so
    /// they overtake the rest, but not their own aggregate. The order is that of storing.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn open_events_of(
        &self,
        epoch: i64,
        types: &[String],
        limit: i64,
    ) -> Result<Vec<QueuedEvent>, StoreError> {
        self.load_open(urgent_events(epoch, rows(types)?, limit)).await
    }

    async fn load_open(&self, statement: Statement<QueuedSql>) -> Result<Vec<QueuedEvent>, StoreError> {
        let rows: Vec<QueuedTuple> = self.read(statement).await?;
        Ok(rows.into_iter().map(QueuedEvent::from).collect())
    }

    /// Notes that the handling of an event crashed, and gives how often it has.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn note_crash(&self, position: i64) -> Result<i64, StoreError> {
        let statement = Statement::<(BigInt,)>::new(
            "UPDATE event_queue SET crashes = crashes + 1 WHERE position = ? RETURNING crashes::bigint",
            "UPDATE event_queue SET crashes = crashes + 1 WHERE position = ? RETURNING crashes",
            vec![Bind::BigInt(position)],
        );
        let rows: Vec<(i64,)> = self.write(statement).await?;
        Ok(rows.into_iter().next().map_or(0, |row| row.0))
    }

    /// Queues again what is neither handled nor queued: rows that came in where triggers do not run,
    /// such as by logical replication. Looks at the newest `depth` events only. Gives how many.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn sweep(&self, depth: i64) -> Result<usize, StoreError> {
        self.execute(Statement::new(
            "INSERT INTO event_queue (position, event_id, type, aggregate_type, aggregate_id, partition)
             SELECT e.position, e.id, e.type, e.aggregate_type, e.aggregate_id,
                    hashtextextended(e.aggregate_type || ':' || e.aggregate_id, 0) & 63
             FROM (SELECT * FROM domain_events ORDER BY position DESC LIMIT ?) e
             WHERE e.outcome = 'pending' AND e.created_at < now() - interval '1 minute'
               AND NOT EXISTS (SELECT 1 FROM event_queue q WHERE q.position = e.position)
             ON CONFLICT DO NOTHING",
            "INSERT INTO event_queue (position, event_id, type, aggregate_type, aggregate_id, partition)
             SELECT e.position, e.id, e.type, e.aggregate_type, e.aggregate_id, 0
             FROM (SELECT * FROM domain_events ORDER BY position DESC LIMIT ?) e
             WHERE e.outcome = 'pending' AND e.created_at < strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-1 minute')
               AND NOT EXISTS (SELECT 1 FROM event_queue q WHERE q.position = e.position)
             ON CONFLICT DO NOTHING",
            vec![Bind::BigInt(depth)],
        ))
        .await
    }

    /// How many events wait, counted up to `most`.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn backlog(&self, most: i64) -> Result<i64, StoreError> {
        let statement = Statement::<(BigInt,)>::same(
            "SELECT count(*) FROM (SELECT 1 FROM event_queue LIMIT ?) AS waiting",
            vec![Bind::BigInt(most)],
        );
        let rows: Vec<(i64,)> = self.read(statement).await?;
        Ok(rows.into_iter().next().map_or(0, |row| row.0))
    }
}

const EVENT: [&str; 2] = [
    "e.position, e.id, e.type, e.aggregate_id, e.aggregate_type, e.payload::text, e.metadata::text, e.timestamp,
     e.created_at, q.partition::bigint, q.crashes::bigint",
    "e.position, e.id, e.type, e.aggregate_id, e.aggregate_type, e.payload, e.metadata, e.timestamp,
     e.created_at, q.partition, q.crashes",
];

/// The oldest events of the partitions held. By position over the whole queue: what other instances
/// hold is passed over, which costs as much as reading it once.
fn oldest_events(epoch: i64, limit: i64) -> Statement<QueuedSql> {
    Statement::new(
        format!(
            "SELECT {} FROM (
                 SELECT position, partition, crashes FROM event_queue
                 WHERE partition = ANY(ARRAY(SELECT partition FROM partitions WHERE epoch = ?))
                 ORDER BY position LIMIT ?) q
             CROSS JOIN LATERAL (SELECT * FROM domain_events WHERE position = q.position LIMIT 1) e
             ORDER BY q.position",
            EVENT[0]
        ),
        format!(
            "SELECT {} FROM (
                 SELECT position, partition, crashes FROM event_queue
                 WHERE partition IN (SELECT partition FROM partitions WHERE epoch = ?)
                 ORDER BY position LIMIT ?) q
             JOIN domain_events e ON e.position = q.position ORDER BY q.position",
            EVENT[1]
        ),
        vec![Bind::BigInt(epoch), Bind::BigInt(limit)],
    )
}

/// The oldest events of some types, with the earlier ones of their aggregates.
fn urgent_events(epoch: i64, types: Bind, limit: i64) -> Statement<QueuedSql> {
    const DUE: &str = "due AS (
                 SELECT DISTINCT q.position, q.partition, q.crashes FROM urgent u
                 JOIN event_queue q ON q.aggregate_id = u.aggregate_id AND q.aggregate_type = u.aggregate_type
                      AND q.position <= u.position
                 ORDER BY q.position LIMIT 4096)";
    Statement::new(
        format!(
            "WITH urgent AS (
                 SELECT q.position, q.aggregate_type, q.aggregate_id
                 FROM json_array_elements_text(?::json) AS t(type)
                 CROSS JOIN LATERAL (
                     SELECT * FROM event_queue
                     WHERE type = t.type AND partition = ANY(ARRAY(SELECT partition FROM partitions WHERE epoch = ?))
                     ORDER BY position LIMIT ?) q
                 ORDER BY q.position LIMIT $3),
             {DUE}
             SELECT {} FROM due q
             CROSS JOIN LATERAL (SELECT * FROM domain_events WHERE position = q.position LIMIT 1) e
             ORDER BY q.position",
            EVENT[0]
        ),
        format!(
            "WITH urgent AS (
                 SELECT position, aggregate_type, aggregate_id FROM event_queue
                 WHERE type IN (SELECT value FROM json_each(?))
                   AND partition IN (SELECT partition FROM partitions WHERE epoch = ?)
                 ORDER BY position LIMIT ?),
             {DUE}
             SELECT {} FROM due q JOIN domain_events e ON e.position = q.position ORDER BY q.position",
            EVENT[1]
        ),
        vec![types, Bind::BigInt(epoch), Bind::BigInt(limit)],
    )
}
