//! What the built-in templates know of an event: short, single-line, masked and formatted texts, or
//! nothing at all. So no payload, however odd, can break or stretch a message.

use std::collections::BTreeMap;

use minijinja::Value;

use super::decimal::Decimal;
use super::format::Format;
use super::{Variables, currency, payload, text};
use crate::domain::Channel;

/// The most digits that an amount may have to be shown; a longer one is no amount.
const MOST_DIGITS: usize = 60;

/// A fact's name in the templates, the payload's fields that give it, the first that is there, and
/// the most characters that it takes in a push or a text message.
const TEXTS: &[(&str, &[&str], usize)] = &[
    ("description", &["description", "narration"], 60),
    ("reference", &["reference", "transactionReference"], 30),
    ("counterparty", &["counterparty", "counterpartyName"], 40),
    ("reason", &["reason", "failureReason"], 80),
    ("branch", &["branch", "branchName"], 40),
    ("checkbook", &["checkbookNumber"], 30),
    ("request", &["requestId"], 30),
    ("device", &["device", "deviceName"], 40),
    ("ip", &["ipAddress", "ip"], 45),
    ("location", &["location"], 40),
];

/// The most bytes of a field that are looked at.
const LONGEST_FIELD: usize = 2_000;

/// The most bytes of an account's number; the longest IBAN has 34 characters (ISO 13616).
const LONGEST_ACCOUNT: usize = 64;

/// The most characters that a fact takes in a mail.
const LONGEST_IN_MAIL: usize = 300;

/// The facts that are amounts, and the payload's fields that give them.
const AMOUNTS: &[(&str, &[&str])] = &[
    ("amount", &["amount"]),
    ("balance", &["balance", "availableBalance"]),
    ("threshold", &["threshold", "minimumBalance"]),
];

/// The most currencies that a digest adds up.
const MOST_TOTALS: usize = 3;

/// The payload's fields that hold the account's number.
const ACCOUNT: &[&str] = &["accountNumber", "account"];

/// The facts of one event for one message.
pub(super) struct Facts(BTreeMap<&'static str, String>);

impl Facts {
    /// Reads them from the event.
    pub(super) fn of(
        variables: &Variables,
        channel: Channel,
        format: Format,
    ) -> Result<Self, payload::NoObject> {
        let mut fields = payload::scalars(&variables.payload)?;
        if variables.digest.is_some() {
            // What is special to the one that tells the others would be told of all of them.
            fields.clear();
        }
        let brief = channel != Channel::Email;
        let mark = if channel == Channel::Sms { "..." } else { "…" };
        let field = |names: &[&str]| {
            let found = names.iter().find_map(|name| fields.get(*name));
            found.map(|value| text::value(beginning(value))).filter(|value| !value.is_empty())
        };
        let mut facts = BTreeMap::new();
        let account = field(ACCOUNT).filter(|account| account.len() <= LONGEST_ACCOUNT);
        if let Some(account) = &account {
            facts.insert("account", format.mask(account));
        }
        for &(fact, names, limit) in TEXTS {
            if let Some(mut value) = field(names) {
                if let Some(account) = account.as_deref().filter(|account| account.chars().count() > 5) {
                    value = value.replace(account, &format.mask(account));
                }
                if brief && !matches!(fact, "reference" | "checkbook" | "request" | "ip") {
                    value = without_numbers(&value, format);
                }
                let value = value.trim_end_matches('.');
                let limit = if brief { limit } else { LONGEST_IN_MAIL };
                facts.insert(fact, text::shorten(value, limit, mark));
            }
        }
        let code = field(&["currency", "currencyCode"]).and_then(|code| currency::code(&code));
        for &(fact, names) in AMOUNTS {
            if let Some(amount) = field(names).and_then(|text| Decimal::parse(&text)).filter(is_amount) {
                let text = match &code {
                    Some(code) => format.money(&amount, code),
                    None => format.number(&amount),
                };
                facts.insert(fact, text);
            }
        }
        for &(names, words) in WORDS {
            let value = field(names).map(|value| value.to_ascii_lowercase());
            if let Some(&(_, fact)) = value.and_then(|value| words.iter().find(|(word, _)| *word == value)) {
                facts.insert(fact, fact.to_owned());
            }
        }
        if let Some(digest) = &variables.digest {
            facts.insert("count", digest.count.to_string());
            let totals = digest.totals.iter().filter_map(|total| {
                let (code, amount) = (currency::code(&total.currency)?, Decimal::parse(&total.amount)?);
                Some(format.money(&amount, &code))
            });
            let totals: Vec<String> = totals.take(MOST_TOTALS).collect();
            if !totals.is_empty() {
                facts.insert("totals", totals.join(", "));
            }
            let about = variables.event_type.split('.').next().unwrap_or_default();
            facts.insert("about", about.to_owned());
        }
        let name = variables.name.as_deref().map(text::value).filter(|name| !name.is_empty());
        if let Some(name) = name.or_else(|| field(&["name", "fullName"])) {
            facts.insert("name", text::shorten(&name, 60, mark));
        }
        facts.insert("when", format.datetime(variables.occurred_at.utc()));
        Ok(Self(facts))
    }

    /// The facts as the templates see them: each by its name, and all of them as `facts`.
    pub(super) fn context(&self, language: &str) -> Value {
        let facts: BTreeMap<&str, Value> =
            self.0.iter().map(|(&name, text)| (name, Value::from(text.as_str()))).collect();
        let mut context = facts.clone();
        context.insert("facts", Value::from(facts));
        context.insert("lang", Value::from(language));
        Value::from(context)
    }
}

/// Fields that hold one of a few words, and the fact that each word states.
type Words = (&'static [&'static str], &'static [(&'static str, &'static str)]);

const WORDS: &[Words] = &[
    (
        &["direction", "transactionType"],
        &[("credit", "credit"), ("in", "credit"), ("debit", "debit"), ("out", "debit")],
    ),
    (&["condition"], &[("below", "below"), ("above", "above")]),
];

fn beginning(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LONGEST_FIELD)).unwrap_or(text)
}

fn is_amount(amount: &Decimal) -> bool {
    amount.whole_digits() + amount.fraction_digits() <= MOST_DIGITS
}

/// Masks each run of nine digits or more: somebody's account or telephone number.
fn without_numbers(text: &str, format: Format) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (digits, after) = from.split_at(end);
        masked.push_str(before);
        match digits.len() {
            ..9 => masked.push_str(digits),
            _ => masked.push_str(&format.mask(digits)),
        }
        rest = after;
    }
    masked + rest
}
