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
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    fn read(line: &str) -> Result<Cli, clap::Error> {
        Cli::read(line.split_whitespace())
    }

    #[test]
    fn the_definition_holds_together() {
        Line::command().debug_assert();
    }

    #[test]
    fn serve_is_the_default() {
        for (line, hold) in [
            ("herald", false),
            ("herald serve", false),
            ("herald --hold", true),
            ("herald serve --hold", true),
            ("herald --config x.toml serve --hold", true),
            ("herald serve --hold --config x.toml", true),
        ] {
            let cli = read(line).unwrap();
            assert!(
                matches!(cli.command, Command::Serve(ServeArgs { hold: found }) if found == hold),
                "{line}"
            );
            assert_eq!(cli.config.is_some(), line.contains("x.toml"), "{line}");
        }
    }

    #[test]
    fn commands_with_their_arguments() {
        let Command::Demo(demo) = read("herald demo").unwrap().command else { panic!() };
        assert_eq!((demo.rate, demo.users), (5.0, 50));
        let Command::Demo(demo) = read("herald demo --rate 0.5 --users 7").unwrap().command else { panic!() };
        assert_eq!((demo.rate, demo.users), (0.5, 7));
        let Command::Publish(publish) = read("herald publish - --token t --json").unwrap().command else {
            panic!()
        };
        assert_eq!(publish.input, Input::Stdin);
        assert_eq!(publish.remote.url.as_str(), "http://127.0.0.1:8080/");
        assert_eq!(publish.remote.token().unwrap().unwrap().expose(), "t");
        let Command::Users(UsersCommand::Import(import)) =
            read("herald users import u.csv --url https://h.example").unwrap().command
        else {
            panic!()
        };
        assert_eq!(import.input, Input::File("u.csv".into()));
        let Command::Token(TokenCommand::Create { scopes, expires, .. }) =
            read("herald token create --name n --scope read,operate --scope admin --expires 90d")
                .unwrap()
                .command
        else {
            panic!()
        };
        assert_eq!(scopes, ["read", "operate", "admin"]);
        assert_eq!(expires, Some(Duration::from_secs(90 * 86_400)));
        assert!(
            matches!(read("herald token revoke 7").unwrap().command, Command::Token(TokenCommand::Revoke { id }) if id == "7")
        );
        let hyphen = read("herald token revoke -8aX").unwrap().command;
        assert!(matches!(hyphen, Command::Token(TokenCommand::Revoke { id }) if id == "-8aX"));
        assert!(matches!(
            read("herald migrate --check").unwrap().command,
            Command::Migrate(MigrateArgs { check: true })
        ));
        assert!(matches!(read("herald check").unwrap().command, Command::Check));
        let reconcile = read("herald reconcile --json").unwrap();
        assert!(matches!(reconcile.command, Command::Reconcile) && reconcile.json);
    }

    #[test]
    fn bad_usage_exits_with_2() {
        for line in [
            "herald unknown",
            "herald --unknown",
            "herald --hold check",
            "herald publish",
            "herald demo --rate 0",
            "herald demo --users 0",
            "herald demo --rate NaN",
            "herald token",
            "herald token create --name n",
            "herald token create --name n --scope all",
            "herald token create --name n --scope read --expires never",
            "herald token create --name n --scope read --expires 0d",
            "herald publish x --url mailto:x",
        ] {
            assert_eq!(read(line).unwrap_err().exit_code(), 2, "{line}");
        }
        assert_eq!(read("herald --help").unwrap_err().exit_code(), 0);
        assert_eq!(read("herald --version").unwrap_err().exit_code(), 0);
    }

    #[test]
    fn a_token_is_not_shown_and_can_stand_in_a_file() {
        let cli = read("herald publish x --token s3cret").unwrap();
        assert!(!format!("{cli:?}").contains("s3cret"));
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "s3cret\n").unwrap();
        let mut remote = Remote {
            url: Url::parse("http://h").unwrap(),
            token: None,
            token_file: Some(file.path().to_owned()),
        };
        assert_eq!(remote.token().unwrap().unwrap().expose(), "s3cret");
        remote.token_file = Some("/does/not/exist".into());
        assert!(
            remote
                .token()
                .unwrap_err()
                .to_string()
                .starts_with("the token's file /does/not/exist cannot be read")
        );
        remote.token_file = None;
        assert_eq!(remote.token().unwrap(), None);
    }
}
