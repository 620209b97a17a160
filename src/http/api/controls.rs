//! `/v1/channels/{channel}/pause|resume` and `/v1/dispatch/hold|resume`: stored, so that every
//! instance follows.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use crate::domain::{Channel, Scope};
use crate::http::idempotency::{Answer, once};
use crate::http::{Api, Caller, Problem, body};

async fn set_channel(
    api: &Api,
    caller: &Caller,
    channel: &str,
    request: &HttpRequest,
    payload: web::Payload,
    paused: bool,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Operate)?;
    let channel: Channel = channel.parse().map_err(|_| Problem::not_found("channel"))?;
    let body = body::read(request, payload, api.max_body).await?;
    let call = async {
        api.instance.store.pause_channel(channel, paused).await?;
        api.follow_controls().await?;
        tracing::info!(%channel, paused, by = caller.id, "a channel was paused or resumed");
        Answer::new(StatusCode::OK, &json!({ "channel": channel, "paused": paused }))
    };
    once(api, caller, request, &body, call).await
}

/// Nothing more is sent on a channel.
pub(super) async fn pause(
    api: web::Data<Api>,
    caller: Caller,
    channel: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    set_channel(&api, &caller, &channel, &request, payload, true).await
}

/// A channel goes on.
pub(super) async fn resume(
    api: web::Data<Api>,
    caller: Caller,
    channel: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    set_channel(&api, &caller, &channel, &request, payload, false).await
}

async fn set_dispatch(
    api: &Api,
    caller: &Caller,
    request: &HttpRequest,
    payload: web::Payload,
    held: bool,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Operate)?;
    let body = body::read(request, payload, api.max_body).await?;
    let call = async {
        api.instance.store.hold_dispatch(held).await?;
        api.follow_controls().await?;
        tracing::info!(held, by = caller.id, "dispatch was held or resumed");
        Answer::new(StatusCode::OK, &json!({ "held": held }))
    };
    once(api, caller, request, &body, call).await
}

/// Events are stored, and neither handled nor sent.
pub(super) async fn hold(
    api: web::Data<Api>,
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    set_dispatch(&api, &caller, &request, payload, true).await
}

/// Events are handled again.
pub(super) async fn release(
    api: web::Data<Api>,
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    set_dispatch(&api, &caller, &request, payload, false).await
}
