//! The configuration: `config/default.toml`, which documents every key and is built into the binary,
//! then a file, then environment variables; each lies on top of the one before.
//!
//! Everything that is wrong is told at once, each problem with the key's whole path and where the
//! value came from. Secrets are never shown: not in an error, not by `Debug`.
//!
//! | module | idea |
//! | --- | --- |
//! | `tree` | merge the layers; remember where each value came from |
//! | `read` | read a typed value, note what is wrong |
//! | `macros` | a section: a struct whose fields are the keys |
//! | `sections`, `limits`, `channels`, `sms`, `routes`, `retry` | the keys |
//! | `secret` | values that are never shown |
//! | `text` | sizes |
//! | `effect` | settings that nothing follows yet |
//! | `suggest` | the word that was meant |

mod channels;
mod effect;
mod error;
mod limits;
mod macros;
mod read;
mod retry;
mod routes;
mod secret;
mod sections;
mod sms;
mod suggest;
mod text;
mod tree;

use std::{ffi::OsString, fs, path::Path};

pub use channels::{EmailProvider, Fcm, PushProvider, Sending, SmsProvider, Smtp};
pub use effect::without_effect;
pub use error::{ConfigError, ConfigProblem, Source};
pub use limits::{
    BatchLimits, BreakerLimits, EVENT_BYTES, EVENT_DEPTH, EVENTS_AT_ONCE, Limits, LiveFeedLimits, PAGE,
    WriterLimits,
};
pub use read::Size;
pub use secret::{Secret, SecretUrl};
pub use sections::{
    CoreBank, Database, DatabaseUrl, Defaults, Dispatch, Log, LogFormat, Metrics, Redis, Retention, Server,
    Templates, Tls,
};
pub use sms::SmsHttp;
pub use text::{format_duration, parse_duration, parse_size};

use self::{
    channels::{EmailKeys, PushKeys, SmsKeys},
    error::Problems,
    read::Section,
    retry::RetryKeys,
    routes::RouteKeys,
};
use crate::{
    domain::{Channel, QuietWindow},
    policy::{Cap, PUSH_FLOOR, Retry, Route, Routes},
};

/// `config/default.toml`: every key with its meaning and its default.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

/// The whole configuration, read and checked. `config/default.toml` says what each key means.
#[derive(Debug, Clone)]
pub struct Config {
    /// The HTTP server.
    pub server: Server,
    /// The connections that Herald makes.
    pub tls: Tls,
    /// The database.
    pub database: Database,
    /// Redis.
    pub redis: Redis,
    /// How stored events are found.
    pub dispatch: Dispatch,
    /// E-mail.
    pub email: Sending<EmailProvider>,
    /// Push messages.
    pub push: Sending<PushProvider>,
    /// Text messages.
    pub sms: Sending<SmsProvider>,
    /// The core banking API.
    pub corebank: CoreBank,
    /// What each type of event means.
    pub routes: Routes,
    /// The bank's own frequency caps.
    pub caps: Vec<Cap>,
    /// The bank's own quiet hours.
    pub quiet_hours: Vec<QuietWindow>,
    /// The bank's own templates.
    pub templates: Templates,
    /// The retries of what has none of its own; [`Config::retry_for`] knows which hold.
    pub retry: Retry,
    /// How long what has ended is kept.
    pub retention: Retention,
    /// The log.
    pub log: Log,
    /// What a recipient has who has set nothing else.
    pub defaults: Defaults,
    /// The metrics.
    pub metrics: Metrics,
    /// Every bound.
    pub limits: Limits,
}

