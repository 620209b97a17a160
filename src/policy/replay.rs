//! What today's rules would make of stored events, beside what was made of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ESCALATION, Mode, NOT_NEEDED, Route, Verdict};
use crate::domain::{Channel, DeliveryState, EventOutcome};

/// How many events that differ are named.
const MOST_NAMED: usize = 100;
/// How many types are told apart; types are open, and a report is bounded.
const MOST_TYPES: usize = 1_000;
/// In the place of a type: all that are beyond [`MOST_TYPES`].
const OTHERS: &str = "(others)";

/// A number that today's rules would give, beside the one that there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// By today's rules.
    pub would: u64,
    /// As it is.
    pub was: u64,
}

/// What a replay has found so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayReport {
    /// Events that fit, those included that were left alone.
    pub events: u64,
    /// Events that were left alone, by their outcome: `failed` ones are dead letters, `pending` ones are yet
    /// to be handled.
    pub left: BTreeMap<String, u64>,
    /// Events by outcome.
    pub outcomes: BTreeMap<String, Beside>,
    /// Messages by channel: those that would go, at once or later, and those that were sent.
    pub channels: BTreeMap<String, Beside>,
    /// Messages by type.
    pub types: BTreeMap<String, Beside>,
    /// Messages that would not go, or would go later, by state and rule, such as `suppressed/opted_out`;
    /// beside them, where deliveries stand now.
    pub rules: BTreeMap<String, Beside>,
    /// Segments of the SMS that would go, by today's templates, and of those that were sent.
    pub sms_segments: Beside,
    /// SMS that today's templates cannot render.
    pub unrendered: u64,
    /// Events of which a message would go that was not sent, or the other way round.
    pub differing: u64,
    /// The first of those.
    pub differs: Vec<String>,
    /// What was really put to work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Resent>,
}

/// What a replay that sends has put to work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resent {
    /// Deliveries that were reopened.
    pub reopened: u64,
    /// Deliveries of notifications that were made for events that had none.
    pub first: u64,
    /// Events whose notification is of another recipient than today's rules name: left alone.
    pub other_recipient: u64,
    /// Messages that today's rules hold back.
    pub held_back: u64,
}

/// A message that today's rules decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Would {
    /// The channel.
    pub channel: Channel,
    /// The verdict; `sent`: it was sent, and is left alone.
    pub state: DeliveryState,
    /// Its reason.
    pub reason: Option<&'static str>,
    /// Whether the route is in shadow mode.
    pub shadow: bool,
}

impl Would {
    /// What a verdict of a route is.
    pub fn of(verdict: &Verdict, mode: Mode) -> Self {
        let Verdict { channel, state, reason, .. } = *verdict;
        Self { channel, state, reason, shadow: mode == Mode::Shadow }
    }

    /// Whether it would go: at once, or later.
    pub fn goes(&self) -> bool {
        self.fate() == Fate::Goes
    }

    fn fate(&self) -> Fate {
        match (self.state, self.reason) {
            (DeliveryState::Deferred, Some(ESCALATION)) => Fate::Perhaps,
            (DeliveryState::Sent, _) => Fate::Goes,
            (state, _) if state.is_open() && !self.shadow => Fate::Goes,
            _ => Fate::Stays,
        }
    }

    fn rule(&self) -> Option<String> {
        match (self.state, self.reason) {
            (DeliveryState::Sent, _) => None,
            (state, None) if state.is_open() => self.shadow.then(|| DeliveryState::Shadowed.to_string()),
            (state, reason) => Some(rule(state, reason)),
        }
    }
}

/// A delivery as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Was {
    /// The channel.
    pub channel: Channel,
    /// Where it stands.
    pub state: DeliveryState,
    /// Why.
    pub reason: Option<String>,
    /// For SMS: how many segments.
    pub segments: Option<i64>,
}

impl Was {
    /// Whether the recipient was told by it.
    pub fn was_sent(&self) -> bool {
        self.fate() == Fate::Goes
    }

    /// Whether a replay may put it to work again: it has ended, and was never sent. What an operator gave up
    /// stays given up.
    pub const fn may_be_reopened(&self) -> bool {
        use DeliveryState::{Dead, Expired, Shadowed, Suppressed};
        matches!(self.state, Dead | Suppressed | Expired | Shadowed)
    }

