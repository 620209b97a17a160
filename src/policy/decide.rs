//! What an event means: for whom, over which channels, when, and what is not sent, and why.
//!
//! One pure function, so that it can be run again: the ledger, a replay, shadow mode and explain all read
//! its result.

use chrono_tz::Tz;
use serde::Serialize;

use super::caps::{Cap, NEVER_FLOODS, Spent, caps_of};
use super::quiet::quiet_until;
use super::reason::{
    DIGEST, ESCALATION, EXPIRED, FLOOD_CAP, FREQUENCY_CAP, NO_CONTACT, OPTED_OUT, QUIET_HOURS,
};
use super::step::{Answer, Step};
use super::{Mode, OverCap, QuietHours, Route};
use crate::domain::{Channel, DeliveryState, Instant, Preferences, QuietWindow};

/// Over which channels a recipient can be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// Has a device.
    pub push: bool,
    /// Has an address.
    pub email: bool,
    /// Has a phone.
    pub sms: bool,
}

impl Reach {
    const fn covers(self, channel: Channel) -> bool {
        match channel {
            Channel::Push => self.push,
            Channel::Email => self.email,
            Channel::Sms => self.sms,
        }
    }
}

/// The bank's own rules, for every recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bank {
    /// Frequency caps.
    pub caps: Vec<Cap>,
    /// Quiet hours.
    pub quiet_hours: Vec<QuietWindow>,
}

/// Everything that a decision sees, but for what was spent of the caps.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The bank's rules.
    pub bank: &'a Bank,
    /// The event's type.
    pub event_type: &'a str,
    /// Its route.
    pub route: &'a Route,
    /// The recipient.
    pub user: i64,
    /// How the recipient can be reached.
    pub reach: Reach,
    /// What the recipient wishes.
    pub preferences: &'a Preferences,
    /// The recipient's zone.
    pub zone: Tz,
    /// After this the message is of no use.
    pub expires_at: Option<Instant>,
    /// The database's clock.
    pub now: Instant,
}

/// What was decided for one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The channel.
    pub channel: Channel,
    /// `pending`: to be sent. Else the state in which the delivery is born.
    pub state: DeliveryState,
    /// Why it is not to be sent now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// For `deferred`: until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Instant>,
    /// Whether it was counted by a cap: its grant is to be stored.
    #[serde(skip)]
    pub granted: bool,
    /// The rules that were asked, in their order, and what each saw.
    pub steps: Vec<Step>,
}

/// What was decided for a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// One for each channel of the route, in its order, then one for each escalation.
    pub verdicts: Vec<Verdict>,
    /// Whether it was counted by the flood cap: its grant is to be stored.
    pub flood_granted: bool,
}

impl Question<'_> {
    /// The caps that its messages are counted by.
    pub fn caps(&self) -> Vec<Cap> {
        caps_of(self.route, self.event_type, self.preferences, &self.bank.caps)
    }
}

/// Decides what a recipient is sent. What is granted is added to `spent`.
pub fn decide(question: &Question<'_>, spent: &mut Spent) -> Plan {
    let caps = question.caps();
    let flood = flood(question, &caps, spent);
    let mut verdicts: Vec<Verdict> = question
        .route
        .channels
        .iter()
        .map(|channel| match &flood {
            Some(full) => suppressed_by_flood(question, *channel, full),
            None => judge(question, *channel, &caps, spent),
        })
        .collect();
    spent.reserve(question.user, &caps, &verdicts);
    for escalation in &question.route.escalate {
        let one_goes = verdicts.iter().any(|verdict| verdict.state.is_open());
        let verdict = match &flood {
            Some(full) => suppressed_by_flood(question, escalation.channel, full),
            // Nothing else goes: there is nothing to wait for.
            None if !one_goes => judge(question, escalation.channel, &caps, spent),
            None => wait_for_others(question, escalation.channel, question.now.plus(escalation.after)),
        };
        spent.reserve(question.user, &caps, std::slice::from_ref(&verdict));
        verdicts.push(verdict);
    }
    let flood_granted = question.route.mandatory
        && !caps.is_empty()
        && flood.is_none()
        && verdicts.iter().any(|verdict| verdict.state.is_open());
    if flood_granted {
        spent.grant(question.user, &caps, question.now);
    }
    Plan { verdicts, flood_granted }
}

/// Decides on one delivery that was deferred and is due: the same rules, asked again.
pub fn decide_again(question: &Question<'_>, channel: Channel, spent: &mut Spent) -> Verdict {
    let caps = if question.route.mandatory { Vec::new() } else { question.caps() };
    let verdict = judge(question, channel, &caps, spent);
    spent.reserve(question.user, &caps, std::slice::from_ref(&verdict));
    verdict
}

