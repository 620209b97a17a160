//! Text messages by any gateway that takes HTTP.
//!
//! Gateways agree on nothing, and many answer 200 to what they refuse. So the operator says what an
//! accepted message looks like, and nothing else counts as one.

mod body;
mod rules;

use std::{collections::BTreeMap, path::PathBuf};

use reqwest::{
    Method, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};

use self::{
    body::{Escape, Template, Values},
    rules::Rules,
};
use super::{
    Outgoing, Provider, ProviderError, Report, Sending,
    http_client::{self, HttpDeadlines},
};
use crate::domain::{AttemptOutcome, Content, Destination};

const NAME: &str = "http";

/// How to hand a message to the gateway, and how to read its answer. It holds secrets: not to be logged.
#[derive(Clone)]
pub struct SmsHttpConfig {
    /// Where to; may hold `{{ to }}`, `{{ text }}` and `{{ id }}` in its path and query.
    pub url: String,
    /// `GET`, `POST` or `PUT`.
    pub method: String,
    /// Sent as they are; `Content-Type` says how the body's values are escaped.
    pub headers: BTreeMap<String, String>,
    /// A template over `to`, `text` and `id`; empty for `GET`.
    pub body: String,
    /// A regular expression that the body of a 2xx answer has to match.
    pub accepted: String,
    /// One that makes a refusal permanent where it matches the body; without it any 4xx but 408, 425
    /// and 429 is.
    pub permanent: Option<String>,
    /// One whose first group, in an accepted answer, is the gateway's id of the message.
    pub reference: Option<String>,
    /// Certificate authorities besides the system's, PEM.
    pub ca_file: Option<PathBuf>,
}

/// The provider for HTTP gateways.
pub struct SmsHttp {
    client: reqwest::Client,
    method: Method,
    headers: HeaderMap,
    url: Template,
    body: Option<Template>,
    rules: Rules,
    deadlines: HttpDeadlines,
    address: (String, u16),
    encrypted: bool,
}

impl SmsHttp {
    /// A provider with the ordinary deadlines.
    ///
    /// # Errors
    ///
    /// When the configuration cannot be used; names the key and says what to change.
    pub fn new(config: SmsHttpConfig) -> Result<Self, ProviderError> {
        Self::with_deadlines(config, HttpDeadlines::default())
    }

    /// The same, with deadlines of one's own.
    ///
    /// # Errors
    ///
    /// As [`SmsHttp::new`].
    pub fn with_deadlines(config: SmsHttpConfig, deadlines: HttpDeadlines) -> Result<Self, ProviderError> {
        let problem = |problem: String| ProviderError { provider: NAME, problem };
        let method = match config.method.to_ascii_uppercase().as_str() {
            "GET" => Method::GET,
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            _ => return Err(problem("sms.http.method is none of GET, POST, PUT".into())),
        };
        let headers = headers(&config.headers).map_err(problem)?;
        let url = Template::compile("sms.http.url", Escape::Form, &config.url).map_err(problem)?;
        let target = target(&url).map_err(problem)?;
        let host = target.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let address = (host, target.port_or_known_default().unwrap_or(80));
        let body = match (config.body.is_empty(), headers.get(reqwest::header::CONTENT_TYPE)) {
            (true, _) => None,
            (false, None) => {
                return Err(problem(
                    "sms.http.headers needs a Content-Type: it says how sms.http.body is escaped".into(),
                ));
            }
            (false, Some(kind)) => {
                let form = Escape::of(kind.to_str().unwrap_or_default()).map_err(problem)?;
                Some(Template::compile("sms.http.body", form, &config.body).map_err(problem)?)
            }
        };
        let rules =
            Rules::compile(&config.accepted, config.permanent.as_deref(), config.reference.as_deref())
                .map_err(problem)?;
        let encrypted = target.scheme() == "https";
        let client = http_client::client(NAME, config.ca_file.as_deref(), deadlines, encrypted)?;
        Ok(Self { client, method, headers, url, body, rules, deadlines, address, encrypted })
    }

    async fn attempt(&self, message: &Outgoing) -> Report {
        let (Content::Sms { text, .. }, Destination::Phone { number }) = (&message.content, &message.to)
        else {
            return Report::wrong_channel(NAME, message);
        };
        let id = message.delivery.to_string();
        let values = Values { to: number, text, id: &id };
        let request = match self.request(&values) {
            Ok(request) => request,
            Err(problem) => {
                return Report::failed(AttemptOutcome::Permanent, "template", problem)
                    .and_misconfigured(true);
            }
        };
        match http_client::exchange(request).await {
            Ok(answer) => self.rules.report(&answer),
            Err(failure) => failure.report(),
        }
    }

    fn request(&self, values: &Values<'_>) -> Result<reqwest::RequestBuilder, String> {
        let url = Url::parse(&self.url.render(values)?).map_err(|error| format!("sms.http.url: {error}"))?;
        let request = self.client.request(self.method.clone(), url).headers(self.headers.clone());
        Ok(match &self.body {
            Some(body) => request.body(body.render(values)?),
            None => request,
        })
    }

    /// Connects to the host, with TLS where the URL has it, and sends nothing.
    async fn reach(&self) -> Result<(), String> {
        if self.encrypted {
            // A request that no gateway takes for a message; any answer at all will do.
            let (host, port) = (&self.address.0, self.address.1);
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            let request = self.client.head(format!("https://{host}:{port}/"));
            return http_client::exchange(request).await.map(drop).map_err(http_client::Failure::problem);
        }
        let connect = tokio::net::TcpStream::connect((&*self.address.0, self.address.1));
        match tokio::time::timeout(self.deadlines.connect, connect).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.kind().to_string()),
            Err(_) => Err("no connection within the deadline".into()),
        }
    }
}

impl Provider for SmsHttp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn send<'a>(&'a self, message: &'a Outgoing) -> Sending<'a, Report> {
        Box::pin(self.attempt(message))
    }

    /// Reaches the gateway's host. Whether it takes messages shows with the first one only.
    fn check(&self) -> Sending<'_, Result<(), ProviderError>> {
        Box::pin(async move {
            self.reach().await.map_err(|problem| {
                let (host, port) = &self.address;
                ProviderError { provider: NAME, problem: format!("{host}:{port}: {problem}") }
            })
        })
    }
}

fn headers(configured: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in configured {
        let known = HeaderName::try_from(name)
            .map_err(|_| format!("sms.http.headers: `{name}` is no header's name"))?;
        let mut value = HeaderValue::try_from(value)
            .map_err(|_| format!("sms.http.headers: the value of `{name}` has a control character"))?;
        value.set_sensitive(known != reqwest::header::CONTENT_TYPE);
        headers.insert(known, value);
    }
    Ok(headers)
}

/// The URL that the template gives, whose scheme and host no message may change.
fn target(template: &Template) -> Result<Url, String> {
    let parse = |to, text, id| {
        let url = template.render(&Values { to, text, id })?;
        Url::parse(&url).map_err(|error| format!("sms.http.url is no URL: {error}"))
    };
    let (one, other) = (parse("+265991000001", "one", "1")?, parse("+265991000002", "other", "2")?);
    if !matches!(one.scheme(), "http" | "https") || one.host_str().is_none() {
        return Err("sms.http.url has to begin with http:// or https:// and a host".into());
    }
    let origin = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port());
    if origin(&one) != origin(&other) {
        return Err("sms.http.url has a placeholder in its host: put it into the path or query".into());
    }
    Ok(one)
}