    fn fate(&self) -> Fate {
        use DeliveryState::{Delivered, Digested, Sent, Undelivered};
        match self.state {
            Sent | Delivered | Undelivered | Digested => Fate::Goes,
            state if state.is_open() => Fate::Perhaps,
            _ if self.reason.as_deref() == Some(NOT_NEEDED) => Fate::Perhaps,
            _ => Fate::Stays,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Goes,
    /// It depends on what other channels do, or is open still.
    Perhaps,
    Stays,
}

/// A state with the rule that led to it. An error is no rule: only policy's states have one.
fn rule(state: DeliveryState, reason: Option<&str>) -> String {
    use DeliveryState::{Deferred, Digested, Expired, Suppressed};
    let by_policy = matches!(state, Deferred | Digested | Expired | Suppressed);
    match reason.filter(|_| by_policy) {
        Some(reason) if reason != state.as_str() => format!("{state}/{reason}"),
        _ => state.to_string(),
    }
}

/// What is left of a route for a notification that there is: the channels of which the delivery may be
/// reopened. Where another channel has sent it, or still may, it does not escalate.
pub fn route_to_reopen(route: &Route, was: &[Was]) -> Route {
    let may = |channel: Channel| was.iter().any(|was| was.channel == channel && was.may_be_reopened());
    let mut left = route.clone();
    left.channels.retain(|channel| may(*channel));
    left.escalate.retain(|escalation| may(escalation.channel));
    if was.iter().any(|was| was.was_sent() || was.state.is_open()) {
        left.escalate.clear();
    }
    left
}

/// One event, for the report.
#[derive(Debug, Clone, Copy)]
pub struct Compared<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its type.
    pub kind: &'a str,
    /// What became of it.
    pub was_outcome: EventOutcome,
    /// What would become of it.
    pub would_outcome: EventOutcome,
    /// Its deliveries.
    pub was: &'a [Was],
    /// What today's rules decided.
    pub would: &'a [Would],
}

impl ReplayReport {
    /// Counts an event that is left alone.
    pub fn leave(&mut self, outcome: EventOutcome) {
        self.events += 1;
        *self.left.entry(outcome.to_string()).or_default() += 1;
    }

