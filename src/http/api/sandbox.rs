//! `/v1/sandbox/messages`: what the sandbox provider was given, rendered.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;
use serde_json::value::RawValue;

use super::{Page, json as respond, mask, one_more};
use crate::domain::page::Cursor;
use crate::domain::{Channel, Scope};
use crate::http::query::Query;
use crate::http::{Api, Caller, Problem};
use crate::store::SandboxMessage;

/// The messages, newest first.
pub(super) async fn list(
    api: web::Data<Api>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Read)?;
    let mut query = Query::of(&request, &["event_id", "channel", "cursor", "limit"])?;
    let event_id = query.text("event_id");
    let channel: Option<Channel> = query.word("channel");
    let limit = query.limit();
    let before = query.cursor("sandbox", |cursor| match cursor {
        Cursor::Position(position) => Some(position),
        Cursor::Id(_) => None,
    });
    query.finish()?;
    let channel = channel.map(|channel| channel.to_string());
    let found = api.instance.store.sandbox_messages(event_id, channel, before, one_more(limit)).await?;
    let page =
        Page::of(found, limit, |message: &SandboxMessage| Cursor::Position(message.id).encode("sandbox"));
    let hide =
        |raw: Box<RawValue>| RawValue::from_string(mask::document(raw.get()).to_string()).unwrap_or(raw);
    let personal = caller.sees_personal();
    respond(&page.map(|mut message| {
        if !personal {
            message.to = hide(message.to);
            message.content = hide(message.content);
        }
        message
    }))
}

/// Forgets all messages.
pub(super) async fn clear(api: web::Data<Api>, caller: Caller) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Operate)?;
    let deleted = api.instance.store.clear_sandbox().await?;
    respond(&json!({ "deleted": deleted }))
}
