//! Claiming deliveries: a sender takes what is due.

use std::collections::HashMap;

use diesel::sql_types::{BigInt, Nullable, Text};
use diesel_async::RunQueryDsl;

use super::recipients::Contacts;
use super::shift::shift;
use super::types::Moment;
use super::{Bind, Statement, Store, StoreError, rows, transaction};
use crate::domain::{Channel, Counts, DeliveryId, DeliveryState, Instant, Lane, NotificationId};

/// Who holds a delivery: an instance's epoch, and one life of its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The instance's start.
    pub epoch: i64,
    /// The sender's life.
    pub life: i64,
}

/// A delivery under a claim, with all that is needed to render and send it.
#[derive(Clone)]
pub struct ClaimedDelivery {
    /// The delivery.
    pub id: DeliveryId,
    /// Who holds it.
    pub claim: Claim,
    /// The number of this attempt, from 1; with the claim it is the fencing token.
    pub attempt: i64,
    /// How many retries it has used since it was made, or last put back by an operator.
    pub retries: i64,
    /// How often an operator put it back.
    pub cycle: i64,
    /// The lane.
    pub lane: Lane,
    /// The event's id.
    pub event_id: String,
    /// The event's type.
    pub event_type: String,
    /// When it happened.
    pub occurred_at: Instant,
    /// The thing that it happened to.
    pub aggregate_id: String,
    /// The kind of that thing.
    pub aggregate_type: String,
    /// The event's payload, JSON text.
    pub payload: String,
    /// Traces the work across systems.
    pub correlation_id: Option<String>,
    /// The recipient's id.
    pub user_id: i64,
    /// The template's name.
    pub template: String,
    /// The recipient's name when the notification was made.
    pub name: Option<String>,
    /// The locale that it is rendered for.
    pub locale: Option<String>,
    /// The zone that it is rendered for.
    pub time_zone: Option<String>,
    /// After this it is of no use.
    pub expires_at: Option<Instant>,
    /// The recipient as known now; none where there is no such recipient.
    pub contacts: Option<Contacts>,
    /// Devices that are not to be tried: they accepted it, or refused it for good in this cycle.
    pub done_devices: Vec<String>,
    /// Whether a device has accepted it.
    pub accepted: bool,
    /// Whether its route was in shadow mode when it was decided on: everything but the send.
    pub shadow: bool,
    /// What it tells of others, beside itself: JSON.
    pub digest: Option<String>,
    /// When the recipient was read.
    pub read_at: std::time::Instant,
    /// Earlier attempts that may have been sent: by which provider, where that is known, and when.
    pub unknown: Vec<(Option<String>, Instant)>,
}

type TakenSql = (Text, BigInt, BigInt, BigInt, Text, Nullable<Text>, BigInt);
pub(super) type TakenTuple = (String, i64, i64, i64, String, Option<String>, i64);

/// Up to `limit` deliveries of a channel that are due, upper lanes first; locked, but for those that
/// another instance is about to take.
///
/// PostgreSQL looks at lane after lane, as long as rows are wanted: in each, those that are due stand at
/// the beginning of the index. Over all lanes at once it would pass over everything that waits for later,
/// such as a night's quiet hours. `statement_timestamp()` is stable, so the index serves;
/// `clock_timestamp()` is not.
fn due(channel: Channel, limit: i64, lower: i64) -> Statement<TakenSql> {
    Statement::new(
        "SELECT d.* FROM generate_series(0, 3) AS l(lane) CROSS JOIN LATERAL (
             SELECT notification_id, attempt::bigint, retries::bigint, cycle::bigint, state, digest, lane::bigint
             FROM deliveries
             WHERE channel = ? AND lane = l.lane AND state IN ('pending', 'retry')
               AND next_attempt_at <= statement_timestamp()
             ORDER BY next_attempt_at, notification_id
             LIMIT CASE WHEN l.lane < 2 THEN ? ELSE ? END FOR UPDATE SKIP LOCKED) d
         LIMIT $2",
        "SELECT notification_id, attempt, retries, cycle, state, digest, lane FROM deliveries
         WHERE channel = ? AND state IN ('pending', 'retry')
           AND next_attempt_at <= strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
         ORDER BY lane, next_attempt_at, notification_id LIMIT max(?, ?)",
        vec![Bind::Text(channel.to_string()), Bind::BigInt(limit), Bind::BigInt(lower)],
    )
}

