//! Events as CloudEvents 1.0.2, in the three modes of its HTTP Protocol Binding.
//!
//! `source` becomes `metadata.source`, `time` the timestamp, `subject` the aggregate's id, `data` the
//! payload, the extension `aggregatetype` the aggregate's type (default: the first word of the type);
//! `userid`, `correlationid` and `causationid` become metadata. Any other attribute is kept in the
//! metadata under its own name.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::parse::{items, keep, parse_events, text_of, value_of};
use super::rules::{
    AGGREGATE_ID, AGGREGATE_TYPE, ID, MOST_EVENTS, SOURCE, TRACE, check_size, kind_problem, timestamp,
};
use super::{NewEvent, headers};
use crate::domain::field_error::step;
use crate::domain::json::{MOST_LEVELS, as_string, inspect, syntax};
use crate::domain::reader::{Reader, Text};
use crate::domain::{Document, FieldError, FieldErrors};

/// How the body of a request carries events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Herald's own JSON.
    Native,
    /// One CloudEvent as JSON.
    Structured,
    /// An array of CloudEvents as JSON.
    Batched,
    /// The attributes in `ce-*` headers, the data as the body.
    Binary,
    /// CloudEvents in an event format other than JSON: none that Herald reads.
    Unsupported,
}

impl Format {
    /// The format of a request with this content type and headers of these names.
    pub fn of<'a>(content_type: Option<&str>, names: impl IntoIterator<Item = &'a str>) -> Self {
        match content_type.map(media_type).as_deref() {
            Some("application/cloudevents+json") => Self::Structured,
            Some("application/cloudevents-batch+json") => Self::Batched,
            Some(other) if other.starts_with("application/cloudevents") => Self::Unsupported,
            _ => {
                const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];
                let ours = |name| headers::attribute(name).is_some_and(|name| REQUIRED.contains(&&*name));
                if names.into_iter().any(ours) { Self::Binary } else { Self::Native }
            }
        }
    }
}

/// Reads the events of a request, in whichever format they come.
///
/// # Errors
///
/// Everything that is wrong, at pointers into the body; the attributes of the binary mode have
/// pointers as in the structured one, such as `/subject`, and the details name the header.
pub fn parse_request<'a>(
    content_type: Option<&str>,
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])> + Clone,
    body: &[u8],
) -> Result<Vec<NewEvent>, Vec<FieldError>> {
    let names = headers.clone().into_iter().map(|(name, _)| name);
    match Format::of(content_type, names) {
        Format::Native => parse_events(body),
        Format::Structured => parse_structured(body).map(|event| vec![event]),
        Format::Batched => parse_batch(body),
        Format::Binary => parse_binary(content_type, headers, body).map(|event| vec![event]),
        Format::Unsupported => {
            let detail = "is in a CloudEvents format that is not JSON: use application/cloudevents+json or \
                          application/cloudevents-batch+json";
            Err(vec![FieldError::new("", detail)])
        }
    }
}

/// Reads one CloudEvent in structured mode (JSON Event Format 1.0.2 §3).
///
/// # Errors
///
/// Everything that is wrong.
pub fn parse_structured(body: &[u8]) -> Result<NewEvent, Vec<FieldError>> {
    let raw = text_of(body).and_then(value_of).map_err(|error| vec![error])?;
    let mut errors = FieldErrors::default();
    let event = structured(raw, "", &mut errors);
    errors.result(event)
}

/// Reads CloudEvents in batched mode (JSON Event Format 1.0.2 §4): an array, which may be empty.
///
/// # Errors
///
/// Everything that is wrong.
pub fn parse_batch(body: &[u8]) -> Result<Vec<NewEvent>, Vec<FieldError>> {
    let raw = text_of(body).and_then(value_of).map_err(|error| vec![error])?;
    let mut errors = FieldErrors::default();
    if !raw.get().starts_with('[') {
        return Err(vec![FieldError::new("", "must be an array")]);
    }
    let items = items(raw, Some(MOST_EVENTS), &mut errors);
    let events = items.iter().enumerate();
    let events = events.filter_map(|(at, item)| structured(item, &format!("/{at}"), &mut errors)).collect();
    errors.result(Some(events))
}

