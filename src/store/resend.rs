//! A replay that sends: deliveries that were never sent are put to work again, and events that had no
//! notification get their first.

use std::collections::{BTreeMap, HashSet};

use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;
use serde::Serialize;

use super::caps::{self, ALL_CHANNELS, CapQuestion, GrantRow, Granted, OwnRow};
use super::decisions::{DecisionRow, LedgerEntry, insert_decisions};
use super::handle::{HandledEvent, hold, writes};
use super::replays::{ReplayStep, WHOSE, advance};
use super::shift::{apply, lock};
use super::stats::Changes;
use super::{Bind, Statement, Store, StoreError, rows, transaction};
use crate::domain::{Channel, Counts, DeliveryId, DeliveryState, Instant, Lane, NotificationId};

/// A delivery that is put to work again.
#[derive(Debug, Clone)]
pub struct Reopening {
    /// The delivery.
    pub id: DeliveryId,
    /// Where it stood; if it stands elsewhere by now, it is left alone.
    pub from: DeliveryState,
    /// `pending` or `deferred`.
    pub state: DeliveryState,
    /// Why it is deferred.
    pub reason: Option<String>,
    /// Until when.
    pub not_before: Option<Instant>,
    /// What it shares with those that it may be told with.
    pub digest_key: Option<String>,
    /// Whether a cap let it through.
    pub granted: bool,
}

/// A notification of which deliveries are put to work again, as today's route has it.
#[derive(Debug, Clone)]
pub struct ReopenedNotification {
    /// Its id.
    pub id: NotificationId,
    /// The recipient.
    pub user_id: i64,
    /// The type, where the flood cap let it through.
    pub flood: Option<String>,
    /// The category.
    pub category: String,
    /// The lane.
    pub lane: Lane,
    /// The template, where it has no variant: one that has keeps it, and its template.
    pub template: String,
    /// After this it is of no use.
    pub expires_at: Option<Instant>,
    /// Its deliveries.
    pub deliveries: Vec<Reopening>,
    /// The event's position, and what the ledger keeps.
    pub ledger: (i64, LedgerEntry),
}

/// What a step of a replay puts to work.
#[derive(Default)]
pub struct Resending {
    /// Notifications that there are.
    pub reopened: Vec<ReopenedNotification>,
    /// Events that had none.
    pub first: Vec<HandledEvent>,
}

/// What a step has put to work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResentDeliveries {
    /// Channels on which deliveries now wait to be sent.
    pub channels: HashSet<Channel>,
    /// How many deliveries were reopened.
    pub reopened: usize,
    /// How many deliveries are of new notifications.
    pub first: usize,
}

#[derive(Serialize)]
struct ReopenRow<'a> {
    notification_id: &'a NotificationId,
    channel: Channel,
    lane: i64,
    was: DeliveryState,
    state: DeliveryState,
    reason: Option<&'a str>,
    not_before: Option<Instant>,
    digest_key: Option<&'a str>,
    at: Instant,
}

#[derive(Serialize)]
struct RouteRow<'a> {
    id: &'a NotificationId,
    lane: i64,
    template: &'a str,
    expires_at: Option<Instant>,
}

