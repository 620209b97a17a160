//! Replays: stored events that are decided anew, step by step. How far one has come stands in its row,
//! so that any instance goes on with it.

use diesel::sql_types::{BigInt, Nullable, Text};
use diesel_async::RunQueryDsl;
use serde::Serialize;

use super::handle::hold;
use super::types::Moment;
use super::{Bind, Statement, Store, StoreError, rows, transaction, word};
use crate::domain::{Channel, Instant, ReplayRequest, ReplayState};

/// Whoever holds this partition works replays off: one instance does, and one that was given up does not.
pub(super) const WHOSE: i64 = 0;

/// How far positions may be out of the order of time: transactions that began together.
const SLACK_SECONDS: i64 = 60;

/// A replay.
#[derive(Debug, Clone)]
pub struct ReplayRecord {
    /// Its id.
    pub id: String,
    /// What was asked for, JSON.
    pub request: String,
    /// Whether it sends.
    pub send: bool,
    /// Why.
    pub reason: Option<String>,
    /// How far it has come.
    pub state: ReplayState,
    /// Why it cannot go on.
    pub error: Option<String>,
    /// It begins behind this position.
    pub begins: i64,
    /// It has come to this position.
    pub cursor: i64,
    /// It ends with this position.
    pub until: i64,
    /// What it has found so far, JSON.
    pub report: String,
    /// The token by which it was asked for.
    pub requested_by: Option<String>,
    /// When it was asked for.
    pub created_at: Instant,
    /// When it last came further.
    pub updated_at: Instant,
    /// When it was over.
    pub finished_at: Option<Instant>,
}

/// How far a step has brought a replay.
#[derive(Debug, Clone)]
pub struct ReplayStep {
    /// The replay.
    pub id: String,
    /// Where the step began; if the replay stands elsewhere by now, the step is void.
    pub from: i64,
    /// Where it ended.
    pub to: i64,
    /// Whether that is the end.
    pub finished: bool,
}

/// What the caps let through in a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReplayGrant {
    /// The recipient.
    pub user_id: i64,
    /// The channel; none: the flood cap's, for all of them.
    pub channel: Option<Channel>,
    /// The category.
    pub category: String,
    /// The type, for the flood cap.
    pub flood: Option<String>,
    /// Whether its route is in shadow mode.
    pub shadow: bool,
    /// When.
    pub at: Instant,
}

type ReplaySql = (
    Text,
    Text,
    BigInt,
    Nullable<Text>,
    Text,
    Nullable<Text>,
    BigInt,
    BigInt,
    BigInt,
    Text,
    Nullable<Text>,
    Moment,
    Moment,
    Nullable<Moment>,
);
type ReplayTuple = (
    String,
    String,
    i64,
    Option<String>,
    String,
    Option<String>,
    i64,
    i64,
    i64,
    String,
    Option<String>,
    Instant,
    Instant,
    Option<Instant>,
);

fn select(condition: &str, binds: Vec<Bind>) -> Statement<ReplaySql> {
    let text = |send| {
        format!(
            "SELECT id, filter, {send}, reason, state, error, begins, cursor, until, report, requested_by, created_at,
                    updated_at, finished_at
             FROM replays WHERE {condition}"
        )
    };
    Statement::new(text("send::int::bigint"), text("send"), binds)
}

impl TryFrom<ReplayTuple> for ReplayRecord {
    type Error = StoreError;

    fn try_from(row: ReplayTuple) -> Result<Self, StoreError> {
        let (id, request, send, reason, state, error, begins, cursor, until, report, ..) = row;
        let (.., requested_by, created_at, updated_at, finished_at) = row;
        let (send, state) = (send != 0, word(&state)?);
        Ok(Self {
            id,
            request,
            send,
            reason,
            state,
            error,
            begins,
            cursor,
            until,
            report,
            requested_by,
            created_at,
            updated_at,
            finished_at,
        })
    }
}