/// Asks right before a send what may have changed since it was decided: contact, expiry, opt-out and quiet
/// hours. Caps are not asked: the message holds its grant. `pending`: it may go.
pub fn ask_again(question: &Question<'_>, channel: Channel) -> Verdict {
    let mut asking = Asking::new(question, channel);
    let objection = asking.contact().or_else(|| asking.expiry()).or_else(|| asking.opt_out());
    match objection.or_else(|| asking.quiet_hours()) {
        Some(objection) => asking.verdict(objection),
        None => asking.goes(false),
    }
}

/// Why a message does not go now.
struct Objection {
    state: DeliveryState,
    reason: &'static str,
    until: Option<Instant>,
}

impl Objection {
    const fn ended(state: DeliveryState, reason: &'static str) -> Self {
        Self { state, reason, until: None }
    }
}

/// One channel while the rules are asked about it.
struct Asking<'q, 'a> {
    question: &'q Question<'a>,
    channel: Channel,
    steps: Vec<Step>,
}

fn judge(question: &Question<'_>, channel: Channel, caps: &[Cap], spent: &mut Spent) -> Verdict {
    let mut asking = Asking::new(question, channel);
    asking.flood_cap_passes(caps);
    let objection = asking
        .contact()
        .or_else(|| asking.expiry())
        .or_else(|| asking.opt_out())
        .or_else(|| asking.quiet_hours())
        .or_else(|| asking.caps(caps, spent));
    match objection {
        Some(objection) => asking.verdict(objection),
        None => {
            let counted = !question.route.mandatory && caps.iter().any(|cap| cap.counts(channel));
            if counted {
                spent.grant(question.user, caps.iter().filter(|cap| cap.counts(channel)), question.now);
            }
            asking.goes(counted)
        }
    }
}

/// The escalation of a notification that another channel may still deliver.
fn wait_for_others(question: &Question<'_>, channel: Channel, at: Instant) -> Verdict {
    let mut asking = Asking::new(question, channel);
    if let Some(objection) = asking.contact().or_else(|| asking.expiry()).or_else(|| asking.opt_out()) {
        return asking.verdict(objection);
    }
    let objection = asking.later(at, ESCALATION);
    asking.note("escalation", "another channel is to send it", &objection);
    asking.verdict(objection)
}

fn flood(question: &Question<'_>, caps: &[Cap], spent: &Spent) -> Option<(Instant, String)> {
    question
        .route
        .mandatory
        .then(|| spent.full_until(question.user, caps, question.now))
        .flatten()
        .map(|(until, cap)| (until, cap.in_words()))
}

fn suppressed_by_flood(question: &Question<'_>, channel: Channel, full: &(Instant, String)) -> Verdict {
    let mut asking = Asking::new(question, channel);
    if let Some(objection) = asking.contact().or_else(|| asking.expiry()) {
        return asking.verdict(objection);
    }
    let objection = Objection::ended(DeliveryState::Suppressed, FLOOD_CAP);
    asking.note("flood_cap", format!("{}: full until {}", full.1, full.0.to_rfc3339()), &objection);
    asking.verdict(objection)
}

impl<'q, 'a> Asking<'q, 'a> {
    fn new(question: &'q Question<'a>, channel: Channel) -> Self {
        Self { question, channel, steps: Vec::with_capacity(5) }
    }

    fn pass(&mut self, rule: &'static str, saw: impl Into<std::borrow::Cow<'static, str>>) {
        self.steps.push(Step { rule, saw: saw.into(), answer: Answer::Pass });
    }

    fn note(
        &mut self,
        rule: &'static str,
        saw: impl Into<std::borrow::Cow<'static, str>>,
        objection: &Objection,
    ) {
        self.steps.push(Step { rule, saw: saw.into(), answer: Answer::of(objection.state) });
    }

    /// A mandatory type that is not held back by the flood cap.
    fn flood_cap_passes(&mut self, caps: &[Cap]) {
        if !self.question.route.mandatory {
            return;
        }
        if self.question.event_type == NEVER_FLOODS {
            self.pass("flood_cap", "the type is free of it");
        } else if let Some(cap) = caps.first() {
            self.pass("flood_cap", format!("room in {}", cap.in_words()));
        }
    }

