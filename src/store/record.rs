//! Recording what came of attempts: a batch of outcomes in one transaction.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;
use serde::Serialize;

use super::append::EventRow;
use super::decisions::{LaterRow, LedgerEntry, insert_later};
use super::shift::{Ended, apply, lock};
use super::stats::Changes;
use super::{Bind, Claim, Statement, Store, StoreError, rows, transaction};
use crate::domain::event::{Cause, MadeEvent};
use crate::domain::{
    AttemptOutcome, Counts, DeliveryId, DeliveryState, Document, Instant, NewEvent, NotificationId,
    NotificationStatus,
};

/// One try to send one delivery, to one device for push.
#[derive(Debug, Clone, Serialize)]
pub struct Attempted {
    /// The device, by the hash of its token.
    pub device: Option<String>,
    /// What it came to.
    pub outcome: AttemptOutcome,
    /// The provider's name.
    pub provider: Option<&'static str>,
    /// The provider's code.
    pub code: Option<String>,
    /// What went wrong, without personal data.
    pub error: Option<String>,
    /// The provider's id of the message.
    pub reference: Option<String>,
    /// How long it took, in milliseconds.
    pub latency_ms: Option<i64>,
}

impl Attempted {
    /// A try of which nothing but its outcome is known.
    pub const fn of(outcome: AttemptOutcome) -> Self {
        Self {
            device: None,
            outcome,
            provider: None,
            code: None,
            error: None,
            reference: None,
            latency_ms: None,
        }
    }
}

/// What came of a claimed delivery.
#[derive(Debug, Clone)]
pub struct DeliveryOutcome {
    /// The delivery.
    pub id: DeliveryId,
    /// Who held it.
    pub claim: Claim,
    /// The number of the attempt, from the claim.
    pub attempt: i64,
    /// From the claim.
    pub cycle: i64,
    /// The delivery's next state.
    pub state: DeliveryState,
    /// Why, where the state needs a reason; else the last error.
    pub reason: Option<String>,
    /// How many retries it has used, this one included.
    pub retries: i64,
    /// For `retry` and `deferred`: the time until the next attempt.
    pub wait: Option<Duration>,
    /// For `deferred`: not to be sent before this.
    pub not_before: Option<Instant>,
    /// What the ledger keeps, where the rules were asked again and said no.
    pub ledger: Option<LedgerEntry>,
    /// Whether another channel waits for how this one ends: what was to go later is due at once.
    pub hurries: bool,
    /// The provider's name.
    pub provider: Option<&'static str>,
    /// The provider's id of the message.
    pub reference: Option<String>,
    /// For SMS: how many segments.
    pub segments: Option<u16>,
    /// What it was rendered from.
    pub template_version: Option<String>,
    /// The attempts, for the history.
    pub attempts: Vec<Attempted>,
    /// Devices that are gone for good.
    pub gone_devices: Vec<String>,
}

impl DeliveryOutcome {
    /// A claimed delivery in its next state, of which nothing more is to be told.
    pub const fn of(
        id: DeliveryId,
        claim: Claim,
        attempt: i64,
        cycle: i64,
        retries: i64,
        state: DeliveryState,
    ) -> Self {
        Self {
            id,
            claim,
            attempt,
            cycle,
            state,
            reason: None,
            retries,
            wait: None,
            not_before: None,
            ledger: None,
            hurries: false,
            provider: None,
            reference: None,
            segments: None,
            template_version: None,
            attempts: Vec::new(),
            gone_devices: Vec::new(),
        }
    }
}

/// What a batch of outcomes led to.
#[derive(Debug, Default)]
pub struct Recorded {
    /// For each outcome, in order: whether it was taken. If not, the delivery is in other hands by
    /// now, or recorded already.
    pub taken: Vec<bool>,
    /// Notifications that ended.
    pub ended: Vec<Ended>,
    /// The events that were stored about those, to be published.
    pub events: Vec<NewEvent>,
}

#[derive(Serialize)]
struct OutcomeRow<'a> {
    notification_id: &'a NotificationId,
    channel: &'static str,
    epoch: i64,
    life: i64,
    attempt: i64,
    state: DeliveryState,
    reason: Option<&'a str>,
    retries: i64,
    wait: f64,
    not_before: Option<Instant>,
    provider: Option<&'static str>,
    reference: Option<&'a str>,
    segments: Option<u16>,
    template_version: Option<&'a str>,
    sent: bool,
}

#[derive(Serialize)]
struct HistoryRow<'a> {
    notification_id: &'a NotificationId,
    channel: &'static str,
    attempt: i64,
    cycle: i64,
    #[serde(flatten)]
    attempted: &'a Attempted,
}

