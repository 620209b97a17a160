//! Frequency caps: how many messages a recipient may get within a sliding window.
//!
//! A window slides: at any moment no more than `limit` grants lie within the last `window`. A token
//! bucket or GCRA is no window; it lets twice the limit through at the seam.

use std::collections::HashMap;
use std::time::Duration;

use super::reason::FREQUENCY_CAP;
use super::{Route, Verdict};
use crate::domain::{Channel, Instant, Limit, Preferences};

/// What a cap counts, how many, and in what time. All that is given must fit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cap {
    /// Messages by this channel; none: all together.
    pub channel: Option<Channel>,
    /// Messages of this category; none: all together.
    pub category: Option<String>,
    /// Notifications of this mandatory type: the flood cap.
    pub flood: Option<String>,
    /// Whether messages that were not sent, since their route is in shadow mode, count too.
    pub shadow: bool,
    /// How many.
    pub limit: u32,
    /// In what time.
    pub window: Duration,
}

/// Mandatory types pass ordinary caps. One notification of a type in this time is enough all the
/// same: else whoever can cause one, by failing to log in, can flood a customer.
pub const FLOOD_WINDOW: Duration = Duration::from_secs(5 * 60);
/// The mandatory type that must never be held back.
pub const NEVER_FLOODS: &str = "account.frozen";

impl Cap {
    fn own(limit: &Limit, shadow: bool) -> Self {
        let Limit { channel, limit, window } = *limit;
        Self { channel, category: None, flood: None, shadow, limit, window }
    }

    /// Whether a message by this channel is counted.
    pub fn counts(&self, channel: Channel) -> bool {
        self.channel.is_none_or(|own| own == channel)
    }

    /// How it is told to people, such as `2 sms in 1h`.
    pub fn in_words(&self) -> String {
        let what = match (&self.flood, self.channel, &self.category) {
            (Some(kind), ..) => format!("notification of {kind}"),
            (None, Some(channel), Some(category)) => format!("{channel} of {category}"),
            (None, Some(channel), None) => channel.to_string(),
            (None, None, Some(category)) => format!("of {category}"),
            (None, None, None) => "of anything".to_owned(),
        };
        format!("{} {what} in {}", self.limit, crate::domain::format_duration(self.window))
    }
}

/// The caps that a route's messages to a recipient are counted by: the flood cap where it is
/// mandatory, else the bank's that fit and the recipient's own.
pub fn caps_of(route: &Route, event_type: &str, preferences: &Preferences, bank: &[Cap]) -> Vec<Cap> {
    let shadow = route.mode == super::Mode::Shadow;
    if route.mandatory {
        let flood = (event_type != NEVER_FLOODS).then(|| Cap {
            channel: None,
            category: None,
            flood: Some(event_type.to_owned()),
            shadow,
            limit: 1,
            window: FLOOD_WINDOW,
        });
        return flood.into_iter().collect();
    }
    let fits = |cap: &&Cap| {
        cap.category.as_deref().is_none_or(|category| category == route.category)
            && cap.channel.is_none_or(|channel| route.reaches_by(channel))
    };
    let own = preferences.limits.iter().filter(|limit| limit.channel.is_none_or(|it| route.reaches_by(it)));
    let mut caps: Vec<Cap> = Vec::new();
    let bank = bank.iter().filter(fits).map(|cap| Cap { shadow, ..cap.clone() });
    for cap in bank.chain(own.map(|limit| Cap::own(limit, shadow))) {
        // The same limit twice is one: a message would count twice in it.
        if !caps.contains(&cap) {
            caps.push(cap);
        }
    }
    caps
}

/// How much of one cap a recipient has used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// The grants within the window, the newest first; no more than the limit are looked at.
    pub grants: Vec<Instant>,
    /// Known from an earlier look: full until then.
    pub full_until: Option<Instant>,
}

impl Usage {
    /// When there is room, if there is none now.
    pub fn full_until(&self, cap: &Cap, now: Instant) -> Option<Instant> {
        if let Some(until) = self.full_until.filter(|until| *until > now) {
            return Some(until);
        }
        let within = self.grants.iter().filter(|at| at.plus(cap.window) > now);
        let last = usize::try_from(cap.limit).unwrap_or(usize::MAX).saturating_sub(1);
        within.clone().nth(last).map(|at| at.plus(cap.window))
    }
}

/// How much the recipients of a batch have used of their caps. Grants that the batch itself makes are
/// added, so that they count for what comes after.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spent {
    used: HashMap<(i64, Cap), Usage>,
    /// When there will be room for those of the batch that wait: nobody else is to wait for the same.
    reserved: HashMap<(i64, Cap), Vec<Instant>>,
}

