//! The access token: asked for with a signed assertion (RFC 7523), kept, and renewed before it expires
//! (<https://developers.google.com/identity/protocols/oauth2/service-account#httprest>).

use std::{
    fmt,
    path::Path,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{Url, header::HeaderValue};
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

use super::secure_url;
use crate::{
    domain::AttemptOutcome,
    providers::{
        Report,
        http_client::{self, Failure},
        percent,
    },
};

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";

/// A token is renewed this long before it expires.
const EARLY: Duration = Duration::from_secs(5 * 60);

/// Our clock may be ahead of Google's, which refuses an assertion from the future.
const CLOCK_SKEW: i64 = 30;

/// How long an assertion is good for; Google's limit is an hour.
const ASSERTION_LIFE: i64 = 3600;

/// After a failed early renewal the old token serves, and Google is left alone for this long.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);

/// The service account's file.
#[derive(Deserialize)]
struct AccountFile {
    project_id: String,
    client_email: String,
    private_key: String,
    #[serde(default)]
    private_key_id: Option<String>,
    token_uri: String,
}

/// A service account that can sign.
pub(super) struct Account {
    /// The Firebase project.
    pub(super) project_id: String,
    client_email: String,
    key_id: Option<String>,
    key: RsaKeyPair,
    /// Where tokens are asked for.
    pub(super) token_uri: Url,
}

impl Account {
    /// Reads the file; the error says what to change.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let text = std::fs::read(path)
            .map_err(|error| format!("push.fcm.service_account ({name}) cannot be read: {error}"))?;
        // serde's text may quote a value, and the file holds a private key: its place is enough.
        let file: AccountFile = serde_json::from_slice(&text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("{name} is no service account (line {line}, column {column}): project_id, client_email, private_key and token_uri are needed")
        })?;
        let der = PrivatePkcs8KeyDer::from_pem_slice(file.private_key.as_bytes())
            .map_err(|_| format!("private_key in {name} is no PKCS#8 PEM"))?;
        let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der())
            .map_err(|error| format!("private_key in {name} is no RSA key of at least 2048 bits: {error}"))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if file.project_id.is_empty() || !file.project_id.chars().all(plain) {
            return Err(format!("project_id in {name} is none"));
        }
        Ok(Self {
            project_id: file.project_id,
            client_email: file.client_email,
            key_id: file.private_key_id,
            key,
            token_uri: secure_url("token_uri of the service account", &file.token_uri)?,
        })
    }

    /// A JWT signed with RS256 (RFC 7515, RFC 7519).
    fn assertion(&self, now: i64) -> Result<String, Refusal> {
        let issued = now - CLOCK_SKEW;
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.key_id });
        let claims = json!({
            "iss": self.client_email,
            "scope": SCOPE,
            "aud": self.token_uri.as_str(),
            "iat": issued,
            "exp": issued + ASSERTION_LIFE,
        });
        let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| Refusal::misconfigured("the service account's key cannot sign"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// No token was to be had. Nothing was sent.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    problem: String,
    misconfigured: bool,
    retry_after: Option<Duration>,
}

impl Refusal {
    fn misconfigured(problem: &str) -> Self {
        Self { problem: problem.to_owned(), misconfigured: true, retry_after: None }
    }

    pub(super) fn report(self) -> Report {
        Report::failed(AttemptOutcome::Transient, "oauth", self.to_string())
            .and_misconfigured(self.misconfigured)
            .and_retry_after(self.retry_after)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no access token: {}", self.problem)
    }
}

/// An access token, ready for the header.
#[derive(Clone)]
pub(super) struct Bearer {
    /// `Bearer …`, marked as sensitive.
    pub(super) header: HeaderValue,
    renew_at: Instant,
    expires_at: Instant,
}

/// The token endpoint's answer (RFC 6749 §5.1).
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default = "an_hour")]
    expires_in: u64,
}

