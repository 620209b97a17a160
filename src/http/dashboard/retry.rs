//! The buttons that put dead letters back to work.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::forms;
use super::page::{Refused, see};
use crate::domain::Scope;
use crate::http::auth::Session;
use crate::http::{Api, Problem};
use crate::store::DeadLetterFilter;

/// The most that one press of a button puts back.
const AT_ONCE: i64 = 1_000;

/// What a button sends.
#[derive(Deserialize)]
struct RetryForm {
    #[serde(default)]
    csrf: String,
    /// The dead letter; none: all of them.
    letter: Option<String>,
}

/// Puts one dead letter back, or all.
pub(super) async fn any(
    api: web::Data<Api>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Refused> {
    retry(&api, &request, payload, None).await
}

/// Puts back what is dead of one notification.
pub(super) async fn of_notification(
    api: web::Data<Api>,
    request: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Refused> {
    retry(&api, &request, payload, Some(id.into_inner())).await
}

async fn retry(
    api: &Api,
    request: &HttpRequest,
    payload: web::Payload,
    notification: Option<String>,
) -> Result<HttpResponse, Refused> {
    let form: RetryForm = forms::read(api, request, payload).await?;
    let Some(session) = Session::of(request, api).await? else { return Ok(see("/login")) };
    session.check_form(&form.csrf)?;
    session.needs(Scope::Operate)?;
    let named = [&notification, &form.letter];
    if named.iter().any(|id| id.as_ref().is_some_and(|id| id.contains('\0'))) {
        return Err(Problem::not_found("dead letter").into());
    }
    let filter = DeadLetterFilter {
        notification,
        ids: form.letter.map(|letter| vec![letter]),
        ..DeadLetterFilter::default()
    };
    let store = &api.instance.store;
    let letters = store.dead_letters(filter, None, AT_ONCE).await?;
    let (retried, _) = store.resolve_dead_letters(api.instance.epoch(), letters, true).await?;
    tracing::info!(retried, by = session.id(), "dead letters were put back to work");
    api.forget_overview().await;
    Ok(see(&format!("/notifications?retried={retried}")))
}