impl Store {
    /// Records outcomes, all or none: the deliveries' states, the attempts, the notifications'
    /// counts, the statistics, and an event for each notification that ended.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn record(
        &self,
        epoch: i64,
        now: Instant,
        outcomes: Vec<DeliveryOutcome>,
    ) -> Result<Recorded, StoreError> {
        transaction!(self, |conn| {
            let ids: Vec<&NotificationId> = outcomes.iter().map(|outcome| &outcome.id.notification).collect();
            let locked = lock(conn, &ids).await?;
            // The first outcome of an attempt stands: which of two rows an UPDATE takes is not defined.
            let mut seen = HashSet::new();
            let first: Vec<bool> = outcomes
                .iter()
                .map(|outcome| seen.insert((&outcome.id, outcome.claim, outcome.attempt)))
                .collect();
            let written: Vec<OutcomeRow<'_>> = outcomes
                .iter()
                .zip(&first)
                .filter(|(_, first)| **first)
                .map(|(outcome, _)| outcome.into())
                .collect();
            let taken: Vec<(String, String, i64)> = end_attempts(rows(&written)?).load(conn).await?;
            let taken: HashSet<(String, String, i64)> = taken.into_iter().collect();
            let key = |outcome: &DeliveryOutcome| {
                (outcome.id.notification.0.clone(), outcome.id.channel.to_string(), outcome.attempt)
            };
            let taken: Vec<bool> = outcomes
                .iter()
                .zip(&first)
                .map(|(outcome, first)| *first && taken.contains(&key(outcome)))
                .collect();

            let mut history = Vec::new();
            let mut gone = Vec::new();
            let mut counted = Changes::default();
            let mut changes: BTreeMap<NotificationId, Counts> = BTreeMap::new();
            for outcome in outcomes.iter().zip(&taken).filter_map(|(outcome, taken)| taken.then_some(outcome))
            {
                history.extend(outcome.attempts.iter().map(|attempted| HistoryRow {
                    notification_id: &outcome.id.notification,
                    channel: outcome.id.channel.as_str(),
                    attempt: outcome.attempt,
                    cycle: outcome.cycle,
                    attempted,
                }));
                gone.extend(&outcome.gone_devices);
                *changes.entry(outcome.id.notification.clone()).or_default() +=
                    Counts::change(DeliveryState::Sending, outcome.state);
                if let Some(notification) = locked.get(&outcome.id.notification) {
                    counted.note(notification, outcome.id.channel, DeliveryState::Sending, outcome.state);
                }
            }
            let taken_ones = || outcomes.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(one, _)| one);
            let later: Vec<LaterRow<'_>> = taken_ones()
                .filter_map(|outcome| {
                    let event_id = &locked.get(&outcome.id.notification)?.event_id;
                    let entry = outcome.ledger.as_ref()?;
                    Some(LaterRow { event_id, at: now, channel: outcome.id.channel, entry })
                })
                .collect();
            if !later.is_empty() {
                insert_later(rows(&later)?).execute(conn).await?;
            }
            let hurried: Vec<&NotificationId> = taken_ones()
                .filter(|outcome| outcome.hurries)
                .map(|outcome| &outcome.id.notification)
                .collect();
            if !hurried.is_empty() {
                super::hurry::hurry(rows(&hurried)?).execute(conn).await?;
            }
            if !history.is_empty() {
                insert_history(rows(&history)?).execute(conn).await?;
            }
            let ended = apply(conn, &locked, &changes).await?;
            let events = ended_events(&ended, now);
            if !events.is_empty() {
                let made: Vec<EventRow<'_>> = events.iter().map(Into::into).collect();
                insert_closed(rows(&made)?).execute(conn).await?;
            }
            if !gone.is_empty() {
                super::devices::remove(rows(&gone)?).execute(conn).await?;
            }
            for statement in counted.statements(epoch)? {
                statement.execute(conn).await?;
            }
            Ok(Recorded { taken, ended, events })
        })
    }
}

impl<'a> From<&'a DeliveryOutcome> for OutcomeRow<'a> {
    fn from(outcome: &'a DeliveryOutcome) -> Self {
        Self {
            notification_id: &outcome.id.notification,
            channel: outcome.id.channel.as_str(),
            epoch: outcome.claim.epoch,
            life: outcome.claim.life,
            attempt: outcome.attempt,
            state: outcome.state,
            reason: outcome.reason.as_deref(),
            retries: outcome.retries,
            wait: outcome.wait.unwrap_or_default().as_secs_f64(),
            not_before: outcome.not_before,
            provider: outcome.provider,
            reference: outcome.reference.as_deref(),
            segments: outcome.segments,
            template_version: outcome.template_version.as_deref(),
            sent: outcome.state == DeliveryState::Sent,
        }
    }
}

/// The events about notifications that ended: `notification.sent` or `notification.failed`. They carry
/// the correlation of what caused them, and its id as their cause.
pub(super) fn ended_events(ended: &[Ended], now: Instant) -> Vec<NewEvent> {
    let event = |ended: &Ended| {
        let kind = match ended.status {
            NotificationStatus::Sent | NotificationStatus::Partial => "notification.sent",
            NotificationStatus::Failed => "notification.failed",
            _ => return None,
        };
        let payload = Document::of(&serde_json::json!({
            "notificationId": ended.id,
            "eventId": ended.event_id,
            "eventType": ended.event_type,
            "userId": ended.user_id,
            "status": ended.status,
            "success": ended.sent,
            "failed": ended.failed,
        }))
        .ok()?;
        let made = MadeEvent {
            id: ended.id.ended_event_id(ended.nth),
            kind,
            aggregate_type: "notification",
            aggregate_id: &ended.id.0,
            payload,
            user_id: Some(ended.user_id),
            cause: Some(Cause { event_id: &ended.event_id, correlation_id: ended.correlation_id.as_deref() }),
            at: now,
        };
        made.into_event().ok()
    };
    ended.iter().filter_map(event).collect()
}

