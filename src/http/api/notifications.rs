//! `/v1/notifications`.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::{Page, json as respond, one_more};
use crate::domain::page::Cursor;
use crate::domain::{NotificationId, Scope};
use crate::http::idempotency::{Answer, once};
use crate::http::query::Query;
use crate::http::{Api, Caller, Problem, body};
use crate::store::{DeadLetterFilter, NotificationFilter, NotificationRecord};

/// Searches notifications, newest first.
pub(super) async fn list(
    api: web::Data<Api>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Read)?;
    let mut query = Query::of(
        &request,
        &[
            "user_id",
            "event_type",
            "event_id",
            "channel",
            "status",
            "state",
            "provider",
            "from",
            "to",
            "correlation_id",
            "cursor",
            "limit",
        ],
    )?;
    let filter = NotificationFilter {
        user_id: query.value("user_id", "an integer"),
        event_type: query.text("event_type"),
        event_id: query.text("event_id"),
        channel: query.word("channel"),
        status: query.word("status"),
        state: query.word("state"),
        provider: query.text("provider"),
        from: query.moment("from"),
        to: query.moment("to"),
        correlation_id: query.text("correlation_id"),
        id: None,
    };
    let limit = query.limit();
    let before = query.cursor("notifications", |cursor| match cursor {
        Cursor::Id(id) => Some(NotificationId(id)),
        Cursor::Position(_) => None,
    });
    query.finish()?;
    let found = api.instance.store.notifications(filter, before, one_more(limit)).await?;
    let cursor = |record: &NotificationRecord| Cursor::Id(record.id.clone()).encode("notifications");
    let at = |position| {
        let [id, _] = NotificationId::range((position, position));
        Cursor::Id(id).encode("notifications")
    };
    respond(&Page::of_search(found, limit, cursor, at))
}

/// One notification, with its deliveries and attempts.
pub(super) async fn one(
    api: web::Data<Api>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Read)?;
    let found = find(&api, &id).await?;
    respond(&found)
}

pub(super) async fn find(api: &Api, id: &str) -> Result<NotificationRecord, Problem> {
    let missing = || Problem::not_found("notification");
    if id.contains('\0') {
        return Err(missing());
    }
    let filter = NotificationFilter { id: Some(id.to_owned()), ..NotificationFilter::default() };
    let found = api.instance.store.notifications(filter, None, 1).await?.items;
    found.into_iter().next().ok_or_else(missing)
}

/// Puts the dead deliveries of a notification back.
pub(super) async fn retry(
    api: web::Data<Api>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Operate)?;
    let body = body::read(&request, payload, api.max_body).await?;
    let call = async {
        let notification = find(&api, &id).await?;
        let filter = DeadLetterFilter { notification: Some(notification.id), ..DeadLetterFilter::default() };
        let letters = api.instance.store.dead_letters(filter, None, 100).await?;
        let (retried, _) =
            api.instance.store.resolve_dead_letters(api.instance.epoch(), letters, true).await?;
        Answer::new(StatusCode::ACCEPTED, &json!({ "retried": retried }))
    };
    once(&api, &caller, &request, &body, call).await
}
