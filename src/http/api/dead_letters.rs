//! `/v1/dead-letters`.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::{Page, json as respond, one_more};
use crate::domain::page::Cursor;
use crate::domain::{DeadLetterKind, DeadLetterSelection, Instant, Scope, parse_dead_letter_selection};
use crate::http::idempotency::{Answer, once};
use crate::http::query::Query;
use crate::http::{Api, Caller, Problem, body};
use crate::store::{DeadLetter, DeadLetterFilter};

/// The most dead letters that one call changes. A filter that has more is applied to so many, and the
/// answer says that there are more.
const AT_ONCE: usize = 1_000;

/// What is dead, newest first.
pub(super) async fn list(
    api: web::Data<Api>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Read)?;
    let mut query = Query::of(&request, &["kind", "channel", "error", "from", "to", "cursor", "limit"])?;
    let filter = DeadLetterFilter {
        kind: query.word::<DeadLetterKind>("kind").map(|kind| kind.to_string()),
        channel: query.word("channel"),
        error: query.text("error"),
        from: query.moment("from"),
        to: query.moment("to"),
        ..DeadLetterFilter::default()
    };
    let limit = query.limit();
    let after = query.cursor("dead-letters", |cursor| match cursor {
        Cursor::Id(id) => {
            id.split_once(' ').and_then(|(at, id)| Some((Instant::parse(at).ok()?, id.to_owned())))
        }
        Cursor::Position(_) => None,
    });
    query.finish()?;
    let found = api.instance.store.dead_letters(filter, after, one_more(limit)).await?;
    let cursor = |letter: &DeadLetter| {
        Cursor::Id(format!("{} {}", letter.died_at.to_rfc3339(), letter.id)).encode("dead-letters")
    };
    respond(&Page::of(found, limit, cursor))
}

fn selected(body: &[u8]) -> Result<DeadLetterFilter, Problem> {
    Ok(match parse_dead_letter_selection(body, AT_ONCE)? {
        DeadLetterSelection::Ids(ids) => DeadLetterFilter { ids: Some(ids), ..DeadLetterFilter::default() },
        DeadLetterSelection::Fitting { kind, channel, error, from, to } => DeadLetterFilter {
            kind: kind.map(|kind| kind.to_string()),
            channel,
            error,
            from,
            to,
            ..DeadLetterFilter::default()
        },
    })
}

/// Puts dead letters back to work.
pub(super) async fn retry(
    api: web::Data<Api>,
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    resolve(&api, &caller, &request, payload, true).await
}

/// Gives dead letters up.
pub(super) async fn discard(
    api: web::Data<Api>,
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    resolve(&api, &caller, &request, payload, false).await
}

async fn resolve(
    api: &Api,
    caller: &Caller,
    request: &HttpRequest,
    payload: web::Payload,
    retry: bool,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Operate)?;
    let body = body::read(request, payload, api.max_body).await?;
    let call = async {
        let filter = selected(&body)?;
        let mut letters = api.instance.store.dead_letters(filter, None, one_more(AT_ONCE)).await?;
        let more = letters.len() > AT_ONCE;
        letters.truncate(AT_ONCE);
        let (changed, _) =
            api.instance.store.resolve_dead_letters(api.instance.epoch(), letters, retry).await?;
        let word = if retry { "retried" } else { "discarded" };
        Answer::new(StatusCode::ACCEPTED, &json!({ word: changed, "more": more }))
    };
    once(api, caller, request, &body, call).await
}
