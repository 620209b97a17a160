//! `/v1/tokens`.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::json as respond;
use crate::domain::Scope;
use crate::http::{Api, Caller, Problem};

/// All tokens, without their secrets, newest first.
pub(super) async fn list(api: web::Data<Api>, caller: Caller) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Admin)?;
    let items = api.instance.store.tokens().await?;
    respond(&json!({ "items": items, "next_cursor": null }))
}
