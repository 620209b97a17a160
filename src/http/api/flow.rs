//! What came of an event, and why a customer was told or was not: `/v1/events/{id}/flow` and
//! `/v1/notifications/{id}/explain`.

use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::{json as respond, notifications};
use crate::domain::{EventOutcome, Instant, Scope};
use crate::http::{Api, Caller, Problem};
use crate::policy::{StoredRecord, delivery_in_words};
use crate::store::{Decision, EventFilter, EventRecord, NotificationFilter, NotificationRecord, WorkRecord};

/// The most notifications, and the most events caused, that are shown.
const MOST: i64 = 100;

/// An entry of the ledger.
#[derive(Serialize)]
pub(in crate::http) struct Decided {
    pub(in crate::http) at: Instant,
    /// The channel that it is about; none: all, when the event was handled.
    pub(in crate::http) channel: Option<crate::domain::Channel>,
    user_id: Option<i64>,
    /// The version of the rules.
    pub(in crate::http) rules: String,
    pub(in crate::http) words: Vec<String>,
    #[serde(flatten)]
    pub(in crate::http) record: StoredRecord,
}

impl From<Decision> for Decided {
    fn from(decision: Decision) -> Self {
        let record = StoredRecord::read(&decision.record);
        Self {
            at: decision.decided_at,
            channel: decision.channel,
            user_id: decision.user_id,
            rules: decision.rules,
            words: record.in_words(),
            record,
        }
    }
}

/// An event, without its content.
#[derive(Serialize)]
struct Named {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    timestamp: Instant,
    stored_at: Instant,
    outcome: EventOutcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<&EventRecord> for Named {
    fn from(event: &EventRecord) -> Self {
        Self {
            id: event.id.clone(),
            kind: event.kind.clone(),
            timestamp: event.timestamp,
            stored_at: event.created_at,
            outcome: event.outcome,
            reason: event.reason.clone(),
        }
    }
}

/// A delivery that was not sent, and why.
#[derive(Serialize)]
struct NotSent {
    delivery: String,
    channel: String,
    state: String,
    reason: Option<String>,
    words: String,
}

#[derive(Serialize)]
struct Flow {
    event: Named,
    words: Vec<String>,
    decisions: Vec<Decided>,
    notifications: Vec<NotificationRecord>,
    not_sent: Vec<NotSent>,
    work_items: Vec<WorkRecord>,
    caused: Vec<Named>,
}

/// Why a notification was sent, or not.
#[derive(Serialize)]
pub(in crate::http) struct Explanation {
    pub(in crate::http) words: Vec<String>,
    event: Named,
    pub(in crate::http) notification: NotificationRecord,
    pub(in crate::http) decisions: Vec<Decided>,
    not_sent: Vec<NotSent>,
}

/// All that came of one event.
pub(super) async fn of_event(
    api: web::Data<Api>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Read)?;
    let store = &api.instance.store;
    let event = if id.contains('\0') { None } else { store.event(&id).await? };
    let event = event.ok_or_else(|| Problem::not_found("event"))?;
    let decisions = decisions(&api, event.position).await?;
    let filter = NotificationFilter { event_id: Some(event.id.clone()), ..NotificationFilter::default() };
    let notifications = store.notifications(filter, None, MOST).await?.items;
    let work_items = store.work_of_event(&event.id).await?;
    let caused = caused(&api, &event).await?;
    let mut words = vec![event_in_words(&event)];
    for notification in &notifications {
        words.extend(variant_in_words(notification));
        words.extend(deliveries_in_words(notification));
    }
    let not_sent = notifications.iter().flat_map(not_sent).collect();
    respond(&Flow {
        event: (&event).into(),
        words,
        decisions,
        not_sent,
        notifications,
        work_items,
        caused: caused.iter().map(Into::into).collect(),
    })
}

/// Why one notification was sent, or not.
pub(super) async fn of_notification(
    api: web::Data<Api>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Read)?;
    respond(&explain(&api, &id).await?)
}

