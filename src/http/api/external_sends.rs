//! `/v1/external-sends`: what the system that Herald replaces has sent, beside what Herald would have.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Page, json as respond, one_more};
use crate::domain::page::Cursor;
use crate::domain::{Channel, Scope, parse_external_sends};
use crate::http::idempotency::{Answer, once};
use crate::http::query::Query;
use crate::http::{Api, Caller, Problem, body};
use crate::store::{ComparedEvent, SendFilter, SendTotals};

/// How many unknown events are named.
const UNKNOWN_NAMED: i64 = 100;

/// Notes what the old system has sent. Events that Herald does not know are kept: they may come later.
pub(super) async fn report(
    api: web::Data<Api>,
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::EventsWrite)?;
    let body = body::read(&request, payload, api.max_body).await?;
    let call = async {
        let sends = parse_external_sends(&body)?;
        let stored = api.instance.store.report_sends(&sends).await?;
        Answer::new(StatusCode::ACCEPTED, &json!({ "stored": stored }))
    };
    once(&api, &caller, &request, &body, call).await
}

/// A line of the totals.
#[derive(Serialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    channel: Channel,
    #[serde(flatten)]
    totals: SendTotals,
}

#[derive(Serialize)]
struct Comparison {
    #[serde(flatten)]
    page: Page<ComparedEvent>,
    /// On the first page alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    totals: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown_events: Option<Value>,
}

/// Event by event, newest first; with the first page the totals.
pub(super) async fn compare(
    api: web::Data<Api>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Read)?;
    let known = ["from", "to", "type", "channel", "differ", "cursor", "limit"];
    let mut query = Query::of(&request, &known)?;
    let filter = SendFilter {
        kind: query.text("type"),
        channel: query.word("channel"),
        from: query.moment("from"),
        to: query.moment("to"),
        differ: query.value("differ", "true or false").unwrap_or_default(),
    };
    let limit = query.limit();
    let before = query.cursor("external-sends", |cursor| match cursor {
        Cursor::Position(position) => Some(position),
        Cursor::Id(_) => None,
    });
    query.finish()?;
    let store = &api.instance.store;
    let found = store.compare_sends(filter.clone(), before, one_more(limit)).await?;
    let (mut totals, mut unknown_events) = (None, None);
    if before.is_none() {
        let comparison = store.compare_totals(&filter).await?;
        let line = |((kind, channel), totals)| Line { kind, channel, totals };
        let lines: Vec<Line> = comparison.totals.into_iter().map(line).collect();
        totals = Some(json!({ "complete": comparison.complete, "by_type_and_channel": lines }));
        let (count, ids) = store.sends_of_unknown_events(UNKNOWN_NAMED).await?;
        unknown_events = Some(json!({ "count": count, "ids": ids }));
    }
    let at = |position: i64| Cursor::Position(position).encode("external-sends");
    let page = Page::of_search(found, limit, |event| at(event.position), at);
    respond(&Comparison { page, totals, unknown_events })
}
