//! A rule that was asked: what the ledger keeps.

use std::borrow::Cow;

use serde::Serialize;

use crate::domain::{DeliveryState, words};

words! {
    /// What a rule answered.
    Answer("answer") {
        /// It has nothing against it.
        Pass = "pass",
        /// Not at all.
        Suppress = "suppress",
        /// Later.
        Defer = "defer",
        /// Too late.
        Expire = "expire",
    }
}

impl Answer {
    /// The answer that leads to a state.
    pub const fn of(state: DeliveryState) -> Self {
        match state {
            DeliveryState::Deferred => Self::Defer,
            DeliveryState::Expired => Self::Expire,
            DeliveryState::Suppressed => Self::Suppress,
            _ => Self::Pass,
        }
    }
}

/// A rule that was asked, what it saw, without personal data, and what it answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The rule: `contact`, `expiry`, `opt_out`, `quiet_hours`, `frequency_cap`, `flood_cap`,
    /// `escalation`, `mode`.
    pub rule: &'static str,
    /// What it saw, in words.
    pub saw: Cow<'static, str>,
    /// What it answered.
    pub answer: Answer,
}