impl Config {
    /// The configuration of this process: the defaults, the file where one is named, the process's
    /// environment.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_with(file, std::env::vars_os())
    }

    /// The built-in defaults, without a file and without the environment.
    ///
    /// # Errors
    ///
    /// Never: a test reads them.
    pub fn builtin() -> Result<Self, ConfigError> {
        Self::load_with(None, [])
    }

    /// The same as [`Config::load`], with an environment that is given.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn load_with<I>(file: Option<&Path>, environment: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator<Item = (OsString, OsString)>,
    {
        let mut problems = Problems::default();
        let tree = tree::parse(DEFAULT_TOML, &Source::Default, &mut problems);
        let config = tree.and_then(|mut tree| {
            if let Some(path) = file {
                let source = Source::File(path.to_owned());
                match fs::read_to_string(path) {
                    Ok(text) => {
                        if let Some(over) = tree::parse(&text, &source, &mut problems) {
                            tree.merge(over);
                        }
                    }
                    Err(error) => problems.add("", format!("cannot be read: {error}"), &source),
                }
            }
            tree::overlay(&mut tree, environment, &mut problems);
            tree.sources("", &mut problems.sources);
            Self::read(tree, &mut problems)
        });
        problems.finish(config)
    }

    /// Reads every section before it gives up, so that all that is wrong is noted.
    fn read(tree: tree::Node, problems: &mut Problems) -> Option<Self> {
        const KEYS: [&str; 19] = [
            "server",
            "tls",
            "database",
            "redis",
            "dispatch",
            "email",
            "push",
            "sms",
            "corebank",
            "routes",
            "caps",
            "quiet_hours",
            "templates",
            "retry",
            "retention",
            "log",
            "defaults",
            "metrics",
            "limits",
        ];
        let mut root = Section::open(tree, "", problems)?;
        let (server, tls) = (root.field("server", None), root.field("tls", None));
        let (database, redis) = (root.field("database", None), root.field("redis", None));
        let (dispatch, corebank) = (root.field("dispatch", None), root.field("corebank", None));
        let email = root.field::<EmailKeys>("email", None);
        let push = root.field::<PushKeys>("push", None);
        let sms = root.field::<SmsKeys>("sms", None);
        let routes = root.field::<std::collections::BTreeMap<String, RouteKeys>>("routes", None);
        let caps = root.field::<Vec<routes::CapKeys>>("caps", None);
        let quiet_hours = root.field::<Vec<routes::QuietHoursKeys>>("quiet_hours", None);
        let templates = root.field("templates", None);
        let retry = root.field::<RetryKeys>("retry", None);
        let (retention, log) = (root.field("retention", None), root.field("log", None));
        let (defaults, metrics) = (root.field("defaults", None), root.field("metrics", None));
        let limits = root.field("limits", None);
        root.finish(&KEYS);

        let global = retry.unwrap_or_default().global();
        let email = email.and_then(|keys| keys.resolve("email", None, &global, problems));
        let push = push.and_then(|keys| keys.resolve("push", &global, problems)).map(|mut push| {
            if push.retry.is_none() && !problems.is_configured("retry") {
                push.retry = Some(Retry { floor: PUSH_FLOOR, ..global });
            }
            push
        });
        let sms = sms.and_then(|keys| keys.resolve("sms", &global, problems));
        let routes = routes.map(|keys| routes::resolve(keys, &global, problems));
        let caps =
            caps.zip(routes.as_ref()).map(|(keys, routes)| routes::resolve_caps(keys, routes, problems));
        let quiet_hours = quiet_hours.map(|keys| routes::resolve_quiet_hours(keys, problems));
        Some(Self {
            server: server?,
            tls: tls?,
            database: database?,
            redis: redis?,
            dispatch: dispatch?,
            email: email?,
            push: push?,
            sms: sms?,
            corebank: corebank?,
            routes: routes?,
            caps: caps?,
            quiet_hours: quiet_hours?,
            templates: templates?,
            retry: retry.map(|_| global)?,
            retention: retention?,
            log: log?,
            defaults: defaults?,
            metrics: metrics?,
            limits: limits?,
        })
    }

    /// The retries that hold: the route's, else the channel's, else the global ones. Where none is
    /// configured, a push waits at least 10 s, as FCM asks.
    pub fn retry_for(&self, route: Option<&Route>, channel: Channel) -> Retry {
        let own = match channel {
            Channel::Push => self.push.retry,
            Channel::Email => self.email.retry,
            Channel::Sms => self.sms.retry,
        };
        route.and_then(|route| route.retry).or(own).unwrap_or(self.retry)
    }
}