/// Reads one CloudEvent in binary mode (HTTP Protocol Binding 1.0.2 §3.1); headers that do not begin
/// with `ce-` are not looked at.
///
/// # Errors
///
/// Everything that is wrong.
pub fn parse_binary<'a>(
    content_type: Option<&str>,
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    body: &[u8],
) -> Result<NewEvent, Vec<FieldError>> {
    let mut errors = FieldErrors::default();
    let mut attributes = Attributes { prefix: String::new(), binary: true, list: Vec::new() };
    let mut size = body.len();
    for (header, value) in headers {
        let Some(name) = headers::attribute(header) else { continue };
        size = size.saturating_add(name.len() + value.len());
        if name == "datacontenttype" {
            attributes.wrong(&name, "must not be sent: `Content-Type` says it", &mut errors);
        } else if attributes.list.iter().any(|(known, _)| *known == name) {
            attributes.wrong(&name, "comes more than once", &mut errors);
        } else {
            match headers::decode(value) {
                Ok(text) if text.contains('\0') => {
                    attributes.wrong(&name, "has the character U+0000, which cannot be stored", &mut errors);
                }
                Ok(text) => attributes.list.push((Cow::Owned(name), Value::Text(text))),
                Err(problem) => attributes.wrong(&name, problem, &mut errors),
            }
        }
    }
    check_size(size, "", &mut errors);
    if content_type.is_some_and(|content_type| !is_json(content_type)) {
        errors.push("/data", "header `Content-Type` must be a JSON type: a payload is a JSON object");
    }
    let payload = match text_of(body) {
        Ok(text) => data(text, "/data", &mut errors),
        Err(error) => {
            errors.push("/data", error.detail);
            None
        }
    };
    let event = attributes.event(payload, &mut errors);
    errors.result(event)
}

fn structured(raw: &RawValue, prefix: &str, errors: &mut FieldErrors) -> Option<NewEvent> {
    let shape = inspect(raw.get(), prefix, MOST_LEVELS, errors);
    check_size(shape.written_out, prefix, errors);
    let mut reader = Reader::of(raw, prefix, errors)?;
    let plain = reader.take("data");
    let encoded = reader.take_some("data_base64");
    if let Some(value) = reader.take_some("datacontenttype")
        && let Some(text) = reader.string("datacontenttype", value, errors)
        && !is_json(&text)
    {
        errors.push(
            reader.pointer("datacontenttype"),
            "must be a JSON type such as `application/json`: a payload is a JSON object",
        );
    }
    let payload = match (plain, encoded) {
        (Some(_), Some(_)) => {
            errors.push(reader.pointer("data_base64"), "must not come together with `data`");
            None
        }
        (Some(value), None) => {
            Reader::of(value, &reader.pointer("data"), errors).map(|_| Document::inspected(value))
        }
        (None, Some(value)) => {
            let pointer = reader.pointer("data_base64");
            reader.string("data_base64", value, errors).and_then(|text| {
                let Ok(bytes) = STANDARD.decode(text) else {
                    errors.push(pointer, "is not Base64 (RFC 4648 §4, with padding)");
                    return None;
                };
                match text_of(&bytes) {
                    Ok(text) => data(text, &pointer, errors),
                    Err(error) => {
                        errors.push(pointer, error.detail);
                        None
                    }
                }
            })
        }
        (None, None) => {
            errors.push(reader.pointer("data"), "is required: it is the payload");
            None
        }
    };
    let mut attributes = Attributes { prefix: prefix.to_owned(), binary: false, list: Vec::new() };
    for (pointer, name, value) in reader.rest() {
        match value.get().as_bytes().first() {
            // JSON Event Format §2.2: null is the same as absent.
            Some(b'n') => {}
            Some(b'"') if !errors.is_empty() && errors.has(&pointer) => {}
            Some(b'"') => {
                attributes.list.extend(as_string(value).map(|text| (name, Value::Text(text))));
            }
            Some(b'{' | b'[') => {
                errors.push(pointer, "must be a string, an integer or a boolean, as any attribute");
            }
            _ => attributes.list.push((name, Value::Other(value))),
        }
    }
    attributes.event(payload, errors)
}

/// The payload in a text of its own. The event around it is the first level of nesting.
fn data(text: &str, pointer: &str, errors: &mut FieldErrors) -> Option<Document> {
    let raw = syntax(text).map_err(|problem| errors.push(pointer, problem.detail)).ok()?;
    let shape = inspect(raw.get(), pointer, MOST_LEVELS - 1, errors);
    check_size(shape.written_out, pointer, errors);
    Reader::of(raw, pointer, errors).map(|_| Document::inspected(raw))
}

/// A media type without its parameters, in lower case.
fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a content type is JSON (JSON Event Format §3.1.1).
fn is_json(content_type: &str) -> bool {
    let media_type = media_type(content_type);
    let subtype = media_type.split_once('/').map(|(_, subtype)| subtype);
    subtype.is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

/// An attribute's value.
enum Value<'a> {
    Text(String),
    /// A number or a boolean of the JSON format.
    Other(&'a RawValue),
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Other(raw) => raw.serialize(serializer),
        }
    }
}

/// The attributes that are still to be read.
struct Attributes<'a> {
    prefix: String,
    /// Whether they come from headers, which errors then name.
    binary: bool,
    list: Vec<(Cow<'a, str>, Value<'a>)>,
}

