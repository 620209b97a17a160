//! Another channel, for when the first ones have not sent it by then, or cannot.

use super::Route;
use std::time::Duration;

use super::decide::Verdict;
use super::reason::{ESCALATION, EXPIRED, NOT_NEEDED};
use super::step::{Answer, Step};
use crate::domain::{Channel, DeliveryState, Instant};

/// Another delivery of the same notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Other {
    /// Its channel.
    pub channel: Channel,
    /// Where it stands.
    pub state: DeliveryState,
    /// For `deferred`: until when.
    pub not_before: Option<Instant>,
}

/// A deferred delivery that may be an escalation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalated<'a> {
    /// Its channel.
    pub channel: Channel,
    /// Why it is deferred.
    pub reason: Option<&'a str>,
    /// Until when.
    pub not_before: Option<Instant>,
    /// After this it is of no use.
    pub expires_at: Option<Instant>,
    /// The other deliveries of its notification.
    pub others: Vec<Other>,
}

/// Decides whether an escalation is needed, and whether it is time; none: it is, and the other rules are to
/// be asked. Also for a channel that is no escalation.
pub fn escalate_again(one: &Escalated<'_>, route: &Route, now: Instant) -> Option<Verdict> {
    let nth = route.escalate.iter().position(|escalation| escalation.channel == one.channel);
    // One that today's route does not have any more is still one.
    let nth = nth.or_else(|| (one.reason == Some(ESCALATION)).then_some(route.escalate.len()))?;
    let earlier = route.escalate.get(..nth).unwrap_or_default();
    let after = route.escalate.get(nth).map_or(Duration::ZERO, |escalation| escalation.after);
    let told = |state| {
        use DeliveryState::{Delivered, Digested, Sent, Shadowed};
        matches!(state, Sent | Delivered | Shadowed | Digested)
    };
    if let Some(other) = one.others.iter().find(|other| told(other.state)) {
        let saw = format!("{} has sent it", other.channel);
        return Some(verdict(one.channel, DeliveryState::Suppressed, NOT_NEEDED, None, saw));
    }
    let first = |other: &&Other| {
        route.channels.contains(&other.channel)
            || earlier.iter().any(|escalation| escalation.channel == other.channel)
    };
    let open = || one.others.iter().filter(first).filter(|other| other.state.is_open());
    open().next()?;
    // Policy holds one of the first ones back: it has had no chance yet.
    let held_back = open()
        .filter(|other| other.state == DeliveryState::Deferred && route.channels.contains(&other.channel));
    let from_then = held_back.filter_map(|other| other.not_before).min().map(|at| at.plus(after));
    let own = match one.reason {
        Some(ESCALATION) => one.not_before,
        // They have had their chance, and failed for now.
        _ if open().all(|other| other.state == DeliveryState::Retry) => None,
        // Policy held this one back, and may have held back the other: that one goes first.
        _ => Some(now.plus(after)),
    };
    let until = from_then.max(own).filter(|until| *until > now)?;
    let saw = match from_then.is_some() {
        true => "the other channel waits itself",
        false => "another channel is to send it",
    };
    Some(match one.expires_at {
        Some(expires) if until >= expires => {
            verdict(one.channel, DeliveryState::Expired, EXPIRED, None, saw.to_owned())
        }
        _ => verdict(one.channel, DeliveryState::Deferred, ESCALATION, Some(until), saw.to_owned()),
    })
}

