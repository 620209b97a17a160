//! The counts of notifications, from which their status follows.
//!
//! Every change of a delivery's state goes through here, in the transaction that makes it: lock the
//! notifications in the order of their ids, read, add the deltas, write. A status from a sub-query
//! would be wrong under READ COMMITTED when two channels end at once; another order of locks would
//! deadlock.

use std::collections::{BTreeMap, HashMap};

use diesel::sql_types::{BigInt, Nullable, Text};
use diesel_async::methods::{ExecuteDsl, LoadQuery};
use diesel_async::{AsyncConnection, RunQueryDsl};
use serde::Serialize;

use super::types::Moment;
use super::{Bind, Statement, StoreError, rows};
use crate::domain::{Counts, Instant, NotificationId, NotificationStatus};

/// A notification under lock.
pub(super) struct Locked {
    pub(super) event_id: String,
    pub(super) event_type: String,
    pub(super) user_id: i64,
    pub(super) correlation_id: Option<String>,
    pub(super) created_at: Instant,
    /// The variant of its template, where it has any.
    pub(super) variant: Option<String>,
    counts: Counts,
    ends: i64,
}

/// A notification whose last open delivery has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The notification.
    pub id: NotificationId,
    /// How it ended.
    pub status: NotificationStatus,
    /// The event.
    pub event_id: String,
    /// The event's type.
    pub event_type: String,
    /// The recipient.
    pub user_id: i64,
    /// Traces the work across systems.
    pub correlation_id: Option<String>,
    /// How often it has ended, this time included.
    pub nth: i64,
    /// How many of its deliveries were sent.
    pub sent: i64,
    /// How many of its deliveries failed.
    pub failed: i64,
}

pub(super) type LockSql = (
    Text,
    Text,
    Text,
    BigInt,
    Nullable<Text>,
    Moment,
    BigInt,
    BigInt,
    BigInt,
    BigInt,
    BigInt,
    Nullable<Text>,
);
pub(super) type LockTuple =
    (String, String, String, i64, Option<String>, Instant, i64, i64, i64, i64, i64, Option<String>);

fn lock_statement(ids: Bind) -> Statement<LockSql> {
    Statement::new(
        "SELECT id, event_id, event_type, user_id, correlation_id, created_at, open::bigint, retry::bigint,
                sent::bigint, failed::bigint, ends::bigint, variant
         FROM notifications WHERE id = ANY(ARRAY(SELECT json_array_elements_text(?::json))) ORDER BY id FOR UPDATE",
        "SELECT id, event_id, event_type, user_id, correlation_id, created_at, open, retry, sent, failed, ends,
                variant
         FROM notifications WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
        vec![ids],
    )
}

/// Locks notifications in the order of their ids and reads them.
pub(super) async fn lock<C>(
    conn: &mut C,
    ids: &[&NotificationId],
) -> Result<HashMap<NotificationId, Locked>, StoreError>
where
    C: AsyncConnection,
    Statement<LockSql>: LoadQuery<'static, C, LockTuple>,
{
    let found: Vec<LockTuple> = lock_statement(rows(ids)?).load(conn).await?;
    Ok(found
        .into_iter()
        .map(
            |(
                id,
                event_id,
                event_type,
                user_id,
                correlation_id,
                created_at,
                open,
                retry,
                sent,
                failed,
                ends,
                variant,
            )| {
                let counts = Counts { open, retry, sent, failed };
                let locked = Locked {
                    event_id,
                    event_type,
                    user_id,
                    correlation_id,
                    created_at,
                    variant,
                    counts,
                    ends,
                };
                (NotificationId(id), locked)
            },
        )
        .collect())
}

#[derive(Serialize)]
struct CountRow<'a> {
    id: &'a NotificationId,
    open: i64,
    retry: i64,
    sent: i64,
    failed: i64,
    ends: i64,
    status: NotificationStatus,
}

fn write_statement(counts: Bind) -> Statement {
    Statement::new(
        "UPDATE notifications n
         SET open = r.open, retry = r.retry, sent = r.sent, failed = r.failed, ends = r.ends, status = r.status,
             updated_at = statement_timestamp()
         FROM json_to_recordset(?::json) AS r(id text, open smallint, retry smallint, sent smallint,
              failed smallint, ends smallint, status text)
         WHERE n.id = r.id AND r.ends = r.ends + 0",
        "UPDATE notifications
         SET open = r.value->>'open', retry = r.value->>'retry', sent = r.value->>'sent',
             failed = r.value->>'failed', ends = r.value->>'ends', status = r.value->>'status',
             updated_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
         FROM json_each(?) AS r WHERE notifications.id = r.value->>'id'",
        vec![counts],
    )
}

/// Adds changes to locked notifications, and gives those that ended by it.
pub(super) async fn apply<C>(
    conn: &mut C,
    locked: &HashMap<NotificationId, Locked>,
    changes: &BTreeMap<NotificationId, Counts>,
) -> Result<Vec<Ended>, StoreError>
where
    C: AsyncConnection,
    Statement: ExecuteDsl<C>,
{
    let mut ended = Vec::new();
    let mut written = Vec::with_capacity(changes.len());
    for (id, change) in changes {
        let Some(before) = locked.get(id) else { continue };
        let mut counts = before.counts;
        counts += *change;
        let ends = before.counts.open > 0 && counts.open == 0;
        let nth = before.ends + i64::from(ends);
        if ends {
            ended.push(Ended {
                id: id.clone(),
                status: counts.status(),
                event_id: before.event_id.clone(),
                event_type: before.event_type.clone(),
                user_id: before.user_id,
                correlation_id: before.correlation_id.clone(),
                nth,
                sent: counts.sent,
                failed: counts.failed,
            });
        }
        let Counts { open, retry, sent, failed } = counts;
        written.push(CountRow { id, open, retry, sent, failed, ends: nth, status: counts.status() });
    }
    if !written.is_empty() {
        write_statement(rows(&written)?).execute(conn).await?;
    }
    Ok(ended)
}

/// Locks and changes in one go.
pub(super) async fn shift<C>(
    conn: &mut C,
    changes: &BTreeMap<NotificationId, Counts>,
) -> Result<Vec<Ended>, StoreError>
where
    C: AsyncConnection,
    Statement<LockSql>: LoadQuery<'static, C, LockTuple>,
    Statement: ExecuteDsl<C>,
{
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&NotificationId> = changes.keys().collect();
    let locked = lock(conn, &ids).await?;
    apply(conn, &locked, changes).await
}
