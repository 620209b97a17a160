//! Quiet hours: times of day, on a recipient's own clock, in which nothing is to arrive.

use chrono::{Datelike, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use crate::domain::{Instant, QuietWindow};

/// Windows that follow each other without a gap are looked through as one, up to this many.
const MOST_STEPS: usize = 64;
/// No zone has left out more than a day (Pacific/Apia, 30 December 2011).
const LONGEST_GAP_MINUTES: i64 = 25 * 60;

/// Until when it is quiet, if it is quiet now; windows that touch or overlap count as one.
///
/// Whether it is quiet is asked of the wall clock, which every instant has exactly one reading of.
/// The end is a reading of the wall clock that is turned into an instant: of two (clocks are set
/// back) the later one, of none (clocks are set forward) the first one after it.
pub fn quiet_until<'a>(
    windows: impl IntoIterator<Item = &'a QuietWindow> + Clone,
    zone: Tz,
    now: Instant,
) -> Option<Instant> {
    let mut until = None;
    let mut at = now;
    for _ in 0..MOST_STEPS {
        let wall = at.utc().with_timezone(&zone).naive_local();
        let Some(end) = windows.clone().into_iter().filter_map(|window| end_of(window, wall)).max() else {
            break;
        };
        let Some(end) = instant_of(end, zone) else { break };
        at = end;
        until = Some(end);
    }
    until
}

/// When the window that this reading lies in ends, if it lies in one: in one that began today, or
/// yesterday.
fn end_of(window: &QuietWindow, wall: NaiveDateTime) -> Option<NaiveDateTime> {
    let today = wall.date();
    let ends = [today.pred_opt(), Some(today)].into_iter().flatten().filter_map(|day| {
        let begins = window.begins_on(day.weekday()).then(|| day.and_time(window.from))?;
        let last = if window.to > window.from { day } else { day.succ_opt()? };
        let ends = last.and_time(window.to);
        (begins <= wall && wall < ends).then_some(ends)
    });
    ends.max()
}

fn instant_of(wall: NaiveDateTime, zone: Tz) -> Option<Instant> {
    (0..=LONGEST_GAP_MINUTES).find_map(|minutes| {
        let wall = wall.checked_add_signed(TimeDelta::minutes(minutes))?;
        match zone.from_local_datetime(&wall) {
            LocalResult::Single(at) => Some(at.with_timezone(&Utc).into()),
            LocalResult::Ambiguous(_, later) => Some(later.with_timezone(&Utc).into()),
            LocalResult::None => None,
        }
    })
}
