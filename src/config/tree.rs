//! The layers of a configuration, merged into one tree that knows where each value came from.

use std::collections::BTreeMap;

use super::error::{Problems, Source};

/// A value before its type is known.
#[derive(Clone)]
pub(super) enum Node {
    /// A table.
    Table(BTreeMap<String, Node>, Source),
    /// An array.
    List(Vec<Node>, Source),
    /// A plain value of a TOML file.
    Value(toml::Value, Source),
    /// The text of an environment variable: whoever reads it knows the type.
    Text(String, Source),
}

impl Node {
    /// A tree of a document's values.
    pub(super) fn of(value: toml::Value, source: &Source) -> Self {
        match value {
            toml::Value::Table(table) => Self::Table(
                table.into_iter().map(|(key, value)| (key, Self::of(value, source))).collect(),
                source.clone(),
            ),
            toml::Value::Array(values) => {
                Self::List(values.into_iter().map(|value| Self::of(value, source)).collect(), source.clone())
            }
            value => Self::Value(value, source.clone()),
        }
    }

    /// Where it came from; for a table, where it was first given.
    pub(super) const fn source(&self) -> &Source {
        match self {
            Self::Table(_, source)
            | Self::List(_, source)
            | Self::Value(_, source)
            | Self::Text(_, source) => source,
        }
    }

    /// What it is, for error texts; never what it holds.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Table(..) => "a table",
            Self::List(..) => "an array",
            Self::Text(..) | Self::Value(toml::Value::String(_), _) => "text",
            Self::Value(toml::Value::Integer(_), _) => "a whole number",
            Self::Value(toml::Value::Float(_), _) => "a number with a fraction",
            Self::Value(toml::Value::Boolean(_), _) => "true or false",
            Self::Value(toml::Value::Datetime(_), _) => "a date",
            Self::Value(toml::Value::Array(_) | toml::Value::Table(_), _) => "a composite",
        }
    }

    /// The text of an environment variable, read as an inline table or array; anything else as it is.
    pub(super) fn expanded(self) -> Self {
        let Self::Text(text, source) = self else { return self };
        // An inline table ends with its line; a document's value is read as one.
        match toml::from_str::<toml::Table>(&format!("value = {}", text.trim())) {
            Ok(mut table) => match (table.remove("value"), table.is_empty()) {
                (Some(value @ (toml::Value::Table(_) | toml::Value::Array(_))), true) => {
                    Self::of(value, &source)
                }
                _ => Self::Text(text, source),
            },
            Err(_) => Self::Text(text, source),
        }
    }

    /// Lays `over` on top: tables are merged key by key, anything else is replaced.
    pub(super) fn merge(&mut self, over: Self) {
        let over = if matches!(self, Self::Table(..)) { over.expanded() } else { over };
        match (self, over) {
            (Self::Table(table, _), Self::Table(entries, _)) => {
                for (key, value) in entries {
                    match table.get_mut(&key) {
                        Some(below) => below.merge(value),
                        None => {
                            table.insert(key, value);
                        }
                    }
                }
            }
            (below, over) => *below = over,
        }
    }

    /// Lays the text of an environment variable on top, at a path whose parts match without regard
    /// to case.
    fn place(&mut self, path: &[&str], text: Self) {
        let Some((part, rest)) = path.split_first() else { return self.merge(text) };
        if let Self::Text(..) = self {
            *self = self.clone().expanded();
        }
        if !matches!(self, Self::Table(..)) {
            *self = Self::Table(BTreeMap::new(), text.source().clone());
        }
        if let Self::Table(table, source) = self {
            let key = table.keys().find(|key| key.eq_ignore_ascii_case(part)).cloned();
            let key = key.unwrap_or_else(|| part.to_ascii_lowercase());
            match (table.get_mut(&key), rest.is_empty()) {
                (Some(below), _) => below.place(rest, text),
                (None, true) => {
                    table.insert(key, text);
                }
                (None, false) => {
                    let mut below = Self::Table(BTreeMap::new(), source.clone());
                    below.place(rest, text);
                    table.insert(key, below);
                }
            }
        }
    }

    /// Notes where each value below came from, by its whole path.
    pub(super) fn sources(&self, at: &str, into: &mut BTreeMap<String, Source>) {
        into.insert(at.to_owned(), self.source().clone());
        if let Self::Table(table, _) = self {
            for (key, value) in table {
                value.sources(&join(at, key), into);
            }
        }
    }
}

/// The path of a key below another: a key that is not a plain word is quoted, as in a TOML file.
pub(super) fn join(at: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let key = if plain { key.to_owned() } else { format!("{key:?}") };
    if at.is_empty() { key } else { format!("{at}.{key}") }
}

/// Reads a TOML document; what is wrong with it is noted with its line.
pub(super) fn parse(text: &str, source: &Source, problems: &mut Problems) -> Option<Node> {
    match toml::from_str::<toml::Table>(text) {
        Ok(table) => Some(Node::of(toml::Value::Table(table), source)),
        Err(error) => {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
            // The error's own text quotes the line, which may hold a secret.
            problems.add("", format!("line {line}: not TOML: {}", error.message()), source);
            None
        }
    }
}

/// What the names of the environment variables that configure Herald begin with.
pub(super) const PREFIX: &str = "HERALD__";

/// Lays the variables `HERALD__SECTION__KEY` on top; other variables are not looked at.
pub(super) fn overlay<I>(tree: &mut Node, environment: I, problems: &mut Problems)
where
    I: IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
{
    // In the order of their names, so that a table comes before what is within it.
    let variables: BTreeMap<_, _> = environment
        .into_iter()
        .filter(|(name, _)| name.to_string_lossy().starts_with(PREFIX))
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .collect();
    for (name, value) in variables {
        let source = Source::Environment(name.clone());
        let path: Vec<&str> = name.split("__").skip(1).collect();
        if path.iter().any(|part| part.is_empty()) {
            problems.add("", format!("a name is {PREFIX}SECTION__KEY"), &source);
            continue;
        }
        match value.into_string() {
            Ok(text) => tree.place(&path, Node::Text(text, source)),
            Err(_) => problems.add("", "the value is not UTF-8", &source),
        }
    }
}
