//! What the ledger keeps of a decision.

use serde::{Deserialize, Serialize};

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

/// A record as it is read back from the ledger, perhaps written by another version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRecord {
    /// What became of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// What was asked about the event as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StoredStep>,
    /// What was decided for each channel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<StoredVerdict>,
}

/// A rule that was asked, read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredStep {
    /// The rule.
    pub rule: String,
    /// What it saw.
    pub saw: String,
    /// What it answered.
    pub answer: String,
}

/// What was decided for a channel, read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredVerdict {
    /// The channel.
    pub channel: String,
    /// The state in which the delivery was born, or that it went to.
    pub state: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For `deferred`: until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// The rules that were asked.
    #[serde(default)]
    pub steps: Vec<StoredStep>,
}

impl StoredRecord {
    /// Reads a record; one that cannot be read is empty.
    pub fn read(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_default()
    }

    /// What was decided, in words: a sentence for the event, then one for each channel.
    pub fn in_words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(stop) = self.steps.iter().find(|step| step.answer != Answer::Pass.as_str()) {
            words.push(format!("Nothing was made of it: {}.", stop.in_words()));
        }
        words.extend(self.verdicts.iter().map(StoredVerdict::in_words));
        words
    }
}

impl StoredStep {
    fn in_words(&self) -> String {
        format!("{}: {}", self.rule_in_words(), self.saw)
    }

    /// The rule, as people write it.
    pub fn rule_in_words(&self) -> &str {
        match self.rule.as_str() {
            "opt_out" => "opt-out",
            "quiet_hours" => "quiet hours",
            "frequency_cap" => "frequency cap",
            "flood_cap" => "flood cap",
            other => other,
        }
    }
}

impl StoredVerdict {
    fn in_words(&self) -> String {
        let decisive = self.steps.iter().rev().find(|step| step.answer != Answer::Pass.as_str());
        let because = decisive.map(|step| format!(" ({})", step.in_words())).unwrap_or_default();
        let asked: Vec<String> = self
            .steps
            .iter()
            .filter(|step| step.answer == Answer::Pass.as_str())
            .map(StoredStep::in_words)
            .collect();
        let asked = match asked.is_empty() {
            true => String::new(),
            false => format!(" Nothing against it from {}.", asked.join("; ")),
        };
        let what = match (self.state.as_str(), self.reason.as_deref()) {
            ("pending" | "sending", _) => "to be sent".to_owned(),
            ("deferred", _) => match &self.not_before {
                Some(until) => format!("later, not before {until}"),
                None => "later".to_owned(),
            },
            ("suppressed", _) => "not to be sent".to_owned(),
            ("expired", _) => "too late to be of use".to_owned(),
            ("digested", _) => "told within another message".to_owned(),
            (state, _) => state.to_owned(),
        };
        format!("{}: {what}{because}.{asked}", self.channel)
    }
}

/// Where a delivery stands, in words. `told_in` is the delivery that tells it.
pub fn delivery_in_words(
    channel: &str,
    state: &str,
    reason: Option<&str>,
    until: Option<&str>,
    told_in: Option<&str>,
) -> String {
    format!("{channel}: {}.", state_in_words(state, reason, until, told_in))
}

/// The same as part of a sentence, without the channel.
pub fn state_in_words(
    state: &str,
    reason: Option<&str>,
    until: Option<&str>,
    told_in: Option<&str>,
) -> String {
    let why = reason.map(reason_in_words);
    let because = |what: &str| match &why {
        Some(why) => format!("{what}: {why}"),
        None => what.to_owned(),
    };
    match state {
        "pending" => "waits for its turn".to_owned(),
        "sending" => "is being sent".to_owned(),
        "retry" => because("failed, and is tried again"),
        "deferred" => match until {
            Some(until) => format!("{}, until {until}", because("waits")),
            None => because("waits"),
        },
        "sent" => "sent: the provider took it".to_owned(),
        "delivered" => "delivered: a receipt says so".to_owned(),
        "undelivered" => because("not delivered: a receipt says so"),
        "dead" => because("not sent, all attempts failed"),
        "suppressed" => because("not sent"),
        "expired" => because("not sent"),
        "digested" => match told_in {
            Some(other) => format!("told within another message, {other}"),
            None => "told within another message".to_owned(),
        },
        "shadowed" => "not sent: its route is in shadow mode, which does everything but the send".to_owned(),
        "discarded" => because("not sent, and given up by an operator"),
        other => other.to_owned(),
    }
}

/// A reason in words; a provider's error stays as it is.
fn reason_in_words(reason: &str) -> String {
    use super::reason as why;
    match reason {
        why::NO_CONTACT => "there is no contact for this channel",
        why::EXPIRED => "it was, or would have been, too late to be of use",
        why::SHADOW => "its route is in shadow mode",
        why::OPTED_OUT => "the recipient does not want it",
        why::QUIET_HOURS => "these are the recipient's quiet hours",
        why::FREQUENCY_CAP => "a frequency cap, or the recipient's own limit, is full",
        why::FLOOD_CAP => "the recipient was told of the same a moment ago",
        why::DIGEST => "a frequency cap is full; it is told with others when there is room",
        why::ESCALATION => "it goes only if another channel has not sent it by then",
        why::NOT_NEEDED => "another channel has sent it",
        why::NOT_ROUTED => "its type has no route any more, or the route is off",
        other => other,
    }
    .to_owned()
}
