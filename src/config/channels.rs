//! Channels: by what provider each goes, and how fast.

use std::{net::IpAddr, path::PathBuf};

use lettre::message::Mailbox;
use reqwest::Url;

use super::{
    error::Problems,
    macros::section,
    read::{Read, found, from_text},
    retry::RetryKeys,
    secret::SecretUrl,
    sms::{SmsHttp, SmsHttpKeys},
    tree::{Node, join},
};
use crate::policy::Retry;

/// How a channel is sent.
#[derive(Debug, Clone)]
pub struct Sending<P> {
    /// What carries it.
    pub provider: P,
    /// Sends at once in one instance.
    pub concurrency: u32,
    /// Sends a second over all instances; `None`: as many as there are.
    pub per_second: Option<f64>,
    /// The channel's own retries; `None`: the global ones. Always `None` for a fallback.
    pub retry: Option<Retry>,
    /// What is used while the breaker of `provider` is open; it has no fallback of its own.
    pub fallback: Option<Box<Self>>,
}

/// What carries e-mail.
#[derive(Debug, Clone)]
pub enum EmailProvider {
    /// Keeps what it is given, for tests and demonstrations.
    Sandbox,
    /// An SMTP server.
    Smtp(Smtp),
}

/// An SMTP server.
#[derive(Debug, Clone)]
pub struct Smtp {
    /// `smtp://` (STARTTLS) or `smtps://`, `user:password@host:port`; `?tls=none` to a loopback
    /// address only.
    pub url: SecretUrl,
    /// The sender.
    pub from: Mailbox,
}

/// What carries push messages.
#[derive(Debug, Clone)]
pub enum PushProvider {
    /// Keeps what it is given, for tests and demonstrations.
    Sandbox,
    /// Firebase Cloud Messaging.
    Fcm(Fcm),
}

/// Firebase Cloud Messaging.
#[derive(Debug, Clone)]
pub struct Fcm {
    /// The file of the service account's key, as Google hands it out.
    pub service_account: PathBuf,
    /// The base of its API.
    pub endpoint: Url,
}

/// What carries text messages.
#[derive(Debug, Clone)]
pub enum SmsProvider {
    /// Keeps what it is given, for tests and demonstrations.
    Sandbox,
    /// A gateway that is called by HTTP.
    Http(Box<SmsHttp>),
}

/// Declares the providers that a channel may have, by the words of its key `provider`.
macro_rules! providers {
    ($name:ident { $($variant:ident = $text:literal),+ }) => {
        #[derive(Debug, Clone, Copy)]
        pub(super) enum $name {
            $($variant),+
        }

        impl Read for $name {
            fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
                from_text(node, at, problems, |text| match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(found(concat!("expected one of:" $(, " ", $text)+), text)),
                })
            }
        }
    };
}

providers!(EmailKind { Sandbox = "sandbox", Smtp = "smtp" });
providers!(PushKind { Sandbox = "sandbox", Fcm = "fcm" });
providers!(SmsKind { Sandbox = "sandbox", Http = "http" });

impl Read for Mailbox {
    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        from_text(node, at, problems, |text| {
            text.parse().map_err(|_| found("expected a mailbox such as The Bank <alerts@bank.example>", text))
        })
    }
}

