//! Logging in, by a link that works once or with a token, and out.

use std::time::Duration;

use actix_web::cookie::{Cookie, SameSite, time};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::forms;
use super::page::{Message, Refused, html, see};
use crate::domain::{Scope, Scopes, Token};
use crate::http::auth::{self, COOKIE, Caller, Session, hash_secret, login_secret};
use crate::http::{Api, Problem};
use crate::store::Login;

/// How long a session lasts: a working day.
const SESSION_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// The length of a login secret: 32 bytes in Base64.
const SECRET: usize = 43;

/// The form for a token.
#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    error: Option<&'static str>,
}

fn page(status: StatusCode, error: Option<&'static str>) -> Result<HttpResponse, Refused> {
    html(status, &LoginPage { error })
}

/// Whether this caller may try to log in now.
fn may_try(api: &Api, request: &HttpRequest) -> bool {
    api.dashboard.attempts.admits(request.peer_addr().map(|address| address.ip()))
}

/// The form.
pub(super) async fn form(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, Refused> {
    if Session::of(&request, &api).await?.is_some() {
        return Ok(see("/notifications"));
    }
    page(StatusCode::OK, None)
}

/// Logs in by a link, which is used up by it.
pub(super) async fn with_link(
    api: web::Data<Api>,
    request: HttpRequest,
    secret: web::Path<String>,
) -> Result<HttpResponse, Refused> {
    if !may_try(&api, &request) {
        return page(StatusCode::TOO_MANY_REQUESTS, Some(TOO_OFTEN));
    }
    let well_formed = secret.len() == SECRET && secret.bytes().all(|byte| byte.is_ascii_graphic());
    let scopes = match well_formed {
        true => api.instance.store.use_up_login(Login::Link, &hash_secret(&secret)).await?,
        false => None,
    };
    match scopes {
        Some(scopes) => enter(&api, &scopes, None).await,
        None => html(StatusCode::GONE, &USED),
    }
}

const TOO_OFTEN: &str = "Too many tries from your address. Wait a minute, then try again.";
const WRONG: &str = "This token is not known here: it is mistyped, expired or revoked.";
const NO_READ: &str = "This token lacks the scope read, which the dashboard needs.";

const USED: Message<'static> = Message {
    title: "This link does not work any more",
    lines: &[
        "A login link works once, within 15 minutes. This one has been used, or its time is up.",
        "Herald prints a new one each time it starts; or log in with an API token.",
    ],
    link: ("/login", "Log in with a token"),
};

/// What the form sends.
#[derive(Deserialize)]
struct TokenForm {
    token: String,
}

/// Logs in with a token.
pub(super) async fn with_token(
    api: web::Data<Api>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Refused> {
    let form: TokenForm = forms::read(&api, &request, payload).await?;
    if !may_try(&api, &request) {
        return page(StatusCode::TOO_MANY_REQUESTS, Some(TOO_OFTEN));
    }
    let Ok(token) = Token::parse(form.token.trim()) else {
        return page(StatusCode::UNAUTHORIZED, Some(WRONG));
    };
    let Some(caller) = Caller::with(&api, &token).await? else {
        return page(StatusCode::UNAUTHORIZED, Some(WRONG));
    };
    if caller.needs(Scope::Read).is_err() {
        return page(StatusCode::FORBIDDEN, Some(NO_READ));
    }
    enter(&api, &caller.scopes.to_string(), Some(&caller.id)).await
}

/// Begins a session, which ends with the token that it was begun with.
async fn enter(api: &Api, scopes: &str, token: Option<&str>) -> Result<HttpResponse, Refused> {
    let scopes: Scopes = scopes.parse().map_err(|_| Problem::internal())?;
    let (secret, hash) = login_secret().map_err(|_| Problem::internal())?;
    api.instance.store.begin_session(&hash, &scopes.to_string(), SESSION_LIFETIME, token).await?;
    tracing::info!(session = auth::short(&hash), token, %scopes, "somebody logged in to the dashboard");
    let mut response = see("/notifications");
    let lifetime = time::Duration::try_from(SESSION_LIFETIME).unwrap_or(time::Duration::HOUR);
    let set = response.add_cookie(&cookie(api, secret, lifetime));
    set.map_err(|_| Problem::internal())?;
    Ok(response)
}

/// `Lax` and not `Strict`: a link that is opened from a mail or a chat leads on to the page by a
/// redirect, on which a strict cookie would not be sent.
fn cookie(api: &Api, secret: String, lifetime: time::Duration) -> Cookie<'static> {
    Cookie::build(COOKIE, secret)
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(api.dashboard.by_tls())
        .max_age(lifetime)
        .finish()
}

/// What the button sends.
#[derive(Deserialize)]
struct LeaveForm {
    #[serde(default)]
    csrf: String,
}

/// Ends the session.
pub(super) async fn leave(
    api: web::Data<Api>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Refused> {
    let form: LeaveForm = forms::read(&api, &request, payload).await?;
    if let Some(session) = Session::of(&request, &api).await? {
        session.check_form(&form.csrf)?;
        api.instance.store.use_up_login(Login::Session, session.hash()).await?;
    }
    let mut response = see("/login");
    let set = response.add_cookie(&cookie(&api, String::new(), time::Duration::ZERO));
    set.map_err(|_| Problem::internal())?;
    Ok(response)
}
