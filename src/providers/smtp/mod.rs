//! E-mail by SMTP (RFC 5321).
//!
//! lettre builds the mails and speaks the protocol on one connection. Which connection, for how long,
//! and what a failure in each phase means is decided here: lettre's pooled transport recycles a
//! connection whose send was cancelled in the middle, and hides the phase.

mod connection;
mod endpoint;
mod mail;
mod pool;
mod reply;
mod wire;

use std::{path::PathBuf, sync::Arc, time::Duration};

use lettre::message::Mailbox;

use self::{connection::Connection, endpoint::Endpoint, mail::Mail, pool::Pool, reply::Fault};
use super::{Outgoing, Provider, ProviderError, Report, Sending, tls};
use crate::domain::AttemptOutcome;

const NAME: &str = "smtp";

/// Where mail is handed in.
#[derive(Clone)]
pub struct SmtpConfig {
    /// `smtp://` (STARTTLS, port 587) or `smtps://` (TLS from the start, port 465), then
    /// `user:password@host:port`; `?tls=none` (port 25) to a loopback address only.
    pub url: String,
    /// The sender, as `name@host` or `Name <name@host>`.
    pub from: String,
    /// Certificate authorities besides the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// How many connections are open at most; at least one.
    pub connections: usize,
}

/// How long each phase may take.
#[derive(Debug, Clone, Copy)]
pub struct SmtpDeadlines {
    /// For the look-up of the name, for each address that is tried, and for TLS.
    pub connect: Duration,
    /// For the greeting and EHLO.
    pub greeting: Duration,
    /// For each command.
    pub command: Duration,
    /// For the message and the answer to the final dot.
    pub message: Duration,
}

impl Default for SmtpDeadlines {
    /// 10 s, 30 s, 30 s and 2 minutes.
    ///
    /// RFC 5321 §4.5.3.2.6 would wait 10 minutes after the dot, for fear of doubles. Here the attempt
    /// that follows carries the same Message-ID, and ten minutes would hold back an escalation.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            greeting: Duration::from_secs(30),
            command: Duration::from_secs(30),
            message: Duration::from_secs(120),
        }
    }
}

/// The SMTP provider.
pub struct Smtp {
    endpoint: Endpoint,
    from: Mailbox,
    deadlines: SmtpDeadlines,
    pool: Arc<Pool>,
}

impl Smtp {
    /// A provider with the ordinary deadlines. It connects when there is something to send.
    ///
    /// # Errors
    ///
    /// When the configuration cannot be used; says what to change.
    pub fn new(config: SmtpConfig) -> Result<Self, ProviderError> {
        Self::with_deadlines(config, SmtpDeadlines::default())
    }

    /// The same, with deadlines of one's own.
    ///
    /// # Errors
    ///
    /// As [`Smtp::new`].
    pub fn with_deadlines(config: SmtpConfig, deadlines: SmtpDeadlines) -> Result<Self, ProviderError> {
        let problem = |problem: String| ProviderError { provider: NAME, problem };
        let from: Mailbox = config.from.parse().map_err(|error| {
            problem(format!("email.from is no mail address ({error}): write `Name <name@host>`"))
        })?;
        let from = Mailbox::new(from.name.as_deref().and_then(mail::clean_name), from.email);
        let mut endpoint = Endpoint::parse(&config.url, from.email.domain()).map_err(problem)?;
        if endpoint.security.is_encrypted() {
            endpoint.tls = Some(Arc::new(tls::client_config(NAME, config.ca_file.as_deref(), &[], true)?));
        }
        Ok(Self { endpoint, from, deadlines, pool: Pool::new(config.connections.max(1)) })
    }

    async fn attempt(&self, message: &Outgoing) -> Report {
        let mail = match Mail::build(&self.from, message) {
            Ok(mail) => mail,
            Err(report) => return *report,
        };
        let Some(seat) = self.pool.seat().await else {
            return Report::failed(AttemptOutcome::Transient, "closed", "the provider is shutting down");
        };
        let mut idle = seat.idle();
        loop {
            let reused = idle.is_some();
            // The connection belongs to this future alone: dropped with it, it is never used again.
            let mut connection = match idle.take() {
                Some(connection) => connection,
                None => match Connection::open(&self.endpoint, &self.deadlines).await {
                    Ok(connection) => connection,
                    Err(fault) => return fault.report(),
                },
            };
            match connection.deliver(&mail, &self.deadlines).await {
                Ok(reference) => {
                    seat.put(connection);
                    return Report { reference, ..Report::of(AttemptOutcome::Accepted) };
                }
                // The server closed it while it lay idle. Nothing of this mail was sent.
                Err(fault) if reused && fault.is_closed_before_message() => {}
                Err(fault) => {
                    if fault.leaves_usable() {
                        seat.put(connection);
                    }
                    return fault.report();
                }
            }
        }
    }

    async fn reach(&self) -> Result<(), Fault> {
        let mut connection = Connection::open(&self.endpoint, &self.deadlines).await?;
        connection.quit(&self.deadlines).await
    }
}

impl Provider for Smtp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn send<'a>(&'a self, message: &'a Outgoing) -> Sending<'a, Report> {
        Box::pin(self.attempt(message))
    }

    /// Connects, greets, encrypts, logs in, and leaves.
    fn check(&self) -> Sending<'_, Result<(), ProviderError>> {
        Box::pin(async move {
            self.reach().await.map_err(|fault| {
                let report = fault.report();
                let code = report.code.unwrap_or_default();
                let error = report.error.unwrap_or_default();
                ProviderError { provider: NAME, problem: format!("{}: {error} ({code})", self.endpoint) }
            })
        })
    }
}