    /// Counts an event.
    pub fn note(&mut self, event: Compared<'_>) {
        self.events += 1;
        self.outcomes.entry(event.would_outcome.to_string()).or_default().would += 1;
        self.outcomes.entry(event.was_outcome.to_string()).or_default().was += 1;
        let known = self.types.len() < MOST_TYPES || self.types.contains_key(event.kind);
        let kind = if known { event.kind } else { OTHERS };
        for would in event.would {
            if would.goes() {
                self.channels.entry(would.channel.to_string()).or_default().would += 1;
                self.types.entry(kind.to_owned()).or_default().would += 1;
            }
            if let Some(rule) = would.rule() {
                self.rules.entry(rule).or_default().would += 1;
            }
        }
        for was in event.was {
            if was.was_sent() {
                self.channels.entry(was.channel.to_string()).or_default().was += 1;
                self.types.entry(kind.to_owned()).or_default().was += 1;
                self.sms_segments.was += was.segments.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            } else {
                self.rules.entry(rule(was.state, was.reason.as_deref())).or_default().was += 1;
            }
        }
        if differs(event.would, event.was) {
            self.differing += 1;
            if self.differs.len() < MOST_NAMED {
                self.differs.push(event.id.to_owned());
            }
        }
    }
}

fn differs(would: &[Would], was: &[Was]) -> bool {
    let channels: BTreeSet<Channel> =
        would.iter().map(|one| one.channel).chain(was.iter().map(|one| one.channel)).collect();
    channels.into_iter().any(|channel| {
        let would = would.iter().find(|one| one.channel == channel).map_or(Fate::Stays, Would::fate);
        let was = was.iter().find(|one| one.channel == channel).map_or(Fate::Stays, Was::fate);
        would != was && would != Fate::Perhaps && was != Fate::Perhaps
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use DeliveryState::{Dead, Deferred, Discarded, Expired, Pending, Retry, Sent, Shadowed, Suppressed};

    fn would(state: DeliveryState, reason: Option<&'static str>) -> Would {
        Would { channel: Channel::Sms, state, reason, shadow: false }
    }

    fn was(state: DeliveryState, reason: Option<&str>) -> Was {
        Was { channel: Channel::Sms, state, reason: reason.map(str::to_owned), segments: Some(2) }
    }

    #[test]
    fn an_event_differs_where_a_message_goes_that_was_not_sent_or_the_other_way_round() {
        let quiet = Some(super::super::QUIET_HOURS);
        for (would, was, expected) in [
            (vec![would(Pending, None)], vec![was(Sent, None)], false),
            (vec![would(Pending, None)], vec![was(Suppressed, Some("opted_out"))], true),
            (vec![would(Pending, None)], vec![was(Dead, Some("550"))], true),
            (vec![would(Pending, None)], vec![was(Shadowed, None)], true),
            (vec![would(Pending, None)], vec![], true),
            (vec![would(Pending, None)], vec![was(Retry, None)], false),
            (vec![would(Deferred, quiet)], vec![was(Sent, None)], false),
            (vec![would(Deferred, quiet)], vec![], true),
            (vec![would(Deferred, Some(ESCALATION))], vec![was(Suppressed, Some(NOT_NEEDED))], false),
            (vec![would(Suppressed, Some("opted_out"))], vec![was(Sent, None)], true),
            (vec![would(Suppressed, Some("opted_out"))], vec![was(Suppressed, Some("no_contact"))], false),
            (vec![Would { shadow: true, ..would(Pending, None) }], vec![was(Shadowed, None)], false),
            (vec![], vec![was(Sent, None)], true),
            (vec![], vec![], false),
        ] {
            assert_eq!(differs(&would, &was), expected, "{would:?} {was:?}");
        }
    }

    #[test]
    fn a_report_holds_both_numbers_and_is_bounded() {
        let mut report = ReplayReport::default();
        for n in 0..1_500_u32 {
            let (id, kind) = (format!("e-{n}"), format!("t.{n}"));
            report.note(Compared {
                id: &id,
                kind: &kind,
                was_outcome: EventOutcome::Notified,
                would_outcome: EventOutcome::Notified,
                was: &[was(Sent, None)],
                would: &[would(Suppressed, Some("opted_out"))],
            });
        }
        report.leave(EventOutcome::Failed);
        assert_eq!(report.events, 1_501);
        assert_eq!(report.left["failed"], 1);
        assert_eq!(report.channels["sms"], Beside { would: 0, was: 1_500 });
        assert_eq!(report.rules["suppressed/opted_out"], Beside { would: 1_500, was: 0 });
        assert_eq!(report.sms_segments.was, 3_000);
        assert_eq!((report.types.len(), report.types[OTHERS].was), (MOST_TYPES + 1, 500));
        assert_eq!((report.differing, report.differs.len()), (1_500, MOST_NAMED));
        assert_eq!(report.differs[0], "e-0");
    }

    #[test]
    fn a_rule_is_named_once_and_an_error_is_none() {
        assert_eq!(rule(Expired, Some("expired")), "expired");
        assert_eq!(rule(Deferred, Some("quiet_hours")), "deferred/quiet_hours");
        assert_eq!(rule(Dead, Some("550 no such user")), "dead");
        assert_eq!(would(Pending, None).rule(), None);
    }

    #[test]
    fn only_what_was_never_sent_is_reopened() {
        let route = Route {
            channels: vec![Channel::Push, Channel::Email],
            priority: crate::domain::Lane::Normal,
            template: None,
            variants: Vec::new(),
            category: "general".to_owned(),
            mandatory: false,
            recipient: None,
            quiet_hours: super::super::QuietHours::Defer,
            over_cap: super::super::OverCap::Suppress,
            expires_after: None,
            escalate: vec![super::super::Escalation {
                after: std::time::Duration::from_secs(30),
                channel: Channel::Sms,
            }],
            mode: Mode::Live,
            retry: None,
        };
        let on = |channel, state| Was { channel, ..was(state, None) };
        let left = |all: &[Was]| {
            let left = route_to_reopen(&route, all);
            (left.channels, left.escalate.len())
        };
        let (push, email, sms) = (Channel::Push, Channel::Email, Channel::Sms);
        assert_eq!(
            left(&[on(push, Dead), on(email, Suppressed), on(sms, Suppressed)]),
            (vec![push, email], 1)
        );
        assert_eq!(left(&[on(push, Sent), on(email, Expired), on(sms, Suppressed)]), (vec![email], 0));
        assert_eq!(left(&[on(push, Discarded), on(email, Retry), on(sms, Suppressed)]), (vec![], 0));
        assert_eq!(left(&[on(push, Shadowed)]), (vec![push], 0));
    }
}
