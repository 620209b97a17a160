//! The commands and their arguments.

use std::{convert::Infallible, ffi::OsString, fs, io, path::PathBuf, str::FromStr, time::Duration};

use clap::{
    Args, CommandFactory, FromArgMatches, Parser, Subcommand, builder::PossibleValuesParser, error::ErrorKind,
};
use reqwest::Url;

use crate::config::{Secret, parse_duration};

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Cli {
    /// The configuration's file.
    pub config: Option<PathBuf>,
    /// Whether results are printed as JSON.
    pub json: bool,
    /// The command; `serve` where none was given.
    pub command: Command,
}

/// The line as clap reads it.
#[derive(Debug, Parser)]
#[command(
    name = "herald",
    version,
    about = "A supervised event and notification runtime for banks",
    after_help = "Exit codes: 0 a clean stop, 2 bad usage or configuration, 1 anything else."
)]
struct Line {
    /// The configuration's file; what it leaves out has its default
    #[arg(long, global = true, env = "HERALD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print results as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The commands.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Run the service: actors, API, dashboard (the default)
    Serve(ServeArgs),
    /// Serve on the embedded defaults, with a simulated core bank and a steady flow of events
    Demo(DemoArgs),
    /// Send events to a running Herald
    Publish(PublishArgs),
    /// What would today's rules send of stored events, beside what was sent? With --send: send it
    Replay(ReplayArgs),
    /// Recipients
    #[command(subcommand)]
    Users(UsersCommand),
    /// Tokens for the API
    #[command(subcommand)]
    Token(TokenCommand),
    /// Bring the database up to date
    Migrate(MigrateArgs),
    /// Read the configuration, reach everything that it names, say what is wrong
    Check,
    /// Do events, notifications, deliveries and work items add up? Names the ids where not
    Reconcile,
}

/// `herald serve`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub struct ServeArgs {
    /// Take events in, but handle and send nothing until resumed
    #[arg(long)]
    pub hold: bool,
}

/// `herald demo`.
#[derive(Debug, Clone, Copy, Args)]
pub struct DemoArgs {
    /// Events a second
    #[arg(long, default_value = "5", value_parser = parse_rate)]
    pub rate: f64,
    /// Users of the simulated bank
    #[arg(long, default_value = "50", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub users: u32,
}

/// `herald publish`.
#[derive(Debug, Clone, Args)]
pub struct PublishArgs {
    /// JSON (an event, or an array of them) or NDJSON (one on each line); - for standard input
    #[arg(value_name = "FILE|-")]
    pub input: Input,
    /// The running Herald.
    #[command(flatten)]
    pub remote: Remote,
}

/// A moment, as the API reads it.
fn moment(text: &str) -> Result<String, String> {
    match crate::domain::Instant::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("expected a time with an offset, such as 2026-11-24T09:15:00Z (RFC 3339)".to_owned()),
    }
}

/// `herald replay`.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// Only events of this type; may be given several times
    #[arg(long = "type", value_name = "T")]
    pub types: Vec<String>,
    /// Only events stored at or after this, such as 2026-11-24T09:15:00Z
    #[arg(long, value_name = "T", value_parser = moment)]
    pub from: Option<String>,
    /// Only events stored before this
    #[arg(long, value_name = "T", value_parser = moment)]
    pub to: Option<String>,
    /// Only events of the aggregate with this id
    #[arg(long, value_name = "ID")]
    pub aggregate: Option<String>,
    /// Send what was never sent, by today's rules; without it nothing is changed
    #[arg(long, requires = "reason")]
    pub send: bool,
    /// Why it is sent, for the log and the ledger; nothing personal
    #[arg(long, value_name = "TEXT", requires = "send")]
    pub reason: Option<String>,
    /// The running Herald.
    #[command(flatten)]
    pub remote: Remote,
}

/// `herald users`.
#[derive(Debug, Clone, Subcommand)]
pub enum UsersCommand {
    /// Add or replace recipients
    Import(ImportArgs),
}

