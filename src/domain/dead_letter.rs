//! Which dead letters an operator means.

use serde_json::value::RawValue;

use super::json::{MOST_LEVELS, inspect, syntax};
use super::reader::Reader;
use super::{Channel, FieldError, FieldErrors, Instant, UnknownWord, words};

words! {
    /// What ended badly.
    DeadLetterKind("kind") {
        /// A delivery.
        Delivery = "delivery",
        /// A work item.
        WorkItem = "work_item",
        /// An event that could not be handled.
        Event = "event",
    }
}

/// Which dead letters are meant: by their ids, or by what they have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterSelection {
    /// These.
    Ids(Vec<String>),
    /// All that fit; what is absent fits any.
    Fitting {
        /// What they are.
        kind: Option<DeadLetterKind>,
        /// The channel of a delivery.
        channel: Option<Channel>,
        /// A part of the error's text.
        error: Option<String>,
        /// Died at or after this.
        from: Option<Instant>,
        /// Died before this.
        to: Option<Instant>,
    },
}

/// Reads `{"ids": […]}` with at most `most_ids`, or `{"filter": {…}}`; a field that is `null` is absent.
///
/// # Errors
///
/// Everything that is wrong, unknown fields included.
pub fn parse_dead_letter_selection(
    body: &[u8],
    most_ids: usize,
) -> Result<DeadLetterSelection, Vec<FieldError>> {
    let mut errors = FieldErrors::default();
    let raw = match std::str::from_utf8(body) {
        Ok(text) => syntax(text).map_err(FieldError::from),
        Err(error) => Err(FieldError::new("", format!("is not UTF-8 at byte {}", error.valid_up_to()))),
    };
    let raw = raw.map_err(|error| vec![error])?;
    inspect(raw.get(), "", MOST_LEVELS, &mut errors);
    let Some(mut reader) = Reader::of(raw, "", &mut errors) else { return Err(errors.into()) };
    let selection = match (reader.take_some("ids"), reader.take_some("filter")) {
        (Some(value), None) => ids(value, most_ids, &mut errors).map(DeadLetterSelection::Ids),
        (None, Some(value)) => filter(value, &mut errors),
        _ => {
            errors.push("", "must hold either `ids` or `filter`");
            None
        }
    };
    for (pointer, _, _) in reader.rest() {
        errors.push(pointer, "is no field here; these are: ids, filter");
    }
    errors.result(selection)
}

fn ids(value: &RawValue, most: usize, errors: &mut FieldErrors) -> Option<Vec<String>> {
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(value.get()) else {
        errors.push("/ids", "must be an array");
        return None;
    };
    if items.len() > most {
        errors.push("/ids", format!("holds {} ids; at most {most} are allowed", items.len()));
        return None;
    }
    let mut ids = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        match super::json::as_string(item) {
            Some(id) => ids.push(id),
            None => errors.push(format!("/ids/{at}"), "must be a string"),
        }
    }
    Some(ids)
}

fn filter(value: &RawValue, errors: &mut FieldErrors) -> Option<DeadLetterSelection> {
    let mut reader = Reader::of(value, "/filter", errors)?;
    let kind = word(&mut reader, "kind", errors);
    let channel = word(&mut reader, "channel", errors);
    let error = text(&mut reader, "error", errors);
    let from = moment(&mut reader, "from", errors);
    let to = moment(&mut reader, "to", errors);
    for (pointer, _, _) in reader.rest() {
        errors.push(pointer, "is no field of a filter; these are: kind, channel, error, from, to");
    }
    Some(DeadLetterSelection::Fitting { kind, channel, error, from, to })
}

fn text(reader: &mut Reader<'_>, key: &str, errors: &mut FieldErrors) -> Option<String> {
    let value = reader.take_some(key)?;
    reader.string(key, value, errors)
}

fn word<W: std::str::FromStr<Err = UnknownWord>>(
    reader: &mut Reader<'_>,
    key: &str,
    errors: &mut FieldErrors,
) -> Option<W> {
    let word = text(reader, key, errors)?.parse();
    let wrong = |error: UnknownWord| {
        errors.push(reader.pointer(key), format!("must be one of {}", error.allowed));
    };
    word.map_err(wrong).ok()
}

fn moment(reader: &mut Reader<'_>, key: &str, errors: &mut FieldErrors) -> Option<Instant> {
    let at = Instant::parse(&text(reader, key, errors)?).ok();
    if at.is_none() {
        let detail = "must be a time with an offset, such as 2026-11-24T09:15:00Z (RFC 3339)";
        errors.push(reader.pointer(key), detail);
    }
    at
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn read(text: &str) -> Result<DeadLetterSelection, Vec<String>> {
        parse_dead_letter_selection(text.as_bytes(), 2).map_err(|errors| {
            let mut pointers: Vec<_> = errors.into_iter().map(|error| error.pointer).collect();
            pointers.sort_unstable();
            pointers
        })
    }

    #[test]
    fn ids_or_a_filter_are_read() {
        let ids = DeadLetterSelection::Ids(vec!["a".into(), "b".into()]);
        assert_eq!(read(r#"{"ids":["a","b"],"filter":null}"#), Ok(ids));
        let text = r#"{"filter":{"kind":"work_item","channel":"sms","error":"5\u0035","from":"2026-11-24T09:15:00Z","to":null}}"#;
        let fitting = DeadLetterSelection::Fitting {
            kind: Some(DeadLetterKind::WorkItem),
            channel: Some(Channel::Sms),
            error: Some("55".into()),
            from: Some(Instant::parse("2026-11-24T09:15:00Z").unwrap()),
            to: None,
        };
        assert_eq!(read(text), Ok(fitting));
    }

    #[test]
    fn all_that_is_wrong_is_told_at_its_place() {
        let refused = |text: &str| read(text).expect_err(text);
        let text = r#"{"filter":{"kind":"x","channel":"fax","error":1,"from":"today","to":"2026-11-24T09:15:00","a/b":1},"c":1}"#;
        let expected = [
            "/c",
            "/filter/a~1b",
            "/filter/channel",
            "/filter/error",
            "/filter/from",
            "/filter/kind",
            "/filter/to",
        ];
        assert_eq!(refused(text), expected);
        assert_eq!(refused(r#"{"ids":["a",1]}"#), ["/ids/1"]);
        assert_eq!(refused(r#"{"ids":["a","b","c"]}"#), ["/ids"]);
        assert_eq!(refused(r#"{"ids":"a"}"#), ["/ids"]);
        assert_eq!(refused(r#"{"filter":[]}"#), ["/filter"]);
        for text in ["", "{", "[]", "{}", r#"{"ids":[],"filter":{}}"#, r#"{"ids":null}"#] {
            assert_eq!(refused(text), [""], "{text}");
        }
    }
}
