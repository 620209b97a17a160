//! The attributes of a CloudEvent, and what each becomes.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::NewEvent;
use super::parse::keep;
use super::rules::{AGGREGATE_ID, AGGREGATE_TYPE, ID, SOURCE, TRACE, kind_problem, timestamp};
use crate::domain::field_error::step;
use crate::domain::reader::Text;
use crate::domain::{Document, FieldErrors};

/// An attribute's value.
pub(super) enum Value<'a> {
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
pub(super) struct Attributes<'a> {
    pub(super) prefix: String,
    /// Whether they come from headers, which errors then name.
    pub(super) binary: bool,
    pub(super) list: Vec<(Cow<'a, str>, Value<'a>)>,
}

impl Attributes<'_> {
    fn pointer(&self, name: &str) -> String {
        format!("{}{}", self.prefix, step(name))
    }

    pub(super) fn wrong(&self, name: &str, detail: &str, errors: &mut FieldErrors) {
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
    pub(super) fn event(mut self, payload: Option<Document>, errors: &mut FieldErrors) -> Option<NewEvent> {
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
