//! What can be wrong with a template.

use std::fmt;
use std::path::PathBuf;

use crate::domain::Channel;

/// A message that could not be made. It is permanent: the same template and the same event fail again.
/// It names what the template asked for, never what the event holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template `{template}`, `{file}` for `{locale}`, line {line}: {fault}")]
pub struct TemplateError {
    /// The template's name, as the route gave it.
    pub template: String,
    /// The channel that it was rendered for.
    pub channel: Channel,
    /// The file's name within its folder, such as `email.html`.
    pub file: &'static str,
    /// The folder's locale, such as `en` or `default`.
    pub locale: String,
    /// The line in that file; 0 where none is to blame.
    pub line: usize,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with one template and one event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The template uses something that the event does not have.
    #[error("`{0}` is undefined; ask `is defined` first, or have the publisher send it")]
    Undefined(String),
    /// One of Herald's filters or tests was given something that it cannot take.
    #[error("{0}")]
    Filter(&'static str),
    /// The template does more work than one message may.
    #[error("it does more than {FUEL} steps; shorten its loops")]
    Endless,
    /// Nothing came out.
    #[error("it renders no text")]
    Empty,
    /// The event's payload is no JSON object, or nests too deep.
    #[error("the event's payload is no JSON object of at most 64 levels")]
    Payload,
    /// The template engine's own complaint.
    #[error("{0}")]
    Engine(String),
}

/// How many steps one file may take; a step is an instruction, or 64 bytes of text.
pub(super) const FUEL: u64 = 50_000;

impl Fault {
    /// The fault behind an error of the engine, and where it arose. The engine's own detail is not
    /// used: it may quote values.
    pub(super) fn of(error: &minijinja::Error) -> (Self, usize) {
        let mut inner = error;
        while let Some(next) = std::error::Error::source(inner).and_then(|e| e.downcast_ref()) {
            inner = next;
        }
        let line = inner.line().or(error.line()).unwrap_or(0);
        let refused = std::error::Error::source(inner).and_then(|e| e.downcast_ref::<Refused>());
        let fault = match (inner.kind(), undefined(inner), refused) {
            (minijinja::ErrorKind::OutOfFuel, ..) => Self::Endless,
            (_, Some(name), _) => Self::Undefined(name),
            (_, _, Some(Refused(why))) => Self::Filter(why),
            (kind, ..) => Self::Engine(kind.to_string()),
        };
        (fault, line)
    }
}

/// The expression that had no value. The engine puts it together from the template's own words.
fn undefined(error: &minijinja::Error) -> Option<String> {
    let named = error.detail().and_then(|detail| detail.rsplit_once("` is undefined"));
    let name = named.and_then(|(before, _)| before.rsplit('`').next()).map(str::to_owned);
    match error.kind() {
        minijinja::ErrorKind::UndefinedError => Some(name.unwrap_or_else(|| "a value".to_owned())),
        _ => name,
    }
}

/// Why one of Herald's filters cannot take a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(pub(super) &'static str);

impl From<Refused> for minijinja::Error {
    fn from(refused: Refused) -> Self {
        Self::new(minijinja::ErrorKind::InvalidOperation, refused.0).with_source(refused)
    }
}

/// Everything that is wrong with the bank's own templates.
#[derive(Debug, thiserror::Error)]
pub struct TemplateLoadError {
    /// One for each thing.
    pub problems: Vec<TemplateProblem>,
}

impl fmt::Display for TemplateLoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`templates.dir` has {} problem(s):", self.problems.len())?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// One thing that is wrong with the bank's own templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateProblem {
    /// The file or folder.
    pub path: PathBuf,
    /// The line, where there is one.
    pub line: Option<usize>,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl fmt::Display for TemplateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.what)
    }
}
