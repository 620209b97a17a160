//! Counts what policy decides about deliveries, for the metrics.

use std::collections::HashSet;

use crate::domain::DeliveryState;
use crate::policy::{Cap, DIGEST, FLOOD_CAP, FREQUENCY_CAP, Plan, Question};

/// Notes a decision. `during`: `handling` (of the event), `release` (of what was deferred) or `send` (asked
/// again right before).
pub(super) fn note(during: &'static str, verdict: DeliveryState, reason: Option<&str>) {
    let labels = [
        ("during", during.to_owned()),
        ("verdict", verdict.as_str().to_owned()),
        ("reason", reason.unwrap_or("none").to_owned()),
    ];
    metrics::counter!("herald_decisions_total", &labels).increment(1);
}

/// A decision as the metrics count it.
pub(super) struct Counted {
    pub(super) state: DeliveryState,
    pub(super) reason: Option<&'static str>,
    /// Whether it was known before the database was asked that there is no room.
    pub(super) early: bool,
}

/// The decisions of a plan as the metrics count them.
pub(super) fn counted(
    question: &Question<'_>,
    plan: &Plan,
    known_full: &HashSet<(i64, Cap)>,
) -> impl Iterator<Item = Counted> {
    let full: Vec<Cap> = match known_full.is_empty() {
        true => Vec::new(),
        false => {
            let of_user = |cap: &Cap| known_full.contains(&(question.user, cap.clone()));
            question.caps().into_iter().filter(of_user).collect()
        }
    };
    plan.verdicts.iter().map(move |verdict| {
        let by_cap = matches!(verdict.reason, Some(FREQUENCY_CAP | DIGEST | FLOOD_CAP));
        let counts = |cap: &Cap| cap.flood.is_some() || cap.counts(verdict.channel);
        Counted { state: verdict.state, reason: verdict.reason, early: by_cap && full.iter().any(counts) }
    })
}
