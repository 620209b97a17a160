//! Google's token endpoint and FCM, behind one port.

use std::{
    collections::HashSet,
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Answers, Authority, Log,
    http::{HttpPeer, Reaction, Request},
};

const PROJECT: &str = "bank-test";
const EMAIL: &str = "herald@bank-test.iam.gserviceaccount.com";
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";

/// What FCM answers for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FcmAnswer {
    Accepted,
    /// 400 about the token.
    InvalidToken,
    /// 400 about the message.
    InvalidMessage,
    /// 401 whatever the access token is.
    Unauthenticated,
    /// 401 about the key for APNs.
    ThirdPartyAuth,
    SenderIdMismatch,
    /// 403 of the API, not of FCM.
    Forbidden,
    Unregistered,
    /// 404 with an empty body.
    NotFound,
    /// 429, with this `Retry-After`.
    Quota(Option<&'static str>),
    Internal,
    /// 502 with an HTML body.
    BadGateway,
    Unavailable(Option<&'static str>),
    /// 503 with an HTML body.
    Overloaded,
    /// An error without a reason.
    Unspecified,
    /// 200 with something else than a message's name.
    Portal,
    /// 200 with a name that no database keeps.
    NulInName,
    /// 500 with a code of FCM's that no database keeps.
    NulInCode,
    Drop,
    Silence,
    Garbage,
}

/// A message that came with a valid access token, whatever was answered.
#[derive(Debug, Clone)]
pub struct PushMessage {
    /// The device's token.
    pub token: String,
    /// The `message` of the body.
    pub message: Value,
    /// The access token.
    pub bearer: String,
    /// What was answered.
    pub answer: FcmAnswer,
    /// When it came.
    pub at: Instant,
}

struct State {
    public_key: Vec<u8>,
    answers: Answers<FcmAnswer>,
    valid: Mutex<HashSet<String>>,
    refusal: Mutex<Option<(u16, String)>>,
    expires_in: AtomicU64,
    grants: Log<Value>,
    complaints: Log<String>,
    messages: Log<PushMessage>,
}

/// The peer.
pub struct FcmPeer {
    http: HttpPeer,
    authority: Option<Authority>,
    state: Arc<State>,
    directory: TempDir,
}

impl FcmPeer {
    /// Plain HTTP.
    pub fn start() -> Self {
        Self::start_with(None, 0)
    }

    /// HTTPS, where an authority is given; port 0 is a free one.
    pub fn start_with(authority: Option<Authority>, port: u16) -> Self {
        let der = PrivatePkcs8KeyDer::from_pem_slice(private_key().as_bytes()).unwrap();
        let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
        let state = Arc::new(State {
            public_key: key.public().as_ref().to_vec(),
            answers: Answers::default(),
            valid: Mutex::default(),
            refusal: Mutex::default(),
            expires_in: AtomicU64::new(3599),
            grants: Log::new(),
            complaints: Log::new(),
            messages: Log::new(),
        });
        let shared = state.clone();
        let tls = authority.as_ref().map(Authority::server_config);
        let http = HttpPeer::start_at(port, tls, move |request| shared.react(&request));
        let directory = tempfile::tempdir().unwrap();
        let account = json!({
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "key-1",
            "private_key": private_key(),
            "client_email": EMAIL,
            "token_uri": format!("{}/token", http.url()),
        });
        std::fs::write(directory.path().join("account.json"), account.to_string()).unwrap();
        Self { http, authority, state, directory }
    }

    /// The service account's file.
    pub fn service_account(&self) -> PathBuf {
        self.directory.path().join("account.json")
    }

    /// The base URL.
    pub fn endpoint(&self) -> String {
        self.http.url()
    }

    pub fn ca_file(&self) -> Option<PathBuf> {
        self.authority.as_ref().map(Authority::ca_file)
    }

    /// What this device gets from now on.
    pub fn answer(&self, token: &str, answer: FcmAnswer) {
        self.state.answers.always(token, answer);
    }

    /// What this device gets the next times only.
    pub fn answer_times(&self, times: usize, token: &str, answer: FcmAnswer) {
        self.state.answers.times(times, token, answer);
    }

    /// From now on all is well.
    pub fn heal(&self) {
        self.state.answers.clear();
    }

    pub fn messages(&self) -> &Log<PushMessage> {
        &self.state.messages
    }

    /// How many access tokens were granted.
    pub fn token_requests(&self) -> usize {
        self.state.grants.len()
    }

    /// What was wrong with requests for access tokens.
    pub fn complaints(&self) -> Vec<String> {
        self.state.complaints.all()
    }

    /// The claims of the last assertion.
    pub fn claims(&self) -> Value {
        self.state.grants.last().unwrap()
    }

    /// All access tokens granted so far are void.
    pub fn expire_tokens(&self) {
        self.state.valid.lock().unwrap().clear();
    }

    /// How long access tokens are said to live, in seconds.
    pub fn expires_in(&self, seconds: u64) {
        self.state.expires_in.store(seconds, Ordering::SeqCst);
    }

    /// The token endpoint answers this; none is back to normal.
    pub fn refuse_tokens(&self, answer: Option<(u16, &str)>) {
        *self.state.refusal.lock().unwrap() = answer.map(|(status, body)| (status, body.to_owned()));
    }
}

/// A key pair for all tests of one process; neither ring nor rcgen makes RSA keys.
fn private_key() -> &'static str {
    static KEY: OnceLock<String> = OnceLock::new();
    KEY.get_or_init(|| {
        let options = ["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
        let made = Command::new("openssl")
            .args(options)
            .output()
            .expect("the openssl command makes the test's RSA key");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).unwrap()
    })
}

