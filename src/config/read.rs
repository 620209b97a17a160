//! Reads typed values from the tree, and notes everything that is wrong instead of stopping at it.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf, time::Duration};

use reqwest::Url;

use super::{
    error::Problems,
    secret::{Secret, SecretUrl},
    suggest, text,
    tree::{Node, join},
};

/// A type that a key may have.
pub(super) trait Read: Sized {
    /// Whether an environment variable `…_FILE` may name a file that holds the value.
    const BY_FILE: bool = true;

    /// Reads the node at a path. `None`: it cannot be read, and the problem is noted.
    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self>;

    /// The value where the key is nowhere given; `None` where there has to be one.
    fn absent() -> Option<Self> {
        None
    }
}

/// A table, one field after the other.
pub(super) struct Section<'a> {
    at: &'a str,
    table: BTreeMap<String, Node>,
    source: super::Source,
    problems: &'a mut Problems,
}

impl<'a> Section<'a> {
    /// Opens the table at a path.
    pub(super) fn open(node: Node, at: &'a str, problems: &'a mut Problems) -> Option<Self> {
        match node.expanded() {
            Node::Table(table, source) => Some(Self { at, table, source, problems }),
            node => {
                problems.add(at, format!("expected a table, found {}", node.kind()), node.source());
                None
            }
        }
    }

    /// The value of a key; where it is nowhere given, `default`.
    pub(super) fn field<T: Read>(&mut self, key: &str, default: Option<T>) -> Option<T> {
        let at = join(self.at, key);
        let given = self.table.remove(key);
        let file_key = format!("{key}_file");
        let is_by_file =
            T::BY_FILE && self.table.get(&file_key).is_some_and(|node| by_file(&file_key, node).is_some());
        let by_file = if is_by_file { self.table.remove(&file_key) } else { None };
        match (given, by_file) {
            (Some(Node::Text(_, source)), Some(file)) => {
                self.problems.add(at, format!("given twice: also by {}", file.source()), &source);
                None
            }
            (_, Some(Node::Text(path, source))) => {
                let node = content(&path, source, &at, self.problems)?;
                T::read(node, &at, self.problems)
            }
            (Some(node), _) => T::read(node, &at, self.problems),
            (None, _) => default.or_else(T::absent).or_else(|| {
                self.problems.add(at, "missing", &self.source);
                None
            }),
        }
    }

    /// Notes each key that was not asked for.
    pub(super) fn finish(self, known: &[&str]) {
        for (key, value) in &self.table {
            let hint = suggest::nearest(key, known)
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            self.problems.add(join(self.at, key), format!("unknown key{hint}"), value.source());
        }
    }
}

/// The key whose value an environment variable `…_FILE` gives by a file.
fn by_file<'k>(key: &'k str, node: &Node) -> Option<&'k str> {
    key.strip_suffix("_file").filter(|_| matches!(node, Node::Text(..)))
}

/// What a file holds, without the line's end after it.
fn content(path: &str, source: super::Source, at: &str, problems: &mut Problems) -> Option<Node> {
    match fs::read_to_string(path) {
        Ok(mut text) => {
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
            Some(Node::Text(text, source))
        }
        Err(error) => {
            problems.add(at, format!("the file {path} cannot be read: {error}"), &source);
            None
        }
    }
}

/// Notes that a node is not what was expected; only its kind is told.
pub(super) fn expected(what: &str, node: &Node, at: &str, problems: &mut Problems) {
    problems.add(at, format!("expected {what}, found {}", node.kind()), node.source());
}

/// Reads text by a function that says what is wrong, without the value where it may be secret.
pub(super) fn from_text<T>(
    node: Node,
    at: &str,
    problems: &mut Problems,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let (text, source) = match node {
        Node::Text(text, source) | Node::Value(toml::Value::String(text), source) => (text, source),
        node => {
            problems.add(at, format!("expected text, found {}", node.kind()), node.source());
            return None;
        }
    };
    parse(&text).map_err(|problem| problems.add(at, problem, &source)).ok()
}

/// Reads a number of at least zero.
fn whole(node: Node, max: u64, at: &str, problems: &mut Problems) -> Option<u64> {
    let number = match &node {
        Node::Value(toml::Value::Integer(number), _) => u64::try_from(*number).ok(),
        Node::Text(text, _) => text.trim().parse().ok(),
        _ => None,
    };
    let number = number.filter(|number| *number <= max);
    if number.is_none() {
        match &node {
            Node::Value(toml::Value::Integer(number), source) => {
                problems.add(at, format!("expected a whole number from 0 to {max}, found {number}"), source);
            }
            node => expected("a whole number", node, at, problems),
        }
    }
    number
}

