//! Events: what they are, and the four ways in.

mod attributes;
pub mod cloudevents;
mod headers;
mod made;
mod parse;
mod row;
mod rules;

use serde::Serialize;

use super::{Document, Instant};
pub use made::{Cause, MadeEvent, SOURCE};
pub use parse::{BusMessage, parse_bus_message, parse_events, parse_ndjson};
pub use row::{Row, check_row};
pub(crate) use rules::kind_problem;
pub use rules::{MOST_BYTES, MOST_EVENTS, is_own};

/// An event as it came in, checked against every rule of the contract.
///
/// It serializes as publishers write it. `Debug` shows neither payload nor metadata.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewEvent {
    /// 1–50 characters, no control characters.
    pub id: String,
    /// The type: lower-case, dotted, at most 100 characters.
    #[serde(rename = "type")]
    pub kind: String,
    /// 1–100 characters, no control characters.
    pub aggregate_id: String,
    /// 1–50 characters, no control characters.
    pub aggregate_type: String,
    /// An object.
    pub payload: Document,
    /// An object; the last four fields of this struct are read out of it.
    pub metadata: Document,
    /// When it happened; `None` where the publisher did not say, which is "now" when it is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Instant>,
    /// `metadata.source`: which system it comes from.
    #[serde(skip)]
    pub source: String,
    /// `metadata.userId`: who did it.
    #[serde(skip)]
    pub user_id: Option<i64>,
    /// `metadata.correlationId`.
    #[serde(skip)]
    pub correlation_id: Option<String>,
    /// `metadata.causationId`: the event that caused it.
    #[serde(skip)]
    pub causation_id: Option<String>,
}

/// What makes two events with one id the same: everything but the id, as it came in or is stored.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// The type.
    pub kind: &'a str,
    /// The aggregate's id.
    pub aggregate_id: &'a str,
    /// The aggregate's type.
    pub aggregate_type: &'a str,
    /// The payload.
    pub payload: &'a Document,
    /// The metadata.
    pub metadata: &'a Document,
    /// When it happened, if that is known.
    pub timestamp: Option<Instant>,
}

impl NewEvent {
    /// What is compared with another event of the same id.
    pub fn content(&self) -> Content<'_> {
        Content {
            kind: &self.kind,
            aggregate_id: &self.aggregate_id,
            aggregate_type: &self.aggregate_type,
            payload: &self.payload,
            metadata: &self.metadata,
            timestamp: self.timestamp,
        }
    }

    /// Whether this event, sent again, is a duplicate of a stored one with the same id, and not a
    /// conflict. The order of keys and the spelling of numbers are not content, and a `timestamp`
    /// that either side does not have is not compared.
    pub fn same_content(&self, stored: Content<'_>) -> bool {
        let mine = self.content();
        mine.kind == stored.kind
            && mine.aggregate_id == stored.aggregate_id
            && mine.aggregate_type == stored.aggregate_type
            && mine.timestamp.zip(stored.timestamp).is_none_or(|(mine, theirs)| mine == theirs)
            && mine.payload.same_content(stored.payload)
            && mine.metadata.same_content(stored.metadata)
    }
}

#[cfg(test)]
mod tests;