impl State {
    fn react(&self, request: &Request) -> Reaction {
        match (&*request.method, &*request.path) {
            ("POST", "/token") => self.grant(request),
            ("POST", path) if path == format!("/v1/projects/{PROJECT}/messages:send") => self.send(request),
            _ => Reaction::answer(404, ""),
        }
    }

    fn grant(&self, request: &Request) -> Reaction {
        if let Some((status, body)) = self.refusal.lock().unwrap().clone() {
            return Reaction::answer(status, body);
        }
        match self.verify(request) {
            Ok(claims) => {
                let token = format!("access-{}", self.grants.len() + 1);
                self.valid.lock().unwrap().insert(token.clone());
                self.grants.push(claims);
                let seconds = self.expires_in.load(Ordering::SeqCst);
                Reaction::answer(
                    200,
                    json!({"access_token": token, "expires_in": seconds, "token_type": "Bearer"}).to_string(),
                )
            }
            Err(complaint) => {
                self.complaints.push(complaint.clone());
                Reaction::answer(
                    400,
                    json!({"error": "invalid_grant", "error_description": complaint}).to_string(),
                )
            }
        }
    }

    /// The claims of a valid assertion.
    fn verify(&self, request: &Request) -> Result<Value, String> {
        if request.header("content-type") != Some("application/x-www-form-urlencoded") {
            return Err("content type".into());
        }
        let form = request.text();
        let field = |name: &str| form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        if field("grant_type") != Some("urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer") {
            return Err("grant_type".into());
        }
        let assertion = field("assertion").ok_or("assertion")?;
        let (signed, signature) = assertion.rsplit_once('.').ok_or("no JWT")?;
        let (header, claims) = signed.split_once('.').ok_or("no JWT")?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|error| error.to_string());
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public_key)
            .verify(signed.as_bytes(), &decode(signature)?)
            .map_err(|_| "signature")?;
        let parse =
            |text: &str| serde_json::from_slice::<Value>(&decode(text)?).map_err(|error| error.to_string());
        let (header, claims) = (parse(header)?, parse(claims)?);
        if header["alg"] != "RS256" || header["typ"] != "JWT" || header["kid"] != "key-1" {
            return Err(format!("header {header}"));
        }
        if claims["iss"] != EMAIL || claims["scope"] != SCOPE {
            return Err(format!("claims {claims}"));
        }
        let host = request.header("host").unwrap_or_default();
        if !claims["aud"].as_str().is_some_and(|aud| aud.ends_with(&format!("//{host}/token"))) {
            return Err(format!("aud {claims}"));
        }
        let now = chrono::Utc::now().timestamp();
        let (iat, exp) = (claims["iat"].as_i64().ok_or("iat")?, claims["exp"].as_i64().ok_or("exp")?);
        if iat > now || iat < now - 300 || exp <= now || exp > iat + 3600 {
            return Err(format!("times {claims}"));
        }
        Ok(claims)
    }

    fn send(&self, request: &Request) -> Reaction {
        let bearer = request
            .header("authorization")
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or_default();
        if !self.valid.lock().unwrap().contains(bearer) {
            return unauthenticated();
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let token = body["message"]["token"].as_str().unwrap().to_owned();
        let answer = self.answers.next(&token).unwrap_or(FcmAnswer::Accepted);
        let message = body["message"].clone();
        let message = PushMessage { token, message, bearer: bearer.to_owned(), answer, at: Instant::now() };
        self.messages.push(message);
        react(answer, self.messages.len())
    }
}

