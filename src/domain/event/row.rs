//! Events that another application inserted into `domain_events` itself.

use super::NewEvent;
use super::parse::{keep, metadata};
use super::rules::{AGGREGATE_ID, AGGREGATE_TYPE, ID, check_size, kind_problem};
use crate::domain::json::{MOST_LEVELS, inspect, syntax};
use crate::domain::reader::{Reader, Text};
use crate::domain::{Document, FieldError, FieldErrors, Instant};

/// The columns of a row in `domain_events` as another application may fill them.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// The column `id`.
    pub id: &'a str,
    /// The column `type`.
    pub kind: &'a str,
    /// The column `aggregate_id`.
    pub aggregate_id: &'a str,
    /// The column `aggregate_type`.
    pub aggregate_type: &'a str,
    /// The column `payload`: a JSON text.
    pub payload: &'a str,
    /// The column `metadata`: a JSON text, or NULL, which breaks the rules.
    pub metadata: Option<&'a str>,
    /// The column `timestamp`.
    pub timestamp: Instant,
}

/// Checks a stored row against the rules for events.
///
/// # Errors
///
/// Everything that is wrong with it, at pointers as if it had come as JSON.
pub fn check_row(row: Row<'_>) -> Result<NewEvent, Vec<FieldError>> {
    let mut errors = FieldErrors::default();
    let mut text = |text: &str, rule: Text, pointer: &str| {
        keep(rule.problem(text), text.to_owned(), pointer, &mut errors)
    };
    let id = text(row.id, ID, "/id");
    let aggregate_id = text(row.aggregate_id, AGGREGATE_ID, "/aggregateId");
    let aggregate_type = text(row.aggregate_type, AGGREGATE_TYPE, "/aggregateType");
    let kind = keep(kind_problem(row.kind), row.kind.to_owned(), "/type", &mut errors);

    let mut size = row.id.len() + row.kind.len() + row.aggregate_id.len() + row.aggregate_type.len();
    let mut document = |text: &str, pointer: &str, errors: &mut FieldErrors| {
        let raw = syntax(text).map_err(|problem| errors.push(pointer, problem.detail)).ok()?;
        // The event itself is the first level. Blanks do not count: `JSONB` puts its own.
        let shape = inspect(raw.get(), pointer, MOST_LEVELS - 1, errors);
        size = size.saturating_add(shape.compact);
        Reader::of(raw, pointer, errors)?;
        Some(Document::inspected(raw))
    };
    let payload = document(row.payload, "/payload", &mut errors);
    let data = match row.metadata {
        Some(text) => document(text, "/metadata", &mut errors),
        None => {
            errors.push("/metadata", "is required, and NULL");
            None
        }
    };
    check_size(size, "", &mut errors);
    let meta = data
        .as_ref()
        .and_then(|data| syntax(data.as_str()).ok())
        .and_then(|raw| metadata(raw, "/metadata", &mut errors));
    let event = (|| {
        let meta = meta?;
        Some(NewEvent {
            id: id?,
            kind: kind?,
            aggregate_id: aggregate_id?,
            aggregate_type: aggregate_type?,
            payload: payload?,
            metadata: data?,
            timestamp: Some(row.timestamp),
            source: meta.source,
            user_id: meta.user_id,
            correlation_id: meta.correlation_id,
            causation_id: meta.causation_id,
        })
    })();
    errors.result(event)
}
