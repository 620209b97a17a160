//! Who calls: a token of the API, or a browser's session.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};

use super::{Api, Problem};
use crate::domain::{Scope, Scopes, Token, TokenHash};

/// How long a token that was looked up is trusted without another look: a revocation takes effect
/// within this time.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// How many tokens are remembered. At the bound all are forgotten, and looked up again.
const REMEMBERED: usize = 1024;
/// The cookie of a browser's session.
pub(super) const COOKIE: &str = "herald_session";

/// Tokens that were looked up a moment ago.
#[derive(Default)]
pub struct TokenCache(Mutex<HashMap<String, (TokenHash, Scopes, Instant)>>);

impl TokenCache {
    fn get(&self, token: &Token) -> Option<Scopes> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (hash, scopes, at) = tokens.get(token.id())?;
        (at.elapsed() < TRUSTED_FOR && *hash == token.hash()).then_some(*scopes)
    }

    fn put(&self, token: &Token, scopes: Scopes) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= REMEMBERED {
            tokens.clear();
        }
        tokens.insert(token.id().to_owned(), (token.hash(), scopes, Instant::now()));
    }
}

/// Who calls, and what they may do.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token's id, or that of a session.
    pub id: String,
    /// What it may do.
    pub scopes: Scopes,
}

impl Caller {
    /// Lets the call pass, or says which scope is missing.
    ///
    /// # Errors
    ///
    /// 403.
    pub fn needs(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.allows(scope) { Ok(()) } else { Err(Problem::forbidden(scope.as_str())) }
    }

    /// Whether contacts, payloads and rendered text are shown as they are.
    pub fn sees_personal(&self) -> bool {
        self.scopes.allows(Scope::ReadPersonal)
    }
}

impl Caller {
    /// Who has this token, if it is good.
    ///
    /// # Errors
    ///
    /// The store's.
    pub(super) async fn with(api: &Api, token: &Token) -> Result<Option<Self>, Problem> {
        if let Some(scopes) = api.tokens.get(token) {
            return Ok(Some(Self { id: token.id().to_owned(), scopes }));
        }
        let Some((hash, scopes)) = api.instance.store.valid_token(token.id()).await? else { return Ok(None) };
        let Ok(scopes) = scopes.parse() else { return Ok(None) };
        if TokenHash::stored(hash) != token.hash() {
            return Ok(None);
        }
        api.tokens.put(token, scopes);
        Ok(Some(Self { id: token.id().to_owned(), scopes }))
    }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let api = request.app_data::<web::Data<Api>>().cloned();
        let header =
            request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Box::pin(async move {
            let api = api.ok_or_else(Problem::internal)?;
            let header = header.ok_or_else(Problem::unauthorized)?;
            let text = header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            let token = text
                .and_then(|(_, text)| Token::parse(text.trim()).ok())
                .ok_or_else(Problem::unauthorized)?;
            Self::with(&api, &token).await?.ok_or_else(Problem::unauthorized)
        })
    }
}

/// A browser that is logged in.
pub(super) struct Session {
    secret: String,
    hash: String,
    scopes: Scopes,
}

impl Session {
    /// The session of a request, if its cookie tells one that goes on.
    ///
    /// # Errors
    ///
    /// The store's.
    pub(super) async fn of(request: &HttpRequest, api: &Api) -> Result<Option<Self>, Problem> {
        let Some(cookie) = request.cookie(COOKIE) else { return Ok(None) };
        let secret = cookie.value().to_owned();
        let hash = hash_secret(&secret);
        let Some(scopes) = api.instance.store.session(&hash).await? else { return Ok(None) };
        let scopes = scopes.parse().map_err(|_| Problem::internal())?;
        Ok(Some(Self { secret, hash, scopes }))
    }

    /// Whether it has not ended. While the database cannot be asked it goes on.
    pub(super) async fn goes_on(&self, api: &Api) -> bool {
        !matches!(api.instance.store.session(&self.hash).await, Ok(None))
    }

    /// Whether it may do this.
    pub(super) fn allows(&self, scope: Scope) -> bool {
        self.scopes.allows(scope)
    }

    /// Lets it pass, or says which scope is missing.
    ///
    /// # Errors
    ///
    /// 403.
    pub(super) fn needs(&self, scope: Scope) -> Result<(), Problem> {
        if self.allows(scope) { Ok(()) } else { Err(Problem::forbidden(scope.as_str())) }
    }

    /// What the store knows it by.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }

    /// What a log calls it.
    pub(super) fn id(&self) -> &str {
        short(&self.hash)
    }

    /// What its forms carry. Another site can make the browser send the cookie, but cannot read it,
    /// so it does not know this; nor does who reads the database.
    pub(super) fn form_token(&self) -> String {
        hash_secret(&format!("form:{}", self.secret))
    }

    /// Lets a form pass that carries [`Session::form_token`].
    ///
    /// # Errors
    ///
    /// 403.
    pub(super) fn check_form(&self, token: &str) -> Result<(), Problem> {
        let same = TokenHash::stored(self.form_token()) == TokenHash::stored(token.to_owned());
        if same { Ok(()) } else { Err(Problem::cross_site()) }
    }
}

/// The beginning of a hash, by which a log tells sessions apart.
pub(super) fn short(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}

/// A secret for a link or a session, and the hash that is kept of it.
///
/// # Errors
///
/// The system gives no random numbers.
pub fn login_secret() -> Result<(String, String), ring::error::Unspecified> {
    let mut bytes = [0_u8; 32];
    SystemRandom::new().fill(&mut bytes)?;
    let secret = URL_SAFE_NO_PAD.encode(bytes);
    let hash = hash_secret(&secret);
    Ok((secret, hash))
}

/// What is kept of a login secret.
pub(super) fn hash_secret(secret: &str) -> String {
    Sha256::digest(secret.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
