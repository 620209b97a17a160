//! Deliveries that policy deferred: when they are due they are decided anew, not just sent.

use std::collections::{BTreeMap, HashSet};

use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;
use serde::Serialize;

use super::append::EventRow;
use super::caps::{self, CapQuestion, GrantRow, Granted, OwnRow};
use super::decisions::{DecisionRow, LedgerEntry, insert_decisions};
use super::due::{DeferredDelivery, StandingTuple, standing, still_deferred};
use super::hurry::hurry;
use super::record::{ended_events, insert_closed};
use super::shift::{Ended, apply, lock};
use super::stats::Changes;
use super::{Bind, Statement, Store, StoreError, rows, transaction};
use crate::domain::{Channel, Counts, DeliveryId, DeliveryState, Instant, NewEvent, NotificationId};

/// What becomes of a deferred delivery.
#[derive(Debug, Clone)]
pub struct Release {
    /// The delivery.
    pub id: DeliveryId,
    /// `pending`, `deferred` again, or an ended state.
    pub state: DeliveryState,
    /// Why, where the state needs a reason.
    pub reason: Option<String>,
    /// For `deferred`: until when.
    pub not_before: Option<Instant>,
    /// For `deferred`: what it shares with those that it may be told with.
    pub digest_key: Option<String>,
    /// What it tells of others, beside itself: JSON.
    pub digest: Option<String>,
    /// For `digested`: the delivery that tells it.
    pub told_in: Option<DeliveryId>,
    /// Where a cap let it through: the recipient, the category, and whether in shadow mode.
    pub granted: Option<(i64, String, bool)>,
    /// The event's position, and what the ledger keeps; none where it waits on for what it waited for.
    pub ledger: Option<(i64, LedgerEntry)>,
}

/// What a batch of releases led to.
#[derive(Debug, Default)]
pub struct Released {
    /// The channels on which deliveries now wait to be sent.
    pub channels: HashSet<Channel>,
    /// How many deliveries were taken.
    pub taken: usize,
    /// What was decided about each of them, and why.
    pub verdicts: Vec<(DeliveryState, Option<String>)>,
    /// Notifications that ended.
    pub ended: Vec<Ended>,
    /// The events that were stored about those, to be published.
    pub events: Vec<NewEvent>,
}

#[derive(Serialize)]
struct ReleaseRow<'a> {
    notification_id: &'a NotificationId,
    channel: &'static str,
    state: DeliveryState,
    reason: Option<&'a str>,
    not_before: Option<Instant>,
    digest_key: Option<&'a str>,
    digest: Option<&'a str>,
    told_in: Option<String>,
    at: Instant,
}

fn release(releases: Bind) -> Statement<(Text, Text)> {
    Statement::new(
        "UPDATE deliveries d
         SET state = r.state, reason = r.reason, not_before = r.not_before,
             next_attempt_at = COALESCE(r.not_before, r.at), digest_key = r.digest_key, digest = r.digest,
             told_in = r.told_in, updated_at = statement_timestamp()
         FROM json_to_recordset(?::json) AS r(notification_id text, channel text, state text, reason text,
              not_before timestamptz, digest_key text, digest text, told_in text, at timestamptz)
         WHERE d.notification_id = r.notification_id AND d.channel = r.channel AND d.state = 'deferred'
           AND r.at = r.at + interval '0'
         RETURNING d.notification_id, d.channel",
        "UPDATE deliveries
         SET state = r.value->>'state', reason = r.value->>'reason', not_before = r.value->>'not_before',
             next_attempt_at = COALESCE(r.value->>'not_before', r.value->>'at'),
             digest_key = r.value->>'digest_key', digest = r.value->>'digest', told_in = r.value->>'told_in',
             updated_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
         FROM json_each(?) AS r
         WHERE notification_id = r.value->>'notification_id' AND channel = r.value->>'channel'
           AND state = 'deferred'
         RETURNING notification_id, channel",
        vec![releases],
    )
}

