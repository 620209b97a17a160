//! `/v1/events`.

use std::collections::BTreeSet;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::{Instant as Tick, sleep_until, timeout_at};

use super::{Page, json, mask, one_more};
use crate::domain::event::cloudevents;
use crate::domain::page::Cursor;
use crate::domain::{DeliveryState, EventOutcome, Instant, NewEvent, Scope};
use crate::http::idempotency::{Answer, once};
use crate::http::query::Query;
use crate::http::{Api, Caller, Problem, body};
use crate::store::{Appended, EventEnds, EventFilter, EventRecord};

/// The longest that a caller may wait for the deliveries.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often it is looked whether they have ended: at first, and later on.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_millis(250);

#[derive(Serialize)]
struct Published {
    id: String,
    status: &'static str,
    /// Only for a caller that waits.
    #[serde(flatten)]
    told: Option<Told>,
}

/// What came of an event so far.
#[derive(Serialize)]
struct Told {
    outcome: EventOutcome,
    deliveries: Vec<ToldDelivery>,
}

#[derive(Serialize)]
struct ToldDelivery {
    channel: String,
    state: String,
    reason: Option<String>,
}

impl Told {
    fn of(ends: EventEnds) -> Self {
        let delivery = |(channel, state, reason)| ToldDelivery { channel, state, reason };
        Self { outcome: ends.outcome, deliveries: ends.deliveries.into_iter().map(delivery).collect() }
    }

    fn has_ended(&self) -> bool {
        let is_open = |delivery: &ToldDelivery| {
            delivery.state.parse::<DeliveryState>().is_ok_and(DeliveryState::is_open)
        };
        self.outcome != EventOutcome::Pending && !self.deliveries.iter().any(is_open)
    }
}

/// Looks until every delivery of the events has ended or the time is up; says whether all have. The events are
/// stored by now: a database that does not answer meanwhile changes nothing about that, and is asked again.
async fn wait_for_ends(api: &Api, published: &mut [Published], wait: Duration) -> bool {
    let deadline = Tick::now() + wait;
    let mut pause = LOOK_EVERY;
    loop {
        let open = published.iter().filter(|event| !event.told.as_ref().is_some_and(Told::has_ended));
        let open: BTreeSet<&String> = open.map(|event| &event.id).collect();
        let open: Vec<String> = open.into_iter().cloned().collect();
        if open.is_empty() {
            return true;
        }
        match timeout_at(deadline, api.instance.store.ends_of_events(&open)).await {
            Ok(Ok(found)) => {
                for event in published.iter_mut() {
                    // An array may name an event twice.
                    if let Some(ends) = found.get(&event.id) {
                        event.told = Some(Told::of(ends.clone()));
                    }
                }
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "a caller waits, and what came of its events could not be read yet");
                metrics::counter!("herald_store_errors_total", "during" => "wait").increment(1);
            }
            Err(_) => return false,
        }
        if published.iter().all(|event| event.told.as_ref().is_some_and(Told::has_ended)) {
            return true;
        }
        if Tick::now() >= deadline || api.instance.is_stopping() {
            return false;
        }
        sleep_until(deadline.min(Tick::now() + pause)).await;
        pause = (pause * 5 / 4).min(LOOK_AT_LEAST_EVERY);
    }
}

#[derive(Serialize)]
struct PublishedAll {
    events: Vec<Published>,
}

/// Stores events, one or an array, all or nothing: 202 means that they are committed.
pub(super) async fn publish(
    api: web::Data<Api>,
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::EventsWrite)?;
    let mut query = Query::of(&request, &["wait"])?;
    let wait = query.duration("wait", LONGEST_WAIT);
    query.finish()?;
    let body = body::read(&request, payload, api.max_body).await?;
    let call = async {
        let (events, single) = parse(&request, &body)?;
        let ids: Vec<String> = events.iter().map(|event| event.id.clone()).collect();
        let appended = api.ingest.store(events).await.map_err(|error| {
            let problem = Problem::from(error);
            if single { problem.of_single() } else { problem }
        })?;
        let mut published: Vec<Published> = ids
            .into_iter()
            .zip(appended)
            .map(|(id, appended)| Published {
                id,
                status: match appended {
                    Appended::Stored(_) => "stored",
                    Appended::Duplicate => "duplicate",
                },
                told: None,
            })
            .collect();
        let ended = match wait {
            Some(wait) => wait_for_ends(&api, &mut published, wait).await,
            None => false,
        };
        if wait.is_some() {
            // What could not be read in time.
            published.iter_mut().filter(|event| event.told.is_none()).for_each(|event| {
                event.told = Some(Told { outcome: EventOutcome::Pending, deliveries: Vec::new() });
            });
        }
        let status = if ended { StatusCode::OK } else { StatusCode::ACCEPTED };
        Answer::new(status, &PublishedAll { events: published })
    };
    once(&api, &caller, &request, &body, call).await
}

