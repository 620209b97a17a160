//! The configuration: what the defaults say, what lies on top of what, and what is said when it is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod config {
    mod defaults;
    mod layers;
    mod problems;
    mod secrets;

    use std::{ffi::OsString, io::Write};

    use herald::config::{Config, ConfigError};

    /// A configuration from the text of a file and from variables.
    pub(crate) fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let mut file = tempfile::Builder::new().prefix("herald-").suffix(".toml").tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Config::load_with(Some(file.path()), variables)
    }

    /// What is wrong, as `key: problem`.
    pub(crate) fn problems(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
        let error = load(text, variables).expect_err("it was taken as right");
        error.problems.iter().map(|problem| format!("{}: {}", problem.key, problem.problem)).collect()
    }
}
