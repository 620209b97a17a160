//! `/v1/replays`.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};
use uuid::Uuid;

use super::json as respond;
use crate::actors::ReplayAsked;
use crate::domain::{Scope, parse_replay};
use crate::http::idempotency::{Answer, once};
use crate::http::{Api, Caller, Problem, body};
use crate::policy::ReplayReport;
use crate::store::ReplayRecord;

/// Asks for a replay: a dry run, unless it says `send`.
pub(super) async fn create(
    api: web::Data<Api>,
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Operate)?;
    let body = body::read(&request, payload, api.max_body).await?;
    let call = async {
        let asked = parse_replay(&body)?;
        let store = &api.instance.store;
        let id = Uuid::now_v7().to_string();
        let report = serde_json::to_string(&ReplayReport::default()).map_err(|_| Problem::internal())?;
        store.create_replay(&id, &asked, report, &caller.id).await?;
        api.replayer.do_send(ReplayAsked);
        let made = store.replay(&id).await?.ok_or_else(Problem::internal)?;
        Answer::new(StatusCode::ACCEPTED, &view(&made))
    };
    once(&api, &caller, &request, &body, call).await
}

/// One, with what it has found so far.
pub(super) async fn one(
    api: web::Data<Api>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Read)?;
    let found = if id.contains('\0') { None } else { api.instance.store.replay(&id).await? };
    respond(&view(&found.ok_or_else(|| Problem::not_found("replay"))?))
}

fn view(replay: &ReplayRecord) -> Value {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let mut filter = read(&replay.request);
    if let Some(filter) = filter.as_object_mut() {
        filter.remove("send");
        filter.remove("reason");
    }
    let (all, done) = (replay.until - replay.begins, replay.cursor - replay.begins);
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    let share =
        if all > 0 { done as f64 / all as f64 } else { f64::from(u8::from(replay.finished_at.is_some())) };
    json!({
        "id": replay.id,
        "state": replay.state,
        "filter": filter,
        "send": replay.send,
        "reason": replay.reason,
        "error": replay.error,
        "progress": (share * 1_000.0).round() / 1_000.0,
        "report": read(&replay.report),
        "requested_by": replay.requested_by,
        "created_at": replay.created_at,
        "updated_at": replay.updated_at,
        "finished_at": replay.finished_at,
    })
}
