//! Events in Herald's own JSON: from the API, the bus and the shell.

use serde_json::value::RawValue;

use super::NewEvent;
use super::rules::{
    AGGREGATE_ID, AGGREGATE_TYPE, ID, MOST_EVENTS, SOURCE, TRACE, check_size, is_own, kind_problem, timestamp,
};
use crate::domain::json::{MOST_LEVELS, Object, as_integer, as_string, depth, inspect, syntax};
use crate::domain::reader::{Reader, Text};
use crate::domain::{Document, FieldError, FieldErrors};

/// Reads one event, or an array of 1 to [`MOST_EVENTS`].
///
/// # Errors
///
/// Everything that is wrong, at pointers such as `/id` for one event and `/0/id` for an array.
pub fn parse_events(body: &[u8]) -> Result<Vec<NewEvent>, Vec<FieldError>> {
    let raw = text_of(body).and_then(value_of).map_err(|error| vec![error])?;
    let mut errors = FieldErrors::default();
    let events = if raw.get().starts_with('[') {
        let items = items(raw, Some(MOST_EVENTS), &mut errors);
        if items.is_empty() && errors.is_empty() {
            errors.push("", "must hold at least one event");
        }
        each(&items, &mut errors)
    } else {
        native(raw, "", &mut errors).into_iter().collect()
    };
    errors.result(Some(events))
}

/// Reads a file of events: NDJSON (an event a line), or JSON as in [`parse_events`], but of any
/// number. A byte order mark at the beginning is ignored.
///
/// # Errors
///
/// Everything that is wrong; for NDJSON the details say in which line.
pub fn parse_ndjson(text: &[u8]) -> Result<Vec<NewEvent>, Vec<FieldError>> {
    let text = text_of(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)).map_err(|error| vec![error])?;
    let mut errors = FieldErrors::default();
    let mut lines = text.lines().zip(1_usize..).filter(|(line, _)| !line.trim().is_empty()).peekable();
    let whole = value_of(text);
    if let Ok(raw) = whole {
        let events = if raw.get().starts_with('[') {
            let items = items(raw, None, &mut errors);
            each(&items, &mut errors)
        } else {
            native(raw, "", &mut errors).into_iter().collect()
        };
        return errors.result(Some(events));
    }
    match (lines.peek(), whole) {
        (None, _) => return Err(vec![FieldError::new("", "holds no event")]),
        // The first line is no value of its own: this is one JSON text, and broken.
        (Some((line, _)), Err(error)) if value_of(line).is_err() => return Err(vec![error]),
        _ => {}
    }
    let mut events = Vec::new();
    for (line, number) in lines {
        let mut wrong = FieldErrors::default();
        match value_of(line) {
            Ok(raw) => events.extend(native(raw, "", &mut wrong)),
            Err(error) => wrong.push(error.pointer, error.detail),
        }
        for error in Vec::from(wrong) {
            errors.push(error.pointer, format!("line {number}: {}", error.detail));
        }
    }
    errors.result(Some(events))
}

/// What a message on the bus turned out to be.
#[derive(Debug)]
pub enum BusMessage {
    /// An event.
    Event {
        /// The event.
        event: Box<NewEvent>,
        /// How many top-level fields it had that no event has.
        ignored_fields: usize,
    },
    /// A `notification.*`: Herald's own, to be ignored and counted.
    Own,
}

/// Reads one message of the bus. Unknown top-level fields are counted: nobody is there to be told.
///
/// # Errors
///
/// Everything that is wrong.
pub fn parse_bus_message(message: &[u8]) -> Result<BusMessage, Vec<FieldError>> {
    let raw = text_of(message).and_then(value_of).map_err(|error| vec![error])?;
    let kind = Object::of(raw).and_then(|object| as_string(object.find("type")?));
    if kind.is_some_and(|kind| is_own(&kind)) {
        return Ok(BusMessage::Own);
    }
    let mut errors = FieldErrors::default();
    let (event, unknown) = read(raw, "", &mut errors);
    let event =
        event.map(|event| BusMessage::Event { event: Box::new(event), ignored_fields: unknown.len() });
    errors.result(event)
}

/// The text of some bytes.
pub(super) fn text_of(bytes: &[u8]) -> Result<&str, FieldError> {
    std::str::from_utf8(bytes)
        .map_err(|error| FieldError::new("", format!("is not UTF-8 at byte {}", error.valid_up_to())))
}

/// The JSON value of a text.
pub(super) fn value_of(text: &str) -> Result<&RawValue, FieldError> {
    let raw = syntax(text)?;
    // An array of events is one level more.
    if depth(text.as_bytes()) > MOST_LEVELS + 1 {
        return Err(FieldError::new("", format!("is nested deeper than {MOST_LEVELS} levels")));
    }
    Ok(raw)
}

