//! Reads the fields of an object and notes everything that is wrong with them.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::FieldErrors;
use super::field_error::step;
use super::json::{Object, as_string};

/// The rule for a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text {
    /// The fewest characters.
    pub(crate) least: usize,
    /// The most characters (Unicode scalar values).
    pub(crate) most: usize,
    /// Whether control characters (C0, DEL, C1) are refused.
    pub(crate) plain: bool,
}

impl Text {
    /// What is wrong with a text, if anything.
    pub(crate) fn problem(self, text: &str) -> Option<String> {
        let length = text.chars().count();
        if length < self.least {
            Some("must not be empty".to_owned())
        } else if length > self.most {
            Some(format!("is {length} characters long; at most {} are allowed", self.most))
        } else if self.plain && text.chars().any(char::is_control) {
            Some("must not hold control characters".to_owned())
        } else {
            None
        }
    }
}

/// The fields of one object that are still to be read.
pub(crate) struct Reader<'a> {
    prefix: String,
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Reader<'a> {
    /// Opens an object; notes it where the value is none. The value was inspected before, so a key
    /// that cannot be read, or comes twice, is noted already.
    pub(crate) fn of(value: &'a RawValue, prefix: &str, errors: &mut FieldErrors) -> Option<Self> {
        if !value.get().starts_with('{') {
            errors.push(prefix, "must be an object");
            return None;
        }
        Some(Self { prefix: prefix.to_owned(), fields: Object::of(value)?.0 })
    }

    /// The pointer of a field.
    pub(crate) fn pointer(&self, key: &str) -> String {
        format!("{}{}", self.prefix, step(key))
    }

    /// Takes a field out.
    pub(crate) fn take(&mut self, key: &str) -> Option<&'a RawValue> {
        let at = self.fields.iter().position(|(name, _)| name == key)?;
        let (_, value) = self.fields.swap_remove(at);
        self.fields.retain(|(name, _)| name != key);
        Some(value)
    }

    /// Takes a field out, where `null` is the same as absent.
    pub(crate) fn take_some(&mut self, key: &str) -> Option<&'a RawValue> {
        self.take(key).filter(|value| value.get() != "null")
    }

    /// Takes a field out; notes it where it is missing.
    pub(crate) fn required(&mut self, key: &str, errors: &mut FieldErrors) -> Option<&'a RawValue> {
        let value = self.take(key);
        if value.is_none() {
            errors.push(self.pointer(key), "is required");
        }
        value
    }

    /// The string that a field's value is, if it keeps the rule.
    pub(crate) fn text(
        &self,
        key: &str,
        value: &RawValue,
        rule: Text,
        errors: &mut FieldErrors,
    ) -> Option<String> {
        let text = self.string(key, value, errors)?;
        match rule.problem(&text) {
            Some(problem) => {
                errors.push(self.pointer(key), problem);
                None
            }
            None => Some(text),
        }
    }

    /// The string that a field's value is. A place where something is wrong already (U+0000, half
    /// a surrogate pair) gets no second error.
    pub(crate) fn string(&self, key: &str, value: &RawValue, errors: &mut FieldErrors) -> Option<String> {
        if !value.get().starts_with('"') {
            errors.push(self.pointer(key), "must be a string");
            return None;
        }
        if !errors.is_empty() && errors.has(&self.pointer(key)) {
            return None;
        }
        as_string(value)
    }

    /// The fields that nobody took, with their pointers.
    pub(crate) fn rest(self) -> impl Iterator<Item = (String, Cow<'a, str>, &'a RawValue)> {
        let Self { prefix, fields } = self;
        fields.into_iter().map(move |(key, value)| (format!("{prefix}{}", step(&key)), key, value))
    }
}
