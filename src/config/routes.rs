//! Routes, and the bank's own frequency caps and quiet hours.

use std::{collections::BTreeMap, time::Duration};

use chrono::{NaiveTime, Weekday};

use super::{
    error::Problems,
    macros::{read_by_from_str, section},
    read::{Read, found, from_text},
    retry::RetryKeys,
    suggest,
    tree::{Node, join},
};
use crate::{
    domain::{
        Channel, Lane, Preferences, QuietWindow,
        preferences::{never_ends, parse_day, parse_time},
    },
    policy::{Cap, Escalation, Mode, OWN_VARIANT, OverCap, QuietHours, Retry, Route, Routes, Variant},
};

section! {
    /// The keys of one route.
    pub(super) struct RouteKeys {
        /// By what it goes.
        pub channels: Vec<Channel>,
        /// How urgent it is.
        pub priority: Lane = Lane::Normal,
        /// The type whose templates are used.
        pub template: Option<String>,
        /// Templates that a share of the recipients gets in the place of it.
        pub variants: Vec<VariantKeys>,
        /// What caps and quiet hours may be given for.
        pub category: String = "general".to_owned(),
        /// Whether it is sent despite an opt-out.
        pub mandatory: bool = false,
        /// A JSON pointer to the recipient.
        pub recipient: Option<String>,
        /// What becomes of it in quiet hours.
        pub quiet_hours: QuietHours = QuietHours::Defer,
        /// What becomes of it over a cap.
        pub over_cap: OverCap = OverCap::Suppress,
        /// How long it is of use.
        pub expires_after: Option<Duration>,
        /// Further channels.
        pub escalate: Vec<EscalationKeys>,
        /// Whether it takes effect.
        pub mode: Mode = Mode::Live,
        /// Its own retries.
        pub retry: Option<RetryKeys>,
    }
    check = check_route;
}

section! {
    /// The keys of one escalation.
    pub(super) struct EscalationKeys {
        /// How long after the notification was made.
        pub after: Duration,
        /// By what it goes then.
        pub channel: Channel,
    }
}

section! {
    /// The keys of one variant of a route's template.
    pub(super) struct VariantKeys {
        /// What it is counted by.
        pub name: String,
        /// The template's name.
        pub template: String,
        /// How many of a hundred recipients get it.
        pub share: u32,
    }
}

section! {
    /// A frequency cap of the bank: how many messages one recipient may get in a sliding window.
    pub(super) struct CapKeys {
        /// The channel that it counts; `None`: all together.
        pub channel: Option<Channel>,
        /// The category that it counts; `None`: all together.
        pub category: Option<String>,
        /// How many.
        pub limit: u32,
        /// In what time.
        pub window: Duration,
    }
    check = check_cap;
}

section! {
    /// Quiet hours of the bank, in the recipient's own time zone.
    pub(super) struct QuietHoursKeys {
        /// The days on which they begin; empty: every day.
        pub days: Vec<Weekday>,
        /// When they begin.
        pub from: NaiveTime,
        /// When they end: on the next day where that is earlier than `from`.
        pub to: NaiveTime,
    }
    check = check_quiet_hours;
}

read_by_from_str!(Channel, Lane, QuietHours, OverCap, Mode);

impl Read for Weekday {
    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        from_text(node, at, problems, |text| {
            parse_day(text).ok_or_else(|| found("expected mon, tue, wed, thu, fri, sat or sun", text))
        })
    }
}

impl Read for NaiveTime {
    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        from_text(node, at, problems, |text| {
            parse_time(text).ok_or_else(|| found("expected a time of day such as 22:00", text))
        })
    }
}

/// The routes as policy reads them.
pub(super) fn resolve(keys: BTreeMap<String, RouteKeys>, global: &Retry, problems: &mut Problems) -> Routes {
    let route = |(event_type, keys): (String, RouteKeys)| {
        let at = join("routes", &event_type);
        if event_type.starts_with("notification.") {
            problems.at(at, "notification.* is Herald's own: no route may name it");
        } else if !is_event_type(&event_type) {
            problems
                .at(at, "not a type of event: lower-case words with dots between, at most 100 characters");
        }
        let route = Route {
            channels: keys.channels,
            priority: keys.priority,
            template: keys.template,
            variants: keys.variants.into_iter().map(variant).collect(),
            category: keys.category,
            mandatory: keys.mandatory,
            recipient: keys.recipient,
            quiet_hours: keys.quiet_hours,
            over_cap: keys.over_cap,
            expires_after: keys.expires_after,
            escalate: in_order(&keys.escalate),
            mode: keys.mode,
            retry: keys.retry.map(|retry| retry.over(global)),
        };
        (event_type, route)
    };
    keys.into_iter().map(route).collect()
}

fn variant(keys: VariantKeys) -> Variant {
    let VariantKeys { name, template, share } = keys;
    Variant { name, template, share }
}

fn in_order(keys: &[EscalationKeys]) -> Vec<Escalation> {
    let mut escalate: Vec<_> =
        keys.iter().map(|keys| Escalation { after: keys.after, channel: keys.channel }).collect();
    escalate.sort_by_key(|escalation| escalation.after);
    escalate
}

/// The bank's caps as policy reads them.
pub(super) fn resolve_caps(keys: Vec<CapKeys>, routes: &Routes, problems: &mut Problems) -> Vec<Cap> {
    let cap = |keys: CapKeys| {
        let CapKeys { channel, category, limit, window } = keys;
        Cap { channel, category, flood: None, shadow: false, limit, window }
    };
    let caps: Vec<Cap> = keys.into_iter().map(cap).collect();
    check_categories(&caps, routes, problems);
    caps
}