    /// Later, unless that were too late.
    fn later(&self, until: Instant, reason: &'static str) -> Objection {
        match self.question.expires_at {
            Some(expires) if until >= expires => Objection::ended(DeliveryState::Expired, EXPIRED),
            _ => Objection { state: DeliveryState::Deferred, reason, until: Some(until) },
        }
    }

    fn contact(&mut self) -> Option<Objection> {
        if self.question.reach.covers(self.channel) {
            self.pass("contact", "there is one");
            return None;
        }
        let objection = Objection::ended(DeliveryState::Suppressed, NO_CONTACT);
        self.note("contact", "there is none", &objection);
        Some(objection)
    }

    fn expiry(&mut self) -> Option<Objection> {
        let expires = self.question.expires_at?;
        let saw = format!("of use until {}", expires.to_rfc3339());
        if expires > self.question.now {
            self.pass("expiry", saw);
            return None;
        }
        let objection = Objection::ended(DeliveryState::Expired, EXPIRED);
        self.note("expiry", saw, &objection);
        Some(objection)
    }

    fn opt_out(&mut self) -> Option<Objection> {
        if self.question.route.mandatory {
            self.pass("opt_out", "the type is mandatory");
            return None;
        }
        let Some(opt_out) = self.question.preferences.opt_out(self.question.event_type, self.channel) else {
            self.pass("opt_out", "none");
            return None;
        };
        let saw = match (opt_out.channel, &opt_out.kind) {
            (Some(_), Some(_)) => "of this type by this channel",
            (Some(_), None) => "of this channel",
            _ => "of this type",
        };
        let objection = Objection::ended(DeliveryState::Suppressed, OPTED_OUT);
        self.note("opt_out", saw, &objection);
        Some(objection)
    }

    fn quiet_hours(&mut self) -> Option<Objection> {
        let question = self.question;
        let windows = question.bank.quiet_hours.iter().chain(&question.preferences.quiet_hours);
        if question.route.mandatory || question.route.quiet_hours == QuietHours::Send {
            self.pass(
                "quiet_hours",
                if question.route.mandatory {
                    "the type is mandatory"
                } else {
                    "the route sends all the same"
                },
            );
            return None;
        }
        let Some(until) = quiet_until(windows, question.zone, question.now) else {
            self.pass("quiet_hours", "it is not quiet");
            return None;
        };
        let objection = match question.route.quiet_hours {
            QuietHours::Suppress => Objection::ended(DeliveryState::Suppressed, QUIET_HOURS),
            _ => self.later(until, QUIET_HOURS),
        };
        let saw = format!("quiet until {} in {}", until.to_rfc3339(), question.zone);
        self.note("quiet_hours", saw, &objection);
        Some(objection)
    }

    fn caps(&mut self, caps: &[Cap], spent: &Spent) -> Option<Objection> {
        let question = self.question;
        if question.route.mandatory {
            self.pass("frequency_cap", "the type is mandatory");
            return None;
        }
        let counting = || caps.iter().filter(|cap| cap.counts(self.channel));
        counting().next()?;
        let Some((until, cap)) = spent.full_until(question.user, counting(), question.now) else {
            let saw = counting().map(Cap::in_words).collect::<Vec<_>>().join(", ");
            self.pass("frequency_cap", format!("room in {saw}"));
            return None;
        };
        let objection = match question.route.over_cap {
            OverCap::Suppress => Objection::ended(DeliveryState::Suppressed, FREQUENCY_CAP),
            OverCap::Defer => {
                let turn = spent.turn(question.user, counting(), until);
                // Those before it may not all go: it is too late only where there is no room in time.
                let in_time = question.expires_at.is_none_or(|expires| turn < expires);
                self.later(if in_time { turn } else { until }, FREQUENCY_CAP)
            }
            OverCap::Digest => self.later(until, DIGEST),
        };
        let crowd = if objection.until > Some(until) { ", and others wait before it" } else { "" };
        let saw = format!("{}: full until {}{crowd}", cap.in_words(), until.to_rfc3339());
        self.note("frequency_cap", saw, &objection);
        Some(objection)
    }

    fn goes(mut self, granted: bool) -> Verdict {
        if self.question.route.mode == Mode::Shadow {
            self.pass("mode", "shadow: everything but the send");
        }
        Verdict {
            channel: self.channel,
            state: DeliveryState::Pending,
            reason: None,
            not_before: None,
            granted,
            steps: self.steps,
        }
    }

    fn verdict(self, objection: Objection) -> Verdict {
        Verdict {
            channel: self.channel,
            state: objection.state,
            reason: Some(objection.reason),
            not_before: objection.until,
            granted: false,
            steps: self.steps,
        }
    }
}
