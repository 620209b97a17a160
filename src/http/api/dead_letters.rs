//! `/v1/dead-letters`.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::{Page, json as respond, one_more};
use crate::domain::page::Cursor;
use crate::domain::{Channel, Instant, Scope};
use crate::http::idempotency::{Answer, once};
use crate::http::query::Query;
use crate::http::{Api, Caller, Problem, body};
use crate::store::{DeadLetter, DeadLetterFilter};

/// The most dead letters that one call changes. A filter that has more is applied to so many, and the
/// answer says that there are more.
const AT_ONCE: usize = 1_000;
const KINDS: [&str; 3] = ["delivery", "work_item", "event"];

/// What is dead, newest first.
pub(super) async fn list(
    api: web::Data<Api>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Read)?;
    let mut query = Query::of(&request, &["kind", "channel", "error", "from", "to", "cursor", "limit"])?;
    let filter = DeadLetterFilter {
        kind: query.text("kind"),
        channel: query.word("channel"),
        error: query.text("error"),
        from: query.moment("from"),
        to: query.moment("to"),
        ..DeadLetterFilter::default()
    };
    let limit = query.limit();
    let after = query.cursor("dead-letters").and_then(|cursor| match cursor {
        Cursor::Id(id) => {
            id.split_once(' ').and_then(|(at, id)| Some((Instant::parse(at).ok()?, id.to_owned())))
        }
        Cursor::Position(_) => None,
    });
    query.finish()?;
    check_kind(filter.kind.as_deref(), "/kind")?;
    let found = api.instance.store.dead_letters(filter, after, one_more(limit)).await?;
    let cursor = |letter: &DeadLetter| {
        Cursor::Id(format!("{} {}", letter.died_at.to_rfc3339(), letter.id)).encode("dead-letters")
    };
    respond(&Page::of(found, limit, cursor))
}

fn check_kind(kind: Option<&str>, pointer: &str) -> Result<(), Problem> {
    match kind {
        Some(kind) if !KINDS.contains(&kind) => {
            Err(Problem::field(pointer, format!("must be one of {}", KINDS.join(" "))))
        }
        _ => Ok(()),
    }
}

/// Which dead letters are meant: by their ids, or by what they have in common.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Selection {
    ids: Option<Vec<String>>,
    filter: Option<SelectionFilter>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectionFilter {
    kind: Option<String>,
    channel: Option<Channel>,
    error: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

impl Selection {
    fn read(body: &[u8]) -> Result<DeadLetterFilter, Problem> {
        let selection: Self = serde_json::from_slice(body).map_err(|error| {
            Problem::field("", format!("expected {{\"ids\": […]}} or {{\"filter\": {{…}}}}: {error}"))
        })?;
        match (selection.ids, selection.filter) {
            (Some(ids), None) if ids.len() <= AT_ONCE => {
                Ok(DeadLetterFilter { ids: Some(ids), ..DeadLetterFilter::default() })
            }
            (Some(_), None) => Err(Problem::field("/ids", format!("holds more than {AT_ONCE} ids"))),
            (None, Some(filter)) => {
                check_kind(filter.kind.as_deref(), "/filter/kind")?;
                let moment = |text: Option<String>, pointer: &str| match text.as_deref().map(Instant::parse) {
                    Some(Err(_)) => Err(Problem::field(pointer, "must be a time with an offset (RFC 3339)")),
                    Some(Ok(at)) => Ok(Some(at)),
                    None => Ok(None),
                };
                Ok(DeadLetterFilter {
                    kind: filter.kind,
                    channel: filter.channel,
                    error: filter.error,
                    from: moment(filter.from, "/filter/from")?,
                    to: moment(filter.to, "/filter/to")?,
                    ..DeadLetterFilter::default()
                })
            }
            _ => Err(Problem::field("", "give either `ids` or `filter`")),
        }
    }
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
        let filter = Selection::read(&body)?;
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
