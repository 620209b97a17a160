//! Events that Herald makes itself.

use serde::Serialize;

use super::NewEvent;
use crate::domain::{Document, Instant, JsonProblem};

/// The `source` of the events that Herald makes.
pub const SOURCE: &str = "herald";

/// The event that caused another.
#[derive(Debug, Clone, Copy)]
pub struct Cause<'a> {
    /// Its id.
    pub event_id: &'a str,
    /// Its correlation id.
    pub correlation_id: Option<&'a str>,
}

/// An event that Herald makes.
#[derive(Debug)]
pub struct MadeEvent<'a> {
    /// The id: derived from what makes it unique, so that making it twice has one effect.
    pub id: String,
    /// The type.
    pub kind: &'a str,
    /// The aggregate's type.
    pub aggregate_type: &'a str,
    /// The aggregate's id.
    pub aggregate_id: &'a str,
    /// What happened.
    pub payload: Document,
    /// Whom it concerns.
    pub user_id: Option<i64>,
    /// What caused it; `None` for what the clock caused.
    pub cause: Option<Cause<'a>>,
    /// When.
    pub at: Instant,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<&'a str>,
}

impl MadeEvent<'_> {
    /// The event: its `source` is Herald, its correlation id that of its cause, and its causation
    /// id the cause's id.
    ///
    /// # Errors
    ///
    /// Metadata that cannot be written as JSON; there is none such.
    pub fn into_event(self) -> Result<NewEvent, JsonProblem> {
        let correlation_id = self.cause.and_then(|cause| cause.correlation_id);
        let causation_id = self.cause.map(|cause| cause.event_id);
        let metadata = Metadata { source: SOURCE, user_id: self.user_id, correlation_id, causation_id };
        Ok(NewEvent {
            id: self.id,
            kind: self.kind.to_owned(),
            aggregate_id: self.aggregate_id.to_owned(),
            aggregate_type: self.aggregate_type.to_owned(),
            payload: self.payload,
            metadata: Document::of(&metadata)?,
            timestamp: Some(self.at),
            source: SOURCE.to_owned(),
            user_id: self.user_id,
            correlation_id: correlation_id.map(str::to_owned),
            causation_id: causation_id.map(str::to_owned),
        })
    }
}