/// Explains a notification.
pub(in crate::http) async fn explain(api: &Api, id: &str) -> Result<Explanation, Problem> {
    let notification = notifications::find(api, id).await?;
    let event = api.instance.store.event(&notification.event_id).await?;
    let event = event.ok_or_else(|| Problem::not_found("event"))?;
    let mut decisions = decisions(api, event.position).await?;
    decisions.retain(|decided| decided.user_id.is_none_or(|user| user == notification.user_id));
    let mut words = vec![event_in_words(&event)];
    words.extend(variant_in_words(&notification));
    words.extend(deliveries_in_words(&notification));
    let (event, not_sent) = ((&event).into(), not_sent(&notification));
    Ok(Explanation { words, event, not_sent, decisions, notification })
}

async fn decisions(api: &Api, position: i64) -> Result<Vec<Decided>, Problem> {
    Ok(api.instance.store.decisions(position).await?.into_iter().map(Decided::from).collect())
}

/// The events that Herald made of it: about the ends of its notifications, and others that name it as
/// their cause. The latter are found by the correlation, which has an index.
async fn caused(api: &Api, event: &EventRecord) -> Result<Vec<EventRecord>, Problem> {
    let store = &api.instance.store;
    let correlation = event.metadata.as_deref().and_then(|metadata| {
        let metadata: serde_json::Value = serde_json::from_str(metadata).ok()?;
        metadata.get("correlationId")?.as_str().map(str::to_owned)
    });
    if let Some(correlation_id) = correlation {
        let filter = EventFilter {
            correlation_id: Some(correlation_id),
            causation_id: Some(event.id.clone()),
            ..EventFilter::default()
        };
        let mut found = store.events(filter, None, MOST).await?.items;
        found.reverse();
        return Ok(found);
    }
    let mut found = Vec::new();
    for (notification, ends) in store.times_ended(&event.id).await? {
        let id = crate::domain::NotificationId(notification);
        // An end of which nobody is told has no event.
        for nth in 1..=ends.min(MOST) {
            found.extend(store.event(&id.ended_event_id(nth)).await?);
        }
    }
    Ok(found)
}

fn event_in_words(event: &EventRecord) -> String {
    let what = match event.outcome {
        EventOutcome::Pending => "was stored, and is not handled yet".to_owned(),
        EventOutcome::Notified => "was handled: its recipient has a notification".to_owned(),
        EventOutcome::NotRouted => "told nobody: no route has its type, or the route is off".to_owned(),
        EventOutcome::NoRecipient => "told nobody: it names nobody that is to be told".to_owned(),
        EventOutcome::Failed => match &event.reason {
            Some(reason) => format!("could not be handled: {reason}"),
            None => "could not be handled".to_owned(),
        },
    };
    format!("The event {} ({}) {what}.", event.id, event.kind)
}

fn variant_in_words(notification: &NotificationRecord) -> Option<String> {
    let variant = notification.variant.as_ref()?;
    Some(format!("The recipient is in variant {variant}: its template is {}.", notification.template))
}

fn deliveries_in_words(notification: &NotificationRecord) -> Vec<String> {
    notification
        .deliveries
        .iter()
        .map(|delivery| {
            let until = delivery.not_before.or(delivery.next_attempt_at).map(Instant::to_rfc3339);
            delivery_in_words(
                &delivery.channel,
                &delivery.state,
                delivery.reason.as_deref(),
                until.as_deref(),
                delivery.told_in.as_deref(),
            )
        })
        .collect()
}

fn not_sent(notification: &NotificationRecord) -> Vec<NotSent> {
    notification
        .deliveries
        .iter()
        .zip(deliveries_in_words(notification))
        .filter(|(delivery, _)| !["sent", "delivered"].contains(&delivery.state.as_str()))
        .map(|(delivery, words)| NotSent {
            delivery: delivery.id.clone(),
            channel: delivery.channel.clone(),
            state: delivery.state.clone(),
            reason: delivery.reason.clone(),
            words,
        })
        .collect()
}
