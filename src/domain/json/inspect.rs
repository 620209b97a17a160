//! One walk over a JSON text that finds what its syntax allows and the databases or Herald do not.

use std::borrow::Cow;

use super::number;
use crate::domain::FieldErrors;
use crate::domain::field_error::step;

/// What a walk found out about a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The bytes of the text with every number written out in plain digits, as PostgreSQL gives it
    /// back: `1e100000` is 8 bytes that become 100,001.
    pub(crate) written_out: usize,
    /// The same without the blanks between tokens, of which `JSONB` has its own.
    pub(crate) compact: usize,
}

/// An object or array that is open.
enum Level<'a> {
    Object { keys: Vec<Cow<'a, str>>, awaits_key: bool },
    Array { index: usize },
}

/// Walks a text that is known to be JSON, and notes at their pointers (after `prefix`): nesting
/// deeper than `levels` (which ends the walk), keys that come twice, U+0000, halves of surrogate
/// pairs, and numbers outside `NUMERIC`.
pub(crate) fn inspect(text: &str, prefix: &str, levels: usize, errors: &mut FieldErrors) -> Shape {
    let bytes = text.as_bytes();
    let mut shape = Shape { written_out: text.len(), compact: 0 };
    let mut open: Vec<Level<'_>> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'{' | b'[' => {
                if open.len() == levels {
                    errors.push(prefix, format!("is nested deeper than {levels} levels"));
                    return shape;
                }
                open.push(match byte {
                    b'{' => Level::Object { keys: Vec::new(), awaits_key: true },
                    _ => Level::Array { index: 0 },
                });
            }
            b'}' | b']' => {
                if let Some(Level::Object { mut keys, .. }) = open.pop() {
                    twice(&mut keys, &pointer(prefix, &open), errors);
                }
            }
            b',' => match open.last_mut() {
                Some(Level::Object { awaits_key, .. }) => *awaits_key = true,
                Some(Level::Array { index }) => *index += 1,
                None => {}
            },
            b'"' => {
                let (end, escapes) = string_end(bytes, at);
                at = end;
                let string = text.get(start..end).unwrap_or_default();
                let decoded = if escapes {
                    serde_json::from_str::<String>(string).map(Cow::Owned).ok()
                } else {
                    Some(Cow::Borrowed(string.get(1..string.len() - 1).unwrap_or_default()))
                };
                let problem = match &decoded {
                    None => Some("has half of a surrogate pair (a `\\u` escape without its other half)"),
                    Some(decoded) if escapes && decoded.contains('\0') => {
                        Some("has the character U+0000, which cannot be stored")
                    }
                    Some(_) => None,
                };
                match open.last_mut() {
                    Some(Level::Object { keys, awaits_key }) if *awaits_key => {
                        *awaits_key = false;
                        keys.push(decoded.unwrap_or_default());
                        if let Some(problem) = problem {
                            errors.push(pointer(prefix, &open), format!("a key {problem}"));
                        }
                    }
                    _ => {
                        if let Some(problem) = problem {
                            errors.push(pointer(prefix, &open), problem);
                        }
                    }
                }
            }
            b'-' | b'0'..=b'9' => {
                while bytes
                    .get(at)
                    .is_some_and(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
                {
                    at += 1;
                }
                let number = text.get(start..at).unwrap_or_default();
                match number::written_out(number) {
                    Some(length) => {
                        let more = length.saturating_sub(number.len());
                        shape.written_out = shape.written_out.saturating_add(more);
                        shape.compact = shape.compact.saturating_add(more);
                    }
                    None => errors.push(
                        pointer(prefix, &open),
                        "is a number too large, too small or too long to be stored",
                    ),
                }
            }
            b' ' | b'\t' | b'\n' | b'\r' => continue,
            _ => {}
        }
        shape.compact = shape.compact.saturating_add(at - start);
    }
    shape
}

/// Where a string ends, just behind its closing quote, and whether it has escapes.
fn string_end(bytes: &[u8], mut at: usize) -> (usize, bool) {
    let mut escapes = false;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return (at + 1, escapes),
            b'\\' => {
                escapes = true;
                at += 2;
            }
            _ => at += 1,
        }
    }
    (bytes.len(), escapes)
}

/// The place of the value that comes next, or that has just begun.
fn pointer(prefix: &str, open: &[Level<'_>]) -> String {
    let mut pointer = prefix.to_owned();
    for level in open {
        match level {
            Level::Object { keys, .. } => pointer.extend(keys.last().map(|key| step(key))),
            Level::Array { index } => pointer.push_str(&format!("/{index}")),
        }
    }
    pointer
}

/// Notes the keys that come more than once: which value would count is nobody's guess.
fn twice(keys: &mut [Cow<'_, str>], place: &str, errors: &mut FieldErrors) {
    keys.sort_unstable();
    let mut told: Option<&str> = None;
    for pair in keys.windows(2) {
        if let [first, second] = pair
            && first == second
            && told != Some(first)
        {
            told = Some(first);
            errors.push(format!("{place}{}", step(first)), "comes more than once");
        }
    }
}
