//! What text messages cost at worst: how many segments each template takes where the values are long.
//!
//! The bank's own templates are rendered with made-up values for whatever they name, so a branch that asks
//! for a certain value is not taken. What is counted is what is sent: a text that is too long is cut.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};
use sha2::Digest as _;

use super::format::Format;
use super::part::Part;
use super::{Found, Message, Templates, builtin, filters, is_gsm7, key, locale, own, segments, sms};
use super::{TemplateError, Variables};
use crate::domain::{Channel, Instant};
use crate::policy::{Digest, Total};

/// The cost of one template in one language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SmsCost {
    /// The template's name.
    pub template: String,
    /// Its language tag, or `default`.
    pub locale: String,
    /// Whether it is one of the bank's own.
    pub own: bool,
    /// How many segments it takes with long values in the GSM alphabet; none if it cannot be rendered with
    /// made-up values.
    pub segments: Option<u16>,
    /// The characters of the template that are not in the GSM alphabet: one of them makes all of it UCS-2.
    pub not_gsm: Vec<char>,
    /// How many segments it takes where a value has a letter outside the GSM alphabet, too.
    pub segments_with_foreign_values: Option<u16>,
}

impl SmsCost {
    /// Whether it may cost more than one segment of the GSM alphabet by itself, or that is not known.
    pub fn is_notable(&self) -> bool {
        self.segments != Some(1) || !self.not_gsm.is_empty()
    }

    /// In words.
    pub fn in_words(&self) -> String {
        let Some(segments) = self.segments else {
            return "not known: it does not render with made-up values".to_owned();
        };
        let many = |n: u16| if n == 1 { "1 segment".to_owned() } else { format!("{n} segments") };
        let mut words = many(segments);
        if !self.not_gsm.is_empty() {
            let those: Vec<String> = self.not_gsm.iter().map(|c| format!("`{c}`")).collect();
            words.push_str(&format!(" in UCS-2, for {}", those.join(" ")));
        }
        match self.segments_with_foreign_values {
            Some(more) if more > segments => {
                words.push_str(&format!(" ({more} with other letters in a value)"));
            }
            _ => {}
        }
        words
    }
}

/// Letters of values: in the GSM alphabet, and outside of it.
const PLAIN: &str = "Mwmw Mwmwmwmw ";
const FOREIGN: &str = "Mŵmŵ Mŵmŵmŵmŵ ";

/// An amount of fourteen digits: in Malawian kwacha, some hundred times the largest payments of a day.
const AMOUNT: &str = "999999999999.99";
/// The longest account number with which a bank is reckoned; a longer one is rare, and mostly masked.
const ACCOUNT: &str = "99999999999999999999";
/// In English the longest date: two digits each, in the evening.
const MOMENT: &str = "2026-12-31T22:59:59Z";
/// How long a text in a payload is taken to be where the template says nothing of it.
const TEXT: usize = 40;
/// Beyond what the built-in templates keep of any text.
const LONG_TEXT: usize = 100;

impl Templates {
    /// What the text message of each template costs at worst, by name and language.
    pub fn sms_costs(&self) -> Vec<SmsCost> {
        let file = Part::SmsText.file();
        let names = |key: &String| {
            let (name, rest) = key.split_once('/')?;
            let locale = rest.strip_suffix(file)?.strip_suffix('/')?;
            Some((name.to_owned(), locale.to_owned()))
        };
        // One of the bank's own stands in the place of the built-in one.
        let built_in: BTreeSet<_> = self.built_in_hashes.keys().filter_map(names).collect();
        let own: BTreeSet<_> = self.own_hashes.keys().filter_map(names).collect();
        built_in.union(&own).map(|(name, locale)| self.sms_cost(name, locale)).collect()
    }

