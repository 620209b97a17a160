//! Instances, their heartbeats, and the partitions that they hold.

use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;

use super::types::Moment;
use super::{Bind, Statement, Store, StoreError, transaction};
use crate::domain::{Channel, DeliveryId, Instant, NotificationId};

/// A heartbeat that was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// The database's time.
    pub at: Instant,
    /// How many instances live, this one included.
    pub live: i64,
}

/// A delivery that somebody claimed and no longer works on.
#[derive(Debug, Clone)]
pub struct Holdings {
    /// The delivery.
    pub id: DeliveryId,
    /// Who claimed it.
    pub claim: super::Claim,
    /// The number of the attempt.
    pub attempt: i64,
    /// How many retries it has used.
    pub retries: i64,
    /// How often an operator put it back.
    pub cycle: i64,
    /// The event's type, for its retry policy.
    pub event_type: String,
    /// After this it is of no use.
    pub expires_at: Option<Instant>,
    /// Whether a device has accepted it in an earlier attempt.
    pub accepted: bool,
}

impl Store {
    /// The part of the lease within which heartbeats follow each other while all is well: twice the
    /// interval at which they are sent.
    pub const STEADY: f64 = 0.4;

    /// Notes the start of an instance and gives its epoch.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn register(&self, name: &str) -> Result<i64, StoreError> {
        let statement = Statement::<(BigInt,)>::same(
            "INSERT INTO instances (name) VALUES (?) RETURNING epoch",
            vec![Bind::Text(name.to_owned())],
        );
        let found: Vec<(i64,)> = self.write(statement).await?;
        found.into_iter().next().map(|row| row.0).ok_or_else(StoreError::no_row)
    }

    /// How many instances live.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn live_instances(&self) -> Result<i64, StoreError> {
        let statement =
            Statement::<(BigInt,)>::same("SELECT count(*) FROM instances WHERE ended_at IS NULL", vec![]);
        let found: Vec<(i64,)> = self.read(statement).await?;
        found.into_iter().next().map(|row| row.0).ok_or_else(StoreError::no_row)
    }

    /// Renews the instance's lease; gives the database's time, and how many live. None when it has been
    /// fenced. Whoever registered before this began is counted.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn heartbeat(&self, epoch: i64) -> Result<Option<Heartbeat>, StoreError> {
        let statement = Statement::<(Moment, BigInt)>::new(
            "UPDATE instances SET heartbeat_at = clock_timestamp() WHERE epoch = ? AND ended_at IS NULL
             RETURNING heartbeat_at, (SELECT count(*) FROM instances WHERE ended_at IS NULL)",
            "UPDATE instances SET heartbeat_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
             WHERE epoch = ? AND ended_at IS NULL
             RETURNING heartbeat_at, (SELECT count(*) FROM instances WHERE ended_at IS NULL)",
            vec![Bind::BigInt(epoch)],
        );
        let found: Vec<(Instant, i64)> = self.write(statement).await?;
        Ok(found.into_iter().next().map(|(at, live)| Heartbeat { at, live }))
    }

    /// Ends instances whose last heartbeat is older than the lease, as `by` sees it, and frees their
    /// partitions; gives their epochs. From then on what they write about partitions is refused.
    ///
    /// Nobody is ended while the heartbeat of `by` itself is older than [`Store::STEADY`] of the lease:
    /// then this very statement has waited, so the database was away for all, and silence is nobody's
    /// fault. Both are compared with one moment.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn fence(&self, by: i64, lease: std::time::Duration) -> Result<Vec<i64>, StoreError> {
        let (lease, steady) = (lease.as_secs_f64(), lease.mul_f64(Self::STEADY).as_secs_f64());
        let lapsed = Statement::<(BigInt,)>::new(
            "UPDATE instances SET ended_at = clock_timestamp()
             WHERE ended_at IS NULL AND heartbeat_at < statement_timestamp() - make_interval(secs => ?)
               AND EXISTS (SELECT 1 FROM instances own WHERE own.epoch = ? AND own.ended_at IS NULL
                             AND own.heartbeat_at > statement_timestamp() - make_interval(secs => ?))
             RETURNING epoch",
            "UPDATE instances SET ended_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
             WHERE ended_at IS NULL
               AND heartbeat_at < strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-' || ? || ' seconds')
               AND EXISTS (SELECT 1 FROM instances own WHERE own.epoch = ? AND own.ended_at IS NULL
                             AND own.heartbeat_at > strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-' || ? || ' seconds'))
             RETURNING epoch",
            vec![Bind::Double(lease), Bind::BigInt(by), Bind::Double(steady)],
        );
        self.end_those(lapsed).await
    }

    /// Ends an instance and frees its partitions: this very one, or one that is known to be dead.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn end(&self, epoch: i64) -> Result<(), StoreError> {
        let one = Statement::<(BigInt,)>::new(
            "UPDATE instances SET ended_at = clock_timestamp() WHERE ended_at IS NULL AND epoch = ? RETURNING epoch",
            "UPDATE instances SET ended_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
             WHERE ended_at IS NULL AND epoch = ? RETURNING epoch",
            vec![Bind::BigInt(epoch)],
        );
        self.end_those(one).await.map(drop)
    }

    /// The instances that have not ended: epoch and name.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn living(&self) -> Result<Vec<(i64, String)>, StoreError> {
        let text = "SELECT epoch, name FROM instances WHERE ended_at IS NULL ORDER BY epoch";
        self.read(Statement::<(BigInt, Text)>::same(text, vec![])).await
    }

    async fn end_those(&self, those: Statement<(BigInt,)>) -> Result<Vec<i64>, StoreError> {
        transaction!(self, |conn| {
            let ended: Vec<(i64,)> = those.load(conn).await?;
            if !ended.is_empty() {
                free_partitions().execute(conn).await?;
            }
            Ok(ended.into_iter().map(|row| row.0).collect())
        })
    }

    /// Takes up what this instance should hold of the partitions: an equal share among those that
    /// live. Takes free ones, gives back what is too much, and gives the number that it holds now.
    ///
    /// # Errors
    ///
    /// [`StoreError::Fenced`] if the instance has ended; transient ones.
    pub async fn share_partitions(&self, epoch: i64) -> Result<i64, StoreError> {
        transaction!(self, |conn| {
            free_partitions().execute(conn).await?;
            let counts: Vec<(i64, i64, i64, i64)> = count_partitions(epoch).load(conn).await?;
            let (all, mine, live, lives) = counts.into_iter().next().unwrap_or_default();
            if lives == 0 {
                return Err(StoreError::Fenced);
            }
            let share = (all + live - 1) / live;
            let changed = match mine.cmp(&share) {
                std::cmp::Ordering::Less => take_partitions(epoch, share - mine).execute(conn).await?,
                std::cmp::Ordering::Greater => give_partitions(epoch, mine - share).execute(conn).await?,
                std::cmp::Ordering::Equal => 0,
            };
            let changed = i64::try_from(changed).unwrap_or_default();
            Ok(if mine < share { mine + changed } else { mine - changed })
        })
    }

    /// What is still claimed by instances that have ended.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn abandoned(&self, limit: i64) -> Result<Vec<Holdings>, StoreError> {
        let statement = holdings(
            // All that is claimed is looked at: it is little, and has an index of its own.
            "d.claim_epoch NOT IN (SELECT epoch FROM instances WHERE ended_at IS NULL)",
            vec![Bind::BigInt(limit)],
        );
        let found: Vec<HoldingTuple> = self.read(statement).await?;
        found.into_iter().map(Holdings::try_from).collect()
    }

    /// What earlier lives of a channel's sender in this instance still hold.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn held_by_earlier_lives(
        &self,
        channel: Channel,
        epoch: i64,
        life: i64,
    ) -> Result<Vec<Holdings>, StoreError> {
        let statement = holdings(
            "d.claim_epoch = ? AND d.channel = ? AND d.claim_life < ?",
            vec![
                Bind::BigInt(epoch),
                Bind::Text(channel.to_string()),
                Bind::BigInt(life),
                Bind::BigInt(1_000_000),
            ],
        );
        let found: Vec<HoldingTuple> = self.read(statement).await?;
        found.into_iter().map(Holdings::try_from).collect()
    }
}

