//! What the ledger keeps of a decision.

use serde::Serialize;

use super::step::{Answer, Step};
use super::{Mode, Route, Verdict};
use crate::domain::EventOutcome;

/// A decision with its reasons, without contacts, payload or text.
#[derive(Debug, Clone, Serialize)]
pub struct Record<'a> {
    /// What became of the event; none where one delivery was decided on later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<EventOutcome>,
    /// What was asked about the event as a whole.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub steps: &'a [Step],
    /// What was decided for each channel.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub verdicts: &'a [Verdict],
}

impl Record<'_> {
    /// As it is stored.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What was asked about an event as a whole: its route, and who is to be told. `recipient` is the rule
/// that found somebody.
pub fn about_event(route: Option<&Route>, recipient: Option<&'static str>) -> Vec<Step> {
    let pass = |rule, saw: std::borrow::Cow<'static, str>| Step { rule, saw, answer: Answer::Pass };
    let stop = |rule, saw: &'static str| Step { rule, saw: saw.into(), answer: Answer::Suppress };
    let Some(route) = route else { return vec![stop("route", "none has the type")] };
    if route.mode == Mode::Off {
        return vec![stop("route", "its mode is off")];
    }
    let mandatory = if route.mandatory { ", mandatory" } else { "" };
    let route =
        pass("route", format!("{}, {}, {}{mandatory}", route.mode, route.priority, route.category).into());
    match recipient {
        Some(rule) => vec![route, pass("recipient", rule.into())],
        None => vec![route, stop("recipient", "nobody is named")],
    }
}
