//! Several messages told as one.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::domain::Document;
use crate::domain::json::as_string;

/// What a digest tells: how many there were, and what they add up to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// How many messages it stands for, itself included.
    pub count: usize,
    /// The sums, by currency; what has no amount, or no currency, is counted alone.
    pub totals: Vec<Total>,
}

/// The sum of one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// As the events write it, such as `MWK`.
    pub currency: String,
    /// In plain digits.
    pub amount: String,
}

impl Digest {
    /// Adds up `payload.amount` by `payload.currency`.
    pub fn of<'a>(payloads: impl IntoIterator<Item = &'a Document>) -> Self {
        let mut count = 0;
        let mut totals: BTreeMap<String, Decimal> = BTreeMap::new();
        for payload in payloads {
            count += 1;
            let Some((currency, amount)) = money(payload) else { continue };
            let total = totals.entry(currency).or_default();
            *total = total.checked_add(amount).unwrap_or(*total);
        }
        let totals = totals
            .into_iter()
            .map(|(currency, amount)| Total { currency, amount: amount.to_string() })
            .collect();
        Self { count, totals }
    }

    /// As it is stored.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn money(payload: &Document) -> Option<(String, Decimal)> {
    let currency = payload.string("/currency").filter(|currency| currency.len() <= 10)?;
    let amount = payload.get("/amount")?;
    let text = as_string(amount).unwrap_or_else(|| amount.get().to_owned());
    let amount = Decimal::from_str_exact(&text).or_else(|_| Decimal::from_scientific(&text)).ok()?;
    Some((currency, amount))
}