/// Ends attempts. Epoch, life and attempt fence: a row that is in other hands does not match.
fn end_attempts(outcomes: Bind) -> Statement<(Text, Text, BigInt)> {
    Statement::new(
        "UPDATE deliveries d
         SET state = o.state, reason = o.reason, retries = o.retries, provider = COALESCE(o.provider, d.provider),
             reference = COALESCE(o.reference, d.reference), segments = COALESCE(o.segments, d.segments),
             template_version = COALESCE(o.template_version, d.template_version),
             next_attempt_at = statement_timestamp() + make_interval(secs => o.wait),
             not_before = COALESCE(o.not_before, d.not_before),
             sent_at = CASE WHEN o.sent THEN statement_timestamp() ELSE d.sent_at END,
             claim_epoch = NULL, claim_life = NULL, updated_at = statement_timestamp()
         FROM json_to_recordset(?::json) AS o(notification_id text, channel text, epoch bigint, life bigint,
              attempt smallint, state text, reason text, retries smallint, wait double precision,
              not_before timestamptz, provider text,
              reference text, segments smallint, template_version text, sent boolean)
         WHERE d.notification_id = o.notification_id AND d.channel = o.channel AND d.state = 'sending'
           AND d.claim_epoch = o.epoch AND d.claim_life = o.life AND d.attempt = o.attempt
           AND o.epoch = o.epoch + 0
         RETURNING d.notification_id, d.channel, d.attempt::bigint",
        "UPDATE deliveries
         SET state = o.value->>'state', reason = o.value->>'reason', retries = o.value->>'retries',
             provider = COALESCE(o.value->>'provider', provider),
             reference = COALESCE(o.value->>'reference', reference),
             segments = COALESCE(o.value->>'segments', segments),
             template_version = COALESCE(o.value->>'template_version', template_version),
             next_attempt_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', (o.value->>'wait') || ' seconds'),
             not_before = COALESCE(o.value->>'not_before', not_before),
             sent_at = CASE WHEN o.value->>'sent' THEN strftime('%Y-%m-%dT%H:%M:%f000Z', 'now') ELSE sent_at END,
             claim_epoch = NULL, claim_life = NULL, updated_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')
         FROM json_each(?) AS o
         WHERE notification_id = o.value->>'notification_id' AND channel = o.value->>'channel'
           AND state = 'sending' AND claim_epoch = o.value->>'epoch' AND claim_life = o.value->>'life'
           AND attempt = o.value->>'attempt'
         RETURNING notification_id, channel, attempt",
        vec![outcomes],
    )
}

fn insert_history(attempts: Bind) -> Statement {
    Statement::new(
        "INSERT INTO notification_history (notification_id, channel, attempt, cycle, device, outcome, provider,
             code, error, reference, latency_ms)
         SELECT notification_id, channel, attempt, cycle, device, outcome, provider, code, error, reference, latency_ms
         FROM json_to_recordset(?::json) AS r(notification_id text, channel text, attempt smallint, cycle smallint,
              device text, outcome text, provider text, code text, error text, reference text, latency_ms integer)",
        "INSERT INTO notification_history (notification_id, channel, attempt, cycle, device, outcome, provider,
             code, error, reference, latency_ms)
         SELECT value->>'notification_id', value->>'channel', value->>'attempt', value->>'cycle', value->>'device',
             value->>'outcome', value->>'provider', value->>'code', value->>'error', value->>'reference',
             value->>'latency_ms'
         FROM json_each(?)",
        vec![attempts],
    )
}

/// Stores events of Herald's own that nobody handles: closed from the start.
pub(super) fn insert_closed(events: Bind) -> Statement {
    Statement::new(
        "INSERT INTO domain_events (id, type, aggregate_id, aggregate_type, payload, metadata, timestamp, processed,
             origin, outcome)
         SELECT id, type, aggregate_id, aggregate_type, payload, metadata, timestamp, TRUE, 'herald', 'not_routed'
         FROM json_to_recordset(?::json) AS r(id text, type text, aggregate_id text, aggregate_type text,
              payload jsonb, metadata jsonb, timestamp timestamptz)
         ON CONFLICT (id) DO NOTHING",
        "INSERT INTO domain_events (id, type, aggregate_id, aggregate_type, payload, metadata, timestamp, processed,
             origin, outcome)
         SELECT value->>'id', value->>'type', value->>'aggregate_id', value->>'aggregate_type', value->'payload',
             value->'metadata', value->>'timestamp', TRUE, 'herald', 'not_routed'
         FROM json_each(?) WHERE TRUE ON CONFLICT (id) DO NOTHING",
        vec![events],
    )
}
