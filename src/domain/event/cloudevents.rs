//! Events as CloudEvents 1.0.2, in the three modes of its HTTP Protocol Binding.
//!
//! `source` becomes `metadata.source`, `time` the timestamp, `subject` the aggregate's id, `data` the
//! payload, the extension `aggregatetype` the aggregate's type (default: the first word of the type);
//! `userid`, `correlationid` and `causationid` become metadata. Any other attribute is kept in the
//! metadata under its own name.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use super::attributes::{Attributes, Value};
use super::parse::{items, parse_events, text_of, value_of};
use super::rules::{MOST_EVENTS, check_size};
use super::{NewEvent, headers};
use crate::domain::json::{MOST_LEVELS, as_string, inspect, syntax};
use crate::domain::reader::Reader;
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