/// Reads the body as what its headers say it is; also whether it is one event and no array.
fn parse(request: &HttpRequest, body: &[u8]) -> Result<(Vec<NewEvent>, bool), Problem> {
    let headers = request.headers();
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_json = |content_type: &str| {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence == "application/json" || essence.ends_with("+json") || essence == "text/json"
    };
    if content_type.is_some_and(|content_type| !is_json(content_type)) {
        return Err(Problem::media_type("send application/json, or a CloudEvent as its specification says"));
    }
    let fields: Vec<(&str, &[u8])> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let events = cloudevents::parse_request(content_type, fields.iter().copied(), body)?;
    let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    Ok((events, !is_array))
}

/// An event as the API shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    timestamp: Instant,
    aggregate_id: String,
    aggregate_type: String,
    payload: Box<RawValue>,
    metadata: Option<Box<RawValue>>,
    outcome: EventOutcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(rename = "created_at")]
    created_at: Instant,
}

fn show(event: EventRecord, caller: &Caller) -> Result<Shown, Problem> {
    let (payload, metadata) = if caller.sees_personal() {
        (event.payload, event.metadata)
    } else {
        (
            mask::document(&event.payload).to_string(),
            event.metadata.map(|metadata| mask::metadata(&metadata).to_string()),
        )
    };
    let raw = |text| RawValue::from_string(text).map_err(|_| Problem::internal());
    Ok(Shown {
        id: event.id,
        kind: event.kind,
        timestamp: event.timestamp,
        aggregate_id: event.aggregate_id,
        aggregate_type: event.aggregate_type,
        payload: raw(payload)?,
        metadata: metadata.map(raw).transpose()?,
        outcome: event.outcome,
        reason: event.reason,
        created_at: event.created_at,
    })
}

/// Searches events, newest first.
pub(super) async fn list(
    api: web::Data<Api>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Read)?;
    let mut query = Query::of(
        &request,
        &[
            "type",
            "aggregate_id",
            "aggregate_type",
            "user_id",
            "outcome",
            "correlation_id",
            "from",
            "to",
            "cursor",
            "limit",
        ],
    )?;
    let filter = EventFilter {
        kind: query.text("type"),
        aggregate_id: query.text("aggregate_id"),
        aggregate_type: query.text("aggregate_type"),
        user_id: query.value("user_id", "an integer"),
        outcome: query.word("outcome"),
        correlation_id: query.text("correlation_id"),
        causation_id: None,
        from: query.moment("from"),
        to: query.moment("to"),
    };
    let limit = query.limit();
    let before = query.cursor("events", |cursor| match cursor {
        Cursor::Position(position) => Some(position),
        Cursor::Id(_) => None,
    });
    query.finish()?;
    let found = api.instance.store.events(filter, before, one_more(limit)).await?;
    let at = |position| Cursor::Position(position).encode("events");
    let page = Page::of_search(found, limit, |event| at(event.position), at);
    let items = page.items.into_iter().map(|event| show(event, &caller)).collect::<Result<Vec<_>, _>>()?;
    json(&Page { items, next_cursor: page.next_cursor })
}

/// One event.
pub(super) async fn one(
    api: web::Data<Api>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Read)?;
    let found = if id.contains('\0') { None } else { api.instance.store.event(&id).await? };
    json(&show(found.ok_or_else(|| Problem::not_found("event"))?, &caller)?)
}
