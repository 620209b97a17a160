//! What FCM's answers mean: by `details[].errorCode`, not by the HTTP status alone
//! (<https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode>).

use std::time::Duration;

use serde::Deserialize;

use crate::{
    domain::AttemptOutcome::{Accepted, Permanent, Transient, Unknown},
    policy::Sign,
    providers::{Report, http_client::Answer},
};

/// FCM's rule for a 429 without `Retry-After`.
const QUOTA_WAIT: Duration = Duration::from_secs(60);

/// FCM's rule: no retry sooner after a 5xx.
const SERVER_WAIT: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Success {
    name: String,
}

#[derive(Deserialize)]
struct Failure {
    error: Status,
}

/// google.rpc.Status as the JSON of Google's APIs has it.
#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    status: String,
    #[serde(default)]
    details: Vec<Detail>,
}

/// One of several types, told apart by their fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    #[serde(rename = "@type", default)]
    kind: String,
    #[serde(default)]
    error_code: Option<String>,
    #[serde(default)]
    field_violations: Vec<Violation>,
}

#[derive(Deserialize)]
struct Violation {
    #[serde(default)]
    field: String,
}

impl Status {
    fn of(answer: &Answer) -> Option<Self> {
        serde_json::from_slice::<Failure>(&answer.body).ok().map(|failure| failure.error)
    }

    fn fcm_code(&self) -> Option<&str> {
        self.details
            .iter()
            .filter(|detail| detail.kind.ends_with("FcmError"))
            .find_map(|d| d.error_code.as_deref())
    }

    fn blames_the_token(&self) -> bool {
        self.details
            .iter()
            .flat_map(|detail| &detail.field_violations)
            .any(|violation| violation.field == "message.token")
    }
}

/// A 401 that is about the access token, and not about a key for APNs or web push.
pub(super) fn rejects_the_bearer(answer: &Answer) -> bool {
    answer.status.as_u16() == 401 && Status::of(answer).is_none_or(|status| status.fcm_code().is_none())
}

/// The report of an answer.
pub(super) fn report(answer: &Answer) -> Report {
    let http = answer.status.as_u16();
    if (200..300).contains(&http) {
        return match serde_json::from_slice::<Success>(&answer.body) {
            Ok(success) => Report { reference: Some(success.name), ..Report::of(Accepted) },
            Err(_) => {
                Report::failed(Unknown, answer.code(), "the answer says success, but is not one of FCM's")
            }
        };
    }
    let status = Status::of(answer);
    let Some(code) = status.as_ref().and_then(Status::fcm_code) else {
        return without_code(answer, status.as_ref());
    };
    let at_least = |wait: Duration| Some(answer.retry_after.unwrap_or(wait).max(wait));
    let failed = |outcome, error: &str| Report::failed(outcome, code, error);
    match code {
        "UNREGISTERED" => Report {
            gone: true,
            ..failed(Permanent, "the app is no longer installed on this device, or the token expired")
        },
        "INVALID_ARGUMENT" if status.as_ref().is_some_and(Status::blames_the_token) => {
            Report { gone: true, ..failed(Permanent, "the device's token is none") }
        }
        "INVALID_ARGUMENT" => failed(Permanent, "FCM does not take this message: it may be over 4096 bytes"),
        "SENDER_ID_MISMATCH" => failed(
            Permanent,
            "the device's token belongs to another Firebase project: check push.fcm.service_account",
        )
        .and_misconfigured(true)
        // One device may be left over from another project.
        .and_sign(Sign::Answers),
        "THIRD_PARTY_AUTH_ERROR" => {
            failed(Transient, "FCM cannot log in to APNs or web push: check the keys in the Firebase project")
                .and_misconfigured(true)
                // The devices of the other platforms are served.
                .and_sign(Sign::Nothing)
        }
        "QUOTA_EXCEEDED" => failed(Transient, "FCM's quota is used up")
            .and_retry_after(Some(answer.retry_after.unwrap_or(QUOTA_WAIT))),
        "UNAVAILABLE" | "INTERNAL" => {
            failed(Transient, "FCM has a fault of its own").and_retry_after(at_least(SERVER_WAIT))
        }
        _ => failed(Unknown, "FCM gives no reason that is known").and_retry_after(at_least(SERVER_WAIT)),
    }
}

/// The answer of a proxy, of Google's front end, or of an API that is not FCM. It never says anything
/// about the device.
fn without_code(answer: &Answer, status: Option<&Status>) -> Report {
    let http = answer.status.as_u16();
    let at_least = Some(answer.retry_after.unwrap_or(SERVER_WAIT).max(SERVER_WAIT));
    let failed = |outcome, error: &str| Report::failed(outcome, answer.code(), error);
    match (http, status) {
        (429, _) => failed(Transient, "FCM's quota is used up")
            .and_retry_after(Some(answer.retry_after.unwrap_or(QUOTA_WAIT))),
        (400, Some(status)) if status.status == "INVALID_ARGUMENT" => {
            let gone = status.blames_the_token();
            Report { gone, ..failed(Permanent, "FCM does not take this message or token") }
        }
        (500 | 503, Some(_)) => failed(Transient, "FCM has a fault of its own").and_retry_after(at_least),
        (401, _) => failed(Transient, "FCM refuses a fresh access token: check the service account")
            .and_misconfigured(true),
        (403, _) => {
            failed(Transient, "the service account may not send in this project, or the API is not enabled")
                .and_misconfigured(true)
        }
        (300..500, _) => {
            failed(Transient, "this is no answer of FCM: check push.fcm.endpoint and the project")
                .and_misconfigured(true)
        }
        _ => failed(Unknown, "the server broke off without saying whether it took the message")
            .and_retry_after(at_least),
    }
}