/// The bank's quiet hours as policy reads them.
pub(super) fn resolve_quiet_hours(keys: Vec<QuietHoursKeys>, problems: &mut Problems) -> Vec<QuietWindow> {
    let window = |keys: QuietHoursKeys| QuietWindow { days: keys.days, from: keys.from, to: keys.to };
    let windows: Vec<QuietWindow> = keys.into_iter().map(window).collect();
    // One that is wrong by itself has been named already.
    if never_ends(windows.iter().filter(|window| window.from != window.to)) {
        problems.at("quiet_hours", "together they leave no minute of the week: they would never end");
    }
    windows
}

/// A cap for a category that no route has would never count: it is a slip.
fn check_categories(caps: &[Cap], routes: &Routes, problems: &mut Problems) {
    let mut categories: Vec<&str> = routes.iter().map(|(_, route)| route.category.as_str()).collect();
    categories.sort_unstable();
    categories.dedup();
    for (index, cap) in caps.iter().enumerate() {
        let Some(category) = cap.category.as_deref().filter(|category| !categories.contains(category)) else {
            continue;
        };
        let hint = suggest::nearest(category, &categories)
            .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        problems.at(format!("caps[{index}].category"), format!("no route has this category{hint}"));
    }
}

/// Whether a text can be the type of an event.
fn is_event_type(text: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    };
    text.len() <= 100
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.split('.').all(is_word)
}

/// Whether a text is a JSON pointer (RFC 6901) to something within a document.
fn is_pointer(text: &str) -> bool {
    text.starts_with('/') && text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

fn check_route(route: &RouteKeys, at: &str, problems: &mut Problems) {
    let mut seen = Vec::new();
    for channel in &route.channels {
        if seen.contains(channel) {
            problems.at(join(at, "channels"), format!("names `{channel}` twice"));
        }
        seen.push(*channel);
    }
    if route.channels.is_empty() && route.mode != Mode::Off {
        problems.at(join(at, "channels"), "names no channel; a route that sends nothing has mode = \"off\"");
    }
    if route.template.as_deref().is_some_and(|template| !is_event_type(template)) {
        problems.at(join(at, "template"), "expected a type of event, such as transaction.completed");
    }
    check_variants(&route.variants, at, problems);
    if !is_event_type(&route.category) {
        problems.at(join(at, "category"), "expected a lower-case word");
    }
    if route.recipient.as_deref().is_some_and(|pointer| !is_pointer(pointer)) {
        problems.at(
            join(at, "recipient"),
            "expected a JSON pointer into the event, such as /payload/customer/id",
        );
    }
    if route.expires_after.is_some_and(|after| after.is_zero()) {
        problems.at(join(at, "expires_after"), "expected more than 0s; leave it out for never");
    }
    for (index, escalation) in route.escalate.iter().enumerate() {
        let at = format!("{}[{index}]", join(at, "escalate"));
        if escalation.after.is_zero() {
            problems.at(join(&at, "after"), "expected more than 0s");
        }
        if seen.contains(&escalation.channel) {
            problems.at(
                join(&at, "channel"),
                format!("the notification goes by `{}` already", escalation.channel),
            );
        }
        seen.push(escalation.channel);
    }
}

fn check_variants(variants: &[VariantKeys], at: &str, problems: &mut Problems) {
    /// It is a word in reports.
    const LONGEST_NAME: usize = 20;
    let is_name = |name: &str| {
        (1..=LONGEST_NAME).contains(&name.len())
            && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
    };
    let mut seen = Vec::new();
    for (index, variant) in variants.iter().enumerate() {
        let at = format!("{}[{index}]", join(at, "variants"));
        let name = variant.name.as_str();
        if name == OWN_VARIANT {
            problems.at(
                join(&at, "name"),
                format!("`{OWN_VARIANT}` is the variant of those who get the route's own template"),
            );
        } else if !is_name(name) {
            problems.at(join(&at, "name"), "expected a lower-case word of at most 20 characters, such as b");
        } else if seen.contains(&name) {
            problems.at(join(&at, "name"), format!("there is another variant `{name}`"));
        }
        seen.push(name);
        if !is_event_type(&variant.template) {
            problems.at(join(&at, "template"), "expected a template's name, such as transaction.completed.b");
        }
        if !(1..=100).contains(&variant.share) {
            problems.at(join(&at, "share"), "expected a share from 1 to 100, in percent of the recipients");
        }
    }
    let sum: u64 = variants.iter().map(|variant| u64::from(variant.share)).sum();
    if sum > 100 && variants.iter().all(|variant| variant.share <= 100) {
        problems.at(join(at, "variants"), format!("their shares add up to {sum}, which is more than 100"));
    }
}

fn check_cap(cap: &CapKeys, at: &str, problems: &mut Problems) {
    if cap.limit == 0 {
        problems.at(join(at, "limit"), "expected at least 1");
    }
    if cap.window.is_zero() || cap.window > Preferences::LONGEST_WINDOW {
        problems.at(join(at, "window"), "expected more than 0s and at most 31d");
    }
}

fn check_quiet_hours(rule: &QuietHoursKeys, at: &str, problems: &mut Problems) {
    if rule.from == rule.to {
        problems.at(join(at, "to"), "the same as `from`: quiet hours have a length");
    }
}