    /// The template that the text message of a template's name is made from: another where it has no text
    /// of its own in any language.
    pub fn sms_of<'n>(&self, name: &'n str) -> &'n str {
        let file = Part::SmsText.file();
        let has_text = |key: &String| {
            key.strip_prefix(name).is_some_and(|rest| rest.starts_with('/') && rest.ends_with(file))
        };
        match self.own_hashes.keys().chain(self.built_in_hashes.keys()).any(has_text) {
            true => name,
            false => builtin::GENERIC,
        }
    }

    /// The template that several messages of a template's name are told by as one.
    pub fn digest_of(&self, name: &str) -> String {
        let of_type = format!("{name}.{}", builtin::DIGEST);
        if self.known(&of_type) { of_type } else { builtin::DIGEST.to_owned() }
    }

    fn sms_cost(&self, name: &str, locale: &str) -> SmsCost {
        let key = key(name, locale, Part::SmsText);
        let (environment, hash, is_own) = match self.own_hashes.get(&key) {
            Some(hash) => (&self.own, Some(hash), true),
            None => (&self.built_in, self.built_in_hashes.get(&key), false),
        };
        let (name, locale) = (name.to_owned(), locale.to_owned());
        let mut cost = SmsCost {
            template: name,
            locale: locale.clone(),
            own: is_own,
            segments: None,
            not_gsm: Vec::new(),
            segments_with_foreign_values: None,
        };
        let Some(hash) = hash else { return cost };
        let found = Found { environment, hash, key, locale, is_own };
        let texts = |letters: &str| {
            let tries = match is_own {
                true => self.guesses(&found, &cost.template, letters),
                false => facts(&cost.template, &found.locale, letters),
            };
            let rendered = tries.iter().map(|variables| self.sms_text(&cost.template, &found, variables));
            // Of a built-in one all are worth looking at; of one's own each guess is made if the last failed.
            let texts: Vec<String> = match is_own {
                true => rendered.filter_map(Result::ok).take(1).collect(),
                false => rendered.filter_map(Result::ok).collect(),
            };
            texts
        };
        let plain = texts(PLAIN);
        let foreign = texts(FOREIGN);
        let most = |texts: &[String]| texts.iter().map(|text| segments(text)).max();
        let beyond = |c: &char| !is_gsm7(&sms::plain(&c.to_string()));
        let not_gsm: BTreeSet<char> = plain.iter().flat_map(|text| text.chars()).filter(beyond).collect();
        cost.segments = most(&plain);
        cost.segments_with_foreign_values = most(&foreign);
        cost.not_gsm = not_gsm.into_iter().collect();
        cost
    }

    fn sms_text(
        &self,
        name: &str,
        found: &Found<'_>,
        variables: &Variables,
    ) -> Result<String, TemplateError> {
        let mut message = Message {
            templates: self,
            name,
            channel: Channel::Sms,
            variables,
            format: Format::new(variables.locale.as_deref(), variables.time_zone.as_deref(), Channel::Sms),
            chain: locale::chain(variables.locale.as_deref()),
            facts: None,
            version: sha2::Sha256::new(),
        };
        filters::with_format(message.format, || message.made_from(Part::SmsText, found))
    }

    /// Made-up values for whatever one of the bank's own templates names: by the names, then all of them
    /// amounts, then all of them moments.
    fn guesses(&self, found: &Found<'_>, name: &str, letters: &str) -> Vec<Variables> {
        let named = found.environment.get_template(&found.key).map(|t| t.undeclared_variables(true));
        let named = named.unwrap_or_default();
        let mut paths: Vec<Vec<&str>> = named
            .iter()
            .filter_map(|path| path.strip_prefix("payload."))
            .map(|path| path.split('.').collect())
            .collect();
        paths.sort();
        let by_name = |field: &str| value(field, letters);
        let tries: [&dyn Fn(&str) -> String; 3] = [&by_name, &|_| AMOUNT.to_owned(), &|_| MOMENT.to_owned()];
        tries
            .into_iter()
            .map(|guess| {
                let mut payload = json!({});
                for path in &paths {
                    put(&mut payload, path, guess);
                }
                variables(name, &found.locale, "account.created", &payload, letters)
            })
            .collect()
    }
}

/// A value for a field of that name.
fn value(field: &str, letters: &str) -> String {
    let is_moment = field.ends_with("At") || field.ends_with("_at");
    let field = field.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| field.contains(word));
    if has(&["currency"]) {
        "MWK".to_owned()
    } else if has(&["date", "time"]) || is_moment {
        MOMENT.to_owned()
    } else if has(&["amount", "balance", "threshold", "limit", "total", "fee", "price"]) {
        AMOUNT.to_owned()
    } else if has(&["account", "iban", "number"]) {
        ACCOUNT.to_owned()
    } else {
        text(letters, TEXT)
    }
}

fn text(letters: &str, length: usize) -> String {
    letters.chars().cycle().take(length).collect::<String>().trim_end().to_owned()
}

/// Puts a value at a path, where nothing is in the way.
fn put(payload: &mut Value, path: &[&str], guess: &dyn Fn(&str) -> String) {
    let (Some((field, rest)), Some(object)) = (path.split_first(), payload.as_object_mut()) else { return };
    match rest {
        // A field of which others are named is an object already.
        [] => {
            object.entry(*field).or_insert_with(|| Value::from(guess(field)));
        }
        rest => {
            let inner = object.entry(*field).or_insert_with(|| json!({}));
            if !inner.is_object() {
                *inner = json!({});
            }
            put(inner, rest, guess);
        }
    }
}

/// The values of every fact that a built-in template knows, in each of the ways that texts differ by.
fn facts(name: &str, locale: &str, letters: &str) -> Vec<Variables> {
    let mut payload = BTreeMap::from([("currency", "MWK".to_owned()), ("accountNumber", ACCOUNT.to_owned())]);
    for amount in ["amount", "balance", "threshold"] {
        payload.insert(amount, AMOUNT.to_owned());
    }
    for field in [
        "description",
        "reference",
        "counterparty",
        "reason",
        "branch",
        "checkbookNumber",
        "requestId",
        "device",
        "ipAddress",
        "location",
    ] {
        payload.insert(field, text(letters, LONG_TEXT));
    }
    let mut tries = Vec::new();
    for (direction, condition) in [("credit", "below"), ("debit", "above"), ("", "")] {
        payload.insert("direction", direction.to_owned());
        payload.insert("condition", condition.to_owned());
        for about in ["transaction.completed", "account.created"] {
            tries.push(variables(name, locale, about, &json!(payload), letters));
        }
    }
    tries
}

fn variables(name: &str, locale: &str, about: &str, payload: &Value, letters: &str) -> Variables {
    let is_digest =
        name == builtin::DIGEST || name.strip_suffix(builtin::DIGEST).is_some_and(|of| of.ends_with('.'));
    let totals = ["MWK", "USD", "ZAR"]
        .map(|currency| Total { currency: currency.to_owned(), amount: AMOUNT.to_owned() });
    Variables {
        event_id: "00000000-0000-4000-8000-000000000000".to_owned(),
        event_type: about.to_owned(),
        occurred_at: Instant::parse(MOMENT).unwrap_or_else(|_| chrono::DateTime::UNIX_EPOCH.into()),
        aggregate_id: ACCOUNT.to_owned(),
        aggregate_type: "account".to_owned(),
        payload: payload.to_string(),
        name: Some(text(letters, TEXT)),
        locale: (locale != own::DEFAULT).then(|| locale.to_owned()),
        // A zone whose name has no short form is written as its offset, which is longer.
        time_zone: Some("Asia/Kathmandu".to_owned()),
        digest: is_digest.then(|| Digest { count: 999, totals: totals.to_vec() }),
    }
}