impl Store {
    /// Notes a replay of the events that are stored by now. `report` is what it begins with.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn create_replay(
        &self,
        id: &str,
        request: &ReplayRequest,
        report: String,
        requested_by: &str,
    ) -> Result<(), StoreError> {
        let filter = &request.filter;
        let (first, last) = self.positions().await?.unwrap_or((1, 0));
        let slack = |at: Instant, seconds| Instant::from(at.utc() + chrono::TimeDelta::seconds(seconds));
        let begins = match filter.from {
            Some(from) => self.first_stored_at(slack(from, -SLACK_SECONDS), first, last).await? - 1,
            None => first - 1,
        };
        let until = match filter.to {
            Some(to) => self.first_stored_at(slack(to, SLACK_SECONDS), first, last).await? - 1,
            None => last,
        };
        let row = serde_json::to_string(request)
            .map_err(|error| StoreError::Invalid { field: "filter", reason: error.to_string() })?;
        let text = |send| {
            format!(
                "INSERT INTO replays (id, filter, send, reason, begins, cursor, until, report, requested_by)
                 VALUES (?, ?, {send}, ?, ?, ?, ?, ?, ?)"
            )
        };
        let binds = vec![
            Bind::Text(id.to_owned()),
            Bind::Text(row),
            Bind::BigInt(i64::from(request.send)),
            Bind::OptText(request.reason.clone()),
            Bind::BigInt(begins),
            Bind::BigInt(begins),
            Bind::BigInt(until.max(begins)),
            Bind::Text(report),
            Bind::Text(requested_by.to_owned()),
        ];
        let statement = Statement::<()>::new(text("?::bigint::int::boolean"), text("?"), binds);
        self.execute(statement).await.map(drop)
    }

    /// The first position from which on events are stored at or after a moment, but for the slack.
    async fn first_stored_at(&self, at: Instant, first: i64, last: i64) -> Result<i64, StoreError> {
        let (mut low, mut high) = (first, last + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let statement = Statement::<(BigInt, Moment)>::same(
                "SELECT position, created_at FROM domain_events WHERE position >= ? ORDER BY position LIMIT 1",
                vec![Bind::BigInt(middle)],
            );
            let found: Vec<(i64, Instant)> = self.read(statement).await?;
            match found.into_iter().next() {
                Some((position, stored)) if stored < at => low = position + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// The replay with this id.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn replay(&self, id: &str) -> Result<Option<ReplayRecord>, StoreError> {
        let found: Vec<ReplayTuple> = self.read(select("id = ?", vec![Bind::Text(id.to_owned())])).await?;
        found.into_iter().next().map(ReplayRecord::try_from).transpose()
    }

    /// The oldest replay that is not over, if replays are this instance's task.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn next_replay(&self, epoch: i64) -> Result<Option<ReplayRecord>, StoreError> {
        let condition = format!(
            "state IN ('pending', 'running')
             AND EXISTS (SELECT 1 FROM partitions WHERE partition = {WHOSE} AND epoch = ?)
             ORDER BY created_at, id LIMIT 1"
        );
        let found: Vec<ReplayTuple> = self.read(select(&condition, vec![Bind::BigInt(epoch)])).await?;
        found.into_iter().next().map(ReplayRecord::try_from).transpose()
    }

    /// What a dry run has granted these recipients since a moment.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn replay_grants(
        &self,
        replay: &str,
        users: &[i64],
        since: Instant,
    ) -> Result<Vec<ReplayGrant>, StoreError> {
        let text = |users, moment, shadow| {
            format!(
                "SELECT user_id, channel, category, flood, {shadow}, granted_at FROM replay_grants
                 WHERE replay_id = ? AND user_id {users} AND granted_at > {moment}"
            )
        };
        let statement = Statement::<(BigInt, Text, Text, Nullable<Text>, BigInt, Moment)>::new(
            text(
                "= ANY(ARRAY(SELECT value::bigint FROM json_array_elements_text(?::json)))",
                "?::timestamptz",
                "shadow::int::bigint",
            ),
            text("IN (SELECT value FROM json_each(?))", "?", "shadow"),
            vec![Bind::Text(replay.to_owned()), rows(users)?, Bind::Text(since.to_rfc3339())],
        );
        let found: Vec<(i64, String, String, Option<String>, i64, Instant)> = self.read(statement).await?;
        let grant = |(user_id, channel, category, flood, shadow, at): (i64, String, _, _, i64, _)| {
            ReplayGrant { user_id, channel: channel.parse().ok(), category, flood, shadow: shadow != 0, at }
        };
        Ok(found.into_iter().map(grant).collect())
    }

    /// Writes a step of a dry run: how far it came, the report, and what was granted in it, all or nothing.
    /// False if it is void: another instance was faster, or it is not this one's task any more.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn note_replay(
        &self,
        epoch: i64,
        step: ReplayStep,
        report: String,
        grants: Vec<ReplayGrant>,
    ) -> Result<bool, StoreError> {
        transaction!(self, |conn| {
            let mine: Vec<(i64,)> = hold(epoch, rows(&[WHOSE])?).load(conn).await?;
            if mine.is_empty() || advance(&step, report).execute(conn).await? == 0 {
                return Ok(false);
            }
            if step.finished {
                forget_grants(&step.id).execute(conn).await?;
            } else if !grants.is_empty() {
                insert_grants(&step.id, rows(&grants)?).execute(conn).await?;
            }
            Ok(true)
        })
    }

    /// Notes that a replay cannot go on.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn fail_replay(&self, id: &str, error: &str) -> Result<(), StoreError> {
        let text = |now| {
            format!(
                "UPDATE replays SET state = 'failed', error = ?, updated_at = {now}, finished_at = {now}
                 WHERE id = ? AND state IN ('pending', 'running')"
            )
        };
        let statement = Statement::<()>::new(
            text("statement_timestamp()"),
            text("strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')"),
            vec![Bind::Text(error.to_owned()), Bind::Text(id.to_owned())],
        );
        self.execute(statement).await?;
        self.execute(forget_grants(id)).await.map(drop)
    }
}

