//! When to try again.

use std::time::Duration;

/// How often and when a delivery is tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// How many attempts may follow the first one.
    pub retries: u32,
    /// The longest wait before the first retry.
    pub base: Duration,
    /// By how much the longest wait grows from one retry to the next; at least 1.
    pub factor: f64,
    /// The longest wait before any retry.
    pub max: Duration,
    /// The shortest wait before any retry, which is more than `max` where a provider's rule says so.
    pub floor: Duration,
}

/// The shortest wait before a push is tried again, where a bank has not configured another: FCM asks
/// for an exponential back-off of at least 10 s
/// (<https://firebase.google.com/docs/cloud-messaging/scale-fcm>).
pub const PUSH_FLOOR: Duration = Duration::from_secs(10);

impl Retry {
    /// How long to wait before a retry: exponential with full jitter, which spreads the retries of
    /// many failures best (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
    ///
    /// `retry_no` is 1 for the first retry; `random` is a random number from 0 up to, and without, 1.
    /// The wait is uniform from `floor` up to `floor + min(max, base × factor^(retry_no − 1))`, and
    /// never longer than `max` where the floor is not.
    pub fn backoff(&self, retry_no: u32, random: f64) -> Duration {
        let exponent = i32::try_from(retry_no.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.base.as_secs_f64() * self.factor.powi(exponent);
        // The largest factors grow beyond what a number can hold; 0 × infinity is no number.
        let ceiling =
            if grown.is_nan() { 0.0 } else { grown.min(self.max.saturating_sub(self.floor).as_secs_f64()) };
        self.floor
            .saturating_add(Duration::try_from_secs_f64(ceiling * random.clamp(0.0, 1.0)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    const DEFAULT: Retry = Retry {
        retries: 3,
        base: Duration::from_secs(5),
        factor: 5.0,
        max: Duration::from_secs(3600),
        floor: Duration::ZERO,
    };

    #[test]
    fn waits() {
        let push = Retry { floor: PUSH_FLOOR, ..DEFAULT };
        let capped = Retry { max: seconds(60), ..DEFAULT };
        let steady = Retry { factor: 1.0, ..DEFAULT };
        let strict = Retry { floor: seconds(10), max: seconds(8), ..DEFAULT };
        let at_once = Retry { base: Duration::ZERO, ..DEFAULT };
        // The retry, its number, the random number, the wait.
        for (retry, number, random, wait) in [
            (DEFAULT, 1, 0.0, Duration::ZERO),
            (DEFAULT, 1, 0.5, Duration::from_millis(2_500)),
            (DEFAULT, 2, 0.5, Duration::from_millis(12_500)),
            (DEFAULT, 3, 0.5, Duration::from_millis(62_500)),
            (DEFAULT, 6, 0.5, seconds(1_800)),
            (DEFAULT, u32::MAX, 0.5, seconds(1_800)),
            (DEFAULT, 0, 0.5, Duration::from_millis(2_500)),
            (capped, 3, 0.5, seconds(30)),
            (steady, 3, 0.5, Duration::from_millis(2_500)),
            (push, 1, 0.0, seconds(10)),
            (push, 1, 0.5, Duration::from_millis(12_500)),
            (push, 9, 0.5, seconds(10 + 1_795)),
            (strict, 9, 0.9, seconds(10)),
            (at_once, u32::MAX, 0.9, Duration::ZERO),
        ] {
            assert_eq!(retry.backoff(number, random), wait, "{retry:?} no. {number} at {random}");
        }
    }

    prop_compose! {
        fn retries()(retries in 0_u32..=20, base in 0_u64..100_000_000, factor in 1.0_f64..1e6,
                     max in 0_u64..10_000_000_000, floor in 0_u64..100_000) -> Retry {
            let millis = Duration::from_millis;
            Retry { retries, base: millis(base), factor, max: millis(max), floor: millis(floor) }
        }
    }

    proptest! {
        #[test]
        fn a_wait_is_within_its_bounds(retry in retries(), number in 0_u32.., random in 0.0_f64..1.0) {
            let wait = retry.backoff(number, random);
            prop_assert!(wait >= retry.floor);
            prop_assert!(wait <= retry.max.max(retry.floor));
        }

        #[test]
        fn a_later_retry_never_waits_less_for_the_same_random_number(
            retry in retries(), number in 1_u32..100, random in 0.0_f64..1.0,
        ) {
            prop_assert!(retry.backoff(number, random) <= retry.backoff(number + 1, random));
        }

        #[test]
        fn the_wait_is_spread_evenly_over_its_range(retry in retries(), number in 1_u32..30, random in 0.0_f64..1.0) {
            let from = retry.floor;
            let range = retry.backoff(number, 1.0) - from;
            let wait = retry.backoff(number, random) - from;
            let share = range.as_secs_f64() * random;
            prop_assert!((wait.as_secs_f64() - share).abs() <= 1e-6 * share.max(1.0));
        }
    }
}
