//! Frequency caps: who is asked about is locked, what was granted within the windows is read, and what
//! is granted is written, all in the transaction that decides.

use std::time::Duration;

use diesel::sql_types::BigInt;
use diesel_async::methods::{ExecuteDsl, LoadQuery};
use diesel_async::{AsyncConnection, RunQueryDsl};
use serde::Serialize;

use super::types::Moment;
use super::{Bind, Statement, StoreError, rows};
use crate::domain::{Channel, Instant, NotificationId, Preferences};

/// What is asked about one recipient: the grants that one cap counts, within its window.
#[derive(Debug, Clone, Serialize)]
pub struct CapQuestion {
    /// The recipient.
    pub user_id: i64,
    /// Only of this channel; none: of every one.
    pub channel: Option<Channel>,
    /// Only of this category; none: of every one.
    pub category: Option<String>,
    /// Only of the flood cap of this type; none: of ordinary caps.
    pub flood: Option<String>,
    /// Whether those of routes in shadow mode count too.
    pub shadow: bool,
    /// No more than this many are looked at.
    pub limit: u32,
    /// How far back.
    #[serde(serialize_with = "seconds")]
    pub window: Duration,
}

fn seconds<S: serde::Serializer>(window: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // A second more than the window: the databases round to different digits; who asks cuts exactly.
    serializer.serialize_f64(window.as_secs_f64() + 1.0)
}

/// What was found: the database's time, and for each question the grants, the newest first.
#[derive(Debug, Clone)]
pub struct Granted {
    /// Taken after the locks: whoever comes later sees what is granted now.
    pub now: Instant,
    /// In the order of the questions.
    pub grants: Vec<Vec<Instant>>,
}

/// A grant to write.
#[derive(Debug, Clone, Serialize)]
pub(super) struct GrantRow<'a> {
    pub(super) notification_id: &'a NotificationId,
    /// `*`: of the flood cap, for all channels.
    pub(super) channel: &'static str,
    pub(super) user_id: i64,
    pub(super) category: &'a str,
    pub(super) flood: Option<&'a str>,
    pub(super) shadow: bool,
    pub(super) at: Instant,
}

/// A delivery of which the grant does not count; or a notification's, of the flood cap.
#[derive(Serialize)]
pub(super) struct OwnRow<'a> {
    pub(super) notification_id: &'a NotificationId,
    pub(super) channel: &'static str,
}

/// The channel of a grant for a whole notification.
pub(super) const ALL_CHANNELS: &str = "*";

/// Locks the recipients in the order of their ids, so that two who decide about one of them do it one
/// after the other, and reads what they were granted. READ COMMITTED: the second statement sees what
/// was committed before the lock was had.
pub(super) async fn look<C>(conn: &mut C, questions: &[CapQuestion]) -> Result<Granted, StoreError>
where
    C: AsyncConnection,
    Statement<(BigInt,)>: LoadQuery<'static, C, (i64,)>,
    Statement<(Moment,)>: LoadQuery<'static, C, (Instant,)>,
    Statement<(BigInt, Moment)>: LoadQuery<'static, C, (i64, Instant)>,
{
    lock_recipients(conn, questions.iter().map(|question| question.user_id)).await?;
    read(conn, questions).await
}

/// The same, where the grants of `deliveries` do not count: they are decided anew, and a message does not
/// stand in its own way. `users` are locked beside those of the questions.
pub(super) async fn look_but_for<C>(
    conn: &mut C,
    users: impl Iterator<Item = i64>,
    questions: &[CapQuestion],
    deliveries: Bind,
) -> Result<Granted, StoreError>
where
    C: AsyncConnection,
    Statement: ExecuteDsl<C>,
    Statement<(BigInt,)>: LoadQuery<'static, C, (i64,)>,
    Statement<(Moment,)>: LoadQuery<'static, C, (Instant,)>,
    Statement<(BigInt, Moment)>: LoadQuery<'static, C, (i64, Instant)>,
{
    lock_recipients(conn, users.chain(questions.iter().map(|question| question.user_id))).await?;
    take_back(deliveries).execute(conn).await?;
    read(conn, questions).await
}

async fn read<C>(conn: &mut C, questions: &[CapQuestion]) -> Result<Granted, StoreError>
where
    C: AsyncConnection,
    Statement<(Moment,)>: LoadQuery<'static, C, (Instant,)>,
    Statement<(BigInt, Moment)>: LoadQuery<'static, C, (i64, Instant)>,
{
    let now: Vec<(Instant,)> = super::clock().load(conn).await?;
    let now = now.into_iter().next().map(|row| row.0).ok_or_else(StoreError::no_row)?;
    let numbered: Vec<(usize, &CapQuestion)> = questions.iter().enumerate().collect();
    let numbered: Vec<Numbered<'_>> =
        numbered.into_iter().map(|(number, question)| Numbered { number, now, question }).collect();
    let found: Vec<(i64, Instant)> = history(rows(&numbered)?).load(conn).await?;
    let mut grants = vec![Vec::new(); questions.len()];
    for (number, at) in found {
        if let Some(list) = usize::try_from(number).ok().and_then(|number| grants.get_mut(number)) {
            list.push(at);
        }
    }
    grants.iter_mut().for_each(|list| list.sort_unstable_by(|a, b| b.cmp(a)));
    Ok(Granted { now, grants })
}