impl Spent {
    /// Notes what was found about one recipient and cap.
    pub fn note(&mut self, user: i64, cap: Cap, usage: Usage) {
        self.used.insert((user, cap), usage);
    }

    /// When there is room for one more in each of these caps, if there is none now, and in which of them
    /// there is none the longest.
    pub fn full_until<'c>(
        &self,
        user: i64,
        caps: impl IntoIterator<Item = &'c Cap>,
        now: Instant,
    ) -> Option<(Instant, &'c Cap)> {
        let full = |cap: &'c Cap| {
            let usage = self.used.get(&(user, cap.clone()))?;
            usage.full_until(cap, now).map(|until| (until, cap))
        };
        caps.into_iter().filter_map(full).max_by_key(|(until, _)| *until)
    }

    /// Counts one more.
    pub fn grant<'c>(&mut self, user: i64, caps: impl IntoIterator<Item = &'c Cap>, at: Instant) {
        for cap in caps {
            self.used.entry((user, cap.clone())).or_default().grants.insert(0, at);
        }
    }

    /// When there is room for one that waits, behind those of the batch that wait already. `until` is when
    /// there is room for the first of them.
    pub fn turn<'c>(&self, user: i64, caps: impl IntoIterator<Item = &'c Cap>, until: Instant) -> Instant {
        let turn = |cap: &'c Cap| {
            let key = (user, cap.clone());
            let mut taken = self.reserved.get(&key)?.clone();
            taken.extend(self.used.get(&key).into_iter().flat_map(|usage| &usage.grants));
            taken.sort_unstable_by(|a, b| b.cmp(a));
            let last = usize::try_from(cap.limit).unwrap_or(usize::MAX).saturating_sub(1);
            taken.get(last).map(|at| at.plus(cap.window))
        };
        caps.into_iter().filter_map(turn).fold(until, Instant::max)
    }

    /// Keeps the turns of those that wait for room.
    pub fn reserve(&mut self, user: i64, caps: &[Cap], verdicts: &[Verdict]) {
        for verdict in verdicts.iter().filter(|verdict| verdict.reason == Some(FREQUENCY_CAP)) {
            let Some(at) = verdict.not_before else { continue };
            for cap in caps.iter().filter(|cap| cap.counts(verdict.channel)) {
                self.reserved.entry((user, cap.clone())).or_default().push(at);
            }
        }
    }

    /// What was found to be full now, with the time until when: to be remembered. What was only remembered
    /// is not: it would never be looked at again.
    pub fn full(&self, now: Instant) -> impl Iterator<Item = (i64, &Cap, Instant)> {
        let found = self.used.iter().filter(|(_, usage)| usage.full_until.is_none());
        found.filter_map(move |((user, cap), usage)| {
            usage.full_until(cap, now).map(|until| (*user, cap, until))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Instant {
        Instant::from(chrono::DateTime::UNIX_EPOCH).plus(Duration::from_secs(seconds))
    }

    fn cap(limit: u32, seconds: u64) -> Cap {
        let window = Duration::from_secs(seconds);
        Cap { channel: None, category: None, flood: None, shadow: false, limit, window }
    }

    #[test]
    fn the_same_limit_twice_counts_once() {
        let route = Route {
            channels: vec![Channel::Sms],
            ..crate::policy::route::tests::route(crate::domain::Lane::Normal)
        };
        let bank = [Cap { channel: Some(Channel::Sms), ..cap(2, 3_600) }];
        let limit = Limit { channel: Some(Channel::Sms), limit: 2, window: Duration::from_secs(3_600) };
        let preferences = Preferences { limits: vec![limit.clone(), limit], ..Preferences::default() };
        assert_eq!(caps_of(&route, "a.b", &preferences, &bank), bank);
    }

    #[test]
    fn there_is_room_again_when_the_oldest_that_counts_has_left_the_window() {
        let cap = cap(2, 60);
        let mut spent = Spent::default();
        assert_eq!(spent.full_until(1, [&cap], at(0)), None);
        spent.grant(1, [&cap], at(0));
        spent.grant(1, [&cap], at(10));
        assert_eq!(spent.full_until(1, [&cap], at(20)), Some((at(60), &cap)));
        assert_eq!(spent.full_until(2, [&cap], at(20)), None, "another recipient");
        assert_eq!(spent.full_until(1, [&cap], at(60)), None, "a window is open at its beginning");
        spent.grant(1, [&cap], at(60));
        assert_eq!(spent.full_until(1, [&cap], at(60)), Some((at(70), &cap)));
    }

    #[test]
    fn of_several_the_one_that_is_full_the_longest_tells() {
        let (hour, day) = (cap(2, 3_600), cap(3, 86_400));
        let mut spent = Spent::default();
        for second in [0, 4_000, 8_000] {
            assert_eq!(spent.full_until(1, [&hour, &day], at(second)), None);
            spent.grant(1, [&hour, &day], at(second));
        }
        assert_eq!(spent.full_until(1, [&hour, &day], at(8_001)), Some((at(86_400), &day)));
    }

    fn waits(until: Instant) -> Verdict {
        Verdict {
            channel: Channel::Sms,
            state: crate::domain::DeliveryState::Deferred,
            reason: Some(FREQUENCY_CAP),
            not_before: Some(until),
            granted: false,
            steps: Vec::new(),
        }
    }

    /// Has one more wait; gives its turn.
    fn wait(spent: &mut Spent, caps: &[Cap], until: Instant) -> Instant {
        let turn = spent.turn(7, caps, until);
        spent.reserve(7, caps, &[waits(turn)]);
        turn
    }

    #[test]
    fn who_waits_behind_others_waits_for_a_turn_of_its_own() {
        let caps = [cap(2, 60)];
        let mut spent = Spent::default();
        spent.grant(7, &caps, at(0));
        spent.grant(7, &caps, at(10));
        let turns = [(); 5].map(|()| wait(&mut spent, &caps, at(60)));
        assert_eq!(turns, [60, 70, 120, 130, 180].map(at));
        // Who waits takes no room from who may go now, and others wait for nothing of it.
        assert_eq!(spent.full_until(7, &caps, at(60)), None);
        assert_eq!(spent.turn(8, &caps, at(60)), at(60));
        // Where only the end is known, as many as there is room for wait for it.
        let mut known = Spent::default();
        known.note(7, caps[0].clone(), Usage { grants: Vec::new(), full_until: Some(at(60)) });
        let turns = [(); 5].map(|()| wait(&mut known, &caps, at(60)));
        assert_eq!(turns, [60, 60, 120, 120, 180].map(at));
        assert_eq!(known.full(at(0)).count(), 0, "it is remembered as it was found, and not anew");
        assert_eq!(spent.full(at(20)).count(), 1);
    }

    proptest! {
        /// Turns are when each would go that asked again and again, in the order of asking.
        #[test]
        fn turns_are_what_asking_again_would_give(
            limits in prop::collection::vec((1_u32..5, 1_u64..100), 1..4),
            granted in prop::collection::vec(0_u64..100, 0..10),
            waiting in 1_usize..20,
        ) {
            let caps: Vec<Cap> = limits.into_iter().map(|(limit, seconds)| cap(limit, seconds)).collect();
            let mut spent = Spent::default();
            let mut granted = granted;
            granted.sort_unstable();
            granted.iter().for_each(|second| spent.grant(7, &caps, at(*second)));
            let mut asking = spent.clone();
            let mut now = at(100);
            for _ in 0..waiting {
                // The plain way: whoever is next asks until there is room, and goes.
                let mut turn = now;
                while let Some((until, _)) = asking.full_until(7, &caps, turn) {
                    turn = until;
                }
                asking.grant(7, &caps, turn);
                let until = spent.full_until(7, &caps, at(100)).map_or(at(100), |(until, _)| until);
                let told = wait(&mut spent, &caps, until);
                prop_assert_eq!(told, turn);
                now = turn;
            }
        }

        /// The plain meaning: whoever asks again and again gets at most `limit` in any window, and is
        /// refused only where the window holds that many.
        #[test]
        fn no_window_ever_holds_more_than_the_limit(
            limit in 1_u32..6,
            window in 1_u64..50,
            steps in prop::collection::vec(0_u64..20, 1..100),
        ) {
            let cap = cap(limit, window);
            let mut spent = Spent::default();
            let (mut now, mut granted) = (1_000, Vec::new());
            for step in steps {
                now += step;
                let within = granted.iter().filter(|then| now - **then < window).count();
                match spent.full_until(7, [&cap], at(now)) {
                    None => {
                        prop_assert!(within < limit as usize);
                        spent.grant(7, [&cap], at(now));
                        granted.push(now);
                    }
                    Some((until, _)) => {
                        prop_assert_eq!(within, limit as usize);
                        let free = granted[granted.len() - limit as usize] + window;
                        prop_assert_eq!(until, at(free));
                    }
                }
            }
        }
    }
}