impl Attributes<'_> {
    fn pointer(&self, name: &str) -> String {
        format!("{}{}", self.prefix, step(name))
    }

    fn wrong(&self, name: &str, detail: &str, errors: &mut FieldErrors) {
        let pointer = self.pointer(name);
        if self.binary {
            // The pointer's step is the name without control characters and not too long.
            let shown = step(name);
            errors.push(pointer, format!("header `ce-{}` {detail}", shown.trim_start_matches('/')));
        } else {
            errors.push(pointer, detail);
        }
    }

    fn take(&mut self, name: &str) -> Option<Value<'_>> {
        let at = self.list.iter().position(|(known, _)| known == name)?;
        Some(self.list.swap_remove(at).1)
    }

    /// A string that may be absent.
    fn text(&mut self, name: &str, rule: Text, errors: &mut FieldErrors) -> Option<String> {
        match self.take(name)? {
            Value::Text(text) => match rule.problem(&text) {
                Some(problem) => {
                    self.wrong(name, &problem, errors);
                    None
                }
                None => Some(text),
            },
            Value::Other(_) => {
                self.wrong(name, "must be a string", errors);
                None
            }
        }
    }

    /// A string that must be there.
    fn required(&mut self, name: &str, rule: Text, errors: &mut FieldErrors) -> Option<String> {
        if !self.list.iter().any(|(known, _)| known == name) {
            if !errors.has(&self.pointer(name)) {
                self.wrong(name, "is required", errors);
            }
            return None;
        }
        self.text(name, rule, errors)
    }

    /// The event; every attribute that is not mapped is kept in the metadata.
    fn event(mut self, payload: Option<Document>, errors: &mut FieldErrors) -> Option<NewEvent> {
        const ANY: Text = Text { least: 1, most: usize::MAX, plain: false };
        if let Some(version) = self.required("specversion", ANY, errors)
            && version != "1.0"
        {
            self.wrong("specversion", "must be `1.0`", errors);
        }
        let id = self.required("id", ID, errors);
        let kind = self.required("type", ANY, errors).and_then(|kind| {
            let problem = kind_problem(&kind);
            if let Some(problem) = &problem {
                self.wrong("type", problem, errors);
            }
            problem.is_none().then_some(kind)
        });
        let source = self.required("source", SOURCE, errors);
        let aggregate_id = self.required("subject", AGGREGATE_ID, errors);
        let at = self
            .text("time", ANY, errors)
            .and_then(|text| timestamp(&text).map_err(|problem| self.wrong("time", problem, errors)).ok());
        let first_word = kind.as_deref().and_then(|kind| kind.split('.').next()).unwrap_or_default();
        let aggregate_type = if self.list.iter().any(|(name, _)| name == "aggregatetype") {
            self.text("aggregatetype", AGGREGATE_TYPE, errors)
        } else {
            let pointer = self.pointer("aggregatetype");
            let long = AGGREGATE_TYPE.problem(first_word).filter(|_| kind.is_some());
            let detail = long.map(|problem| format!("is absent, and the first word of the type {problem}"));
            keep(detail, first_word.to_owned(), &pointer, errors)
        };
        let user_id = match self.take("userid") {
            Some(Value::Text(text)) => Some(text),
            Some(Value::Other(raw)) => Some(raw.get().to_owned()),
            None => None,
        };
        let user_id = user_id.and_then(|text| {
            // Headers have no numbers, and the Integer of CloudEvents has 32 bits only.
            let digits = text.strip_prefix('-').unwrap_or(&text).bytes().all(|byte| byte.is_ascii_digit());
            let id = text.parse::<i64>().ok().filter(|_| digits);
            if id.is_none() {
                self.wrong("userid", "must be an integer of at most 64 bits, in plain digits", errors);
            }
            id
        });
        let correlation_id = self.text("correlationid", TRACE, errors);
        let causation_id = self.text("causationid", TRACE, errors);
        for (name, _) in &self.list {
            let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            if name.is_empty() || !name.bytes().all(named) || name == "data" {
                self.wrong(
                    name,
                    "is no name of an attribute: these are lower-case letters and digits",
                    errors,
                );
            }
        }
        // In a steady order, since the order in which headers arrive is nobody's intention.
        self.list.sort_by(|(one, _), (other, _)| one.cmp(other));
        let kept = Metadata {
            source: source.as_deref()?,
            user_id,
            correlation_id: correlation_id.as_deref(),
            causation_id: causation_id.as_deref(),
            more: &self.list,
        };
        let data =
            Document::of(&kept).map_err(|problem| errors.push(self.prefix.as_str(), problem.detail)).ok()?;
        Some(NewEvent {
            id: id?,
            kind: kind?,
            aggregate_id: aggregate_id?,
            aggregate_type: aggregate_type?,
            payload: payload?,
            metadata: data,
            timestamp: at,
            source: source?,
            user_id,
            correlation_id,
            causation_id,
        })
    }
}

/// The metadata of an event that came as a CloudEvent.
struct Metadata<'a> {
    source: &'a str,
    user_id: Option<i64>,
    correlation_id: Option<&'a str>,
    causation_id: Option<&'a str>,
    more: &'a [(Cow<'a, str>, Value<'a>)],
}

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("source", self.source)?;
        if let Some(id) = self.user_id {
            map.serialize_entry("userId", &id)?;
        }
        if let Some(id) = self.correlation_id {
            map.serialize_entry("correlationId", id)?;
        }
        if let Some(id) = self.causation_id {
            map.serialize_entry("causationId", id)?;
        }
        for (name, value) in self.more {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
