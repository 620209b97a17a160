//! The command line.

pub mod args;
pub mod logging;

pub use args::{
    Cli, Command, DemoArgs, ImportArgs, Input, MigrateArgs, PublishArgs, Remote, ServeArgs, TokenCommand,
    TokenFileError, UsersCommand,
};
