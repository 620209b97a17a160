//! The sections that are taken as they are written.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use chrono_tz::Tz;
use reqwest::Url;
use tracing_subscriber::EnvFilter;

use super::{
    error::Problems,
    macros::{read_by_from_str, section},
    read::{Read, Size, found, from_text},
    secret::SecretUrl,
    tree::{Node, join},
};
use crate::domain::words;

section! {
    /// The HTTP server.
    pub struct Server {
        /// Where it listens.
        pub bind: SocketAddr,
        /// How the outside reaches it, for links.
        pub public_url: Option<Url>,
        /// The largest body of a request; a larger one gets 413.
        pub max_body: Size,
    }
    check = check_server;
}

section! {
    /// The connections that Herald makes.
    pub struct Tls {
        /// Certificate authorities in addition to the system's, as PEM.
        pub ca_file: Option<PathBuf>,
    }
}

/// The database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite://` and the path of a file.
    Sqlite(PathBuf),
    /// `postgres://` or `postgresql://`.
    Postgres(SecretUrl),
}

section! {
    /// The database.
    pub struct Database {
        /// Which one.
        pub url: DatabaseUrl,
        /// PostgreSQL's schema for Herald's tables: a plain identifier.
        pub schema: String,
    }
    check = check_database;
}

section! {
    /// Redis.
    pub struct Redis {
        /// Where it is; `None`: the in-process bus.
        pub url: Option<SecretUrl>,
        /// How long an id known from Redis alone may wait for its publisher's own row.
        pub adopt_after: Duration,
    }
    check = check_redis;
}

section! {
    /// How stored events are found.
    pub struct Dispatch {
        /// How soon one is found without a doorbell.
        pub poll_interval: Duration,
        /// After how long a silent instance loses what it holds.
        pub lease: Duration,
    }
    check = check_dispatch;
}

section! {
    /// The core banking API.
    pub struct CoreBank {
        /// Where it is; `None`: balance sync and discovery are off.
        pub url: Option<SecretUrl>,
    }
    check = check_corebank;
}

section! {
    /// The bank's own templates.
    pub struct Templates {
        /// Their folder.
        pub dir: Option<PathBuf>,
    }
}

section! {
    /// How long what has ended is kept.
    pub struct Retention {
        /// In days; 0: for ever.
        pub days: u32,
    }
}

words! {
    /// How a line of the log is written.
    LogFormat("log format") {
        /// For people.
        Text = "text",
        /// For machines.
        Json = "json",
    }
}

section! {
    /// The log.
    pub struct Log {
        /// `None`: text on a terminal, else JSON.
        pub format: Option<LogFormat>,
        /// A level, or directives such as `info,herald::store=debug`.
        pub level: String,
    }
    check = check_log;
}

section! {
    /// What a recipient has who has set nothing else.
    pub struct Defaults {
        /// A language tag (BCP 47).
        pub locale: String,
        /// A name of the IANA time zone database.
        pub time_zone: Tz,
    }
    check = check_defaults;
}

section! {
    /// The metrics.
    pub struct Metrics {
        /// Where `/metrics` is served instead of on `server.bind`.
        pub bind: Option<SocketAddr>,
    }
}

impl Log {
    /// What is logged, by `level`.
    ///
    /// # Errors
    ///
    /// `level` cannot be read: what is wrong, in words.
    pub fn filter(&self) -> Result<EnvFilter, String> {
        for directive in self.level.split(',').map(str::trim).filter(|directive| !directive.contains('=')) {
            // A filter would take any other word for the name of a module, and log all of it.
            if !matches!(directive, "off" | "error" | "warn" | "info" | "debug" | "trace") {
                return Err(found(
                    "expected off, error, warn, info, debug or trace, or directives such as info,herald::store=debug",
                    directive,
                ));
            }
        }
        EnvFilter::builder().parse(&self.level).map_err(|error| error.to_string())
    }
}

read_by_from_str!(LogFormat);

impl Read for Tz {
    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        from_text(node, at, problems, |text| {
            Self::from_str(text)
                .map_err(|_| found("expected an IANA time zone such as Africa/Blantyre", text))
        })
    }
}

