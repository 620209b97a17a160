//! The command line: reads the configuration, builds what a command needs, and runs it.

mod args;
mod channels;
mod check;
mod demo;
mod error;
mod import;
pub mod logging;
mod process;
mod publish;
mod reconcile;
mod remote;
mod replay;
mod serve;
mod tokens;

use std::io::Write as _;
use std::process::ExitCode;

pub use args::{
    Cli, Command, DemoArgs, ImportArgs, Input, MigrateArgs, PublishArgs, Remote, ReplayArgs, ServeArgs,
    TokenCommand, TokenFileError, UsersCommand,
};
pub use error::CommandError;

use crate::config::Config;
use crate::store::{MigrationMode, Store};
use crate::supervision::{PanicText, install_hook};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    // The first thing: whoever speaks TLS asks for the process's provider.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return fail(&CommandError::Failed("a TLS provider was installed before".to_owned()));
    }
    install_hook(PanicText::Literal);
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &CommandError) -> ExitCode {
    if !matches!(error, CommandError::Said) {
        // Nothing is left to be done if even this cannot be written.
        let _ = writeln!(std::io::stderr(), "fatal: {error}");
    }
    error.exit_code()
}

fn run(cli: &Cli) -> Result<(), CommandError> {
    // These act on a running Herald, and need no configuration of their own.
    match &cli.command {
        Command::Publish(args) => return block_on(publish::publish(args, cli.json)),
        Command::Replay(args) => return block_on(replay::replay(args, cli.json)),
        Command::Users(UsersCommand::Import(args)) => return block_on(import::import(args, cli.json)),
        _ => {}
    }
    let config = Config::load(cli.config.as_deref())?;
    logging::init(&config.log)?;
    match &cli.command {
        Command::Serve(args) => {
            serve::serve(&config, serve::Variant { hold: args.hold, ..serve::Variant::default() })
        }
        Command::Demo(args) => demo::demo(&config, *args),
        Command::Token(command) => block_on(tokens::tokens(&config, command, cli.json)),
        Command::Migrate(args) => block_on(migrate(&config, *args, cli.json)),
        Command::Check => block_on(check::check(&config, cli.json)),
        Command::Reconcile => block_on(reconcile::reconcile(&config, cli.json)),
        Command::Publish(_) | Command::Replay(_) | Command::Users(_) => Ok(()),
    }
}

fn block_on(work: impl Future<Output = Result<(), CommandError>>) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime =
        runtime.map_err(|cause| CommandError::Io { what: "threads could not be started".into(), cause })?;
    runtime.block_on(work)
}

/// Prints a result.
fn say(text: &str) -> Result<(), CommandError> {
    let mut out = std::io::stdout();
    writeln!(out, "{text}").map_err(|cause| CommandError::Io { what: "cannot print".into(), cause })
}

/// Opens the database of the configuration, brought up to date.
async fn open(config: &Config) -> Result<Store, CommandError> {
    let location = serve::location(config);
    Store::migrate(&location, MigrationMode::Run).await?;
    Ok(Store::open(&location, tokio::runtime::Handle::current())?)
}

async fn migrate(config: &Config, args: MigrateArgs, json: bool) -> Result<(), CommandError> {
    let mode = if args.check { MigrationMode::Check } else { MigrationMode::Run };
    let names = Store::migrate(&serve::location(config), mode).await?;
    let word = if args.check { "pending" } else { "applied" };
    if json {
        say(&serde_json::json!({ word: names }).to_string())?;
    } else {
        for name in &names {
            say(&format!("{word} {name}"))?;
        }
        if names.is_empty() {
            say("up to date")?;
        }
    }
    // So that a deployment can stop on it.
    if args.check && !names.is_empty() { Err(CommandError::Said) } else { Ok(()) }
}
