//! How fast a provider is sent to: a share of what all instances together may send.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// A provider counts arrivals, which the network bunches: so much longer are the gaps between sends.
const MARGIN: f64 = 1.05;

/// What falls due within this time may go together: timers are no finer, and without it a thousand a
/// second would be the most. It is far less than the margin makes up for.
const TOGETHER: Duration = Duration::from_millis(10);

/// Sends one after the other, none saved up for a burst, since a provider counts in short windows.
pub(super) struct Pace {
    per_second: f64,
    clock: DefaultClock,
    /// For how many instances it is made, and the share of one of them.
    share: Mutex<Option<(u32, DefaultDirectRateLimiter)>>,
}

impl Pace {
    /// So many sends a second over all instances.
    pub(super) fn new(per_second: f64) -> Self {
        Self { per_second, clock: DefaultClock::default(), share: Mutex::new(None) }
    }

    /// Takes the right to send one message now; else says how long to wait before asking again.
    pub(super) fn take(&self, instances: u32) -> Result<(), Duration> {
        let mut share = self.share.lock().unwrap_or_else(PoisonError::into_inner);
        if share.as_ref().is_none_or(|(made_for, _)| *made_for != instances) {
            let seconds = MARGIN * f64::from(instances.max(1)) / self.per_second;
            // Too slow to be told, or too fast: as slow, or as fast, as can be.
            let slowest = Duration::from_secs(u32::MAX.into());
            let period = Duration::try_from_secs_f64(seconds).unwrap_or(slowest).min(slowest);
            let Some(quota) = Quota::with_period(period) else { return Ok(()) };
            let together = TOGETHER.as_nanos() / period.as_nanos().max(1);
            let burst = u32::try_from(together).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
            let limiter = RateLimiter::direct(quota.allow_burst(burst));
            // The last sends under the old share may have been a moment ago.
            if share.is_some() {
                let _used_up = limiter.check_n(burst);
            }
            *share = Some((instances, limiter));
        }
        match share.as_ref().map(|(_, limiter)| limiter.check()) {
            Some(Err(not_until)) => Err(not_until.wait_time_from(self.clock.now())),
            Some(Ok(())) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_instance_has_an_equal_share_and_a_change_gives_no_extra_send() {
        let pace = Pace::new(2.0);
        assert!(pace.take(1).is_ok());
        let wait = pace.take(1).unwrap_err();
        assert!(wait <= Duration::from_millis(525) && wait > Duration::from_millis(400), "{wait:?}");
        let wait = pace.take(4).unwrap_err();
        assert!(wait <= Duration::from_millis(2_100) && wait > Duration::from_millis(1_900), "{wait:?}");
    }

    #[test]
    fn a_thousand_a_second_are_not_the_most() {
        let pace = Pace::new(5_000.0);
        let at_once = (0..1_000).take_while(|_| pace.take(1).is_ok()).count();
        assert!((47..200).contains(&at_once), "{at_once}");
        let slow = Pace::new(50.0);
        assert!(slow.take(1).is_ok() && slow.take(1).is_err(), "one after the other");
    }

    #[test]
    fn the_strangest_numbers_are_no_panic() {
        for per_second in [f64::MIN_POSITIVE, 1e-9, 1e9, f64::MAX, f64::INFINITY] {
            let pace = Pace::new(per_second);
            assert!(pace.take(1).is_ok(), "{per_second}");
        }
    }
}
