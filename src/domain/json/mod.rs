//! JSON documents, kept as the text that was sent.

mod inspect;
mod number;
mod object;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{FieldError, FieldErrors};
pub(crate) use inspect::inspect;
pub(crate) use object::Object;

/// The most levels of objects and arrays within each other.
pub const MOST_LEVELS: usize = 64;

/// A text that is no JSON document which both databases can keep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("JSON at `{pointer}`: {detail}")]
pub struct JsonProblem {
    /// Where: a JSON pointer (RFC 6901), empty for the whole text.
    pub pointer: String,
    /// The rule that it breaks; never the text.
    pub detail: String,
}

impl From<FieldError> for JsonProblem {
    fn from(error: FieldError) -> Self {
        Self { pointer: error.pointer, detail: error.detail }
    }
}

impl From<JsonProblem> for FieldError {
    fn from(problem: JsonProblem) -> Self {
        Self { pointer: problem.pointer, detail: problem.detail }
    }
}

/// A JSON document as text, so that a number stays the decimal that was sent.
///
/// `Debug` does not show it: it may be personal data.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct Document(Box<RawValue>);

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} bytes)", self.as_str().len())
    }
}

impl Document {
    /// Takes a JSON text that both databases can keep.
    ///
    /// # Errors
    ///
    /// The first problem of a text that is not JSON, is nested deeper than [`MOST_LEVELS`], has a
    /// key twice, or holds what PostgreSQL refuses: the character U+0000, half a surrogate pair, a
    /// number outside `NUMERIC`.
    pub fn parse(text: &str) -> Result<Self, JsonProblem> {
        let raw = syntax(text)?;
        let mut errors = FieldErrors::default();
        inspect(raw.get(), "", MOST_LEVELS, &mut errors);
        match Vec::from(errors).into_iter().next() {
            Some(error) => Err(error.into()),
            None => Ok(Self(raw.to_owned())),
        }
    }

    /// Takes a text that was parsed before, such as one that the database gives back.
    ///
    /// # Errors
    ///
    /// A text that is not JSON.
    pub fn stored(text: String) -> Result<Self, JsonProblem> {
        RawValue::from_string(text).map(Self).map_err(|error| broken(&error))
    }

    /// Writes a value as a document, which then keeps the same rules.
    ///
    /// # Errors
    ///
    /// As for [`Document::parse`], and a value that JSON cannot hold.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, JsonProblem> {
        Self::parse(&serde_json::to_string(value).map_err(|error| broken(&error))?)
    }

    /// Takes a part of a text that [`inspect`] found nothing wrong with.
    pub(crate) fn inspected(raw: &RawValue) -> Self {
        Self(raw.to_owned())
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Whether two documents mean the same: the order of keys, blanks and the spelling of a
    /// number (`2500`, `2500.00`, `2.5e3`) do not count. `JSONB` keeps none of the three.
    pub fn same_content(&self, other: &Self) -> bool {
        if self.as_str() == other.as_str() {
            return true;
        }
        let normal = |document: &Self| normal(&document.0, MOST_LEVELS);
        normal(self).is_some_and(|content| Some(content) == normal(other))
    }

    /// The value at a JSON pointer (RFC 6901), as text; `None` where there is none.
    pub fn get(&self, pointer: &str) -> Option<&RawValue> {
        if pointer.is_empty() {
            return Some(&self.0);
        }
        let mut value: &RawValue = &self.0;
        for step in pointer.strip_prefix('/')?.split('/') {
            let key = step.replace("~1", "/").replace("~0", "~");
            value = match value.get().as_bytes().first()? {
                b'{' => Object::of(value)?.find(&key)?,
                b'[' if key.len() == 1 || !key.starts_with(['0', '+']) => {
                    let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
                    items.get(key.parse::<usize>().ok()?).copied()?
                }
                _ => return None,
            };
        }
        Some(value)
    }

    /// The integer at a JSON pointer; `None` for anything else, `42.0` and `"42"` included.
    pub fn integer(&self, pointer: &str) -> Option<i64> {
        self.get(pointer).and_then(as_integer)
    }

    /// The string at a JSON pointer; `None` for anything else.
    pub fn string(&self, pointer: &str) -> Option<String> {
        self.get(pointer).and_then(as_string)
    }
}

/// The integer that a value is, in plain digits and within 64 bits.
pub fn as_integer(value: &RawValue) -> Option<i64> {
    let text = value.get();
    text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-').then(|| text.parse().ok()).flatten()
}

/// The string that a value is.
pub fn as_string(value: &RawValue) -> Option<String> {
    value.get().starts_with('"').then(|| serde_json::from_str(value.get()).ok()).flatten()
}

/// How deep a text nests, if it is JSON, without parsing it: for asking before a recursive parser.
pub fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Checks that a text is JSON. It is not recursive, whatever the depth.
pub(crate) fn syntax(text: &str) -> Result<&RawValue, JsonProblem> {
    // A borrowed value's text is without the blanks around it.
    serde_json::from_str(text).map_err(|error| broken(&error))
}

fn broken(error: &serde_json::Error) -> JsonProblem {
    // Only the message of an error of syntax is sure to be serde_json's own words.
    let detail = match error.classify() {
        serde_json::error::Category::Syntax | serde_json::error::Category::Eof => {
            format!("is not JSON: {error}")
        }
        _ => format!("is not JSON: line {} column {}", error.line(), error.column()),
    };
    JsonProblem { pointer: String::new(), detail }
}

/// Rebuilds a document with sorted keys and each number in one exact spelling. `None` where it is
/// nested too deep or a number is out of all bounds: such a document equals only its own text.
///
/// It reads numbers as text. serde_json's `arbitrary_precision` would keep them as well, but for
/// the whole program, where it breaks floats in flattened and tagged types.
fn normal(raw: &RawValue, levels: usize) -> Option<Value> {
    let text = raw.get();
    match text.as_bytes().first()? {
        b'{' => {
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            let below = levels.checked_sub(1)?;
            fields.into_iter().map(|(key, value)| Some((key, normal(value, below)?))).collect()
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let below = levels.checked_sub(1)?;
            items.into_iter().map(|item| normal(item, below)).collect()
        }
        b'-' | b'0'..=b'9' => {
            let number = number::Decimal::read(text)?;
            // No array that was sent can look like this: its own numbers are arrays by now.
            Some(Value::from(vec![
                Value::from(number.negative),
                Value::from(number.digits),
                Value::from(number.exponent),
            ]))
        }
        _ => serde_json::from_str(text).ok(),
    }
}

#[cfg(test)]
mod tests;