impl Store {
    /// Writes a step of a replay that sends, all or nothing. `decide` is given what the recipients that
    /// `questions` are about were granted, but for `candidates` themselves, under a lock that keeps others
    /// from granting them more; it is told afterwards what was taken, and gives the report. None if the step
    /// is void.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn resend<T: Send + 'static>(
        &self,
        epoch: i64,
        step: ReplayStep,
        candidates: Vec<DeliveryId>,
        questions: Vec<CapQuestion>,
        decide: impl FnOnce(Granted) -> (Resending, T) + Send + 'static,
        report: impl FnOnce(T, &ResentDeliveries) -> String + Send + 'static,
    ) -> Result<Option<ResentDeliveries>, StoreError> {
        transaction!(self, |conn| {
            let mine: Vec<(i64,)> = hold(epoch, rows(&[WHOSE])?).load(conn).await?;
            let standing: Vec<(String,)> = stands_at(&step).load(conn).await?;
            if mine.is_empty() || standing.is_empty() {
                return Ok(None);
            }
            let notifications: HashSet<&NotificationId> =
                candidates.iter().map(|id| &id.notification).collect();
            let own = candidates
                .iter()
                .map(|id| OwnRow { notification_id: &id.notification, channel: id.channel.as_str() });
            let whole = notifications
                .into_iter()
                .map(|notification_id| OwnRow { notification_id, channel: ALL_CHANNELS });
            let own: Vec<OwnRow<'_>> = own.chain(whole).collect();
            let nobody = std::iter::empty();
            let granted = caps::look_but_for(conn, nobody, &questions, rows(&own)?).await?;
            let at = granted.now;
            let (resending, rest) = decide(granted);

            let positions: Vec<i64> = resending.first.iter().map(|event| event.position).collect();
            let taken: Vec<(i64,)> = match positions.is_empty() {
                true => Vec::new(),
                false => promote(rows(&positions)?).load(conn).await?,
            };
            let taken: HashSet<i64> = taken.into_iter().map(|row| row.0).collect();
            let first: Vec<&HandledEvent> =
                resending.first.iter().filter(|event| taken.contains(&event.position)).collect();

            let ids: Vec<&NotificationId> = resending.reopened.iter().map(|one| &one.id).collect();
            let locked = lock(conn, &ids).await?;
            let wanted: Vec<ReopenRow<'_>> =
                resending.reopened.iter().flat_map(|one| reopen_rows(at, one)).collect();
            let reopened: Vec<(String, String)> = match wanted.is_empty() {
                true => Vec::new(),
                false => reopen(&step.id, rows(&wanted)?).load(conn).await?,
            };
            let reopened: HashSet<(&str, &str)> =
                reopened.iter().map(|(id, channel)| (id.as_str(), channel.as_str())).collect();
            let mut resent = ResentDeliveries { reopened: reopened.len(), ..ResentDeliveries::default() };
            let (mut changes, mut counted) = (BTreeMap::new(), Changes::default());
            let (mut grants, mut routes, mut decisions) = (Vec::new(), Vec::new(), Vec::new());
            for one in &resending.reopened {
                let taken = |delivery: &&Reopening| {
                    reopened.contains(&(one.id.0.as_str(), delivery.id.channel.as_str()))
                };
                let deliveries: Vec<&Reopening> = one.deliveries.iter().filter(taken).collect();
                let Some(notification) = locked.get(&one.id).filter(|_| !deliveries.is_empty()) else {
                    continue;
                };
                let mut change = Counts::default();
                for delivery in deliveries {
                    let (channel, from, to) = (delivery.id.channel, delivery.from, delivery.state);
                    change += Counts::change(from, to);
                    counted.note(notification, channel, from, to);
                    if to == DeliveryState::Pending {
                        resent.channels.insert(channel);
                    }
                    if delivery.granted {
                        grants.push(grant_row(at, one, channel.as_str(), None));
                    }
                }
                changes.insert(one.id.clone(), change);
                if let Some(kind) = &one.flood {
                    grants.push(grant_row(at, one, ALL_CHANNELS, Some(kind)));
                }
                let (lane, template, expires_at) = (one.lane.rank(), one.template.as_str(), one.expires_at);
                routes.push(RouteRow { id: &one.id, lane, template, expires_at });
                let (position, LedgerEntry { user_id, rules, record }) = &one.ledger;
                let channel = ALL_CHANNELS;
                decisions.push(DecisionRow {
                    position: *position,
                    at,
                    channel,
                    user_id: *user_id,
                    rules,
                    record,
                });
            }
            if !routes.is_empty() {
                take_route(rows(&routes)?).execute(conn).await?;
                insert_decisions(rows(&decisions)?).execute(conn).await?;
            }
            if !grants.is_empty() {
                caps::insert_grants(rows(&grants)?).execute(conn).await?;
            }
            apply(conn, &locked, &changes).await?;
            for statement in counted.statements(epoch)? {
                statement.execute(conn).await?;
            }
            for statement in writes(epoch, at, &first)? {
                statement.execute(conn).await?;
            }
            let made: Vec<&NotificationId> =
                first.iter().flat_map(|event| &event.notifications).map(|made| &made.id).collect();
            if !made.is_empty() {
                mark(&step.id, rows(&made)?).execute(conn).await?;
            }
            for delivery in
                first.iter().flat_map(|event| &event.notifications).flat_map(|made| &made.deliveries)
            {
                resent.first += usize::from(delivery.state.is_open());
                if delivery.state == DeliveryState::Pending {
                    resent.channels.insert(delivery.channel);
                }
            }
            advance(&step, report(rest, &resent)).execute(conn).await?;
            Ok(Some(resent))
        })
    }
}

fn grant_row<'a>(
    at: Instant,
    one: &'a ReopenedNotification,
    channel: &'static str,
    flood: Option<&'a String>,
) -> GrantRow<'a> {
    GrantRow {
        notification_id: &one.id,
        channel,
        user_id: one.user_id,
        category: &one.category,
        flood: flood.map(String::as_str),
        shadow: false,
        at,
    }
}