/// Brings a replay further, unless it stands elsewhere by now.
pub(super) fn advance(step: &ReplayStep, report: String) -> Statement {
    let text = |now| {
        format!(
            "UPDATE replays SET cursor = ?, report = ?, state = ?, updated_at = {now},
                 finished_at = CASE WHEN ? = 1 THEN {now} END
             WHERE id = ? AND cursor = ? AND state IN ('pending', 'running')"
        )
    };
    let state = if step.finished { ReplayState::Done } else { ReplayState::Running };
    let binds = vec![
        Bind::BigInt(step.to),
        Bind::Text(report),
        Bind::Text(state.to_string()),
        Bind::BigInt(i64::from(step.finished)),
        Bind::Text(step.id.clone()),
        Bind::BigInt(step.from),
    ];
    Statement::new(text("statement_timestamp()"), text("strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')"), binds)
}

fn insert_grants(replay: &str, grants: Bind) -> Statement {
    Statement::new(
        "INSERT INTO replay_grants (replay_id, user_id, channel, category, flood, shadow, granted_at)
         SELECT ?, user_id, COALESCE(channel, '*'), category, flood, shadow, at
         FROM json_to_recordset(?::json) AS r(user_id bigint, channel text, category text, flood text,
              shadow boolean, at timestamptz)",
        "INSERT INTO replay_grants (replay_id, user_id, channel, category, flood, shadow, granted_at)
         SELECT ?, value->>'user_id', COALESCE(value->>'channel', '*'), value->>'category', value->>'flood',
                value->>'shadow', value->>'at'
         FROM json_each(?)",
        vec![Bind::Text(replay.to_owned()), grants],
    )
}

fn forget_grants(replay: &str) -> Statement {
    Statement::same("DELETE FROM replay_grants WHERE replay_id = ?", vec![Bind::Text(replay.to_owned())])
}
