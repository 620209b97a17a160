//! What a recipient wishes: what not to be told, when not, and how often at most.

mod form;
mod parse;
#[cfg(test)]
mod tests;

use std::time::Duration;

use chrono::{NaiveTime, Weekday};
use serde::{Deserialize, Serialize};

use super::Channel;

pub use parse::{parse_preferences, patch_preferences};

/// A kind of message that a recipient does not want. At least one of the two is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptOut {
    /// The channel; none: every channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// The event's type; none: every type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

impl OptOut {
    /// Whether a message of this type, by this channel, is meant.
    pub fn covers(&self, kind: &str, channel: Channel) -> bool {
        self.channel.is_none_or(|own| own == channel) && self.kind.as_deref().is_none_or(|own| own == kind)
    }
}

/// A time of day in which nothing is to arrive, on the recipient's own clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietWindow {
    /// The days on which it begins; empty: every day.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "form::days")]
    pub days: Vec<Weekday>,
    /// When it begins.
    #[serde(with = "form::time")]
    pub from: NaiveTime,
    /// When it ends, itself not in it: on the next day where it is not later than `from`.
    #[serde(with = "form::time")]
    pub to: NaiveTime,
}

impl QuietWindow {
    /// Whether one begins on this day.
    pub fn begins_on(&self, day: Weekday) -> bool {
        self.days.is_empty() || self.days.contains(&day)
    }
}

/// How many messages there may be at most within a sliding window.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limit {
    /// The channel that it counts; none: all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// How many.
    pub limit: u32,
    /// In what time.
    #[serde(with = "form::duration")]
    pub window: Duration,
}

/// What a recipient wishes. The default is to be told everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    /// What is not wanted.
    #[serde(default)]
    pub opt_outs: Vec<OptOut>,
    /// When nothing is to arrive.
    #[serde(default)]
    pub quiet_hours: Vec<QuietWindow>,
    /// How much is wanted at most, within the bank's own caps.
    #[serde(default)]
    pub limits: Vec<Limit>,
}

impl Preferences {
    /// The most opt-outs of one recipient.
    pub const MOST_OPT_OUTS: usize = 200;
    /// The most quiet windows of one recipient.
    pub const MOST_QUIET_HOURS: usize = 30;
    /// The most limits of one recipient.
    pub const MOST_LIMITS: usize = 10;
    /// The longest window of a limit: grants are kept as long.
    pub const LONGEST_WINDOW: Duration = Duration::from_secs(31 * 24 * 60 * 60);

    /// Reads what was stored.
    ///
    /// # Errors
    ///
    /// serde's, for a text that no version of Herald has stored.
    pub fn from_stored(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// As it is stored, and shown.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The opt-out that a message of this type, by this channel, falls under.
    pub fn opt_out(&self, kind: &str, channel: Channel) -> Option<&OptOut> {
        self.opt_outs.iter().find(|opt_out| opt_out.covers(kind, channel))
    }
}

/// Whether these windows together leave no minute of the week: they would never end.
pub fn never_ends<'a>(windows: impl IntoIterator<Item = &'a QuietWindow>) -> bool {
    use chrono::Timelike;
    const DAY: usize = 24 * 60;
    let minutes = |time: NaiveTime| (time.num_seconds_from_midnight() / 60) as usize;
    let mut week = vec![false; 7 * DAY];
    for window in windows {
        let (from, to) = (minutes(window.from), minutes(window.to));
        let length = if to > from { to - from } else { DAY + to - from };
        for (at, day) in WEEK.into_iter().enumerate().filter(|(_, day)| window.begins_on(*day)) {
            debug_assert_eq!(day.num_days_from_monday() as usize, at);
            for minute in 0..length {
                if let Some(covered) = week.get_mut((at * DAY + from + minute) % (7 * DAY)) {
                    *covered = true;
                }
            }
        }
    }
    week.iter().all(|covered| *covered)
}

/// The days of a week, and their short names.
const WEEK: [Weekday; 7] =
    [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun];

/// A day by its short name, such as `mon`.
pub fn parse_day(text: &str) -> Option<Weekday> {
    WEEK.into_iter().find(|day| day_name(*day) == text)
}

/// The short name of a day.
pub const fn day_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Mon => "mon",
        Weekday::Tue => "tue",
        Weekday::Wed => "wed",
        Weekday::Thu => "thu",
        Weekday::Fri => "fri",
        Weekday::Sat => "sat",
        Weekday::Sun => "sun",
    }
}

/// A time of day such as `22:00`.
pub fn parse_time(text: &str) -> Option<NaiveTime> {
    (text.len() == 5).then(|| NaiveTime::parse_from_str(text, "%H:%M").ok()).flatten()
}
