//! What is shown to who may read, but not what is personal.

use serde_json::Value;

/// Stands for a value that is not shown.
const HIDDEN: &str = "•••";

/// A document with its keys, and without its values.
pub(super) fn document(text: &str) -> Value {
    serde_json::from_str(text).map_or_else(|_| Value::from(HIDDEN), hide)
}

fn hide(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, hide(value))).collect(),
        Value::Array(items) => items.into_iter().map(hide).collect(),
        Value::Null => Value::Null,
        _ => Value::from(HIDDEN),
    }
}

/// The metadata of an event: what traces it stays, what a publisher added does not.
pub(super) fn metadata(text: &str) -> Value {
    const SHOWN: [&str; 4] = ["userId", "correlationId", "causationId", "source"];
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => fields
            .into_iter()
            .map(|(key, value)| if SHOWN.contains(&key.as_str()) { (key, value) } else { (key, hide(value)) })
            .collect(),
        _ => Value::from(HIDDEN),
    }
}

/// A text of which only that it is there is shown.
pub(super) fn text(text: Option<&str>) -> Option<String> {
    text.map(|_| HIDDEN.to_owned())
}

/// An address: its first letter and its domain's last label.
pub(super) fn email(address: Option<&str>) -> Option<String> {
    address.map(|address| {
        let first: String = address.chars().take(1).collect();
        let last = address.rsplit_once('.').map_or("", |(_, last)| last);
        format!("{first}{HIDDEN}@{HIDDEN}.{last}")
    })
}

/// A number: its last two digits.
pub(super) fn phone(number: Option<&str>) -> Option<String> {
    number.map(|number| {
        let last: String = number.chars().skip(number.chars().count().saturating_sub(2)).collect();
        format!("{HIDDEN}{last}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_hidden_and_keys_are_not() {
        let masked = document(r#"{"amount":"1.00","of":{"name":"Ada","tags":["x",1,null]}}"#).to_string();
        assert_eq!(masked, r#"{"amount":"•••","of":{"name":"•••","tags":["•••","•••",null]}}"#);
        assert_eq!(
            metadata(r#"{"source":"core","ip":"10.0.0.1"}"#).to_string(),
            r#"{"ip":"•••","source":"core"}"#
        );
        assert_eq!(email(Some("ada@bank.example")).as_deref(), Some("a•••@•••.example"));
        assert_eq!(phone(Some("+265991234567")).as_deref(), Some("•••67"));
    }
}
