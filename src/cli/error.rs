//! Why a command ended badly, and the exit code that says so.

use std::process::ExitCode;

use super::TokenFileError;
use crate::actors::BuildError;
use crate::config::ConfigError;
use crate::providers::ProviderError;
use crate::store::StoreError;
use crate::supervision::Exit;
use crate::templates::TemplateLoadError;

/// Why a command ended badly.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration cannot be used.
    #[error("the configuration cannot be used:\n{0}")]
    Config(#[from] ConfigError),
    /// Another process serves this file.
    #[error("another Herald serves {0}: one SQLite file has one server (use PostgreSQL for several)")]
    InUse(String),
    /// A provider cannot be used as it is configured.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// Redis cannot be used.
    #[error(transparent)]
    Redis(#[from] crate::actors::RedisError),
    /// Templates of the bank's own cannot be used.
    #[error("templates.dir cannot be used:\n{0}")]
    Templates(#[from] TemplateLoadError),
    /// Something is missing on the command line.
    #[error("{0}")]
    Usage(String),
    /// The token's file cannot be read.
    #[error(transparent)]
    TokenFile(#[from] TokenFileError),
    /// The database.
    #[error("{}", with_causes(.0))]
    Store(#[from] StoreError),
    /// A file or a socket.
    #[error("{what}: {cause}")]
    Io {
        /// What was being done, and on what.
        what: String,
        /// What went wrong.
        #[source]
        cause: std::io::Error,
    },
    /// The actors could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The tree gave up.
    #[error("{0}")]
    Exit(#[from] Exit),
    /// Said already; only the exit code is left.
    #[error("failed")]
    Said,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

fn with_causes(error: &StoreError) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

impl CommandError {
    /// 2: bad usage or configuration; 1: anything else.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Config(_)
            | Self::InUse(_)
            | Self::Provider(_)
            | Self::Redis(_)
            | Self::Templates(_)
            | Self::Usage(_)
            | Self::TokenFile(_)
            | Self::Store(StoreError::Config(_)) => 2,
            _ => 1,
        })
    }
}