fn reopen_rows(at: Instant, one: &ReopenedNotification) -> impl Iterator<Item = ReopenRow<'_>> {
    one.deliveries.iter().map(move |delivery| ReopenRow {
        notification_id: &one.id,
        channel: delivery.id.channel,
        lane: one.lane.rank(),
        was: delivery.from,
        state: delivery.state,
        reason: delivery.reason.as_deref(),
        not_before: delivery.not_before,
        digest_key: delivery.digest_key.as_deref(),
        at,
    })
}

/// Locks the replay, if it stands where the step began.
fn stands_at(step: &ReplayStep) -> Statement<(Text,)> {
    let text = |lock| {
        format!(
            "SELECT id FROM replays WHERE id = ? AND cursor = ? AND state IN ('pending', 'running'){lock}"
        )
    };
    Statement::new(text(" FOR UPDATE"), text(""), vec![Bind::Text(step.id.clone()), Bind::BigInt(step.from)])
}

/// Events that told nobody are told now; gives those that still were so.
fn promote(positions: Bind) -> Statement<(BigInt,)> {
    let text = |positions| {
        format!(
            "UPDATE domain_events SET outcome = 'notified', reason = NULL
             WHERE position {positions} AND outcome IN ('not_routed', 'no_recipient') RETURNING position"
        )
    };
    Statement::new(
        text("= ANY(ARRAY(SELECT value::bigint FROM json_array_elements_text(?::json)))"),
        text("IN (SELECT value FROM json_each(?))"),
        vec![positions],
    )
}

/// Puts them to work again. One that was to tell others does so still.
fn reopen(replay: &str, deliveries: Bind) -> Statement<(Text, Text)> {
    Statement::new(
        "UPDATE deliveries d
         SET state = r.state, reason = r.reason, not_before = r.not_before, lane = r.lane, retries = 0,
             cycle = d.cycle + 1, next_attempt_at = COALESCE(r.not_before, r.at), digest_key = r.digest_key,
             told_in = NULL, replay_id = ?, updated_at = statement_timestamp()
         FROM json_to_recordset(?::json) AS r(notification_id text, channel text, lane smallint, was text, state text,
              reason text, not_before timestamptz, digest_key text, at timestamptz)
         WHERE d.notification_id = r.notification_id AND d.channel = r.channel AND d.state = r.was
           AND r.at = r.at + interval '0'
         RETURNING d.notification_id, d.channel",
        "UPDATE deliveries
         SET state = r.value->>'state', reason = r.value->>'reason', not_before = r.value->>'not_before',
             lane = r.value->>'lane', retries = 0, cycle = cycle + 1,
             next_attempt_at = COALESCE(r.value->>'not_before', r.value->>'at'),
             digest_key = r.value->>'digest_key', told_in = NULL, replay_id = ?,
             updated_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
         FROM json_each(?) AS r
         WHERE notification_id = r.value->>'notification_id' AND channel = r.value->>'channel'
           AND state = r.value->>'was'
         RETURNING notification_id, channel",
        vec![Bind::Text(replay.to_owned()), deliveries],
    )
}

/// Today's route is what the rest of the way goes by.
fn take_route(notifications: Bind) -> Statement {
    Statement::new(
        "UPDATE notifications n
         SET shadow = FALSE, lane = r.lane, template = CASE WHEN n.variant IS NULL THEN r.template ELSE n.template END, expires_at = r.expires_at
         FROM json_to_recordset(?::json) AS r(id text, lane smallint, template text, expires_at timestamptz)
         WHERE n.id = r.id AND r.lane = r.lane + 0",
        "UPDATE notifications
         SET shadow = 0, lane = r.value->>'lane', template = CASE WHEN variant IS NULL THEN r.value->>'template' ELSE template END,
             expires_at = r.value->>'expires_at'
         FROM json_each(?) AS r WHERE notifications.id = r.value->>'id'",
        vec![notifications],
    )
}

fn mark(replay: &str, notifications: Bind) -> Statement {
    Statement::new(
        "UPDATE deliveries SET replay_id = ?
         WHERE notification_id = ANY(ARRAY(SELECT json_array_elements_text(?::json)))",
        "UPDATE deliveries SET replay_id = ? WHERE notification_id IN (SELECT value FROM json_each(?))",
        vec![Bind::Text(replay.to_owned()), notifications],
    )
}