fn unauthenticated() -> Reaction {
    error(
        401,
        "UNAUTHENTICATED",
        &json!([{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "ACCESS_TOKEN_EXPIRED", "domain": "googleapis.com",
        }]),
    )
}

fn react(answer: FcmAnswer, number: usize) -> Reaction {
    let fcm = |code: &str| json!([{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}]);
    let invalid = |field: &str| {
        json!([
            {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "INVALID_ARGUMENT"},
            {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": field, "description": "no"}]},
        ])
    };
    let later = |reaction: Reaction, after: Option<&str>| match after {
        Some(after) => reaction.with_header("Retry-After", after),
        None => reaction,
    };
    match answer {
        FcmAnswer::Accepted => Reaction::answer(
            200,
            json!({"name": format!("projects/{PROJECT}/messages/{number}")}).to_string(),
        ),
        FcmAnswer::InvalidToken => error(400, "INVALID_ARGUMENT", &invalid("message.token")),
        FcmAnswer::InvalidMessage => error(400, "INVALID_ARGUMENT", &invalid("message.data")),
        FcmAnswer::Unauthenticated => unauthenticated(),
        FcmAnswer::ThirdPartyAuth => error(401, "UNAUTHENTICATED", &fcm("THIRD_PARTY_AUTH_ERROR")),
        FcmAnswer::SenderIdMismatch => error(403, "PERMISSION_DENIED", &fcm("SENDER_ID_MISMATCH")),
        FcmAnswer::Forbidden => error(403, "PERMISSION_DENIED", &json!([])),
        FcmAnswer::Unregistered => error(404, "NOT_FOUND", &fcm("UNREGISTERED")),
        FcmAnswer::NotFound => Reaction::answer(404, ""),
        FcmAnswer::Quota(after) => later(error(429, "RESOURCE_EXHAUSTED", &fcm("QUOTA_EXCEEDED")), after),
        FcmAnswer::Internal => error(500, "INTERNAL", &fcm("INTERNAL")),
        FcmAnswer::BadGateway => {
            Reaction::answer(502, "<html><title>Error 502 (Server Error)!!1</title></html>")
        }
        FcmAnswer::Unavailable(after) => later(error(503, "UNAVAILABLE", &fcm("UNAVAILABLE")), after),
        FcmAnswer::Overloaded => Reaction::answer(503, "<html>busy</html>"),
        FcmAnswer::Unspecified => error(500, "UNKNOWN", &fcm("UNSPECIFIED_ERROR")),
        FcmAnswer::Portal => Reaction::answer(200, "<html>Welcome to the airport</html>"),
        FcmAnswer::NulInName => Reaction::answer(200, r#"{"name":"projects/\u0000/messages/1"}"#),
        FcmAnswer::NulInCode => error(500, "INTERNAL", &fcm("A\0B")),
        FcmAnswer::Drop => Reaction::Drop,
        FcmAnswer::Silence => Reaction::Silence,
        FcmAnswer::Garbage => Reaction::Garbage,
    }
}

fn error(http: u16, status: &str, details: &Value) -> Reaction {
    let error = json!({"error": {"code": http, "message": "secret-token-in-text", "status": status, "details": details}});
    Reaction::answer(http, error.to_string()).with_header("content-type", "application/json; charset=UTF-8")
}
