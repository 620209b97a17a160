//! A payload's JSON as values of the template engine, with every digit.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use minijinja::Value;
use serde::de::{Deserialize, Deserializer, Visitor};
use serde_json::value::RawValue;

/// As deep as an event may nest (contract §2).
const DEEPEST: usize = 64;

/// Text that is no JSON object, or nests deeper than an event may.
#[derive(Debug)]
pub(super) struct NoObject;

/// A JSON string. Half of a surrogate pair, which JSON can spell and Unicode text cannot hold, is
/// read as U+FFFD.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lossy;
        impl Visitor<'_> for Lossy {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Text, E> {
                Ok(Text(String::from_utf8_lossy(bytes).into_owned()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
        }
        deserializer.deserialize_bytes(Lossy)
    }
}

type Members<'a> = BTreeMap<Text, &'a RawValue>;

/// The whole payload. Numbers become their text, `null` members are left out: a template cannot
/// print what is not there.
pub(super) fn value(payload: &str) -> Result<Value, NoObject> {
    object(payload, 0)
}

fn object(json: &str, depth: usize) -> Result<Value, NoObject> {
    let members: Members<'_> = serde_json::from_str(json).map_err(|_| NoObject)?;
    let mut values = BTreeMap::new();
    for (key, member) in members {
        let value = any(member.get(), depth + 1)?;
        if !value.is_none() {
            values.insert(key.0, value);
        }
    }
    Ok(Value::from(values))
}

fn any(json: &str, depth: usize) -> Result<Value, NoObject> {
    if depth > DEEPEST {
        return Err(NoObject);
    }
    let json = json.trim_ascii();
    match json.as_bytes().first() {
        Some(b'{') => object(json, depth),
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(json).map_err(|_| NoObject)?;
            items
                .into_iter()
                .map(|item| any(item.get(), depth + 1))
                .collect::<Result<Vec<_>, _>>()
                .map(Value::from)
        }
        Some(b'"') => Ok(Value::from(string(json)?)),
        Some(b't') => Ok(Value::from(true)),
        Some(b'f') => Ok(Value::from(false)),
        Some(b'n') => Ok(Value::from(())),
        _ => Ok(Value::from(json)),
    }
}

fn string(json: &str) -> Result<String, NoObject> {
    serde_json::from_str::<Text>(json).map(|text| text.0).map_err(|_| NoObject)
}

/// The members of the outermost object that are strings or numbers, as text.
pub(super) fn scalars(payload: &str) -> Result<BTreeMap<String, String>, NoObject> {
    let members: Members<'_> = serde_json::from_str(payload).map_err(|_| NoObject)?;
    let mut scalars = BTreeMap::new();
    for (key, member) in members {
        let json = member.get();
        let text = match json.as_bytes().first() {
            Some(b'"') => Cow::Owned(string(json)?),
            Some(b'-' | b'0'..=b'9') => Cow::Borrowed(json),
            _ => continue,
        };
        scalars.insert(key.0, text.into_owned());
    }
    Ok(scalars)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn digits_nulls_and_odd_strings() {
        let json = r#"{"a": 123456789012345678901234567890.10, "b": null, "c": [1.0, null, {"d": "é\ud800"}], "e\ud800": true}"#;
        let value = value(json).unwrap();
        assert_eq!(value.get_attr("a").unwrap().as_str(), Some("123456789012345678901234567890.10"));
        assert!(value.get_attr("b").unwrap().is_undefined());
        let list = value.get_attr("c").unwrap();
        assert_eq!(list.get_item_by_index(0).unwrap().as_str(), Some("1.0"));
        assert!(list.get_item_by_index(2).unwrap().get_attr("d").unwrap().as_str().unwrap().starts_with('é'));
        assert_eq!(value.len(), Some(3));
        assert_eq!(scalars(json).unwrap().into_keys().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for json in ["", "[]", "1", "{", "nul", "{\"a\":}"] {
            assert!(value(json).is_err() && scalars(json).is_err(), "{json}");
        }
        let nested = format!("{}1{}", "{\"a\":".repeat(64), "}".repeat(64));
        assert!(value(&nested).is_ok());
        assert!(value(&format!("{{\"a\":{nested}}}")).is_err());
    }
}