type HoldingSql =
    (Text, Text, BigInt, BigInt, BigInt, BigInt, BigInt, Text, diesel::sql_types::Nullable<Moment>, BigInt);
type HoldingTuple = (String, String, i64, i64, i64, i64, i64, String, Option<Instant>, i64);

impl TryFrom<HoldingTuple> for Holdings {
    type Error = StoreError;

    fn try_from(row: HoldingTuple) -> Result<Self, StoreError> {
        let (notification, channel, epoch, life, attempt, retries, cycle, event_type, expires_at, accepted) =
            row;
        Ok(Self {
            id: DeliveryId { notification: NotificationId(notification), channel: super::word(&channel)? },
            claim: super::Claim { epoch, life },
            attempt,
            retries,
            cycle,
            event_type,
            expires_at,
            accepted: accepted > 0,
        })
    }
}

fn holdings(condition: &str, binds: Vec<Bind>) -> Statement<HoldingSql> {
    let text = |columns, notification| {
        format!(
            "SELECT d.notification_id, d.channel, d.claim_epoch, d.claim_life, {columns}, n.event_type, n.expires_at,
                 (SELECT count(*) FROM notification_history h WHERE h.notification_id = d.notification_id
                    AND h.channel = d.channel AND h.outcome = 'accepted')
             FROM deliveries d {notification}
             WHERE d.state = 'sending' AND {condition} ORDER BY d.notification_id LIMIT ?"
        )
    };
    Statement::new(
        text(
            "d.attempt::bigint, d.retries::bigint, d.cycle::bigint",
            "CROSS JOIN LATERAL (SELECT * FROM notifications WHERE id = d.notification_id LIMIT 1) n",
        ),
        text("d.attempt, d.retries, d.cycle", "JOIN notifications n ON n.id = d.notification_id"),
        binds,
    )
}