fn take(channel: Channel, claim: Claim, ids: Bind) -> Statement {
    Statement::new(
        "UPDATE deliveries
         SET state = 'sending', attempt = attempt + 1, claim_epoch = ?, claim_life = ?,
             updated_at = statement_timestamp()
         WHERE channel = ? AND notification_id = ANY(ARRAY(SELECT json_array_elements_text(?::json)))",
        "UPDATE deliveries
         SET state = 'sending', attempt = attempt + 1, claim_epoch = ?, claim_life = ?,
             updated_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
         WHERE channel = ? AND notification_id IN (SELECT value FROM json_each(?))",
        vec![Bind::BigInt(claim.epoch), Bind::BigInt(claim.life), Bind::Text(channel.to_string()), ids],
    )
}

type DetailSql = (
    Text,
    BigInt,
    Text,
    Text,
    Moment,
    Text,
    Text,
    Text,
    Nullable<Text>,
    BigInt,
    Text,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Moment>,
    BigInt,
);
type DetailTuple = (
    String,
    i64,
    String,
    String,
    Instant,
    String,
    String,
    String,
    Option<String>,
    i64,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<Instant>,
    i64,
);

fn details(ids: Bind) -> Statement<DetailSql> {
    Statement::new(
        "SELECT n.id, n.lane::bigint, e.id, e.type, e.timestamp, e.aggregate_id, e.aggregate_type, e.payload::text,
                n.correlation_id, n.user_id, n.template, n.name, n.locale, n.time_zone, n.expires_at,
                n.shadow::int::bigint
         FROM notifications n CROSS JOIN LATERAL (SELECT * FROM domain_events WHERE id = n.event_id LIMIT 1) e
         WHERE n.id = ANY(ARRAY(SELECT json_array_elements_text(?::json)))",
        "SELECT n.id, n.lane, e.id, e.type, e.timestamp, e.aggregate_id, e.aggregate_type, e.payload,
                n.correlation_id, n.user_id, n.template, n.name, n.locale, n.time_zone, n.expires_at, n.shadow
         FROM notifications n JOIN domain_events e ON e.id = n.event_id
         WHERE n.id IN (SELECT value FROM json_each(?))",
        vec![ids],
    )
}

impl Store {
    /// Claims up to `limit` deliveries of a channel that are due, upper lanes first, in the order in
    /// which their events were stored.
    ///
    /// # Errors
    ///
    /// Transient ones only. Some may be claimed all the same: the sender's next look at its claims
    /// finds them.
    pub async fn claim(
        &self,
        channel: Channel,
        claim: Claim,
        limit: i64,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        self.claim_by_lanes(channel, claim, limit, limit).await
    }