const fn an_hour() -> u64 {
    3600
}

/// Its refusal (RFC 6749 §5.2); `error` is one of a few words.
#[derive(Deserialize)]
struct Denied {
    error: String,
}

/// The token in use.
pub(super) struct Tokens {
    client: reqwest::Client,
    account: Account,
    /// Held while a token is asked for, so that one asks and the others wait. One that is dropped
    /// while it asks leaves the next to ask.
    bearer: Mutex<Option<Bearer>>,
}

impl Tokens {
    pub(super) fn new(client: reqwest::Client, account: Account) -> Self {
        Self { client, account, bearer: Mutex::new(None) }
    }

    /// A token that is good for some minutes yet.
    pub(super) async fn current(&self) -> Result<Bearer, Refusal> {
        let mut kept = self.bearer.lock().await;
        let now = Instant::now();
        if let Some(bearer) = kept.as_ref().filter(|bearer| now < bearer.renew_at) {
            return Ok(bearer.clone());
        }
        match (self.ask().await, kept.as_mut()) {
            (Ok(bearer), _) => Ok(kept.insert(bearer).clone()),
            (Err(refusal), Some(old)) if now < old.expires_at => {
                tracing::warn!(provider = super::NAME, error = %refusal, "the access token could not be renewed yet");
                old.renew_at = now + RENEWAL_PAUSE;
                Ok(old.clone())
            }
            (Err(refusal), _) => Err(refusal),
        }
    }

    /// Another token than this one, which FCM refused.
    pub(super) async fn renew(&self, refused: &Bearer) -> Result<Bearer, Refusal> {
        let mut kept = self.bearer.lock().await;
        match kept.as_ref() {
            // Another attempt was here first.
            Some(bearer) if bearer.header != refused.header => Ok(bearer.clone()),
            _ => {
                *kept = None;
                Ok(kept.insert(self.ask().await?).clone())
            }
        }
    }

    async fn ask(&self) -> Result<Bearer, Refusal> {
        let assertion = self.account.assertion(chrono::Utc::now().timestamp())?;
        let grant = percent::encode("urn:ietf:params:oauth:grant-type:jwt-bearer");
        let request = self
            .client
            .post(self.account.token_uri.clone())
            .header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(format!("grant_type={grant}&assertion={assertion}"));
        let asked_at = Instant::now();
        let answer = http_client::exchange(request).await.map_err(|failure| Refusal {
            misconfigured: matches!(failure, Failure::NeverSent { misconfigured: true, .. }),
            problem: failure.problem(),
            retry_after: None,
        })?;
        if !answer.status.is_success() {
            let word = serde_json::from_slice::<Denied>(&answer.body).ok().map(|denied| denied.error);
            // `invalid_grant`, for one, means a wrong clock, or an account or key that was deleted.
            let word = word
                .filter(|word| word.len() < 40 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            let hint = if word.as_deref() == Some("invalid_grant") {
                ": check the clock and the service account"
            } else {
                ""
            };
            return Err(Refusal {
                problem: format!("{} {}{hint}", answer.code(), word.unwrap_or_default()),
                misconfigured: answer.status.is_client_error() && answer.status.as_u16() != 429,
                retry_after: answer.retry_after,
            });
        }
        let granted: Granted = serde_json::from_slice(&answer.body)
            .map_err(|_| Refusal::misconfigured("the answer of token_uri is none of an OAuth server"))?;
        let mut header = HeaderValue::try_from(format!("Bearer {}", granted.access_token))
            .map_err(|_| Refusal::misconfigured("the access token is not printable"))?;
        header.set_sensitive(true);
        // Bounded, so that no answer overflows the clock.
        let life = Duration::from_secs(granted.expires_in.min(24 * 3600));
        let (renew_at, expires_at) = (asked_at + life.saturating_sub(EARLY).max(life / 2), asked_at + life);
        Ok(Bearer { header, renew_at, expires_at })
    }
}
