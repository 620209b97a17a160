//! Push by Firebase Cloud Messaging, HTTP v1
//! (<https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages>).

mod answer;
mod message;
mod oauth;

use std::path::PathBuf;

use reqwest::{Url, header};

use self::oauth::{Account, Tokens};
use super::{
    Outgoing, Provider, ProviderError, Report, Sending,
    http_client::{self, HttpDeadlines},
};
use crate::domain::{Content, Destination};

const NAME: &str = "fcm";

/// How to reach FCM.
#[derive(Clone)]
pub struct FcmConfig {
    /// The service account's JSON file, as Google's console gives it.
    pub service_account: PathBuf,
    /// The base URL, `https://fcm.googleapis.com`; without TLS to a loopback address only.
    pub endpoint: String,
    /// Certificate authorities besides the system's, PEM.
    pub ca_file: Option<PathBuf>,
}

/// The FCM provider.
pub struct Fcm {
    client: reqwest::Client,
    url: Url,
    tokens: Tokens,
}

impl Fcm {
    /// A provider with the ordinary deadlines. It asks for a token when there is something to send.
    ///
    /// # Errors
    ///
    /// When the configuration or the service account cannot be used; says what to change.
    pub fn new(config: FcmConfig) -> Result<Self, ProviderError> {
        Self::with_deadlines(config, HttpDeadlines::default())
    }

    /// The same, with deadlines of one's own.
    ///
    /// # Errors
    ///
    /// As [`Fcm::new`].
    pub fn with_deadlines(config: FcmConfig, deadlines: HttpDeadlines) -> Result<Self, ProviderError> {
        let problem = |problem: String| ProviderError { provider: NAME, problem };
        let account = Account::read(&config.service_account).map_err(problem)?;
        let base = secure_url("push.fcm.endpoint", &config.endpoint).map_err(problem)?;
        let url = format!(
            "{}/v1/projects/{}/messages:send",
            base.as_str().trim_end_matches('/'),
            account.project_id
        );
        let url = Url::parse(&url).map_err(|error| problem(format!("the project's URL is none: {error}")))?;
        let encrypted = url.scheme() == "https" || account.token_uri.scheme() == "https";
        let client = http_client::client(NAME, config.ca_file.as_deref(), deadlines, encrypted)?;
        Ok(Self { tokens: Tokens::new(client.clone(), account), client, url })
    }

    async fn attempt(&self, message: &Outgoing) -> Report {
        let (Content::Push { title, body }, Destination::Device { token, .. }) =
            (&message.content, &message.to)
        else {
            return Report::wrong_channel(NAME, message);
        };
        let json = message::json(message, token, title, body, chrono::Utc::now());
        let mut bearer = match self.tokens.current().await {
            Ok(bearer) => bearer,
            Err(refusal) => return refusal.report(),
        };
        let mut renewed = false;
        loop {
            let request = self
                .client
                .post(self.url.clone())
                .header(header::AUTHORIZATION, bearer.header.clone())
                .header(header::CONTENT_TYPE, "application/json")
                .body(json.clone());
            let answer = match http_client::exchange(request).await {
                Ok(answer) => answer,
                Err(failure) => return failure.report(),
            };
            // Google may withdraw a token before its time; a fresh one shows whether that was it.
            if answer::rejects_the_bearer(&answer) && !renewed {
                renewed = true;
                bearer = match self.tokens.renew(&bearer).await {
                    Ok(bearer) => bearer,
                    Err(refusal) => return refusal.report(),
                };
                continue;
            }
            return answer::report(&answer);
        }
    }
}

impl Provider for Fcm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn send<'a>(&'a self, message: &'a Outgoing) -> Sending<'a, Report> {
        Box::pin(self.attempt(message))
    }

    /// Gets an access token: it shows the account, the clock and the way to Google.
    fn check(&self) -> Sending<'_, Result<(), ProviderError>> {
        Box::pin(async move {
            match self.tokens.current().await {
                Ok(_) => Ok(()),
                Err(refusal) => Err(ProviderError { provider: NAME, problem: refusal.to_string() }),
            }
        })
    }
}

/// Bearer tokens and assertions go over TLS, or do not leave the machine.
fn secure_url(what: &str, text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{what} is no URL: {error}"))?;
    let local = match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if local => Ok(url),
        _ => Err(format!("{what} has to be an https:// URL (http:// to a loopback address only)")),
    }
}