impl Read for bool {
    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        match &node {
            Node::Value(toml::Value::Boolean(value), _) => Some(*value),
            Node::Text(text, _) if text.eq_ignore_ascii_case("true") => Some(true),
            Node::Text(text, _) if text.eq_ignore_ascii_case("false") => Some(false),
            node => {
                expected("true or false", node, at, problems);
                None
            }
        }
    }
}

impl Read for u32 {
    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        whole(node, u64::from(Self::MAX), at, problems).and_then(|number| number.try_into().ok())
    }
}

impl Read for usize {
    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        whole(node, u64::from(u32::MAX), at, problems).and_then(|number| number.try_into().ok())
    }
}

impl Read for u64 {
    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        // A TOML integer has 63 bits.
        whole(node, i64::MAX.unsigned_abs(), at, problems)
    }
}

impl Read for f64 {
    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        let number = match &node {
            Node::Value(toml::Value::Float(number), _) => Some(*number),
            Node::Value(toml::Value::Integer(number), _) => i32::try_from(*number).ok().map(Self::from),
            Node::Text(text, _) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| number.is_finite());
        if number.is_none() {
            expected("a number", &node, at, problems);
        }
        number
    }
}

impl Read for String {
    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        from_text(node, at, problems, |text| Ok(text.to_owned()))
    }
}

impl Read for PathBuf {
    const BY_FILE: bool = false;

    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        from_text(node, at, problems, |text| Ok(Self::from(text)))
    }
}

impl Read for Secret {
    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        String::read(node, at, problems).map(Self::from)
    }
}

impl Read for Duration {
    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        match node {
            Node::Text(..) | Node::Value(toml::Value::String(_), _) => {
                from_text(node, at, problems, |text| {
                    text::parse_duration(text.trim()).map_err(|problem| found(&problem, text))
                })
            }
            node => {
                expected(text::DURATION, &node, at, problems);
                None
            }
        }
    }
}

/// A size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub usize);

impl Read for Size {
    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        match node {
            Node::Text(..) | Node::Value(toml::Value::String(_), _) => {
                from_text(node, at, problems, |text| {
                    text::parse_size(text.trim()).map_err(|problem| found(&problem, text))
                })
                .map(Self)
            }
            Node::Value(toml::Value::Integer(_), _) => usize::read(node, at, problems).map(Self),
            node => {
                expected(text::SIZE, &node, at, problems);
                None
            }
        }
    }
}

impl Read for SocketAddr {
    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        from_text(node, at, problems, |text| {
            text.trim()
                .parse()
                .map_err(|_| found("expected an address and a port such as 127.0.0.1:8080", text))
        })
    }
}

impl Read for Url {
    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        // The text is not shown: a password may stand in it.
        from_text(node, at, problems, |text| {
            Self::parse(text.trim()).map_err(|error| format!("expected a URL: {error}"))
        })
    }
}

impl Read for SecretUrl {
    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        Url::read(node, at, problems).map(Self::from)
    }
}

impl<T: Read> Read for Box<T> {
    const BY_FILE: bool = T::BY_FILE;

    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        T::read(node, at, problems).map(Self::new)
    }
}

impl<T: Read> Read for Option<T> {
    const BY_FILE: bool = T::BY_FILE;

    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        match &node {
            Node::Text(text, _) | Node::Value(toml::Value::String(text), _) if text.is_empty() => Some(None),
            _ => T::read(node, at, problems).map(Some),
        }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Read> Read for Vec<T> {
    const BY_FILE: bool = false;

    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        match node.expanded() {
            Node::List(nodes, _) => {
                let read = |(index, node)| T::read(node, &format!("{at}[{index}]"), problems);
                let values: Vec<_> = nodes.into_iter().enumerate().map(read).collect();
                values.into_iter().collect()
            }
            node => {
                expected("an array", &node, at, problems);
                None
            }
        }
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

impl<T: Read> Read for BTreeMap<String, T> {
    const BY_FILE: bool = false;

    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        match node.expanded() {
            Node::Table(table, _) => {
                let read = |(key, node): (String, Node)| {
                    let value = match by_file(&key, &node).map(str::to_owned) {
                        Some(key) => {
                            let at = join(at, &key);
                            let Node::Text(path, source) = node else { return None };
                            let node = content(&path, source, &at, problems)?;
                            (T::read(node, &at, problems)?, key)
                        }
                        None => (T::read(node, &join(at, &key), problems)?, key),
                    };
                    Some((value.1, value.0))
                };
                let entries: Vec<_> = table.into_iter().map(read).collect();
                entries.into_iter().collect()
            }
            node => {
                expected("a table", &node, at, problems);
                None
            }
        }
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

/// A problem with the text that was found, cut short. A URL in the place of something else is not
/// shown: it may hold a password.
pub(super) fn found(problem: &str, text: &str) -> String {
    if text.contains("://") {
        format!("{problem}, found a URL")
    } else {
        format!("{problem}, found {:?}", text.chars().take(40).collect::<String>())
    }
}
