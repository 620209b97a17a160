//! Events: what they are, and the four ways in.

use super::{Document, Instant};

/// An event as it came in, checked against every rule of the contract.
///
/// `Debug` shows neither payload nor metadata.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// 1–50 characters, no control characters.
    pub id: String,
    /// The type: lower-case, dotted, at most 100 characters.
    pub kind: String,
    /// 1–100 characters.
    pub aggregate_id: String,
    /// 1–50 characters.
    pub aggregate_type: String,
    /// An object.
    pub payload: Document,
    /// An object; the fields below that it holds are read out of it.
    pub metadata: Document,
    /// When it happened; `None` where the publisher did not say, which is "now" when it is stored.
    pub timestamp: Option<Instant>,
    /// `metadata.source`: which system it comes from.
    pub source: String,
    /// `metadata.userId`: who did it.
    pub user_id: Option<i64>,
    /// `metadata.correlationId`.
    pub correlation_id: Option<String>,
    /// `metadata.causationId`: the event that caused it.
    pub causation_id: Option<String>,
}
