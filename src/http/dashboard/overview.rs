//! What the page shows, read from the store and put into words. No personal data: recipients by
//! their ids, errors as the store keeps them.

use chrono::{DateTime, TimeDelta, Utc};

use super::troubles::troubles;
use crate::domain::{Channel, DeliveryState, Instant};
use crate::http::{Api, Problem};
use crate::store::{
    ChannelTotals, DeadLetter, DeadLetterFilter, DeliveryRecord, NotificationFilter, NotificationRecord,
    Totals,
};
use crate::supervision::{Kind, State as Life};

/// How many notifications are shown.
const LATEST: i64 = 50;
/// How many dead letters are shown.
const LETTERS: i64 = 12;
/// How far they are counted.
const COUNTED: i64 = 10_000;

/// All of it.
pub(super) struct Overview {
    pub(super) state: Standing,
    /// From when on deliveries are counted, `24 Nov 13:00`.
    pub(super) since: String,
    pub(super) all: Figures,
    pub(super) channels: Vec<ChannelView>,
    pub(super) letters: Vec<Letter>,
    pub(super) dead: String,
    pub(super) dead_is_one: bool,
    pub(super) has_more_dead: bool,
    /// The names of the channels' columns.
    pub(super) columns: Vec<&'static str>,
    pub(super) notifications: Vec<Notification>,
}

/// How this instance stands.
pub(super) struct Standing {
    pub(super) word: &'static str,
    pub(super) class: &'static str,
    pub(super) detail: String,
}

/// Totals, written for people.
pub(super) struct Figures {
    pub(super) total: String,
    pub(super) sent: String,
    pub(super) failed: String,
    pub(super) open: String,
    pub(super) not_sent: String,
    pub(super) rate: String,
}

/// One channel.
pub(super) struct ChannelView {
    pub(super) name: &'static str,
    pub(super) paused: bool,
    /// Which of its providers are left alone, and until when.
    pub(super) troubles: Vec<String>,
    pub(super) totals: Figures,
    pub(super) shares: Vec<Share>,
}

/// A part of a channel's bar, which is 1000 long.
pub(super) struct Share {
    pub(super) class: &'static str,
    pub(super) from: i64,
    pub(super) width: i64,
}

/// A moment: short for the eye, full for everything else.
pub(super) struct When {
    pub(super) short: String,
    pub(super) full: String,
}

/// A dead letter.
pub(super) struct Letter {
    pub(super) id: String,
    /// Where its notification is shown, where it has one.
    pub(super) page: Option<String>,
    pub(super) action: String,
    pub(super) at: When,
    pub(super) event_type: String,
    pub(super) user: String,
    pub(super) place: String,
    pub(super) error: String,
}

/// A notification.
pub(super) struct Notification {
    pub(super) id: String,
    pub(super) at: When,
    pub(super) event_type: String,
    pub(super) user: i64,
    pub(super) status: String,
    pub(super) status_class: String,
    pub(super) cells: Vec<Cell>,
    pub(super) priority: &'static str,
}

/// How it stands on one channel.
pub(super) struct Cell {
    pub(super) channel: &'static str,
    pub(super) class: String,
    pub(super) state: String,
    pub(super) note: Option<String>,
    pub(super) reason: Option<String>,
}

impl Overview {
    /// Reads how things stand now.
    pub(super) async fn read(api: &Api) -> Result<Self, Problem> {
        let store = &api.instance.store;
        let now = api.instance.now().utc();
        let from = Instant::from(now - TimeDelta::hours(24));
        let (totals, letters, dead, notifications, waiting) = tokio::try_join!(
            store.totals(from),
            store.dead_letters(DeadLetterFilter::default(), None, LETTERS),
            store.count_dead_letters(COUNTED),
            store.notifications(NotificationFilter::default(), None, LATEST),
            store.backlog(COUNTED),
        )?;
        let shown = i64::try_from(letters.len()).unwrap_or(i64::MAX);
        Ok(Self {
            state: Standing::of(api, waiting),
            since: from.utc().format("%-d %b %H:00").to_string(),
            all: Figures::of(&sum(&totals)),
            channels: Channel::ALL.iter().map(|channel| ChannelView::of(api, *channel, &totals)).collect(),
            letters: letters.into_iter().map(|letter| Letter::of(letter, now)).collect(),
            dead: counted(dead),
            dead_is_one: dead == 1,
            has_more_dead: dead > shown,
            columns: Channel::ALL.iter().map(|channel| name(*channel)).collect(),
            notifications: notifications.items.into_iter().map(|one| Notification::of(one, now)).collect(),
        })
    }
}

