//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a POST that is sent again with its
//! key gets the first one's answer. Keys belong to the token, and are remembered for a day.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use sha2::{Digest, Sha256};

use super::{Api, Caller, Problem};
use crate::store::Remembered;

/// What a POST answers: a status and a JSON text.
pub(super) struct Answer {
    status: StatusCode,
    body: String,
}

impl Answer {
    /// An answer with this status and body.
    ///
    /// # Errors
    ///
    /// 500 if the body cannot be written as JSON.
    pub(super) fn new(status: StatusCode, body: &impl serde::Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_string(body).map_err(|_| Problem::internal())?;
        Ok(Self { status, body })
    }

    fn respond(self) -> HttpResponse {
        HttpResponse::build(self.status).content_type("application/json").body(self.body)
    }
}

/// Carries a POST out, or answers as the first one with the same key was answered.
///
/// # Errors
///
/// The call's own; 409 while the first is under way, 422 if the key was used for another request.
pub(super) async fn once(
    api: &Api,
    caller: &Caller,
    request: &HttpRequest,
    body: &[u8],
    call: impl Future<Output = Result<Answer, Problem>>,
) -> Result<HttpResponse, Problem> {
    let Some(key) = key(request)? else { return call.await.map(Answer::respond) };
    let mut hash = Sha256::new();
    hash.update(request.method().as_str());
    hash.update(request.uri().to_string());
    hash.update(body);
    let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let store = &api.instance.store;
    match store.remember(&caller.id, &key, &hash).await? {
        Remembered::New => {}
        Remembered::InFlight => return Err(Problem::in_flight()),
        Remembered::OtherRequest => return Err(Problem::key_reused()),
        Remembered::Answer(status, body) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            return Ok(Answer { status, body }.respond());
        }
    }
    let result = call.await;
    // A refusal is not remembered: the corrected request may use the key again. If the answer cannot
    // be kept, the key frees itself after a minute.
    let kept = result.as_ref().ok().map(|answer| (answer.status.as_u16(), answer.body.clone()));
    if let Err(error) = store.answer(&caller.id, &key, kept).await {
        tracing::warn!(%error, "the answer to an Idempotency-Key could not be kept");
    }
    result.map(Answer::respond)
}

/// The key: a quoted string by the draft; without quotes it is taken as well.
fn key(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let Some(value) = request.headers().get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().ok().map(str::trim);
    let key = text.map(|text| text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text));
    match key {
        Some(key) if !key.is_empty() && key.len() <= 255 => Ok(Some(key.to_owned())),
        _ => Err(Problem::field("/Idempotency-Key", "must be a text of 1 to 255 visible ASCII characters")),
    }
}