async fn lock_recipients<C>(conn: &mut C, users: impl Iterator<Item = i64>) -> Result<(), StoreError>
where
    C: AsyncConnection,
    Statement<(BigInt,)>: LoadQuery<'static, C, (i64,)>,
{
    let mut users: Vec<i64> = users.collect();
    users.sort_unstable();
    users.dedup();
    if !users.is_empty() {
        let _: Vec<(i64,)> = lock_users(rows(&users)?).load(conn).await?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Numbered<'a> {
    number: usize,
    now: Instant,
    #[serde(flatten)]
    question: &'a CapQuestion,
}

pub(super) fn lock_users(ids: Bind) -> Statement<(BigInt,)> {
    Statement::new(
        "SELECT id FROM users WHERE id = ANY(ARRAY(SELECT value::bigint FROM json_array_elements_text(?::json)))
         ORDER BY id FOR UPDATE",
        "SELECT id FROM users WHERE id IN (SELECT value FROM json_each(?))",
        vec![ids],
    )
}

fn history(questions: Bind) -> Statement<(BigInt, Moment)> {
    Statement::new(
        "SELECT q.number, g.granted_at
         FROM json_to_recordset(?::json) AS q(number bigint, user_id bigint, channel text, category text, flood text,
              shadow boolean, \"limit\" bigint, \"window\" double precision, now timestamptz)
         CROSS JOIN LATERAL (
             SELECT granted_at FROM cap_grants
             WHERE user_id = q.user_id AND granted_at > q.now - make_interval(secs => q.window)
               AND flood IS NOT DISTINCT FROM q.flood AND (q.channel IS NULL OR channel = q.channel)
               AND (q.category IS NULL OR category = q.category) AND (q.shadow OR NOT shadow)
             ORDER BY granted_at DESC LIMIT q.limit) g",
        "SELECT number, granted_at FROM (
             SELECT q.value->>'number' AS number, g.granted_at, q.value->>'limit' AS most,
                    row_number() OVER (PARTITION BY q.value->>'number' ORDER BY g.granted_at DESC) AS nth
             FROM json_each(?) AS q JOIN cap_grants g
               ON g.user_id = q.value->>'user_id'
              AND g.granted_at > strftime('%Y-%m-%dT%H:%M:%f000Z', q.value->>'now', '-' || (q.value->>'window') || ' seconds')
              AND g.flood IS q.value->>'flood' AND (q.value->>'channel' IS NULL OR g.channel = q.value->>'channel')
              AND (q.value->>'category' IS NULL OR g.category = q.value->>'category')
              AND (q.value->>'shadow' OR NOT g.shadow))
         WHERE nth <= most",
        vec![questions],
    )
}

/// Writes grants. One that is there already, of a message that is decided anew, is of now, and as its route
/// is now.
pub(super) fn insert_grants(grants: Bind) -> Statement {
    Statement::new(
        "INSERT INTO cap_grants (notification_id, channel, user_id, category, flood, shadow, granted_at)
         SELECT notification_id, channel, user_id, category, flood, shadow, at
         FROM json_to_recordset(?::json) AS r(notification_id text, channel text, user_id bigint, category text,
              flood text, shadow boolean, at timestamptz)
         ON CONFLICT (notification_id, channel) DO UPDATE
             SET granted_at = excluded.granted_at, category = excluded.category, shadow = excluded.shadow",
        "INSERT INTO cap_grants (notification_id, channel, user_id, category, flood, shadow, granted_at)
         SELECT value->>'notification_id', value->>'channel', value->>'user_id', value->>'category',
                value->>'flood', value->>'shadow', value->>'at'
         FROM json_each(?) WHERE TRUE
         ON CONFLICT (notification_id, channel) DO UPDATE
             SET granted_at = excluded.granted_at, category = excluded.category, shadow = excluded.shadow",
        vec![grants],
    )
}

/// Takes back the grants of deliveries that are decided anew, and the flood cap's of notifications of which
/// nothing was sent. What somebody else has put to work meanwhile keeps its grant.
fn take_back(deliveries: Bind) -> Statement {
    const UNSENT: &str = "('deferred', 'suppressed', 'expired', 'shadowed', 'dead')";
    Statement::new(
        format!(
            "DELETE FROM cap_grants g USING json_to_recordset(?::json) AS r(notification_id text, channel text)
             WHERE g.notification_id = r.notification_id AND g.channel = r.channel
               AND CASE WHEN r.channel = '{ALL_CHANNELS}'
                   THEN NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.notification_id = r.notification_id
                                      AND d.state NOT IN {UNSENT})
                   ELSE EXISTS (SELECT 1 FROM deliveries d WHERE d.notification_id = r.notification_id
                                  AND d.channel = r.channel AND d.state IN {UNSENT}) END"
        ),
        format!(
            "DELETE FROM cap_grants WHERE (notification_id, channel) IN
                 (SELECT r.value->>'notification_id', r.value->>'channel' FROM json_each(?) AS r
                  WHERE CASE WHEN r.value->>'channel' = '{ALL_CHANNELS}'
                      THEN NOT EXISTS (SELECT 1 FROM deliveries d
                                       WHERE d.notification_id = r.value->>'notification_id'
                                         AND d.state NOT IN {UNSENT})
                      ELSE EXISTS (SELECT 1 FROM deliveries d
                                   WHERE d.notification_id = r.value->>'notification_id'
                                     AND d.channel = r.value->>'channel' AND d.state IN {UNSENT}) END)"
        ),
        vec![deliveries],
    )
}

/// Forgets these recipients' grants that no window can reach any more.
pub(super) fn forget_old(users: Bind) -> Statement {
    let days = Preferences::LONGEST_WINDOW.as_secs() / 86_400 + 1;
    Statement::new(
        format!(
            "DELETE FROM cap_grants
             WHERE user_id = ANY(ARRAY(SELECT value::bigint FROM json_array_elements_text(?::json)))
               AND granted_at < statement_timestamp() - interval '{days} days'"
        ),
        format!(
            "DELETE FROM cap_grants WHERE user_id IN (SELECT value FROM json_each(?))
               AND granted_at < strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-{days} days')"
        ),
        vec![users],
    )
}
