//! A made-up core bank. Its customers, amounts and events are drawn at random.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::domain::{Device, Document, Instant, NewEvent, Platform, Recipient};

const GIVEN: [&str; 12] = [
    "Chifundo", "Thandiwe", "Kondwani", "Mphatso", "Limbani", "Tadala", "Ada", "Jean", "Grace", "Yamikani",
    "Pierre", "Alinafe",
];
const FAMILY: [&str; 10] =
    ["Banda", "Phiri", "Mwale", "Chirwa", "Gondwe", "Kachale", "Nyirenda", "Dupont", "Tembo", "Moyo"];
const SHOPS: [&str; 6] =
    ["Shoprite Blantyre", "Airtel Money", "ESCOM prepaid", "Chipiku Stores", "Total Limbe", "Salary"];
const BRANCHES: [&str; 4] = ["Blantyre Main", "Lilongwe City", "Mzuzu", "Zomba"];
const PLACES: [&str; 4] = ["Blantyre, MW", "Lilongwe, MW", "Lyon, FR", "Johannesburg, ZA"];

/// The bank.
pub(super) struct Bank {
    random: StdRng,
    users: i64,
}

impl Bank {
    /// A bank with so many customers.
    pub(super) fn new(users: u32) -> Self {
        Self { random: StdRng::from_os_rng(), users: users.into() }
    }

    /// Its customers. Not all of them can be reached on every channel.
    pub(super) fn recipients(&mut self) -> Vec<Recipient> {
        (1..=self.users).map(|id| self.recipient(id)).collect()
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of.choose(&mut self.random).copied().unwrap_or_default()
    }

    fn recipient(&mut self, id: i64) -> Recipient {
        let (given, family) = (self.pick(&GIVEN), self.pick(&FAMILY));
        let french = self.random.random_bool(0.15);
        let mut person = Recipient::new(id);
        person.name = Some(format!("{given} {family}"));
        if self.random.random_bool(0.95) {
            person.email =
                Some(format!("{}.{}{id}@mail.example", given.to_lowercase(), family.to_lowercase()));
        }
        if self.random.random_bool(0.9) {
            person.phone = Some(format!("+26599{:07}", 1_000_000 + id));
        }
        person.locale = Some(if french { "fr" } else { "en" }.to_owned());
        person.time_zone = Some(if french { "Europe/Paris" } else { "Africa/Blantyre" }.to_owned());
        for device in 0..self.random.random_range(0..=2) {
            let platform = if self.random.random_bool(0.7) { Platform::Android } else { Platform::Ios };
            person.devices.push(Device { token: format!("demo-{id}-{device}"), platform });
        }
        person
    }

    /// The next events, at this time.
    pub(super) fn events(&mut self, count: usize, now: Instant) -> Vec<NewEvent> {
        // An event of these parts is always valid; one that were not would not be sent.
        (0..count).filter_map(|_| self.event(now)).collect()
    }

    fn event(&mut self, now: Instant) -> Option<NewEvent> {
        let user = self.random.random_range(1..=self.users);
        let account = format!("{}", 10_000_000 + user);
        let amount =
            format!("{}.{:02}", self.random.random_range(200..250_000), self.random.random_range(0..100));
        let (kind, payload) = self.what(user, &account, &amount);
        let by_user = kind.starts_with("user.");
        let metadata = json!({ "source": "demo-core-bank", "userId": user, "correlationId": Uuid::now_v7().to_string() });
        Some(NewEvent {
            id: Uuid::now_v7().to_string(),
            kind: kind.to_owned(),
            aggregate_id: if by_user { user.to_string() } else { format!("ACC-{account}") },
            aggregate_type: if by_user { "user" } else { "account" }.to_owned(),
            payload: Document::of(&payload).ok()?,
            metadata: Document::of(&metadata).ok()?,
            timestamp: Some(now),
            source: "demo-core-bank".to_owned(),
            user_id: Some(user),
            correlation_id: None,
            causation_id: None,
        })
    }

    fn what(&mut self, user: i64, account: &str, amount: &str) -> (&'static str, Value) {
        let base = json!({ "userId": user, "accountNumber": account, "currency": "MWK" });
        let with = |more: Value| {
            let mut payload = base.clone();
            if let (Some(payload), Some(more)) = (payload.as_object_mut(), more.as_object()) {
                payload.extend(more.clone());
            }
            payload
        };
        match self.random.random_range(0..100) {
            0..=54 => (
                "transaction.completed",
                with(
                    json!({ "amount": amount, "description": self.pick(&SHOPS), "reference": format!("TX{:08}", self.random.random_range(0..99_999_999)) }),
                ),
            ),
            55..=60 => {
                ("transaction.failed", with(json!({ "amount": amount, "reason": "insufficient funds" })))
            }
            61..=70 => ("account.balance.low", with(json!({ "balance": "812.50", "threshold": "1000.00" }))),
            71..=79 => ("user.login", with(json!({ "device": "Android", "location": self.pick(&PLACES) }))),
            80..=84 => {
                ("user.login.failed", with(json!({ "device": "Chrome", "location": self.pick(&PLACES) })))
            }
            85..=88 => {
                ("checkbook.ready", with(json!({ "branch": self.pick(&BRANCHES), "requestId": "CB-1042" })))
            }
            89..=91 => (
                "checkbook.requested",
                with(json!({ "branch": self.pick(&BRANCHES), "requestId": "CB-1043" })),
            ),
            92..=93 => (
                "alert.triggered",
                with(json!({ "condition": "below", "balance": "450.00", "threshold": "500.00" })),
            ),
            94 => ("account.frozen", with(json!({ "reason": "a stolen card was reported" }))),
            95 => ("account.unfrozen", with(json!({}))),
            96..=97 => ("transaction.created", with(json!({ "amount": amount }))),
            _ => ("card.printed", with(json!({}))),
        }
    }
}
