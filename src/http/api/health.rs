//! `/health/live`, `/health/ready` and `/metrics`.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::json as respond;
use crate::http::{Api, Problem};
use crate::supervision::{Kind, State};

/// The process runs.
pub(super) async fn live() -> Result<HttpResponse, Problem> {
    respond(&json!({ "status": "live" }))
}

/// The process can do its work: the database answers, and every actor runs.
pub(super) async fn ready(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    if api.instance.is_stopping() {
        return Err(Problem::unavailable("the process is stopping"));
    }
    api.instance.store.ping().await?;
    let status = api.board.status();
    let down: Vec<_> = status
        .iter()
        .filter(|child| child.kind == Kind::Worker && child.state != State::Running)
        .map(|child| child.name.to_string())
        .collect();
    if !down.is_empty() {
        return Err(Problem::unavailable(format!("not running: {}", down.join(", "))));
    }
    respond(&json!({ "status": "ready" }))
}

/// The metrics, in Prometheus' text format.
pub(super) async fn metrics(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    if !api.serves_metrics {
        return Err(Problem::not_found("path"));
    }
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(api.render_metrics()))
}
