//! The tables of `docs/decisions.md`, and the phrases in their cells.

use std::collections::HashMap;

use chrono::{LocalResult, NaiveDate, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;
use herald::domain::preferences::parse_preferences;
use herald::domain::{Channel, Instant, Lane, Preferences, QuietWindow, parse_duration};
use herald::policy::{Bank, Cap, Escalation, Mode, OverCap, QuietHours, Reach, Route};

/// A row: the heading it stands under, its line, and its cells.
pub(crate) struct Row {
    pub(crate) heading: String,
    pub(crate) line: usize,
    pub(crate) cells: Vec<String>,
}

/// The rows of all tables but for their heads.
pub(crate) fn rows(text: &str) -> Vec<Row> {
    let mut heading = String::new();
    let mut rows = Vec::new();
    let mut in_body = false;
    for (at, line) in text.lines().enumerate() {
        if let Some(title) = line.strip_prefix("## ") {
            heading = title.to_owned();
        }
        let Some(inner) = line.strip_prefix('|').and_then(|rest| rest.strip_suffix('|')) else {
            in_body = false;
            continue;
        };
        let cells: Vec<String> = inner.split('|').map(|cell| cell.trim().to_owned()).collect();
        if cells.iter().all(|cell| cell == "---") {
            in_body = true;
        } else if in_body {
            rows.push(Row { heading: heading.clone(), line: at + 1, cells });
        }
    }
    rows
}

pub(crate) fn phrases(cell: &str) -> impl Iterator<Item = &str> {
    cell.split(';').map(str::trim).filter(|phrase| !phrase.is_empty())
}

pub(crate) fn route(cells: &[String]) -> (String, Route) {
    let [name, channels, category, rules] = cells else { panic!("a route has four cells: {cells:?}") };
    let mut route = Route {
        channels: channels.split(", ").map(|channel| channel.parse().unwrap()).collect(),
        priority: Lane::Normal,
        template: None,
        category: category.clone(),
        mandatory: false,
        recipient: None,
        quiet_hours: QuietHours::Defer,
        over_cap: OverCap::Suppress,
        expires_after: None,
        variants: Vec::new(),
        escalate: Vec::new(),
        mode: Mode::Live,
        retry: None,
    };
    for rule in phrases(rules) {
        if let Some(word) = rule.strip_prefix("quiet hours ") {
            route.quiet_hours = word.parse().unwrap();
        } else if let Some(word) = rule.strip_prefix("over cap ") {
            route.over_cap = word.parse().unwrap();
        } else if let Some(time) = rule.strip_prefix("of use for ") {
            route.expires_after = Some(parse_duration(time).unwrap());
        } else if let Some(rest) = rule.strip_prefix("escalates to ") {
            let (channel, after) = rest.split_once(" after ").unwrap();
            let (after, channel) = (parse_duration(after).unwrap(), channel.parse().unwrap());
            route.escalate.push(Escalation { after, channel });
        } else {
            match rule {
                "mandatory" => route.mandatory = true,
                "shadow" => route.mode = Mode::Shadow,
                _ => panic!("no rule of a route: {rule}"),
            }
        }
    }
    (name.clone(), route)
}

pub(crate) struct Customer {
    pub(crate) reach: Reach,
    pub(crate) zone: Tz,
    pub(crate) preferences: Preferences,
}

/// A customer as a cell tells of one. The wishes go through the same reader as those from the API.
pub(crate) fn customer(cell: &str) -> Customer {
    let mut reach = Reach { push: true, email: true, sms: true };
    let mut zone = Tz::Africa__Blantyre;
    let (mut opt_outs, mut quiet, mut limits) = (Vec::new(), Vec::new(), Vec::new());
    for phrase in phrases(cell) {
        if let Some(what) = phrase.strip_prefix("opted out of ") {
            opt_outs.push(match what.split_once(" by ") {
                Some((kind, channel)) => format!(r#"{{"type":"{kind}","channel":"{channel}"}}"#),
                None if what.parse::<Channel>().is_ok() => format!(r#"{{"channel":"{what}"}}"#),
                None => format!(r#"{{"type":"{what}"}}"#),
            });
        } else if let Some(window) = phrase.strip_prefix("quiet ") {
            quiet.push(window_json(window));
        } else if let Some(limit) = phrase.strip_prefix("at most ") {
            let (what, window) = limit.split_once(" in ").unwrap();
            limits.push(match what.split_once(' ') {
                Some((most, channel)) => {
                    format!(r#"{{"channel":"{channel}","limit":{most},"window":"{window}"}}"#)
                }
                None => format!(r#"{{"limit":{what},"window":"{window}"}}"#),
            });
        } else {
            match phrase {
                "no device" => reach.push = false,
                "no mailbox" => reach.email = false,
                "no phone" => reach.sms = false,
                "unknown" => reach = Reach::default(),
                name => zone = name.parse().unwrap_or_else(|_| panic!("nothing of a customer: {name}")),
            }
        }
    }
    let json = format!(
        r#"{{"opt_outs":[{}],"quiet_hours":[{}],"limits":[{}]}}"#,
        opt_outs.join(","),
        quiet.join(","),
        limits.join(",")
    );
    let preferences = parse_preferences(json.as_bytes(), |_| false, &[]);
    Customer { reach, zone, preferences: preferences.unwrap_or_else(|errors| panic!("{json}: {errors:?}")) }
}

fn window_json(text: &str) -> String {
    let (days, times) = text.rsplit_once(' ').unwrap_or(("", text));
    let (from, to) = times.split_once('-').unwrap();
    let days: Vec<String> =
        days.split(", ").filter(|day| !day.is_empty()).map(|d| format!("\"{d}\"")).collect();
    let days = if days.is_empty() { String::new() } else { format!(r#""days":[{}],"#, days.join(",")) };
    format!(r#"{{{days}"from":"{from}","to":"{to}"}}"#)
}

/// The windows of `quiet …` phrases.
pub(crate) fn windows(cell: &str) -> Vec<QuietWindow> {
    customer(cell).preferences.quiet_hours
}

pub(crate) fn bank(cell: &str) -> Bank {
    let mut bank = Bank::default();
    for phrase in phrases(cell) {
        if phrase.starts_with("quiet ") {
            bank.quiet_hours.extend(windows(phrase));
            continue;
        }
        let (what, window) = phrase.split_once(" in ").unwrap();
        let (limit, what) = what.split_once(' ').unwrap();
        let (channel, category) = match what.split_once("of ") {
            Some((_, "anything")) => (None, None),
            Some((channel, category)) => (channel.trim().parse().ok(), Some(category.to_owned())),
            None => (Some(what.parse().unwrap()), None),
        };
        bank.caps.push(Cap {
            channel,
            category,
            flood: None,
            shadow: false,
            limit: limit.parse().unwrap(),
            window: parse_duration(window).unwrap(),
        });
    }
    bank
}

/// Something that was sent before.
pub(crate) struct Before {
    /// None: a mandatory notification of the row's type.
    channel: Option<Channel>,
    category: Option<String>,
    shadow: bool,
    at: Instant,
}

impl Before {
    /// Whether a cap counts it.
    pub(crate) fn counts_for(&self, cap: &Cap, now: Instant) -> Option<Instant> {
        let kind = cap.flood.is_some() == self.channel.is_none();
        let channel = cap.channel.is_none_or(|channel| self.channel == Some(channel));
        let category = cap.category.is_none() || cap.category == self.category;
        let shadow = cap.shadow || !self.shadow;
        let within = self.at.plus(cap.window) > now;
        (kind && channel && category && shadow && within).then_some(self.at)
    }
}

/// What was sent before, on the day of `now`.
pub(crate) fn before(cell: &str, zone: Tz, now: Instant) -> Vec<Before> {
    let day = now.utc().with_timezone(&zone).date_naive();
    phrases(cell)
        .map(|phrase| {
            let (what, time) = phrase.split_once(" at ").unwrap();
            let time = chrono::NaiveTime::parse_from_str(time, "%H:%M").unwrap();
            let at = instant(day.and_time(time), zone, None);
            let (shadow, what) = match what.strip_prefix("shadow ") {
                Some(rest) => (true, rest),
                None => (false, what),
            };
            if what == "told" {
                return Before { channel: None, category: None, shadow, at };
            }
            let (channel, category) = what.split_once(' ').unwrap_or((what, "general"));
            let channel = Some(channel.parse().unwrap());
            Before { channel, category: Some(category.to_owned()), shadow, at }
        })
        .collect()
}

/// A time such as `Wed 2026-11-25 12:00`, with seconds or without, and ` (first)` or ` (second)` where
/// the clock shows it twice.
pub(crate) fn time(text: &str, zone: Tz) -> Instant {
    let (text, which) = match text.split_once(" (") {
        Some((text, which)) => (text, Some(which == "second)")),
        None => (text, None),
    };
    let mut words = text.split(' ');
    let (weekday, day, time) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let day = NaiveDate::parse_from_str(day, "%Y-%m-%d").unwrap();
    assert_eq!(day.format("%a").to_string(), weekday, "{text}");
    let form = if time.len() == 5 { "%H:%M" } else { "%H:%M:%S" };
    instant(day.and_time(chrono::NaiveTime::parse_from_str(time, form).unwrap()), zone, which)
}

fn instant(wall: NaiveDateTime, zone: Tz, second: Option<bool>) -> Instant {
    match (zone.from_local_datetime(&wall), second) {
        (LocalResult::Single(at), None) => at.with_timezone(&Utc).into(),
        (LocalResult::Ambiguous(_, at), Some(true)) | (LocalResult::Ambiguous(at, _), Some(false)) => {
            at.with_timezone(&Utc).into()
        }
        (other, _) => panic!("{wall} in {zone}: {other:?}"),
    }
}

/// The routes of the examples by name.
pub(crate) fn routes(rows: &[Row]) -> HashMap<String, Route> {
    rows.iter().filter(|row| row.heading.starts_with("The routes")).map(|row| route(&row.cells)).collect()
}