impl Standing {
    fn of(api: &Api, waiting: i64) -> Self {
        let waiting = match waiting {
            0 => "no event waits".to_owned(),
            1 => "1 event waits to be handled".to_owned(),
            n => format!("{} events wait to be handled", counted(n)),
        };
        let controls = api.instance.controls();
        let status = api.board.status();
        let down: Vec<String> = status
            .iter()
            .filter(|child| child.kind == Kind::Worker && child.state != Life::Running)
            .map(|child| child.name.to_string())
            .collect();
        let paused: Vec<&str> = Channel::ALL
            .iter()
            .filter(|channel| controls.paused.contains(channel))
            .map(|channel| name(*channel))
            .collect();
        let failing: Vec<&str> = Channel::ALL
            .iter()
            .filter(|channel| !troubles(api, **channel).is_empty())
            .map(|channel| name(*channel))
            .collect();
        let (word, class, detail) = if api.instance.is_stopping() {
            ("Stopping", "held", "what is in hand is finished or given back".to_owned())
        } else if !down.is_empty() {
            ("Degraded", "failed", format!("not running: {}; {waiting}", down.join(", ")))
        } else if controls.held {
            ("Held", "held", format!("events are taken in, nothing is handled or sent; {waiting}"))
        } else if !paused.is_empty() {
            ("Paused", "held", format!("nothing is sent by {}; {waiting}", paused.join(" and ")))
        } else if !failing.is_empty() {
            let failing = failing.join(" and ");
            ("Degraded", "failed", format!("a provider fails, see by channel: {failing}; {waiting}"))
        } else {
            ("Ready", "sent", format!("every actor runs, {waiting}"))
        };
        Self { word, class, detail }
    }
}

impl Figures {
    pub(super) fn of(totals: &Totals) -> Self {
        // Down, so that 100% is said only of no failure at all.
        let rate = totals.success_rate().map(|rate| format!("{:.1}%", (rate * 1000.0).floor() / 10.0));
        Self {
            total: grouped(totals.total),
            sent: grouped(totals.sent),
            failed: grouped(totals.failed),
            open: grouped(totals.open),
            not_sent: grouped(totals.not_sent),
            rate: rate.unwrap_or_else(|| "–".to_owned()),
        }
    }
}

impl ChannelView {
    fn of(api: &Api, channel: Channel, totals: &[ChannelTotals]) -> Self {
        let found = totals.iter().find(|totals| totals.channel == channel.as_str());
        let totals = found.map(|found| found.totals).unwrap_or_default();
        Self {
            name: name(channel),
            paused: api.instance.controls().paused.contains(&channel),
            troubles: troubles(api, channel),
            totals: Figures::of(&totals),
            shares: shares(&totals),
        }
    }
}

/// The bar: whatever is there is seen, be it little, at the cost of the widest part.
fn shares(totals: &Totals) -> Vec<Share> {
    const LEAST: i64 = 6;
    let parts = [
        ("sent", totals.sent),
        ("failed", totals.failed),
        ("open", totals.open),
        ("not-sent", totals.not_sent),
    ];
    let all: i64 = parts.iter().map(|(_, n)| (*n).max(0)).sum();
    let parts = parts.into_iter().filter(|(_, n)| *n > 0);
    let mut shares: Vec<Share> =
        parts.map(|(class, n)| Share { class, from: 0, width: (n * 1000 / all).max(LEAST) }).collect();
    let over = shares.iter().map(|share| share.width).sum::<i64>() - 1000;
    if let Some(widest) = shares.iter_mut().max_by_key(|share| share.width) {
        widest.width -= over;
    }
    let mut from = 0;
    for share in &mut shares {
        share.from = from;
        from += share.width;
    }
    shares
}

impl Letter {
    fn of(letter: DeadLetter, now: DateTime<Utc>) -> Self {
        let place = match (letter.kind.as_str(), letter.channel.as_deref()) {
            (_, Some(channel)) => {
                channel.parse().map_or_else(|_| channel.to_owned(), |channel| name(channel).to_owned())
            }
            ("event", _) => "the event itself".to_owned(),
            _ => letter.concern.unwrap_or_default(),
        };
        let page = letter.notification_id.as_ref().map(|id| format!("/notifications/{id}"));
        let action = match letter.notification_id {
            Some(notification) => format!("/notifications/{notification}/retry"),
            None => "/notifications/retry".to_owned(),
        };
        Self {
            id: letter.id,
            page,
            action,
            at: When::of(letter.died_at, now),
            event_type: letter.event_type,
            user: letter.user_id.map_or_else(|| "–".to_owned(), |user| user.to_string()),
            place,
            error: letter.error.map_or_else(|| "no reason is known".to_owned(), |error| words(&error)),
        }
    }
}