    /// The same, with no more than `lower` of the lanes `normal` and `bulk` among them.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn claim_by_lanes(
        &self,
        channel: Channel,
        claim: Claim,
        limit: i64,
        lower: i64,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let taken: Vec<TakenTuple> = transaction!(self, |conn| {
            let mut taken: Vec<TakenTuple> = due(channel, limit, lower).load(conn).await?;
            let upper = taken.iter().filter(|row| row.6 <= Lane::High.rank()).count();
            taken.truncate(upper.saturating_add(usize::try_from(lower).unwrap_or_default()));
            if taken.is_empty() {
                return Ok(taken);
            }
            let ids: Vec<&str> = taken.iter().map(|row| row.0.as_str()).collect();
            take(channel, claim, rows(&ids)?).execute(conn).await?;
            for row in &mut taken {
                row.1 += 1;
            }
            // A retry that is being sent is no retry that waits: the notification's status follows.
            let changes = taken
                .iter()
                .filter(|row| row.4 == DeliveryState::Retry.as_str())
                .map(|row| {
                    (
                        NotificationId(row.0.clone()),
                        Counts::change(DeliveryState::Retry, DeliveryState::Sending),
                    )
                })
                .collect();
            shift(conn, &changes).await?;
            Ok(taken)
        })?;
        self.complete(channel, claim, taken).await
    }

    /// For each channel on which deliveries wait: when the first is due.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn next_due(&self) -> Result<Vec<(Channel, Instant)>, StoreError> {
        // A probe of the index for each channel and lane, however many wait.
        let statement = Statement::<(Text, Nullable<Moment>)>::same(
            "SELECT c.channel, (SELECT d.next_attempt_at FROM deliveries d
                                WHERE d.channel = c.channel AND d.lane = l.lane
                                  AND d.state IN ('pending', 'retry')
                                ORDER BY d.next_attempt_at LIMIT 1)
             FROM (SELECT 'push' AS channel UNION ALL SELECT 'email' UNION ALL SELECT 'sms') c,
                  (SELECT 0 AS lane UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) l",
            vec![],
        );
        let found: Vec<(String, Option<Instant>)> = self.read(statement).await?;
        let due = found.into_iter().filter_map(|(channel, at)| Some((channel.parse::<Channel>().ok()?, at?)));
        Ok(due.collect())
    }

    /// The deliveries that a claim holds, for a sender that compares them with what it has in hand.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn held_by(&self, channel: Channel, claim: Claim) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let statement = Statement::<TakenSql>::new(
            "SELECT notification_id, attempt::bigint, retries::bigint, cycle::bigint, state, digest, lane::bigint
             FROM deliveries WHERE state = 'sending' AND channel = ? AND claim_epoch = ? AND claim_life = ?",
            "SELECT notification_id, attempt, retries, cycle, state, digest, lane
             FROM deliveries WHERE state = 'sending' AND channel = ? AND claim_epoch = ? AND claim_life = ?",
            vec![Bind::Text(channel.to_string()), Bind::BigInt(claim.epoch), Bind::BigInt(claim.life)],
        );
        let held = self.read(statement).await?;
        self.complete(channel, claim, held).await
    }

    /// For each of these that is not at its first attempt: the attempts that ended `unknown`.
    async fn attempts_unknown(
        &self,
        channel: Channel,
        taken: &[TakenTuple],
    ) -> Result<HashMap<String, Vec<(Option<String>, Instant)>>, StoreError> {
        let again: Vec<&str> = taken.iter().filter(|row| row.1 > 1).map(|row| row.0.as_str()).collect();
        if again.is_empty() {
            return Ok(HashMap::new());
        }
        let statement = Statement::<(Text, Nullable<Text>, Moment)>::new(
            "SELECT notification_id, provider, at FROM notification_history
             WHERE channel = ? AND outcome = 'unknown'
               AND notification_id = ANY(ARRAY(SELECT json_array_elements_text(?::json)))",
            "SELECT notification_id, provider, at FROM notification_history
             WHERE channel = ? AND outcome = 'unknown'
               AND notification_id IN (SELECT value FROM json_each(?))",
            vec![Bind::Text(channel.to_string()), rows(&again)?],
        );
        let found: Vec<(String, Option<String>, Instant)> = self.read(statement).await?;
        let mut unknown: HashMap<_, Vec<_>> = HashMap::new();
        for (id, provider, at) in found {
            unknown.entry(id).or_default().push((provider, at));
        }
        Ok(unknown)
    }

    async fn complete(
        &self,
        channel: Channel,
        claim: Claim,
        taken: Vec<TakenTuple>,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        if taken.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = taken.iter().map(|row| row.0.as_str()).collect();
        let found: Vec<DetailTuple> = self.read(details(rows(&ids)?)).await?;
        let users = found.iter().map(|row| row.9).collect();
        let read_at = std::time::Instant::now();
        let contacts = self.contacts(users).await?;
        let mut unknown = self.attempts_unknown(channel, &taken).await?;
        let mut devices =
            if channel == Channel::Push { self.tried_devices(&taken).await? } else { HashMap::new() };
        let mut found: HashMap<String, DetailTuple> =
            found.into_iter().map(|row| (row.0.clone(), row)).collect();
        let mut claimed: Vec<ClaimedDelivery> = taken
            .into_iter()
            .filter_map(|(id, attempt, retries, cycle, _, digest, _)| {
                let (
                    _,
                    lane,
                    event_id,
                    event_type,
                    occurred_at,
                    aggregate_id,
                    aggregate_type,
                    payload,
                    correlation_id,
                    user_id,
                    template,
                    name,
                    locale,
                    time_zone,
                    expires_at,
                    shadow,
                ) = found.remove(&id)?;
                let tried = devices.remove(&id).unwrap_or_default();
                let unknown = unknown.remove(&id).unwrap_or_default();
                Some(ClaimedDelivery {
                    id: DeliveryId { notification: NotificationId(id), channel },
                    claim,
                    attempt,
                    retries,
                    cycle,
                    lane: Lane::from_rank(lane),
                    event_id,
                    event_type,
                    occurred_at,
                    aggregate_id,
                    aggregate_type,
                    payload,
                    correlation_id,
                    user_id,
                    template,
                    name,
                    locale,
                    time_zone,
                    expires_at,
                    shadow: shadow != 0,
                    digest,
                    read_at,
                    contacts: contacts.get(&user_id).cloned(),
                    unknown,
                    accepted: tried.iter().any(|(_, outcome, _)| outcome == "accepted"),
                    done_devices: tried
                        .into_iter()
                        .filter(|(_, outcome, in_cycle)| {
                            outcome == "accepted" || (outcome == "permanent" && *in_cycle == cycle)
                        })
                        .map(|(device, ..)| device)
                        .collect(),
                })
            })
            .collect();
        // RETURNING has no order of its own.
        claimed.sort_by(|a, b| (a.lane, &a.id).cmp(&(b.lane, &b.id)));
        Ok(claimed)
    }
}