fn verdict(
    channel: Channel,
    state: DeliveryState,
    reason: &'static str,
    not_before: Option<Instant>,
    saw: String,
) -> Verdict {
    let steps = vec![Step { rule: "escalation", saw: saw.into(), answer: Answer::of(state) }];
    Verdict { channel, state, reason: Some(reason), not_before, granted: false, steps }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::policy::{Escalation, QUIET_HOURS};

    fn at(seconds: u64) -> Instant {
        Instant::from(chrono::DateTime::UNIX_EPOCH).plus(Duration::from_secs(seconds))
    }

    fn route() -> Route {
        let after = |seconds, channel| Escalation { after: Duration::from_secs(seconds), channel };
        Route {
            channels: vec![Channel::Push],
            escalate: vec![after(30, Channel::Sms), after(300, Channel::Email)],
            ..crate::policy::route::tests::route(crate::domain::Lane::Normal)
        }
    }

    fn other(channel: Channel, state: DeliveryState, not_before: Option<u64>) -> Other {
        Other { channel, state, not_before: not_before.map(at) }
    }

    fn asked(channel: Channel, reason: &str, not_before: u64, others: &[Other], now: u64) -> String {
        let one = Escalated {
            channel,
            reason: Some(reason),
            not_before: Some(at(not_before)),
            expires_at: Some(at(10_000)),
            others: others.to_vec(),
        };
        match escalate_again(&one, &route(), at(now)) {
            None => "goes".to_owned(),
            Some(verdict) => match verdict.not_before {
                Some(until) => format!("{} until {}", verdict.state, until.since(at(0)).as_secs()),
                None => verdict.state.to_string(),
            },
        }
    }

    #[test]
    fn it_goes_when_the_others_cannot_and_not_before_its_time_while_they_may() {
        use Channel::{Email, Push, Sms};
        use DeliveryState::{Dead, Deferred, Digested, Pending, Sent};
        let push = |state| other(Push, state, None);
        assert_eq!(asked(Sms, ESCALATION, 30, &[push(Dead)], 5), "goes", "at once");
        assert_eq!(asked(Sms, ESCALATION, 30, &[push(Pending)], 5), "deferred until 30");
        assert_eq!(asked(Sms, ESCALATION, 30, &[push(Pending)], 30), "goes", "its time has come");
        assert_eq!(asked(Sms, ESCALATION, 30, &[push(Sent)], 5), "suppressed");
        assert_eq!(asked(Sms, ESCALATION, 30, &[push(Digested)], 5), "suppressed", "told in another message");
        // The second escalation waits for the first.
        let sms = other(Sms, Deferred, Some(30));
        assert_eq!(asked(Email, ESCALATION, 300, &[push(Dead), sms], 5), "deferred until 300");
        assert_eq!(asked(Email, ESCALATION, 300, &[push(Dead), other(Sms, Dead, None)], 5), "goes");
        assert_eq!(asked(Email, ESCALATION, 300, &[push(Dead), other(Sms, Sent, None)], 5), "suppressed");
        // And does not wait for the second.
        let email = other(Email, Deferred, Some(300));
        assert_eq!(asked(Sms, ESCALATION, 30, &[push(Dead), email], 5), "goes");
    }

    #[test]
    fn who_is_held_back_by_policy_gets_a_chance_first() {
        use Channel::{Push, Sms};
        use DeliveryState::{Deferred, Pending, Sent};
        let push = other(Push, Deferred, Some(1_000));
        assert_eq!(asked(Sms, ESCALATION, 30, &[push], 30), "deferred until 1030");
        assert_eq!(asked(Sms, QUIET_HOURS, 1_000, &[push], 1_000), "deferred until 1030");
        assert_eq!(
            asked(Sms, QUIET_HOURS, 1_000, &[other(Push, Pending, None)], 1_001),
            "deferred until 1031"
        );
        assert_eq!(asked(Sms, QUIET_HOURS, 1_000, &[other(Push, Sent, None)], 1_001), "suppressed");
        let retried = other(Push, DeliveryState::Retry, None);
        assert_eq!(asked(Sms, QUIET_HOURS, 1_000, &[retried], 1_001), "goes", "the other has had its chance");
        let late = other(Push, Deferred, Some(9_990));
        assert_eq!(asked(Sms, ESCALATION, 30, &[late], 30), "expired", "it would come too late");
    }

    #[test]
    fn an_escalation_that_the_route_has_no_more_is_still_one() {
        let push = |state| [other(Channel::Push, state, None)];
        let one = |others: &[Other]| Escalated {
            channel: Channel::Sms,
            reason: Some(ESCALATION),
            not_before: Some(at(30)),
            expires_at: None,
            others: others.to_vec(),
        };
        let route = Route { escalate: Vec::new(), ..route() };
        let sent = escalate_again(&one(&push(DeliveryState::Sent)), &route, at(30)).unwrap();
        assert_eq!(sent.reason, Some(NOT_NEEDED));
        assert!(escalate_again(&one(&push(DeliveryState::Dead)), &route, at(30)).is_none());
    }

    #[test]
    fn a_channel_that_is_no_escalation_is_not_asked() {
        let others = [other(Channel::Sms, DeliveryState::Sent, None)];
        assert_eq!(asked(Channel::Push, QUIET_HOURS, 10, &others, 10), "goes");
    }
}