impl Notification {
    fn of(one: NotificationRecord, now: DateTime<Utc>) -> Self {
        let cells = Channel::ALL
            .iter()
            .map(|channel| {
                let delivery = one.deliveries.iter().find(|delivery| delivery.channel == channel.as_str());
                Cell::of(*channel, delivery, now)
            })
            .collect();
        Self {
            at: When::of(one.created_at, now),
            id: one.id,
            event_type: one.event_type,
            user: one.user_id,
            status_class: one.status.to_lowercase(),
            status: one.status.to_lowercase(),
            cells,
            priority: one.priority.as_str(),
        }
    }
}

impl Cell {
    fn of(channel: Channel, delivery: Option<&DeliveryRecord>, now: DateTime<Utc>) -> Self {
        let Some(delivery) = delivery else {
            let (class, state) = ("none".to_owned(), "–".to_owned());
            return Self { channel: name(channel), class, state, note: None, reason: None };
        };
        let reason = delivery.reason.as_deref().map(words);
        let went = matches!(delivery.state.parse(), Ok(DeliveryState::Sent | DeliveryState::Delivered));
        let next = delivery.next_attempt_at.map(|at| When::of(at, now).short);
        let note = match (next, &reason) {
            (Some(next), _) if delivery.state == "retry" => Some(format!("next at {next}")),
            (Some(next), Some(reason)) if delivery.state == "deferred" => {
                Some(format!("{reason}, until {next}"))
            }
            // `expired` and `digested` need no second word.
            (_, reason) => {
                reason.clone().filter(|reason| !went && !delivery.state.starts_with(reason.as_str()))
            }
        };
        let reason = if delivery.state == "deferred" { note.clone() } else { reason };
        Self {
            channel: name(channel),
            class: delivery.state.clone(),
            state: delivery.state.clone(),
            note,
            reason,
        }
    }
}

impl When {
    pub(super) fn of(at: Instant, now: DateTime<Utc>) -> Self {
        let at = at.utc();
        let today = at.date_naive() == now.date_naive();
        let short = at.format(if today { "%H:%M:%S" } else { "%-d %b %H:%M" });
        Self { short: short.to_string(), full: at.format("%Y-%m-%dT%H:%M:%SZ").to_string() }
    }
}

fn sum(channels: &[ChannelTotals]) -> Totals {
    channels.iter().fold(Totals::default(), |sum, ChannelTotals { totals, .. }| Totals {
        total: sum.total + totals.total,
        sent: sum.sent + totals.sent,
        failed: sum.failed + totals.failed,
        not_sent: sum.not_sent + totals.not_sent,
        open: sum.open + totals.open,
    })
}

pub(super) const fn name(channel: Channel) -> &'static str {
    match channel {
        Channel::Push => "Push",
        Channel::Email => "E-mail",
        Channel::Sms => "SMS",
    }
}

/// A reason that is one of Herald's own words, as people write it.
pub(super) fn words(reason: &str) -> String {
    if reason.contains(char::is_whitespace) { reason.to_owned() } else { reason.replace('_', " ") }
}

/// A count that stops at [`COUNTED`].
fn counted(n: i64) -> String {
    if n >= COUNTED { format!("{}+", grouped(COUNTED)) } else { grouped(n) }
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut text = String::from(if n < 0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (-1_234_567, "-1,234,567")] {
            assert_eq!(grouped(n), text);
        }
        assert_eq!(counted(COUNTED), "10,000+");
    }

    #[test]
    fn all_is_said_of_no_failure_alone() {
        let rate = |sent, failed| Figures::of(&Totals { sent, failed, ..Totals::default() }).rate;
        assert_eq!(rate(0, 0), "–");
        assert_eq!(rate(5, 0), "100.0%");
        assert_eq!(rate(99_999, 1), "99.9%");
        assert_eq!(rate(0, 3), "0.0%");
    }

    #[test]
    fn a_bar_is_full_and_shows_what_is_little() {
        let of = |sent, failed, open| {
            shares(&Totals { sent, failed, open, ..Totals::default() })
                .iter()
                .map(|share| (share.class, share.from, share.width))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(0, 0, 0), []);
        assert_eq!(of(3, 0, 1), [("sent", 0, 750), ("open", 750, 250)]);
        assert_eq!(of(1_000_000, 1, 1), [("sent", 0, 988), ("failed", 988, 6), ("open", 994, 6)]);
        assert_eq!(of(1, 1, 1), [("sent", 0, 333), ("failed", 333, 333), ("open", 666, 334)]);
    }
}
