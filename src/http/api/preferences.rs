//! `/v1/users/{id}/preferences`: what a recipient wishes.

use actix_web::http::header::{ETAG, Header, HeaderValue, IF_MATCH, IfMatch};
use actix_web::{HttpRequest, HttpResponse, web};

use super::users::user_id;
use crate::domain::preferences::{parse_preferences, patch_preferences};
use crate::domain::{FieldError, Preferences, Scope};
use crate::http::{Api, Caller, Problem, body};
use crate::store::{Expected, StoreError, StoredPreferences};

/// What a recipient wishes, with its version as `ETag`.
pub(super) async fn get(
    api: web::Data<Api>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Read)?;
    let found = api.instance.store.preferences(user_id(&id)?).await?;
    found.map(|stored| show(&stored)).ok_or_else(|| Problem::not_found("user"))
}

/// Replaces all of it.
pub(super) async fn put(
    api: web::Data<Api>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    change(api, caller, &id, &request, payload, |_, body, api| {
        parse_preferences(body, |kind| api.is_mandatory(kind), &api.rules.bank.quiet_hours)
    })
    .await
}

/// Changes it by a merge patch (RFC 7396).
pub(super) async fn patch(
    api: web::Data<Api>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    change(api, caller, &id, &request, payload, |current, body, api| {
        patch_preferences(current, body, |kind| api.is_mandatory(kind), &api.rules.bank.quiet_hours)
    })
    .await
}

async fn change(
    api: web::Data<Api>,
    caller: Caller,
    id: &str,
    request: &HttpRequest,
    payload: web::Payload,
    change: impl FnOnce(&Preferences, &[u8], &Api) -> Result<Preferences, Vec<FieldError>> + Send + 'static,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::PreferencesWrite)?;
    let user = user_id(id)?;
    let expected = expected(request)?;
    let body = body::read(request, payload, api.max_body).await?;
    let shared = api.clone().into_inner();
    let changed = api
        .instance
        .store
        .change_preferences(user, expected, move |current| change(current, &body, &shared))
        .await;
    match changed {
        Ok(Some(Ok(stored))) => {
            api.deferred_due();
            Ok(show(&stored))
        }
        Ok(Some(Err(errors))) => Err(Problem::invalid(errors)),
        Ok(None) => Err(Problem::not_found("user")),
        Err(StoreError::Stale) => Err(Problem::precondition_failed()),
        Err(error) => Err(error.into()),
    }
}

/// The versions that the caller has seen, where it says so: strong tags alone can match (RFC 9110 §13.1.1).
fn expected(request: &HttpRequest) -> Result<Expected, Problem> {
    if !request.headers().contains_key(IF_MATCH) {
        return Ok(Expected::Any);
    }
    match IfMatch::parse(request) {
        Ok(IfMatch::Any) => Ok(Expected::Any),
        Ok(IfMatch::Items(tags)) => {
            let strong = tags.iter().filter(|tag| !tag.weak);
            // A tag that Herald never gave is no version.
            Ok(Expected::OneOf(strong.filter_map(|tag| tag.tag().parse().ok()).collect()))
        }
        Err(_) => Err(Problem::precondition_failed()),
    }
}

fn show(stored: &StoredPreferences) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", stored.version)) {
        response.insert_header((ETAG, tag));
    }
    response.content_type("application/json").body(stored.preferences.to_json())
}
