//! What is decided by, as the actors hold it.

use std::sync::Arc;

use chrono_tz::Tz;

use crate::domain::{Instant, Preferences};
use crate::policy::{Bank, Cap, Question, Reach, Route, Routes, RuleSet, rule_set};
use crate::store::{CapQuestion, Contacts, Granted, LedgerEntry};

/// Which other concerns get a work item of which types.
#[derive(Debug, Clone, Default)]
pub struct Subscriptions(pub Vec<(&'static str, Vec<String>)>);

impl Subscriptions {
    /// The concerns that want a type.
    pub(super) fn of(&self, kind: &str) -> Vec<&'static str> {
        let wants = |(_, types): &&(&'static str, Vec<String>)| types.iter().any(|wanted| wanted == kind);
        self.0.iter().filter(wants).map(|(concern, _)| *concern).collect()
    }
}

/// The defaults for recipients that have no locale or zone of their own.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// BCP 47.
    pub locale: String,
    /// IANA.
    pub time_zone: String,
}

/// What is decided by.
pub struct Rules {
    /// The routes.
    pub routes: Arc<Routes>,
    /// The bank's caps and quiet hours.
    pub bank: Bank,
    /// All of it as a document, with its version.
    pub set: RuleSet,
    /// The other concerns.
    pub subscriptions: Subscriptions,
    /// For recipients without their own.
    pub defaults: Defaults,
    /// What a recipient wishes of whom nothing is known.
    pub no_wishes: Preferences,
}

/// The times that a decision sees: after when the message is of no use, and now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) expires_at: Option<Instant>,
    pub(super) now: Instant,
}

impl Rules {
    /// The rules, with their version.
    pub fn new(routes: Routes, bank: Bank, defaults: Defaults, subscriptions: Subscriptions) -> Self {
        let own = (defaults.locale.as_str(), defaults.time_zone.as_str());
        let set = rule_set(&routes, &bank, own, env!("CARGO_PKG_VERSION"));
        let (routes, no_wishes) = (Arc::new(routes), Preferences::default());
        Self { routes, bank, set, subscriptions, defaults, no_wishes }
    }

    /// A recipient's zone: the own one, else the default, else UTC.
    pub(super) fn zone(&self, contacts: Option<&Contacts>) -> Tz {
        let own =
            contacts.and_then(|contacts| contacts.time_zone.as_deref()).and_then(|name| name.parse().ok());
        own.or_else(|| self.defaults.time_zone.parse().ok()).unwrap_or(Tz::UTC)
    }

    /// What a decision sees.
    pub(super) fn question<'a>(
        &'a self,
        event_type: &'a str,
        route: &'a Route,
        user: i64,
        contacts: Option<&'a Contacts>,
        times: Times,
    ) -> Question<'a> {
        Question {
            bank: &self.bank,
            event_type,
            route,
            user,
            reach: contacts.map_or_else(Reach::default, reach),
            preferences: contacts.map_or(&self.no_wishes, |contacts| &contacts.preferences),
            zone: self.zone(contacts),
            expires_at: times.expires_at,
            now: times.now,
        }
    }

    /// An entry of the ledger.
    pub(super) fn ledger(&self, user_id: Option<i64>, record: &crate::policy::Record<'_>) -> LedgerEntry {
        LedgerEntry { user_id, rules: self.set.version.clone(), record: record.to_json() }
    }
}

/// How a recipient can be reached.
fn reach(contacts: &Contacts) -> Reach {
    Reach {
        push: !contacts.devices.is_empty(),
        email: contacts.email.is_some(),
        sms: contacts.phone.is_some(),
    }
}

/// What the store is asked about a recipient's cap.
pub(super) fn cap_question(user_id: i64, cap: &Cap) -> CapQuestion {
    let Cap { channel, category, flood, shadow, limit, window } = cap.clone();
    CapQuestion { user_id, channel, category, flood, shadow, limit, window }
}

/// What the store has found, for the decision.
pub(super) fn spent(
    asked: Vec<(i64, Cap)>,
    granted: Granted,
    full: Vec<(i64, Cap, Instant)>,
) -> crate::policy::Spent {
    use crate::policy::{Spent, Usage};
    let mut spent = Spent::default();
    for ((user, cap), grants) in asked.into_iter().zip(granted.grants) {
        spent.note(user, cap, Usage { grants, ..Usage::default() });
    }
    for (user, cap, until) in full {
        spent.note(user, cap, Usage { full_until: Some(until), ..Usage::default() });
    }
    spent
}
