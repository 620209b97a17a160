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
    /// The sums, by currency; none where one of the messages has no amount or no currency.
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

/// What a digest is made of.
#[derive(Debug, Clone)]
pub enum Told {
    /// A message, by its event's payload.
    One(Document),
    /// One that tells others already.
    Several(Digest),
}

impl Digest {
    /// Adds up `payload.amount` by `payload.currency`. Without totals where one of the messages has no such
    /// amount, or the sum has too many digits: a sum that lacks one would be wrong.
    pub fn of(parts: impl IntoIterator<Item = Told>) -> Self {
        let mut count = 0;
        let mut totals = Some(BTreeMap::new());
        for part in parts {
            let (number, amounts) = part.amounts();
            count += number;
            totals = totals.zip(amounts).and_then(|(totals, amounts)| add(totals, amounts));
        }
        let totals = totals.unwrap_or_default().into_iter();
        let totals = totals.map(|(currency, amount)| Total { currency, amount: amount.to_string() });
        Self { count, totals: totals.collect() }
    }

    /// As it was stored.
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// As it is stored.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Told {
    /// How many messages, and their amounts by currency, if all have some.
    fn amounts(self) -> (usize, Option<Vec<(String, Decimal)>>) {
        match self {
            Self::One(payload) => (1, money(&payload).map(|amount| vec![amount])),
            Self::Several(digest) => {
                let amount =
                    |total: Total| Some((total.currency, Decimal::from_str_exact(&total.amount).ok()?));
                let amounts: Option<Vec<_>> = digest.totals.into_iter().map(amount).collect();
                (digest.count, amounts.filter(|amounts| !amounts.is_empty()))
            }
        }
    }
}

fn add(
    mut totals: BTreeMap<String, Decimal>,
    amounts: Vec<(String, Decimal)>,
) -> Option<BTreeMap<String, Decimal>> {
    for (currency, amount) in amounts {
        let total = totals.entry(currency).or_default();
        *total = total.checked_add(amount)?;
    }
    Some(totals)
}

fn money(payload: &Document) -> Option<(String, Decimal)> {
    let currency = payload.string("/currency").filter(|currency| currency.len() <= 10)?;
    let amount = payload.get("/amount")?;
    let text = as_string(amount).unwrap_or_else(|| amount.get().to_owned());
    let amount = Decimal::from_str_exact(&text).or_else(|_| Decimal::from_scientific(&text)).ok()?;
    Some((currency, amount))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn one(payload: &str) -> Told {
        Told::One(Document::parse(payload).unwrap())
    }

    fn told(parts: Vec<Told>) -> (usize, Vec<String>) {
        let digest = Digest::of(parts);
        let total = |total: &Total| format!("{} {}", total.currency, total.amount);
        (digest.count, digest.totals.iter().map(total).collect())
    }

    #[test]
    fn amounts_are_added_up_by_currency_and_keep_their_digits() {
        let parts = vec![
            one(r#"{"amount":"0.10","currency":"MWK"}"#),
            one(r#"{"amount":0.20,"currency":"MWK"}"#),
            one(r#"{"amount":"-3","currency":"USD"}"#),
        ];
        assert_eq!(told(parts), (3, vec!["MWK 0.30".to_owned(), "USD -3".to_owned()]));
    }

    #[test]
    fn a_sum_that_would_lack_one_is_not_told() {
        let good = || one(r#"{"amount":"1","currency":"MWK"}"#);
        for other in [
            r#"{"currency":"MWK"}"#,
            r#"{"amount":"1"}"#,
            r#"{"amount":"one","currency":"MWK"}"#,
            r#"{"amount":"79228162514264337593543950335","currency":"MWK"}"#,
        ] {
            assert_eq!(told(vec![good(), one(other)]), (2, vec![]), "{other}");
        }
    }

    #[test]
    fn a_digest_can_tell_another() {
        let earlier = Digest::of(vec![
            one(r#"{"amount":"1","currency":"MWK"}"#),
            one(r#"{"amount":"2","currency":"MWK"}"#),
        ]);
        let stored = Digest::from_json(&earlier.to_json()).unwrap();
        let parts = vec![Told::Several(stored), one(r#"{"amount":"4","currency":"MWK"}"#)];
        assert_eq!(told(parts), (3, vec!["MWK 7".to_owned()]));
        let without = Told::Several(Digest { count: 4, totals: Vec::new() });
        assert_eq!(told(vec![without, one(r#"{"amount":"4","currency":"MWK"}"#)]), (5, vec![]));
    }
}
