//! What is wrong with a configuration.

use std::{collections::BTreeMap, fmt, path::PathBuf};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The defaults that are built into the binary.
    Default,
    /// The file named by `--config` or `HERALD_CONFIG`.
    File(PathBuf),
    /// An environment variable, by its name.
    Environment(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("config/default.toml"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong. It never holds a secret value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The whole path of the key, such as `email.smtp.url`; empty where a source as a whole is wrong.
    pub key: String,
    /// What is wrong, and what would be right.
    pub problem: String,
    /// Where the value came from.
    pub source: Source,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.source, self.problem)
        } else {
            write!(f, "{}: {} ({})", self.key, self.problem, self.source)
        }
    }
}

/// The configuration cannot be used: everything that is wrong with it, one problem a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.problems))]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<ConfigProblem>,
}

fn lines(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Collects what is wrong while a configuration is read.
#[derive(Debug, Default)]
pub(super) struct Problems {
    /// In the order in which they were noted.
    found: Vec<ConfigProblem>,
    /// Where each key came from, by its whole path.
    pub(super) sources: BTreeMap<String, Source>,
}

impl Problems {
    /// Notes a problem.
    pub(super) fn add(&mut self, key: impl Into<String>, problem: impl Into<String>, source: &Source) {
        self.found.push(ConfigProblem { key: key.into(), problem: problem.into(), source: source.clone() });
    }

    /// Notes a problem with a key whose source is looked up; that of a key that is not given is its
    /// section's.
    pub(super) fn at(&mut self, key: impl Into<String>, problem: impl Into<String>) {
        let key = key.into();
        let source = self.source(&key);
        self.add(key, problem, &source);
    }

    /// Where a key came from, or else what it is within.
    pub(super) fn source(&self, key: &str) -> Source {
        let mut place = key;
        loop {
            match (self.sources.get(place), place.rfind(['.', '['])) {
                (Some(source), _) => return source.clone(),
                (None, Some(end)) => place = place.get(..end).unwrap_or_default(),
                (None, None) => return Source::Default,
            }
        }
    }

    /// Whether anything but the defaults says something about a key or what is within it.
    pub(super) fn is_configured(&self, key: &str) -> bool {
        let within = |place: &str| {
            place.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.sources.iter().any(|(place, source)| within(place) && *source != Source::Default)
    }

    /// The value where nothing was wrong; `value` may be absent only where something was.
    pub(super) fn finish<T>(mut self, value: Option<T>) -> Result<T, ConfigError> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => {
                self.found.sort_by(|a, b| (&a.key, &a.source).cmp(&(&b.key, &b.source)));
                self.found.dedup();
                Err(ConfigError { problems: self.found })
            }
        }
    }
}
