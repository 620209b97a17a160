//! What a message is made of.

use std::collections::BTreeMap;

use minijinja::Value;
use serde::{Deserialize, Deserializer, Serialize};

use super::payload;
use crate::domain::Instant;
use crate::policy::{Digest, Total};

/// What a message is made of; the notification keeps it, so that the message can be made again. It is
/// personal data: never logged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variables {
    /// The event's id.
    pub event_id: String,
    /// Its type.
    pub event_type: String,
    /// When it happened.
    #[serde(deserialize_with = "instant")]
    pub occurred_at: Instant,
    /// What it happened to.
    pub aggregate_id: String,
    /// The kind of that.
    pub aggregate_type: String,
    /// The JSON text of an object; its numbers keep all their digits.
    pub payload: String,
    /// The recipient's name.
    #[serde(default)]
    pub name: Option<String>,
    /// The recipient's language tag (BCP 47).
    #[serde(default)]
    pub locale: Option<String>,
    /// The recipient's time zone (IANA).
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Where it tells several messages, itself among them: how many, and what they add up to.
    #[serde(default)]
    pub digest: Option<Digest>,
}

fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Instant, D::Error> {
    Instant::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

impl Variables {
    /// What the bank's own templates see: `payload`, `event`, `recipient`, and `lang`, the language of
    /// the template; where several messages are told in one, `digest` with `count` and `totals`, each with
    /// `currency` and `amount`. What the recipient does not have is not there.
    pub(super) fn context(&self, language: &str) -> Result<Value, payload::NoObject> {
        let event = BTreeMap::from([
            ("id", Value::from(self.event_id.as_str())),
            ("type", Value::from(self.event_type.as_str())),
            ("occurred_at", Value::from(self.occurred_at.to_rfc3339())),
            ("aggregate_id", Value::from(self.aggregate_id.as_str())),
            ("aggregate_type", Value::from(self.aggregate_type.as_str())),
        ]);
        let recipient = [("name", &self.name), ("locale", &self.locale), ("time_zone", &self.time_zone)];
        let recipient: BTreeMap<&str, Value> = recipient
            .into_iter()
            .filter_map(|(key, value)| value.as_deref().map(|value| (key, Value::from(value))))
            .collect();
        let mut context = BTreeMap::from([
            ("payload", payload::value(&self.payload)?),
            ("event", Value::from(event)),
            ("recipient", Value::from(recipient)),
            ("lang", Value::from(language)),
        ]);
        if let Some(digest) = &self.digest {
            let total = |total: &Total| {
                let (currency, amount) = (total.currency.as_str(), total.amount.as_str());
                Value::from(BTreeMap::from([
                    ("currency", Value::from(currency)),
                    ("amount", Value::from(amount)),
                ]))
            };
            let totals: Vec<Value> = digest.totals.iter().map(total).collect();
            let told = [("count", Value::from(digest.count)), ("totals", Value::from(totals))];
            context.insert("digest", Value::from(BTreeMap::from(told)));
        }
        Ok(Value::from(context))
    }
}
