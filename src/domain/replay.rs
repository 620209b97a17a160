//! Which stored events are decided anew, and whether what comes of it is sent.

use serde::Serialize;
use serde_json::value::RawValue;

use super::json::{MOST_LEVELS, inspect, syntax};
use super::reader::{Reader, Text};
use super::{FieldError, FieldErrors, Instant, words};

words! {
    /// How far a replay has come.
    ReplayState("state") {
        /// It waits for its turn.
        Pending = "pending",
        /// Some of its events have been decided on.
        Running = "running",
        /// All of them have.
        Done = "done",
        /// It cannot go on.
        Failed = "failed",
    }
}

/// The most types that one replay names.
const MOST_TYPES: usize = 100;
const AGGREGATE: Text = Text { least: 1, most: 100, plain: true };
/// It stands in the log and in the ledger of every event.
const REASON: Text = Text { least: 1, most: 200, plain: true };

/// Which events are meant; every part that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReplayFilter {
    /// Of one of these types; none: of any.
    pub types: Vec<String>,
    /// Stored at or after this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Instant>,
    /// Stored before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Instant>,
    /// Of the aggregate with this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<String>,
}

/// What somebody asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReplayRequest {
    /// The events.
    #[serde(flatten)]
    pub filter: ReplayFilter,
    /// Whether it is sent, and not only reported.
    pub send: bool,
    /// Why; a replay that sends has a reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Reads a request; a field that is `null` is absent.
///
/// # Errors
///
/// Everything that is wrong, unknown fields included.
pub fn parse_replay(body: &[u8]) -> Result<ReplayRequest, Vec<FieldError>> {
    let mut errors = FieldErrors::default();
    let raw = match std::str::from_utf8(body) {
        Ok(text) => syntax(text).map_err(FieldError::from),
        Err(error) => Err(FieldError::new("", format!("is not UTF-8 at byte {}", error.valid_up_to()))),
    };
    let raw = raw.map_err(|error| vec![error])?;
    inspect(raw.get(), "", MOST_LEVELS, &mut errors);
    let Some(mut reader) = Reader::of(raw, "", &mut errors) else { return Err(errors.into()) };
    let types = reader.take_some("types").map(|value| types(value, &mut errors)).unwrap_or_default();
    let from = moment(&mut reader, "from", &mut errors);
    let to = moment(&mut reader, "to", &mut errors);
    let aggregate = text(&mut reader, "aggregate", AGGREGATE, &mut errors);
    let send = match reader.take_some("send").map(RawValue::get) {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => {
            errors.push("/send", "must be true or false");
            false
        }
    };
    let reason = text(&mut reader, "reason", REASON, &mut errors);
    if reason.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
        errors.push("/reason", "must say why");
    }
    if send && reason.is_none() && !errors.has("/reason") {
        errors.push("/reason", "is required where `send` is true");
    }
    if from.zip(to).is_some_and(|(from, to)| from >= to) {
        errors.push("/to", "must be after `from`");
    }
    for (pointer, _, _) in reader.rest() {
        errors.push(pointer, "is no field here; these are: types, from, to, aggregate, send, reason");
    }
    let filter = ReplayFilter { types, from, to, aggregate };
    errors.result(Some(ReplayRequest { filter, send, reason }))
}

fn types(value: &RawValue, errors: &mut FieldErrors) -> Vec<String> {
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(value.get()) else {
        errors.push("/types", "must be an array");
        return Vec::new();
    };
    if items.len() > MOST_TYPES {
        errors.push("/types", format!("holds {} types; at most {MOST_TYPES} are allowed", items.len()));
        return Vec::new();
    }
    let mut types = Vec::with_capacity(items.len());
    for (at, item) in items.into_iter().enumerate() {
        match super::json::as_string(item).ok_or_else(|| "must be a string".to_owned()).and_then(|text| {
            match super::event::kind_problem(&text) {
                Some(problem) => Err(problem),
                None => Ok(text),
            }
        }) {
            Ok(text) if types.contains(&text) => {}
            Ok(text) => types.push(text),
            Err(problem) => errors.push(format!("/types/{at}"), problem),
        }
    }
    types
}

fn text(reader: &mut Reader<'_>, key: &str, rule: Text, errors: &mut FieldErrors) -> Option<String> {
    let value = reader.take_some(key)?;
    reader.text(key, value, rule, errors)
}

/// A moment, RFC 3339 with an offset.
pub(super) fn moment(reader: &mut Reader<'_>, key: &str, errors: &mut FieldErrors) -> Option<Instant> {
    let value = reader.take_some(key)?;
    let text = reader.string(key, value, errors)?;
    let at = Instant::parse(&text).ok();
    if at.is_none() {
        errors.push(
            reader.pointer(key),
            "must be a time with an offset, such as 2026-11-24T09:15:00Z (RFC 3339)",
        );
    }
    at
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_request_reads_back_as_it_is_written() {
        let body =
            br#"{"types":["a.b","a.b","c.d"],"from":"2026-11-24T09:15:00Z","to":"2026-11-24T11:15:00+02:00",
                        "aggregate":"ACC-1","send":true,"reason":"an outage"}"#;
        assert!(parse_replay(body).is_err(), "`to` is the same moment");
        let body = br#"{"types":["a.b","a.b","c.d"],"from":"2026-11-24T09:15:00Z","aggregate":"ACC-1",
                        "send":true,"reason":"an outage"}"#;
        let request = parse_replay(body).unwrap();
        assert_eq!(request.filter.types, ["a.b", "c.d"]);
        let again = serde_json::to_vec(&request).unwrap();
        assert_eq!(parse_replay(&again).unwrap(), request);
        assert_eq!(parse_replay(b"{}").unwrap(), ReplayRequest::default());
        assert_eq!(parse_replay(br#"{"from":null,"send":false}"#).unwrap(), ReplayRequest::default());
    }

    #[test]
    fn everything_that_is_wrong_is_named() {
        let pointers = |body: &str| -> Vec<String> {
            parse_replay(body.as_bytes()).unwrap_err().into_iter().map(|error| error.pointer).collect()
        };
        assert_eq!(pointers(r#"{"send":true}"#), ["/reason"]);
        assert_eq!(pointers(r#"{"send":true,"reason":""}"#), ["/reason"]);
        assert_eq!(pointers(r#"{"send":true,"reason":" \t "}"#), ["/reason"]);
        assert_eq!(
            pointers(r#"{"types":["a",1,""],"from":"yesterday","send":"yes","type":"x"}"#),
            ["/types/1", "/types/2", "/from", "/send", "/type"]
        );
        assert_eq!(pointers(r#"{"types":"a"}"#), ["/types"]);
        assert_eq!(pointers("[]"), [""]);
    }
}
