//! The rules that an event keeps, whichever way it comes in.

use chrono::{DateTime, Datelike, Timelike};

use crate::domain::reader::Text;
use crate::domain::{FieldErrors, Instant};

/// The most bytes of one event: of its text, with the numbers in plain digits.
pub const MOST_BYTES: usize = 256 * 1024;
/// The most events of one array.
pub const MOST_EVENTS: usize = 1_000;

pub(super) const ID: Text = Text { least: 1, most: 50, plain: true };
pub(super) const AGGREGATE_ID: Text = Text { least: 1, most: 100, plain: true };
pub(super) const AGGREGATE_TYPE: Text = Text { least: 1, most: 50, plain: true };
pub(super) const SOURCE: Text = Text { least: 1, most: 100, plain: false };
/// `correlationId` and `causationId`.
pub(super) const TRACE: Text = Text { least: 0, most: 100, plain: false };
const KIND: Text = Text { least: 1, most: 100, plain: false };

/// Whether only Herald itself makes events of this type.
pub fn is_own(kind: &str) -> bool {
    kind.starts_with("notification.")
}

/// What is wrong with a type, if anything.
pub(crate) fn kind_problem(kind: &str) -> Option<String> {
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    };
    if let Some(problem) = KIND.problem(kind) {
        return Some(problem);
    }
    if !kind.starts_with(|first: char| first.is_ascii_lowercase()) || !kind.split('.').all(word) {
        let rule = "must be lower-case words (letters, digits, `_`) with dots between them, and begin \
                    with a letter, such as `account.balance.low`";
        return Some(rule.to_owned());
    }
    is_own(kind).then(|| "is Herald's own: only Herald makes events of type `notification.*`".to_owned())
}

/// The moment of a timestamp.
///
/// # Errors
///
/// The rule that the text breaks.
pub(super) fn timestamp(text: &str) -> Result<Instant, &'static str> {
    let Ok(at) = DateTime::parse_from_rfc3339(text) else {
        return Err("must be RFC 3339 with an offset, such as `2026-11-24T09:15:00Z`");
    };
    // chrono keeps a leap second as more than a second's worth of nanoseconds.
    if at.nanosecond() >= 1_000_000_000 {
        return Err("is a leap second, which cannot be stored; use the second before or after it");
    }
    let at = at.to_utc();
    if !(1..=9999).contains(&at.year()) {
        return Err("must be in the years 0001 to 9999 (UTC)");
    }
    Ok(at.into())
}

/// Notes an event that is too large.
pub(super) fn check_size(bytes: usize, pointer: &str, errors: &mut FieldErrors) {
    if bytes > MOST_BYTES {
        let detail = format!(
            "is {bytes} bytes long, with its numbers in plain digits; one event is at most {MOST_BYTES}"
        );
        errors.push(pointer, detail);
    }
}