/// The items of an array; none, and an error, if there are more than `most`.
pub(super) fn items<'a>(
    array: &'a RawValue,
    most: Option<usize>,
    errors: &mut FieldErrors,
) -> Vec<&'a RawValue> {
    let items: Vec<&RawValue> = serde_json::from_str(array.get()).unwrap_or_default();
    if let Some(most) = most
        && items.len() > most
    {
        errors.push("", format!("holds {} events; at most {most} are taken at once", items.len()));
        return Vec::new();
    }
    items
}

fn each(items: &[&RawValue], errors: &mut FieldErrors) -> Vec<NewEvent> {
    let events = items.iter().enumerate();
    events.filter_map(|(at, item)| native(item, &format!("/{at}"), errors)).collect()
}

/// An event whose unknown fields are errors.
fn native(raw: &RawValue, prefix: &str, errors: &mut FieldErrors) -> Option<NewEvent> {
    let (event, unknown) = read(raw, prefix, errors);
    for pointer in &unknown {
        errors.push(pointer, UNKNOWN);
    }
    event
}

const UNKNOWN: &str = "is no field of an event; these are: id, type, timestamp, aggregateId, aggregateType, \
                       payload, metadata";

/// An event, if nothing that it needs is wrong, and the pointers of the top-level fields that no
/// event has.
fn read(raw: &RawValue, prefix: &str, errors: &mut FieldErrors) -> (Option<NewEvent>, Vec<String>) {
    let shape = inspect(raw.get(), prefix, MOST_LEVELS, errors);
    check_size(shape.written_out, prefix, errors);
    let Some(mut reader) = Reader::of(raw, prefix, errors) else { return (None, Vec::new()) };
    let id = required_text(&mut reader, "id", ID, errors);
    let kind = reader
        .required("type", errors)
        .and_then(|value| reader.string("type", value, errors))
        .and_then(|kind| keep(kind_problem(&kind), kind, &reader.pointer("type"), errors));
    let at = reader.take("timestamp").map(|value| {
        let text = reader.string("timestamp", value, errors)?;
        let at = timestamp(&text);
        at.map_err(|problem| errors.push(reader.pointer("timestamp"), problem)).ok()
    });
    let aggregate_id = required_text(&mut reader, "aggregateId", AGGREGATE_ID, errors);
    let aggregate_type = required_text(&mut reader, "aggregateType", AGGREGATE_TYPE, errors);
    let payload = reader.required("payload", errors).and_then(|value| {
        Reader::of(value, &reader.pointer("payload"), errors).map(|_| Document::inspected(value))
    });
    let metadata = reader
        .required("metadata", errors)
        .and_then(|value| Some((value, metadata(value, &reader.pointer("metadata"), errors)?)));
    let unknown: Vec<String> = reader.rest().map(|(pointer, _, _)| pointer).collect();

    let event = (|| {
        let (raw, metadata) = metadata?;
        Some(NewEvent {
            id: id?,
            kind: kind?,
            aggregate_id: aggregate_id?,
            aggregate_type: aggregate_type?,
            payload: payload?,
            metadata: Document::inspected(raw),
            timestamp: match at {
                Some(at) => Some(at?),
                None => None,
            },
            source: metadata.source,
            user_id: metadata.user_id,
            correlation_id: metadata.correlation_id,
            causation_id: metadata.causation_id,
        })
    })();
    (event, unknown)
}

/// What Herald reads out of an event's metadata.
pub(super) struct Metadata {
    pub(super) source: String,
    pub(super) user_id: Option<i64>,
    pub(super) correlation_id: Option<String>,
    pub(super) causation_id: Option<String>,
}

/// Reads metadata that was inspected before; further keys are let be.
pub(super) fn metadata(raw: &RawValue, prefix: &str, errors: &mut FieldErrors) -> Option<Metadata> {
    let mut reader = Reader::of(raw, prefix, errors)?;
    let source = required_text(&mut reader, "source", SOURCE, errors);
    let user_id = reader.take("userId").map(|value| {
        let id = as_integer(value);
        if id.is_none() {
            errors.push(reader.pointer("userId"), "must be an integer of at most 64 bits, in plain digits");
        }
        id
    });
    let mut trace = |key| reader.take(key).map(|value| reader.text(key, value, TRACE, errors));
    let (correlation_id, causation_id) = (trace("correlationId"), trace("causationId"));
    Some(Metadata {
        source: source?,
        user_id: user_id.flatten(),
        correlation_id: correlation_id.flatten(),
        causation_id: causation_id.flatten(),
    })
}

fn required_text(reader: &mut Reader<'_>, key: &str, rule: Text, errors: &mut FieldErrors) -> Option<String> {
    let value = reader.required(key, errors)?;
    reader.text(key, value, rule, errors)
}

/// The value, unless there is a problem with it, which is noted.
pub(super) fn keep<T>(
    problem: Option<String>,
    value: T,
    pointer: &str,
    errors: &mut FieldErrors,
) -> Option<T> {
    match problem {
        Some(problem) => {
            errors.push(pointer, problem);
            None
        }
        None => Some(value),
    }
}
