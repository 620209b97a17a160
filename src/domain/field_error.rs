//! What is wrong with outside input, and where.

use serde::Serialize;

/// One thing that is wrong with what somebody sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("`{pointer}`: {detail}")]
pub struct FieldError {
    /// Where: a JSON pointer (RFC 6901) such as `/0/metadata/source`; empty for the whole text.
    pub pointer: String,
    /// What is wrong: the rule, and lengths. Never the value, which may be personal.
    pub detail: String,
}

impl FieldError {
    /// An error at a place.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// The most errors that are told at once; the last one then says how many more there are.
pub const MOST_ERRORS: usize = 100;

/// Collects what is wrong, so that all of it is told at once.
#[derive(Debug, Default)]
pub struct FieldErrors {
    list: Vec<FieldError>,
    untold: usize,
}

impl FieldErrors {
    /// Notes an error; beyond [`MOST_ERRORS`] it is only counted.
    pub fn push(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        if self.list.len() < MOST_ERRORS {
            self.list.push(FieldError::new(pointer, detail));
        } else {
            self.untold += 1;
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether something at this very place is known to be wrong.
    pub fn has(&self, pointer: &str) -> bool {
        self.list.iter().any(|error| error.pointer == pointer)
    }

    /// How many errors there are, the untold included.
    pub fn count(&self) -> usize {
        self.list.len() + self.untold
    }

    /// The value, if nothing is wrong with it.
    ///
    /// # Errors
    ///
    /// What was noted.
    pub fn result<T>(self, value: Option<T>) -> Result<T, Vec<FieldError>> {
        match value {
            Some(value) if self.is_empty() => Ok(value),
            _ => Err(self.into()),
        }
    }
}

impl From<FieldErrors> for Vec<FieldError> {
    fn from(errors: FieldErrors) -> Self {
        let mut list = errors.list;
        if errors.untold > 0 {
            // One is taken off to keep the bound.
            list.pop();
            let more = errors.untold + 1;
            list.push(FieldError::new("", format!("{more} more errors are not shown")));
        }
        list
    }
}

/// One step of a JSON pointer, for use in an error: escaped (RFC 6901 §3), without control
/// characters, and cut where it is long, since keys are the sender's text too.
pub(crate) fn step(key: &str) -> String {
    const LONGEST: usize = 100;
    let mut step = String::with_capacity(key.len().min(LONGEST) + 1);
    step.push('/');
    for (at, character) in key.chars().enumerate() {
        match character {
            _ if at == LONGEST => {
                step.push('…');
                break;
            }
            '~' => step.push_str("~0"),
            '/' => step.push_str("~1"),
            _ if character.is_control() => step.push(char::REPLACEMENT_CHARACTER),
            _ => step.push(character),
        }
    }
    step
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_number_of_errors_is_bounded_and_the_rest_is_counted() {
        let mut errors = FieldErrors::default();
        for at in 0..MOST_ERRORS {
            errors.push(format!("/{at}"), "wrong");
        }
        assert!(errors.has("/99") && !errors.has("/100"));
        errors.push("/100", "wrong");
        assert_eq!(errors.count(), MOST_ERRORS + 1);
        let list = errors.result(Some(())).unwrap_err();
        assert_eq!(list.len(), MOST_ERRORS);
        assert_eq!(list.last().unwrap().detail, "2 more errors are not shown");
    }

    #[test]
    fn a_step_is_escaped_and_short() {
        assert_eq!(step("a/b~c\r\n"), "/a~1b~0c\u{fffd}\u{fffd}");
        assert_eq!(step(&"x".repeat(1_000)).chars().count(), 102);
    }
}
