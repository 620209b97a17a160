//! Moments.

use chrono::{DateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};
use serde::Serialize;

/// A moment in UTC, in whole microseconds.
///
/// PostgreSQL keeps microseconds; chrono keeps nanoseconds. The fraction is cut here, at the
/// door, so that a value that was stored equals the value that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(DateTime<Utc>);

impl Instant {
    /// RFC 3339 with six digits of fraction: as text it sorts as it does in time.
    pub fn to_rfc3339(self) -> String {
        self.0.to_rfc3339_opts(SecondsFormat::Micros, true)
    }

    /// Reads RFC 3339 with an offset.
    ///
    /// # Errors
    ///
    /// chrono's, for any other text.
    pub fn parse(text: &str) -> Result<Self, chrono::ParseError> {
        DateTime::parse_from_rfc3339(text).map(|at| at.to_utc().into())
    }

    /// The moment as chrono has it.
    pub const fn utc(self) -> DateTime<Utc> {
        self.0
    }

    /// A later moment; the last one that can be told where it would be beyond that.
    #[must_use]
    pub fn plus(self, duration: std::time::Duration) -> Self {
        let delta = TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
        self.0.checked_add_signed(delta).unwrap_or(DateTime::<Utc>::MAX_UTC).into()
    }

    /// An earlier moment; the first one that can be told where it would be before that.
    #[must_use]
    pub fn minus(self, duration: std::time::Duration) -> Self {
        let delta = TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
        self.0.checked_sub_signed(delta).unwrap_or(DateTime::<Utc>::MIN_UTC).into()
    }

    /// The time from an earlier moment to this one; zero when that one is later.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        (self.0 - earlier.0).to_std().unwrap_or_default()
    }
}

impl From<DateTime<Utc>> for Instant {
    fn from(at: DateTime<Utc>) -> Self {
        Self(at.trunc_subsecs(6))
    }
}

impl Serialize for Instant {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_rfc3339())
    }
}