/// Frees the partitions of instances that have ended.
fn free_partitions() -> Statement {
    Statement::same(
        "UPDATE partitions SET epoch = NULL, token = token + 1
         WHERE epoch IS NOT NULL AND epoch NOT IN (SELECT epoch FROM instances WHERE ended_at IS NULL)",
        vec![],
    )
}

/// How many partitions there are, this instance holds; how many instances live, and whether this does.
fn count_partitions(epoch: i64) -> Statement<(BigInt, BigInt, BigInt, BigInt)> {
    Statement::same(
        "SELECT (SELECT count(*) FROM partitions), (SELECT count(*) FROM partitions WHERE epoch = ?),
                (SELECT count(*) FROM instances WHERE ended_at IS NULL),
                (SELECT count(*) FROM instances WHERE ended_at IS NULL AND epoch = ?)",
        vec![Bind::BigInt(epoch), Bind::BigInt(epoch)],
    )
}

fn take_partitions(epoch: i64, count: i64) -> Statement {
    Statement::new(
        "UPDATE partitions SET epoch = ?, token = token + 1 WHERE partition IN
             (SELECT partition FROM partitions WHERE epoch IS NULL ORDER BY partition LIMIT ? FOR UPDATE SKIP LOCKED)",
        "UPDATE partitions SET epoch = ?, token = token + 1 WHERE partition IN
             (SELECT partition FROM partitions WHERE epoch IS NULL ORDER BY partition LIMIT ?)",
        vec![Bind::BigInt(epoch), Bind::BigInt(count)],
    )
}

fn give_partitions(epoch: i64, count: i64) -> Statement {
    Statement::new(
        "UPDATE partitions SET epoch = NULL, token = token + 1 WHERE partition IN
             (SELECT partition FROM partitions WHERE epoch = ? ORDER BY partition DESC LIMIT ? FOR UPDATE SKIP LOCKED)",
        "UPDATE partitions SET epoch = NULL, token = token + 1 WHERE partition IN
             (SELECT partition FROM partitions WHERE epoch = ? ORDER BY partition DESC LIMIT ?)",
        vec![Bind::BigInt(epoch), Bind::BigInt(count)],
    )
}
