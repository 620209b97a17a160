//! Quiet hours against a calculation that goes through the clock minute by minute, in every zone there is.

use chrono::{
    DateTime, Datelike, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Timelike, Utc, Weekday,
};
use chrono_tz::{TZ_VARIANTS, Tz};
use herald::domain::preferences::never_ends;
use herald::domain::{Instant, QuietWindow};
use herald::policy::quiet_until;
use proptest::prelude::*;

use crate::table::{time, windows};

const DAY: usize = 24 * 60;
const WEEK: usize = 7 * DAY;

/// The minutes of a week, from Monday, that windows cover: marked one by one.
fn covered(windows: &[QuietWindow]) -> Vec<bool> {
    let mut week = vec![false; WEEK];
    for window in windows {
        for day in 0..7 {
            let begins = Weekday::try_from(day as u8).unwrap();
            if !window.days.is_empty() && !window.days.contains(&begins) {
                continue;
            }
            let mut minute = day * DAY + minute_of(window.from);
            loop {
                week[minute % WEEK] = true;
                minute += 1;
                if minute % DAY == minute_of(window.to) {
                    break;
                }
            }
        }
    }
    week
}

fn minute_of(time: NaiveTime) -> usize {
    (time.hour() * 60 + time.minute()) as usize
}

fn minute_of_week(wall: NaiveDateTime) -> usize {
    wall.weekday().num_days_from_monday() as usize * DAY + minute_of(wall.time())
}

fn wall_of(zone: Tz, at: DateTime<Utc>) -> NaiveDateTime {
    at.with_timezone(&zone).naive_local()
}

/// The end of the quiet hours, by going on minute by minute: on the wall, to the first reading that is not
/// covered; then through real time, to the last minute that shows this reading, or the first that shows a
/// later one.
fn slowly(windows: &[QuietWindow], zone: Tz, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let week = covered(windows);
    let quiet = |wall: NaiveDateTime| week[minute_of_week(wall)];
    let mut found = None;
    let mut at = now;
    while quiet(wall_of(zone, at)) {
        let mut end = wall_of(zone, at).with_second(0).unwrap();
        while quiet(end) {
            end += TimeDelta::minutes(1);
        }
        let begins = at.with_second(0).unwrap();
        let limit = (end - wall_of(zone, begins)).num_minutes() + 3 * DAY as i64;
        let minutes = || (0..limit).map(|minute| begins + TimeDelta::minutes(minute));
        let shows = minutes().rfind(|minute| wall_of(zone, *minute) == end);
        at = shows.or_else(|| minutes().find(|minute| wall_of(zone, *minute) > end)).unwrap();
        found = Some(at);
    }
    found
}

/// The minutes of a year at which a zone's clock jumps.
fn jumps(zone: Tz, year: i32) -> Vec<DateTime<Utc>> {
    let offset = |at: DateTime<Utc>| zone.offset_from_utc_datetime(&at.naive_utc()).fix();
    let first = Utc.with_ymd_and_hms(year, 1, 1, 0, 0, 0).unwrap();
    let days = (0..366).map(|day| first + TimeDelta::days(day));
    let mut found = Vec::new();
    for day in days.filter(|day| offset(*day) != offset(*day + TimeDelta::days(1))) {
        let (mut low, mut high) = (0, DAY as i64);
        while high - low > 1 {
            let middle = i64::midpoint(low, high);
            if offset(day + TimeDelta::minutes(middle)) == offset(day) {
                low = middle;
            } else {
                high = middle;
            }
        }
        found.push(day + TimeDelta::minutes(high));
    }
    found
}

fn window() -> impl Strategy<Value = QuietWindow> {
    let days = prop::collection::btree_set(0_u8..7, 0..4);
    // Near the hours at which clocks are changed, and anywhere; a minute of its own and touching ones.
    let minute =
        || prop_oneof![0_usize..DAY, (0_usize..48).prop_map(|n| n * 30), (0_usize..20).prop_map(|n| n * 15)];
    (days, minute(), minute()).prop_filter_map("has a length", |(days, from, to)| {
        let time =
            |minute: usize| NaiveTime::from_hms_opt(minute as u32 / 60, minute as u32 % 60, 0).unwrap();
        let days = days.into_iter().map(|day| Weekday::try_from(day).unwrap()).collect();
        (from != to).then(|| QuietWindow { days, from: time(from), to: time(to) })
    })
}

