//! Retries: the global ones, and those of a channel or a route.

use std::time::Duration;

use super::{error::Problems, macros::section, tree::join};
use crate::policy::Retry;

section! {
    /// The keys of a `retry`. What one leaves out is the global one's.
    #[derive(Copy, Default)]
    pub(super) struct RetryKeys {
        /// How many attempts may follow the first one.
        pub retries: Option<u32>,
        /// The longest wait before the first retry.
        pub base: Option<Duration>,
        /// The growth from one retry to the next.
        pub factor: Option<f64>,
        /// The longest wait before any retry.
        pub max: Option<Duration>,
    }
    check = check_retry;
}

/// The contract's values, for what a configuration leaves out.
const DEFAULT: Retry = Retry {
    retries: 3,
    base: Duration::from_secs(5),
    factor: 5.0,
    max: Duration::from_secs(3600),
    floor: Duration::ZERO,
};

impl RetryKeys {
    /// The global retries.
    pub(super) fn global(self) -> Retry {
        self.over(&DEFAULT)
    }

    /// These, and the global ones where they say nothing.
    pub(super) fn over(self, global: &Retry) -> Retry {
        Retry {
            retries: self.retries.unwrap_or(global.retries),
            base: self.base.unwrap_or(global.base),
            factor: self.factor.unwrap_or(global.factor),
            max: self.max.unwrap_or(global.max),
            floor: Duration::ZERO,
        }
    }
}

fn check_retry(retry: &RetryKeys, at: &str, problems: &mut Problems) {
    if retry.retries.is_some_and(|retries| retries > 20) {
        problems.at(join(at, "retries"), "expected 0 to 20");
    }
    if retry.factor.is_some_and(|factor| factor < 1.0) {
        problems.at(join(at, "factor"), "expected at least 1");
    }
}
