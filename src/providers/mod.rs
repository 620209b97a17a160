//! What carries a channel: FCM, an SMTP server, an SMS gateway, the sandbox.
//!
//! A provider makes one attempt and says what came of it. It does not retry, and it does not decide
//! what becomes of the delivery: `policy` does, from the report.

pub mod fcm;
mod http_client;
mod percent;
pub mod sandbox;
pub mod sms_http;
pub mod smtp;
mod tls;

pub use http_client::HttpDeadlines;

use std::{future::Future, pin::Pin, time::Duration};

use crate::domain::{AttemptOutcome, Content, DeliveryId, Destination};
use crate::policy::Sign;

/// One message for one destination.
#[derive(Clone)]
pub struct Outgoing {
    /// The delivery: the idempotency id, the same at each attempt.
    pub delivery: DeliveryId,
    /// The event that caused it, for the provider's logs and the receiving app.
    pub event_id: String,
    /// The event's type.
    pub event_type: String,
    /// Traces the work across systems.
    pub correlation_id: Option<String>,
    /// Where it goes.
    pub to: Destination,
    /// What it says.
    pub content: Content,
    /// How long it is of use; a provider may drop it after that.
    pub time_to_live: Option<Duration>,
    /// Whether it should wake a sleeping device.
    pub urgent: bool,
}

/// What came of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Accepted, transient, permanent or unknown.
    pub outcome: AttemptOutcome,
    /// The provider's code, such as `550 5.1.1`, `UNREGISTERED` or `HTTP 503`.
    pub code: Option<String>,
    /// What went wrong, in words, without personal data.
    pub error: Option<String>,
    /// The provider's id of the message.
    pub reference: Option<String>,
    /// When the provider wants to be asked again.
    pub retry_after: Option<Duration>,
    /// The destination is gone for good: the device's token is to be removed.
    pub gone: bool,
    /// The fault lies in Herald's configuration or account there, not in this message: an operator
    /// has to act, and every message would fail the same way.
    pub misconfigured: bool,
    /// What it shows of the provider itself.
    pub sign: Sign,
}

impl Report {
    /// A report of this outcome that says nothing more. An acceptance and a refusal for good show that
    /// the provider works, all else that it does not.
    pub const fn of(outcome: AttemptOutcome) -> Self {
        Self {
            outcome,
            code: None,
            error: None,
            reference: None,
            retry_after: None,
            gone: false,
            misconfigured: false,
            sign: match outcome {
                AttemptOutcome::Accepted | AttemptOutcome::Permanent => Sign::Answers,
                AttemptOutcome::Transient | AttemptOutcome::Unknown => Sign::Fails,
            },
        }
    }

    /// A failure with its code and what went wrong, without personal data.
    pub(crate) fn failed(outcome: AttemptOutcome, code: impl Into<String>, error: impl Into<String>) -> Self {
        Self { code: Some(code.into()), error: Some(error.into()), ..Self::of(outcome) }
    }

    /// The same, and an operator has to act: until then every message fails.
    pub(crate) fn and_misconfigured(self, misconfigured: bool) -> Self {
        let sign = if misconfigured { Sign::Fails } else { self.sign };
        Self { misconfigured, sign, ..self }
    }

    /// The same, which shows this of the provider.
    pub(crate) fn and_sign(self, sign: Sign) -> Self {
        Self { sign, ..self }
    }

    /// The same, not to be tried again before this has passed.
    pub(crate) fn and_retry_after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    /// What `provider` says of a message that is not of its channel.
    pub(crate) fn wrong_channel(provider: &'static str, message: &Outgoing) -> Self {
        let channel = message.content.channel();
        let error = format!(
            "provider `{provider}` was handed a message, or a destination, of another channel ({channel})"
        );
        Self::failed(AttemptOutcome::Permanent, "channel", error).and_misconfigured(true)
    }
}

/// A provider cannot be used as it is configured.
#[derive(Debug, Clone, thiserror::Error)]
#[error("provider `{provider}`: {problem}")]
pub struct ProviderError {
    /// The provider's name.
    pub provider: &'static str,
    /// What is wrong and what to do, without secrets.
    pub problem: String,
}

/// The future of a provider's call. It may be dropped at any point.
pub type Sending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What carries a channel.
pub trait Provider: Send + Sync {
    /// The name as `notification_history` keeps it: `smtp`, `fcm`, `http`, `sandbox`.
    fn name(&self) -> &'static str;

    /// Makes one attempt. It ends within the provider's own deadlines.
    fn send<'a>(&'a self, message: &'a Outgoing) -> Sending<'a, Report>;

    /// Reaches the provider without sending anything, for `herald check`.
    fn check(&self) -> Sending<'_, Result<(), ProviderError>>;
}

/// Where the sandbox keeps what it was given.
pub trait SandboxSink: Send + Sync {
    /// Keeps a message; an error says why it could not.
    fn keep<'a>(&'a self, message: &'a Outgoing) -> Sending<'a, Result<(), String>>;
}
