//! When to start a child again, how soon, and how often.

use std::{collections::VecDeque, fmt, time::Duration};

use tokio::time::Instant;

use crate::supervision::Exit;

/// No wait is longer, so that none overflows when it is added to the time of day.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether a child that ended is started again (OTP: restart type).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Always.
    Permanent,
    /// Only when it did not end normally.
    Transient,
}

impl Restart {
    pub(crate) fn applies_to(self, exit: &Exit) -> bool {
        self == Restart::Permanent || !exit.is_normal()
    }
}

/// How far a delay may be from its nominal value, to either side.
const JITTER: f64 = 0.2;

/// Exponential delay before a restart: `initial`, twice that, four times, … at most `max`.
///
/// Each delay is lengthened or shortened by up to a fifth, at random, so that children that failed
/// together, for one cause, do not all come back to it together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Before the first restart.
    pub initial: Duration,
    /// Upper limit, before a delay is varied; at most a day.
    pub max: Duration,
    /// A life that lasted this long clears the count of failures.
    pub reset_after: Duration,
}

impl Default for Backoff {
    /// 100 ms, at most 10 s, cleared after 60 s.
    fn default() -> Self {
        Backoff {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(10),
            reset_after: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The delay after `failures` earlier failures in a row. `random`, from 0 to 1, says where it
    /// lies between 80 % and 120 % of its nominal value: 0.5 is that value.
    pub fn delay(&self, failures: u32, random: f64) -> Duration {
        let nominal = self.initial.saturating_mul(2_u32.saturating_pow(failures));
        let nominal = nominal.min(self.max.min(LONGEST));
        let factor = 1.0 - JITTER + 2.0 * JITTER * random.clamp(0.0, 1.0);
        Duration::try_from_secs_f64(nominal.as_secs_f64() * factor).unwrap_or(nominal)
    }
}

/// How many restarts a supervisor bears, all its children together (OTP: restart intensity).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intensity {
    /// One restart more than this within `window`, and the supervisor gives up.
    pub max_restarts: usize,
    /// A sliding window.
    pub window: Duration,
}

impl fmt::Display for Intensity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} restarts in {:?}", self.max_restarts, self.window)
    }
}

impl Intensity {
    /// Whether a child that crashes on every start gets past this limit in spite of its backoff,
    /// be its delays as long as they may.
    /// Where it does not, it would be restarted for ever and nobody would be told.
    pub(crate) fn is_reachable(&self, backoff: &Backoff) -> bool {
        let mut total = Duration::ZERO;
        (0..self.max_restarts).all(|failures| {
            let failures = u32::try_from(failures).unwrap_or(u32::MAX);
            total = total.saturating_add(backoff.delay(failures, 1.0));
            total < self.window
        })
    }
}

/// The restarts of the last window.
#[derive(Debug)]
pub(crate) struct RestartLog {
    intensity: Intensity,
    restarts: VecDeque<Instant>,
}

impl RestartLog {
    pub(crate) fn new(intensity: Intensity) -> Self {
        RestartLog { intensity, restarts: VecDeque::new() }
    }

    /// Notes a restart; false when it is one too many.
    pub(crate) fn admits(&mut self, now: Instant) -> bool {
        self.restarts.push_back(now);
        self.restarts.retain(|&earlier| now - earlier <= self.intensity.window);
        self.restarts.len() <= self.intensity.max_restarts
    }
}
