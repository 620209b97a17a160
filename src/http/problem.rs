//! Errors as the outside sees them: `application/problem+json` (RFC 9457).

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use crate::actors::{AppendError, IngestError};
use crate::domain::FieldError;
use crate::store::StoreError;

/// What went wrong. It never shows SQL or personal data.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    #[serde(skip)]
    retry_after: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, name: &str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/problems/{name}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    /// What kind of problem it is, in words.
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// What went wrong this time, and what to do.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// 400: each error names the field.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] if one.pointer.is_empty() => one.detail.clone(),
            [one] => format!("{}: {}", one.pointer, one.detail),
            all => format!("{} fields are not valid", all.len()),
        };
        Self {
            errors,
            ..Self::new(StatusCode::BAD_REQUEST, "invalid-request", "The request is not valid", detail)
        }
    }

    /// 400 for one field.
    pub fn field(pointer: &str, detail: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError::new(pointer, detail)])
    }

    /// 401.
    pub fn unauthorized() -> Self {
        let detail = "send `Authorization: Bearer <token>` with a token that is neither expired nor revoked";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Authentication is required", detail)
    }

    /// 403: the scope that is missing.
    pub fn forbidden(scope: &str) -> Self {
        let detail = format!("this call needs a token with the scope `{scope}`");
        Self::new(StatusCode::FORBIDDEN, "forbidden", "The token lacks a scope", detail)
    }

    /// 403: a browser's session was used from elsewhere.
    pub fn cross_site() -> Self {
        let detail = "the form's token is missing or wrong: load the page again";
        Self::new(StatusCode::FORBIDDEN, "cross-site", "The request does not come from the page", detail)
    }

    /// 404.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", format!("there is no such {what}"))
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        let detail = "this path exists, with another method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
    }

    /// 412: it has changed since the caller has seen it (RFC 9110 §13.1.1).
    pub fn precondition_failed() -> Self {
        let detail = "it has changed since the version that If-Match names: read it again";
        Self::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", "It has changed", detail)
    }

    /// 408.
    pub fn slow() -> Self {
        let detail = "the request's body did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", "The request was too slow", detail)
    }

    /// 409: an event with this id exists, with other content.
    pub fn conflict(pointer: String, detail: &str) -> Self {
        Self {
            errors: vec![FieldError::new(pointer, detail)],
            ..Self::new(StatusCode::CONFLICT, "conflict", "The id is taken by other content", detail)
        }
    }

    /// The same about one event that was not sent in an array: pointers begin at the event.
    #[must_use]
    pub fn of_single(mut self) -> Self {
        for error in &mut self.errors {
            if let Some(rest) = error.pointer.strip_prefix("/0") {
                error.pointer = rest.to_owned();
            }
        }
        self
    }

    /// 409: the first request with this key is under way.
    pub fn in_flight() -> Self {
        let detail = "the first request with this Idempotency-Key has not been answered yet";
        Self {
            retry_after: Some(1),
            ..Self::new(StatusCode::CONFLICT, "in-flight", "Still under way", detail)
        }
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        let detail = format!("the body is larger than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
    }

    /// 415.
    pub fn media_type(detail: &str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "The media type is not supported", detail)
    }

    /// 422: the key was used for another request.
    pub fn key_reused() -> Self {
        let detail = "this Idempotency-Key was used for another request";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", "The key was used before", detail)
    }

    /// 503, to be tried again.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self {
            retry_after: Some(1),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not possible at the moment", detail)
        }
    }

    /// 500.
    pub fn internal() -> Self {
        let detail = "an error on Herald's side; its log says more";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.status)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let body = serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned());
        let mut response =
            HttpResponse::build(self.status_code()).content_type("application/problem+json").body(body);
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == 401 {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Vec<FieldError>> for Problem {
    fn from(errors: Vec<FieldError>) -> Self {
        Self::invalid(errors)
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        Self::invalid(vec![error])
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_transient() {
            tracing::warn!(%error, "a request could not be served");
            return Self::unavailable("the database is not reachable or too busy; try again");
        }
        tracing::error!(%error, "a request failed");
        Self::internal()
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Full | IngestError::NoAnswer => Self::unavailable(error.to_string()),
            IngestError::Refused(AppendError::Conflict(conflict)) => {
                let detail = format!("the event `{}` exists, with other content", conflict.id);
                Self::conflict(format!("/{}/id", conflict.index), &detail)
            }
            IngestError::Refused(AppendError::Store(error)) => error.into(),
        }
    }
}