/// Declares the keys of a channel: those that all have, and those of its providers.
macro_rules! channel_keys {
    ($(#[$meta:meta])* $name:ident, $kind:ty { $($(#[$field_meta:meta])* $field:ident: $type:ty,)+ }) => {
        section! {
            $(#[$meta])*
            pub(super) struct $name {
                /// Which provider.
                pub provider: $kind,
                /// Sends at once in one instance.
                pub concurrency: u32 = 32,
                /// Sends a second over all instances.
                pub per_second: Option<f64>,
                /// The channel's own retries.
                pub retry: Option<RetryKeys>,
                /// The second provider.
                pub fallback: Option<Box<$name>>,
                $($(#[$field_meta])* pub $field: $type,)+
            }
            check = |keys: &Self, at: &str, problems: &mut Problems| {
                check_pace(keys.concurrency, keys.per_second, at, problems);
                if let Some(fallback) = &keys.fallback {
                    if fallback.fallback.is_some() {
                        problems.at(format!("{at}.fallback.fallback"), "a fallback has no fallback of its own");
                    }
                    if fallback.retry.is_some() {
                        problems.at(format!("{at}.fallback.retry"), format!("retries belong to the channel: use {at}.retry"));
                    }
                }
            };
        }

        impl $name {
            /// The settings with a provider that is ready to be used; what is missing is noted.
            fn with_provider<P>(
                &self,
                provider: Option<P>,
                fallback: Option<Option<Sending<P>>>,
                global: &Retry,
            ) -> Option<Sending<P>> {
                Some(Sending {
                    provider: provider?,
                    concurrency: self.concurrency,
                    per_second: self.per_second,
                    retry: self.retry.map(|retry| retry.over(global)),
                    fallback: match fallback {
                        Some(fallback) => Some(Box::new(fallback?)),
                        None => None,
                    },
                })
            }
        }
    };
}

channel_keys! {
    /// The keys of `email`.
    EmailKeys, EmailKind {
        /// The sender; a fallback without one has that of the first provider.
        from: Option<Mailbox>,
        /// The server.
        smtp: Option<SmtpKeys>,
    }
}

section! {
    /// The keys of `email.smtp`.
    pub(super) struct SmtpKeys {
        /// The server and the login.
        pub url: Option<SecretUrl>,
    }
    check = check_smtp;
}

channel_keys! {
    /// The keys of `push`.
    PushKeys, PushKind {
        /// Firebase.
        fcm: Option<FcmKeys>,
    }
}

section! {
    /// The keys of `push.fcm`.
    pub(super) struct FcmKeys {
        /// The file of the key.
        pub service_account: Option<PathBuf>,
        /// The base of the API.
        pub endpoint: Option<Url>,
    }
    check = check_fcm;
}

channel_keys! {
    /// The keys of `sms`.
    SmsKeys, SmsKind {
        /// The gateway.
        http: Option<SmsHttpKeys>,
    }
}

/// Google's own address of FCM.
const FCM_ENDPOINT: &str = "https://fcm.googleapis.com";

impl EmailKeys {
    pub(super) fn resolve(
        &self,
        at: &str,
        from: Option<&Mailbox>,
        global: &Retry,
        problems: &mut Problems,
    ) -> Option<Sending<EmailProvider>> {
        let from = self.from.as_ref().or(from);
        let provider = match self.provider {
            EmailKind::Sandbox => Some(EmailProvider::Sandbox),
            EmailKind::Smtp => {
                let url = self.smtp.as_ref().and_then(|smtp| smtp.url.clone());
                let url = needed(url, &format!("{at}.smtp.url"), at, "smtp", problems);
                let from = needed(from.cloned(), &format!("{at}.from"), at, "smtp", problems);
                url.zip(from).map(|(url, from)| EmailProvider::Smtp(Smtp { url, from }))
            }
        };
        let fallback = self.fallback.as_ref();
        let fallback =
            fallback.map(|fallback| fallback.resolve(&format!("{at}.fallback"), from, global, problems));
        self.with_provider(provider, fallback, global)
    }
}

impl PushKeys {
    pub(super) fn resolve(
        &self,
        at: &str,
        global: &Retry,
        problems: &mut Problems,
    ) -> Option<Sending<PushProvider>> {
        let provider = match self.provider {
            PushKind::Sandbox => Some(PushProvider::Sandbox),
            PushKind::Fcm => {
                let file = self.fcm.as_ref().and_then(|fcm| fcm.service_account.clone());
                let file = needed(file, &format!("{at}.fcm.service_account"), at, "fcm", problems);
                let endpoint = self.fcm.as_ref().and_then(|fcm| fcm.endpoint.clone());
                let endpoint = endpoint.or_else(|| Url::parse(FCM_ENDPOINT).ok());
                file.zip(endpoint)
                    .map(|(service_account, endpoint)| PushProvider::Fcm(Fcm { service_account, endpoint }))
            }
        };
        let fallback = self.fallback.as_ref();
        let fallback = fallback.map(|fallback| fallback.resolve(&format!("{at}.fallback"), global, problems));
        self.with_provider(provider, fallback, global)
    }
}

impl SmsKeys {
    pub(super) fn resolve(
        &self,
        at: &str,
        global: &Retry,
        problems: &mut Problems,
    ) -> Option<Sending<SmsProvider>> {
        let provider = match self.provider {
            SmsKind::Sandbox => Some(SmsProvider::Sandbox),
            SmsKind::Http => SmsHttpKeys::resolve(self.http.clone().unwrap_or_default(), at, problems)
                .map(|http| SmsProvider::Http(Box::new(http))),
        };
        let fallback = self.fallback.as_ref();
        let fallback = fallback.map(|fallback| fallback.resolve(&format!("{at}.fallback"), global, problems));
        self.with_provider(provider, fallback, global)
    }
}

/// A value without which the chosen provider cannot work; where it is missing, that is noted with
/// the source of the choice.
pub(super) fn needed<T>(
    value: Option<T>,
    key: &str,
    at: &str,
    provider: &str,
    problems: &mut Problems,
) -> Option<T> {
    if value.is_none() {
        let chosen_by = problems.source(&format!("{at}.provider"));
        problems.add(key, format!("needed where {at}.provider is `{provider}`"), &chosen_by);
    }
    value
}

fn check_pace(concurrency: u32, per_second: Option<f64>, at: &str, problems: &mut Problems) {
    if !(1..=1_000).contains(&concurrency) {
        problems.at(join(at, "concurrency"), "expected 1 to 1000");
    }
    if per_second.is_some_and(|per_second| per_second <= 0.0) {
        problems.at(join(at, "per_second"), "expected more than 0; leave it out for no limit");
    }
}

fn check_fcm(fcm: &FcmKeys, at: &str, problems: &mut Problems) {
    if fcm.endpoint.as_ref().is_some_and(|url| !super::sections::is_http(url)) {
        problems.at(join(at, "endpoint"), "expected https://…");
    }
}

fn check_smtp(smtp: &SmtpKeys, at: &str, problems: &mut Problems) {
    let Some(url) = &smtp.url else { return };
    if let Err(problem) = smtp_url(url.expose()) {
        problems.at(join(at, "url"), problem);
    }
}

/// What is wrong with the URL of an SMTP server, without its user and password.
fn smtp_url(url: &Url) -> Result<(), &'static str> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback =
        host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if !matches!(url.scheme(), "smtp" | "smtps") {
        return Err("expected smtp:// (STARTTLS) or smtps://");
    }
    if host.is_empty() {
        return Err("names no host");
    }
    if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
        return Err("takes no path: expected smtp://user:password@host:port");
    }
    if !url.username().is_empty() && url.password().is_none() {
        return Err("has a user without a password");
    }
    for (key, value) in url.query_pairs() {
        match (&*key, &*value, url.scheme()) {
            ("tls", "none", "smtp") if is_loopback => {}
            ("tls", "none", "smtp") => return Err("tls=none is for a loopback address only"),
            ("tls", "none", _) => return Err("smtps:// with tls=none contradicts itself: use smtp://"),
            _ => return Err("has an unknown setting after the question mark: only tls=none exists"),
        }
    }
    Ok(())
}
