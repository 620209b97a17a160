//! `/v1/runtime`: the supervision tree.

use std::time::SystemTime;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::json;

use super::json as respond;
use crate::domain::{Instant, Scope};
use crate::http::idempotency::{Answer, once};
use crate::http::{Api, Caller, Problem, body};
use crate::supervision::ChildStatus;

/// One actor or supervisor.
#[derive(Serialize)]
struct Actor {
    name: String,
    supervisor: Option<String>,
    kind: &'static str,
    state: &'static str,
    since: Instant,
    restarts: u64,
    last_error: Option<String>,
    last_error_at: Option<Instant>,
    mailbox: usize,
    in_flight: usize,
    handled: u64,
    stalled: bool,
}

fn instant(at: SystemTime) -> Instant {
    chrono::DateTime::<chrono::Utc>::from(at).into()
}

impl From<ChildStatus> for Actor {
    fn from(status: ChildStatus) -> Self {
        Self {
            name: status.name.to_string(),
            supervisor: status.supervisor.map(|name| name.to_string()),
            kind: status.kind.as_str(),
            state: status.state.as_str(),
            since: instant(status.since),
            restarts: status.restarts,
            last_error: status.last_error.map(|exit| exit.to_string()),
            last_error_at: status.last_error_at.map(instant),
            mailbox: status.queued,
            in_flight: status.in_flight,
            handled: status.handled,
            stalled: status.stalled,
        }
    }
}

/// The tree, with what waits where.
pub(super) async fn tree(api: web::Data<Api>, caller: Caller) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Read)?;
    let instance = &api.instance;
    let controls = instance.controls();
    let paused: Vec<_> = controls.paused.iter().map(|channel| channel.as_str()).collect();
    let hands: Vec<_> = instance
        .hands()
        .iter()
        .map(|hand| json!({ "channel": hand.channel(), "in_hand": hand.held(), "life": hand.life() }))
        .collect();
    let providers: Vec<_> = api
        .carriers
        .iter()
        .map(|carrier| {
            let view = carrier.view(instance.now());
            json!({
                "channel": view.channel,
                "provider": view.provider,
                "role": if view.is_fallback { "fallback" } else { "first" },
                "breaker": view.breaker,
                "since": view.since,
                "failures": view.failures,
                "next_probe_at": view.next_probe_at,
            })
        })
        .collect();
    let actors: Vec<Actor> = api.board.status().into_iter().map(Actor::from).collect();
    respond(&json!({
        "instance": { "name": instance.name, "epoch": instance.epoch(), "holds_lease": instance.holds_lease(),
                      "live": instance.live() },
        "dispatch": { "held": controls.held, "events_being_stored": api.ingest.waiting() },
        "redis": api.redis.as_ref().map(|counts| counts.snapshot()),
        "channels": { "paused": paused, "hands": hands, "providers": providers },
        "actors": actors,
    }))
}

/// Asks one actor to finish what it has, and start anew.
pub(super) async fn restart(
    api: web::Data<Api>,
    caller: Caller,
    actor: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Operate)?;
    let body = body::read(&request, payload, api.max_body).await?;
    let call = async {
        api.board.restart(&actor).map_err(|_| Problem::not_found("actor"))?;
        tracing::info!(actor = %actor, by = caller.id, "a restart was asked for");
        Answer::new(StatusCode::ACCEPTED, &json!({ "actor": actor.as_str(), "status": "restarting" }))
    };
    once(&api, &caller, &request, &body, call).await
}