fn zone() -> impl Strategy<Value = Tz> {
    let awkward = prop::sample::select(vec![
        Tz::Pacific__Apia,
        Tz::Australia__Lord_Howe,
        Tz::Africa__Casablanca,
        Tz::Asia__Kathmandu,
        Tz::America__Sao_Paulo,
        Tz::Asia__Gaza,
        Tz::Antarctica__Troll,
        Tz::America__New_York,
        Tz::Europe__Berlin,
        Tz::Africa__Blantyre,
        Tz::Europe__Dublin,
        Tz::Pacific__Kwajalein,
    ]);
    prop_oneof![awkward, prop::sample::select(TZ_VARIANTS.to_vec())]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    /// Half of all looks are near a jump of the clock, where there is one.
    #[test]
    fn the_end_is_the_one_that_is_found_minute_by_minute(
        zone in zone(),
        year in prop_oneof![1980_i32..2038, Just(2011), Just(1993)],
        windows in prop::collection::vec(window(), 1..4),
        near in any::<bool>(),
        which in any::<prop::sample::Index>(),
        minute in -2_000_i64..2_000,
        anywhere in 0_i64..(365 * DAY as i64),
        second in 0_i64..60,
    ) {
        prop_assume!(!never_ends(&windows));
        let jumps = jumps(zone, year);
        let now = if near && !jumps.is_empty() {
            jumps[which.index(jumps.len())] + TimeDelta::minutes(minute)
        } else {
            Utc.with_ymd_and_hms(year, 1, 1, 0, 0, 0).unwrap() + TimeDelta::minutes(anywhere)
        };
        let now = now + TimeDelta::seconds(second);
        let found = quiet_until(&windows, zone, Instant::from(now)).map(Instant::utc);
        prop_assert_eq!(found, slowly(&windows, zone, now), "{} {} {:?}", zone, now, windows);
        if let Some(until) = found {
            prop_assert!(until > now);
            prop_assert_eq!(quiet_until(&windows, zone, Instant::from(until)), None, "it is over at its end");
        }
    }

    /// Where no clock jumps, quiet hours are nothing but the minutes that are covered.
    #[test]
    fn without_a_jump_all_minutes_up_to_the_end_are_covered(
        windows in prop::collection::vec(window(), 1..4),
        minute in 0_i64..(60 * DAY as i64),
    ) {
        prop_assume!(!never_ends(&windows));
        let week = covered(&windows);
        let now = Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap() + TimeDelta::minutes(minute);
        let zone = Tz::Africa__Blantyre;
        let quiet = |at: DateTime<Utc>| week[minute_of_week(wall_of(zone, at))];
        let first = (0..2 * WEEK as i64).map(|n| now + TimeDelta::minutes(n)).find(|at| !quiet(*at)).unwrap();
        let expected = (first > now).then_some(first);
        prop_assert_eq!(quiet_until(&windows, zone, Instant::from(now)).map(Instant::utc), expected);
    }

    /// Windows never end if they leave no minute of a week: also those that only do so together.
    #[test]
    fn windows_never_end_that_leave_no_minute(
        mut windows in prop::collection::vec(window(), 1..4),
        closes in any::<bool>(),
        leaves in any::<bool>(),
    ) {
        if closes {
            // What the first one leaves of every day, but perhaps for a minute.
            let first = QuietWindow { days: Vec::new(), ..windows[0].clone() };
            let to = if leaves { first.from - TimeDelta::minutes(1) } else { first.from };
            if to != first.to {
                windows.push(QuietWindow { days: Vec::new(), from: first.to, to });
            }
            windows.push(first);
        }
        prop_assert_eq!(never_ends(&windows), covered(&windows).iter().all(|quiet| *quiet), "{:?}", windows);
    }
}

fn until(windows_text: &str, zone: Tz, now: &str) -> Option<Instant> {
    let windows = windows(windows_text);
    let now = time(now, zone);
    let found = quiet_until(&windows, zone, now);
    assert_eq!(found.map(Instant::utc), slowly(&windows, zone, now.utc()), "{windows_text} {zone}");
    found
}

#[test]
fn samoa_left_out_a_friday() {
    let zone = Tz::Pacific__Apia;
    let begins_thursday = until("quiet thu 22:00-07:00", zone, "Thu 2011-12-29 23:30");
    assert_eq!(begins_thursday, Some(time("Sat 2011-12-31 00:00", zone)), "Friday 07:00 never came");
    let every_night = until("quiet 22:00-07:00", zone, "Thu 2011-12-29 23:30");
    assert_eq!(every_night, Some(time("Sat 2011-12-31 07:00", zone)));
    assert_eq!(until("quiet fri 08:00-20:00", zone, "Sat 2011-12-31 09:00"), None);
}

#[test]
fn lord_howe_shifts_by_half_an_hour() {
    let zone = Tz::Australia__Lord_Howe;
    let fold = until("quiet 22:00-01:45", zone, "Sun 2026-04-05 01:00");
    assert_eq!(fold, Some(time("Sun 2026-04-05 01:45 (second)", zone)));
    let gap = until("quiet 22:00-02:15", zone, "Sun 2026-10-04 01:30");
    assert_eq!(gap, Some(time("Sun 2026-10-04 02:30", zone)));
}

#[test]
fn a_day_of_23_and_one_of_25_hours() {
    let zone = Tz::Europe__Berlin;
    let hours = |from: &str, to: Option<Instant>| to.unwrap().since(time(from, zone)).as_secs_f64() / 3_600.0;
    let spring = "Sat 2026-03-28 22:00";
    assert!((hours(spring, until("quiet 22:00-07:00", zone, spring)) - 8.0).abs() < f64::EPSILON);
    let autumn = "Sat 2026-10-24 22:00";
    assert!((hours(autumn, until("quiet 22:00-07:00", zone, autumn)) - 10.0).abs() < f64::EPSILON);
}

/// The checks above must be able to fail: the end that is off by a minute, or of the first of two, is found.
#[test]
fn the_slow_way_tells_two_readings_apart() {
    let zone = Tz::Europe__Berlin;
    let windows = windows("quiet 22:00-02:30");
    let now = time("Sun 2026-10-25 01:00", zone).utc();
    let first = time("Sun 2026-10-25 02:30 (first)", zone).utc();
    assert_eq!(slowly(&windows, zone, now), Some(first + TimeDelta::hours(1)));
}
