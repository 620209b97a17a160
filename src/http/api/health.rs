//! `/health/live`, `/health/ready` and `/metrics`.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::json as respond;
use crate::actors::{NotReady, readiness};
use crate::http::{Api, Problem};

/// The process runs.
pub(super) async fn live() -> Result<HttpResponse, Problem> {
    respond(&json!({ "status": "live" }))
}

/// The process can do its work: the database answers, and every actor runs.
pub(super) async fn ready(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    match readiness(&api.instance, &api.board).await {
        Ok(()) => respond(&json!({ "status": "ready" })),
        Err(NotReady::Database(error)) => Err(error.into()),
        Err(reason) => Err(Problem::unavailable(reason.to_string())),
    }
}

/// The metrics, in Prometheus' text format.
pub(super) async fn metrics(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    if !api.serves_metrics {
        return Err(Problem::not_found("path"));
    }
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(api.render_metrics()))
}
