//! The pages, and what every one of them is sent with.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, ResponseError, web};
use askama::Template;

use super::overview::Overview;
use crate::domain::Scope;
use crate::http::auth::Session;
use crate::http::{Api, Problem};
use crate::store::StoreError;

/// Nothing but what Herald itself serves is loaded, run, sent to or framed.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The page of notifications.
#[derive(Template)]
#[template(path = "notifications.html")]
struct Notifications<'a> {
    overview: Changing<'a>,
    notice: Option<String>,
}

/// The part of it that changes.
#[derive(Template)]
#[template(path = "overview.html")]
struct Changing<'a> {
    view: &'a Overview,
    csrf: &'a str,
    operates: bool,
}

/// A page of a few words.
#[derive(Template)]
#[template(path = "message.html")]
pub(super) struct Message<'a> {
    pub(super) title: &'a str,
    pub(super) lines: &'a [&'a str],
    /// An address, and the words that lead there.
    pub(super) link: (&'a str, &'a str),
}

/// An answer with the headers that every page has.
pub(super) fn answer(status: StatusCode) -> HttpResponseBuilder {
    let mut answer = HttpResponse::build(status);
    answer
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((CACHE_CONTROL, "no-store"));
    answer
}

/// A page.
pub(super) fn html(status: StatusCode, template: &impl Template) -> Result<HttpResponse, Refused> {
    let text = template.render().map_err(|error| {
        tracing::error!(%error, "a page could not be rendered");
        Refused(Problem::internal())
    })?;
    Ok(answer(status).content_type("text/html; charset=utf-8").body(text))
}

/// Sends the browser on, by GET.
pub(super) fn see(path: &str) -> HttpResponse {
    answer(StatusCode::SEE_OTHER).insert_header((LOCATION, path)).finish()
}

/// `/`.
pub(super) async fn root() -> HttpResponse {
    see("/notifications")
}

/// The page of notifications.
pub(super) async fn notifications(
    api: web::Data<Api>,
    request: HttpRequest,
) -> Result<HttpResponse, Refused> {
    let Some(session) = Session::of(&request, &api).await? else { return Ok(see("/login")) };
    session.needs(Scope::Read)?;
    let view = api.overview().await?;
    let csrf = session.form_token();
    let overview = Changing { view: &view, csrf: &csrf, operates: session.allows(Scope::Operate) };
    html(StatusCode::OK, &Notifications { overview, notice: notice(request.query_string()) })
}

/// The part that changes, for the page's script.
pub(super) async fn fragment(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, Refused> {
    let session = Session::of(&request, &api).await?.ok_or_else(Problem::unauthorized)?;
    session.needs(Scope::Read)?;
    let view = api.overview().await?;
    let csrf = session.form_token();
    html(StatusCode::OK, &Changing { view: &view, csrf: &csrf, operates: session.allows(Scope::Operate) })
}

/// What to say about a retry, from `retried=<how many>`: only a number is taken from the address.
fn notice(query: &str) -> Option<String> {
    let count: u32 = query.strip_prefix("retried=")?.parse().ok()?;
    Some(match count {
        0 => "Nothing was put back: somebody was faster, or it is not failed any more.".to_owned(),
        1 => "1 was put back to work.".to_owned(),
        count => format!("{count} were put back to work."),
    })
}

/// A problem, told to a person.
#[derive(Debug)]
pub(super) struct Refused(Problem);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self(error.into())
    }
}

impl ResponseError for Refused {
    fn status_code(&self) -> StatusCode {
        self.0.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let detail = self.0.detail();
        let link = match status {
            StatusCode::UNAUTHORIZED => ("/login", "Log in"),
            _ => ("/notifications", "To the dashboard"),
        };
        let words = match status {
            StatusCode::UNAUTHORIZED => "Your session has ended, or there was none.".to_owned(),
            _ => detail.chars().take(1).flat_map(char::to_uppercase).chain(detail.chars().skip(1)).collect(),
        };
        let message =
            Message { title: self.0.title(), lines: &[&format!("{words}.").replace("..", ".")], link };
        // A page that cannot be rendered still has its status.
        let mut response = html(status, &message).unwrap_or_else(|_| answer(status).finish());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(RETRY_AFTER, actix_web::http::header::HeaderValue::from_static("1"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_takes_nothing_but_a_number_from_the_address() {
        assert_eq!(notice("retried=1").as_deref(), Some("1 was put back to work."));
        assert_eq!(notice("retried=12").as_deref(), Some("12 were put back to work."));
        assert!(notice("retried=0").is_some());
        for query in ["", "retried=", "retried=-1", "retried=<b>", "retried=1&x=2", "notice=hello"] {
            assert_eq!(notice(query), None, "{query}");
        }
    }
}