impl Read for DatabaseUrl {
    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        // The text is not shown: a password may stand in it.
        from_text(node, at, problems, |text| match text.split_once("://") {
            Some(("sqlite", "")) => {
                Err("names no file: write sqlite://herald.db or sqlite:///var/lib/herald.db".into())
            }
            Some(("sqlite", path)) if path.starts_with(':') || path.contains('?') => {
                Err("takes the path of a file and nothing else".into())
            }
            Some(("sqlite", path)) => Ok(Self::Sqlite(path.into())),
            Some(("postgres" | "postgresql", _)) => {
                let url = Url::parse(text).map_err(|error| format!("cannot be read: {error}"))?;
                tokio_postgres::Config::from_str(text)
                    .map_err(|error| {
                        std::error::Error::source(&error)
                            .map_or_else(|| error.to_string(), ToString::to_string)
                    })
                    .map_err(|error| format!("cannot be read: {error}"))?;
                Ok(Self::Postgres(url.into()))
            }
            _ => Err("expected sqlite://… or postgres://…".into()),
        })
    }
}

/// Whether a URL is one that an HTTP client can call.
pub(super) fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host()
}

fn check_server(server: &Server, at: &str, problems: &mut Problems) {
    if server.public_url.as_ref().is_some_and(|url| !is_http(url) || !url.username().is_empty()) {
        problems.at(join(at, "public_url"), "expected http://… or https://… without a user");
    }
    if server.max_body.0 < 1024 {
        problems.at(join(at, "max_body"), "expected at least 1KiB");
    }
}

fn check_database(database: &Database, at: &str, problems: &mut Problems) {
    let schema = &database.schema;
    let plain = schema.len() <= 63
        && schema.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && schema.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !schema.starts_with("pg_");
    if !plain {
        problems.at(
            join(at, "schema"),
            found("expected a plain identifier (a-z, 0-9 and _, at most 63, not beginning with pg_)", schema),
        );
    }
}

fn check_redis(redis: &Redis, at: &str, problems: &mut Problems) {
    let fits = |url: &SecretUrl| {
        let known = matches!(url.expose().scheme(), "redis" | "rediss" | "unix" | "redis+unix");
        known && redis::IntoConnectionInfo::into_connection_info(url.expose().as_str()).is_ok()
    };
    if redis.url.as_ref().is_some_and(|url| !fits(url)) {
        problems
            .at(join(at, "url"), "expected redis://user:password@host:port/database, rediss://… or unix://…");
    }
}

fn check_dispatch(dispatch: &Dispatch, at: &str, problems: &mut Problems) {
    let (poll, lease) = (dispatch.poll_interval, dispatch.lease);
    if !(Duration::from_millis(10)..=Duration::from_secs(60)).contains(&poll) {
        problems.at(join(at, "poll_interval"), "expected 10ms to 1m");
    }
    if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&lease) {
        problems.at(join(at, "lease"), "expected 1s to 10m");
    }
    if poll >= lease {
        problems.at(join(at, "poll_interval"), format!("has to be shorter than {}", join(at, "lease")));
    }
}

fn check_corebank(corebank: &CoreBank, at: &str, problems: &mut Problems) {
    if corebank.url.as_ref().is_some_and(|url| !is_http(url.expose())) {
        problems.at(join(at, "url"), "expected http://… or https://…");
    }
}

fn check_log(log: &Log, at: &str, problems: &mut Problems) {
    if let Err(problem) = log.filter() {
        problems.at(join(at, "level"), problem);
    }
}

fn check_defaults(defaults: &Defaults, at: &str, problems: &mut Problems) {
    let mut parts = defaults.locale.split(['-', '_']);
    let language = parts.next().unwrap_or_default();
    let is_tag = (2..=8).contains(&language.len())
        && language.bytes().all(|byte| byte.is_ascii_alphabetic())
        && parts.all(|part| {
            (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
    if !is_tag {
        problems
            .at(join(at, "locale"), found("expected a language tag such as en or pt-BR", &defaults.locale));
    }
}