/// `herald users import`.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// CSV (with a header) or NDJSON: id and the fields of PUT /v1/users/{id}; - for standard input
    #[arg(value_name = "FILE|-")]
    pub input: Input,
    /// The running Herald.
    #[command(flatten)]
    pub remote: Remote,
}

/// `herald token`.
#[derive(Debug, Clone, Subcommand)]
pub enum TokenCommand {
    /// Make a token; it is printed once, and cannot be shown again
    Create {
        /// Who or what it is for
        #[arg(long)]
        name: String,
        /// What it may do
        #[arg(long = "scope", value_name = "S[,S…]", value_delimiter = ',', required = true,
              value_parser = PossibleValuesParser::new(SCOPES))]
        scopes: Vec<String>,
        /// How long it is good for, such as 90d [default: for ever]
        #[arg(long, value_name = "DURATION", value_parser = parse_lifetime)]
        expires: Option<Duration>,
    },
    /// List the tokens, without their secrets
    List,
    /// End a token
    Revoke {
        /// Its id, as `list` shows it
        // An id is Base64url: it may begin with a hyphen.
        #[arg(allow_hyphen_values = true)]
        id: String,
    },
}

/// `herald migrate`.
#[derive(Debug, Clone, Copy, Args)]
pub struct MigrateArgs {
    /// Change nothing; exit 1 and list them where migrations are pending
    #[arg(long)]
    pub check: bool,
}

/// The scopes that a token may have.
const SCOPES: [&str; 6] = ["events:write", "read", "read:personal", "preferences:write", "operate", "admin"];

/// How a running Herald is reached.
#[derive(Debug, Clone, Args)]
pub struct Remote {
    /// The running Herald
    #[arg(long, env = "HERALD_URL", default_value = "http://127.0.0.1:8080", value_parser = parse_url)]
    pub url: Url,
    /// A token with the scope that the command needs; in the environment nobody sees it
    #[arg(long, env = "HERALD_TOKEN", hide_env_values = true)]
    pub token: Option<Secret>,
    /// A file that holds the token
    #[arg(long, env = "HERALD_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// The file that holds the token cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the token's file {} cannot be read: {cause}", .path.display())]
pub struct TokenFileError {
    /// The file.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub cause: io::Error,
}

impl Remote {
    /// The token: the one given, else the one in the file; `None` where neither is.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn token(&self) -> Result<Option<Secret>, TokenFileError> {
        match (&self.token, &self.token_file) {
            (Some(token), _) => Ok(Some(token.clone())),
            (None, None) => Ok(None),
            (None, Some(path)) => match fs::read_to_string(path) {
                Ok(text) => Ok(Some(Secret::from(text.trim().to_owned()))),
                Err(cause) => Err(TokenFileError { path: path.clone(), cause }),
            },
        }
    }
}

/// Where a command reads from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// `-`.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl FromStr for Input {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "-" { Self::Stdin } else { Self::File(text.into()) })
    }
}

impl Cli {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    ///
    /// Bad usage, or a call for help: clap's error prints it, and `exit` ends the process with the
    /// contract's code (2 or 0).
    pub fn read<I, T>(line: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let line = Line::from_arg_matches(&Line::command().try_get_matches_from(line)?)?;
        let command = match line.command {
            None => Command::Serve(line.serve),
            Some(Command::Serve(serve)) => Command::Serve(ServeArgs { hold: serve.hold || line.serve.hold }),
            Some(_) if line.serve.hold => {
                let problem = "--hold belongs to `serve` alone";
                return Err(Line::command().error(ErrorKind::ArgumentConflict, problem));
            }
            Some(command) => command,
        };
        Ok(Self { config: line.config, json: line.json, command })
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate| *rate > 0.0 && *rate <= 100_000.0)
        .ok_or_else(|| "expected a number above 0, such as 5 or 0.5".to_owned())
}

fn parse_lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = parse_duration(text)?;
    if lifetime.is_zero() { Err("expected more than nothing".to_owned()) } else { Ok(lifetime) }
}

fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err("expected http://… or https://…".to_owned()),
    }
}

#[cfg(test)]
mod tests;