impl Store {
    /// Writes what becomes of deferred deliveries, all or none. `decide` is given what the recipients that
    /// `questions` are about were granted, but for these deliveries themselves, under a lock that keeps others
    /// from granting them more; and those of `due` that are still deferred, with the other deliveries of their
    /// notifications, under a lock that keeps others from changing them: what somebody else has released
    /// meanwhile is not decided on again.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn release(
        &self,
        epoch: i64,
        due: Vec<DeferredDelivery>,
        questions: Vec<CapQuestion>,
        decide: impl FnOnce(Granted, Vec<DeferredDelivery>) -> Vec<Release> + Send + 'static,
    ) -> Result<Released, StoreError> {
        transaction!(self, |conn| {
            let own: Vec<OwnRow<'_>> = due
                .iter()
                .map(|one| OwnRow { notification_id: &one.id.notification, channel: one.id.channel.as_str() })
                .collect();
            let own = rows(&own)?;
            let users = due.iter().map(|one| one.user_id);
            let granted = caps::look_but_for(conn, users, &questions, own).await?;
            let now = granted.now;
            let ids: Vec<NotificationId> = due.iter().map(|one| one.id.notification.clone()).collect();
            let ids: Vec<&NotificationId> = ids.iter().collect();
            let locked = lock(conn, &ids).await?;
            let standing: Vec<StandingTuple> = standing(rows(&ids)?).load(conn).await?;
            let releases = decide(granted, still_deferred(due, standing)?);
            let written: Vec<ReleaseRow<'_>> = releases.iter().map(|one| release_row(now, one)).collect();
            let taken: Vec<(String, String)> = release(rows(&written)?).load(conn).await?;
            let taken: HashSet<(String, String)> = taken.into_iter().collect();
            let key = |one: &&Release| (one.id.notification.0.clone(), one.id.channel.to_string());
            let taken: Vec<&Release> = releases.iter().filter(|one| taken.contains(&key(one))).collect();

            let over = taken.iter().filter(|one| !one.state.is_open());
            let over: Vec<&NotificationId> = over.map(|one| &one.id.notification).collect();
            if !over.is_empty() {
                // Whoever waits for it waits for nothing any more.
                hurry(rows(&over)?).execute(conn).await?;
            }

            let mut changes: BTreeMap<NotificationId, Counts> = BTreeMap::new();
            let mut counted = Changes::default();
            for one in &taken {
                *changes.entry(one.id.notification.clone()).or_default() +=
                    Counts::change(DeliveryState::Deferred, one.state);
                if let Some(notification) = locked.get(&one.id.notification) {
                    counted.note(notification, one.id.channel, DeliveryState::Deferred, one.state);
                }
            }
            let grants: Vec<GrantRow<'_>> = taken.iter().filter_map(|one| grant_row(now, one)).collect();
            if !grants.is_empty() {
                caps::insert_grants(rows(&grants)?).execute(conn).await?;
            }
            let decisions: Vec<DecisionRow<'_>> =
                taken.iter().filter_map(|one| decision_row(now, one)).collect();
            if !decisions.is_empty() {
                insert_decisions(rows(&decisions)?).execute(conn).await?;
            }
            let ended = apply(conn, &locked, &changes).await?;
            let events = ended_events(&ended, now);
            if !events.is_empty() {
                let made: Vec<EventRow<'_>> = events.iter().map(Into::into).collect();
                insert_closed(rows(&made)?).execute(conn).await?;
            }
            for statement in counted.statements(epoch)? {
                statement.execute(conn).await?;
            }
            let waiting = taken.iter().filter(|one| one.state == DeliveryState::Pending);
            let channels = waiting.map(|one| one.id.channel).collect();
            let verdicts = taken.iter().map(|one| (one.state, one.reason.clone())).collect();
            Ok(Released { channels, taken: taken.len(), verdicts, ended, events })
        })
    }
}

fn release_row(at: Instant, one: &Release) -> ReleaseRow<'_> {
    ReleaseRow {
        notification_id: &one.id.notification,
        channel: one.id.channel.as_str(),
        state: one.state,
        reason: one.reason.as_deref(),
        not_before: one.not_before,
        digest_key: one.digest_key.as_deref(),
        digest: one.digest.as_deref(),
        told_in: one.told_in.as_ref().map(ToString::to_string),
        at,
    }
}

fn grant_row(at: Instant, one: &Release) -> Option<GrantRow<'_>> {
    one.granted.as_ref().map(|(user_id, category, shadow)| GrantRow {
        notification_id: &one.id.notification,
        channel: one.id.channel.as_str(),
        user_id: *user_id,
        category,
        flood: None,
        shadow: *shadow,
        at,
    })
}

fn decision_row(at: Instant, one: &Release) -> Option<DecisionRow<'_>> {
    let (position, LedgerEntry { user_id, rules, record }) = one.ledger.as_ref()?;
    let (channel, user_id) = (one.id.channel.as_str(), *user_id);
    Some(DecisionRow { position: *position, at, channel, user_id, rules, record })
}
