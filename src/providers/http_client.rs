//! The one HTTP client: what it trusts, how long it waits, and what a failure means.

use std::{io, path::Path, time::Duration};

use chrono::{DateTime, Utc};
use reqwest::{RequestBuilder, StatusCode, header::HeaderMap};

use super::{ProviderError, Report, tls};
use crate::domain::AttemptOutcome;

/// No more of an answer's body is read.
pub(super) const BODY_LIMIT: usize = 64 * 1024;

/// A longer `Retry-After` is cut to this: nothing should sleep for a year by another's mistake.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// An idle connection is closed after this. Servers wait for minutes, firewalls forget sooner.
const IDLE: Duration = Duration::from_secs(60);

/// How often an HTTP/2 connection in use is asked whether it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How long an HTTP provider waits.
#[derive(Debug, Clone, Copy)]
pub struct HttpDeadlines {
    /// For name resolution, TCP and TLS. It has to be the shorter one: a total that runs out while
    /// connecting could not be told from one that runs out after the message was sent.
    pub connect: Duration,
    /// For the whole exchange.
    pub total: Duration,
}

impl Default for HttpDeadlines {
    /// 10 s to connect, 30 s in all. FCM asks for at least 10 s a request.
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), total: Duration::from_secs(30) }
    }
}

/// Builds the client: no proxy from the environment, and no redirect (a 307 would send a message twice).
pub(super) fn client(
    provider: &'static str,
    ca_file: Option<&Path>,
    deadlines: HttpDeadlines,
    encrypted: bool,
) -> Result<reqwest::Client, ProviderError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls::client_config(provider, ca_file, &[b"h2", b"http/1.1"], encrypted)?)
        .user_agent(concat!("herald/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(deadlines.connect.min(deadlines.total / 2))
        .timeout(deadlines.total)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tcp_nodelay(true)
        .pool_idle_timeout(IDLE)
        // One HTTP/2 connection carries everything: a dead one would swallow message after message.
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_timeout(deadlines.connect)
        .build()
        .map_err(|error| ProviderError {
            provider,
            problem: format!("no HTTP client: {}", error.without_url()),
        })
}

/// An answer whose status and headers came whole.
pub(super) struct Answer {
    /// The status.
    pub(super) status: StatusCode,
    /// When to ask again.
    pub(super) retry_after: Option<Duration>,
    /// The body as far as it was read.
    pub(super) body: Vec<u8>,
    /// Whether the body came to its end within the deadline and [`BODY_LIMIT`].
    pub(super) whole: bool,
}

impl Answer {
    /// The status as a report's code.
    pub(super) fn code(&self) -> String {
        format!("HTTP {}", self.status.as_u16())
    }
}

/// No answer came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// There was no connection: nothing was sent.
    NeverSent {
        /// What failed, without addresses.
        problem: String,
        /// Waiting does not mend it.
        misconfigured: bool,
    },
    /// The request may have arrived.
    Unknown {
        /// `timeout` or `closed`.
        code: &'static str,
    },
}

impl Failure {
    fn of(error: &reqwest::Error) -> Self {
        if error.is_builder() {
            let problem = "the request could not be built".to_owned();
            return Self::NeverSent { problem, misconfigured: true };
        }
        if error.is_connect() {
            let (problem, misconfigured) = match tls::cause(error) {
                Some(tls) => (format!("TLS: {tls}"), tls::needs_an_operator(tls)),
                None => (connect_problem(error).to_owned(), false),
            };
            return Self::NeverSent { problem, misconfigured };
        }
        Self::Unknown { code: if error.is_timeout() { "timeout" } else { "closed" } }
    }

    /// What an attempt that ended so came to.
    pub(super) fn report(self) -> Report {
        match self {
            Self::NeverSent { problem, misconfigured } => {
                Report::failed(AttemptOutcome::Transient, "connect", problem).and_misconfigured(misconfigured)
            }
            Self::Unknown { code } => Report::failed(
                AttemptOutcome::Unknown,
                code,
                match code {
                    "timeout" => "no answer within the deadline, after the request was sent",
                    _ => "the connection broke after the request was sent",
                },
            ),
        }
    }

    /// What failed, in words.
    pub(super) fn problem(self) -> String {
        self.report().error.unwrap_or_default()
    }
}

/// Names the system's error, without the address that reqwest's own text holds.
fn connect_problem(error: &(dyn std::error::Error + 'static)) -> &'static str {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return match error.kind() {
                io::ErrorKind::ConnectionRefused => "the connection was refused",
                io::ErrorKind::TimedOut => "no connection within the deadline",
                io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => {
                    "the peer closed the connection"
                }
                _ => "the host cannot be reached or its name not resolved",
            };
        }
        next = error.source();
    }
    "no connection within the deadline, or the name cannot be resolved"
}

/// Sends one request and reads its answer, no more than [`BODY_LIMIT`] of it.
pub(super) async fn exchange(request: RequestBuilder) -> Result<Answer, Failure> {
    let mut response = request.send().await.map_err(|error| Failure::of(&error))?;
    let mut answer = Answer {
        status: response.status(),
        retry_after: retry_after(response.headers(), Utc::now()),
        body: Vec::new(),
        whole: true,
    };
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(answer),
            Ok(Some(chunk)) if answer.body.len() + chunk.len() <= BODY_LIMIT => {
                answer.body.extend_from_slice(&chunk)
            }
            // The status has been read; that the rest is missing is for the caller to weigh.
            Ok(Some(_)) | Err(_) => {
                answer.whole = false;
                return Ok(answer);
            }
        }
    }
}

/// `Retry-After` in seconds or as a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = DateTime::parse_from_rfc2822(value).ok()?;
            (at.to_utc() - now).to_std().unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_LIMIT))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = DateTime::parse_from_rfc3339("2026-11-25T10:00:00Z").unwrap().to_utc();
        let cases = [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("Wed, 25 Nov 2026 10:01:30 GMT", Some(90)),
            ("Wed, 25 Nov 2026 09:00:00 GMT", Some(0)),
            ("99999999999", Some(86_400)),
            ("soon", None),
            ("-1", None),
        ];
        for (value, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(reqwest::header::RETRY_AFTER, value.parse().unwrap());
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
