//! Query parameters: each is checked, an unknown one is an error, and all errors are told at once.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use actix_web::{HttpRequest, web};

use super::Problem;
use crate::domain::page::{Cursor, parse_limit};
use crate::domain::{FieldError, Instant};

/// The query parameters of a request.
pub(super) struct Query {
    values: HashMap<String, String>,
    errors: Vec<FieldError>,
}

impl Query {
    /// Reads the parameters; `known` are those that the call has.
    pub(super) fn of(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
            .map_err(|_| Problem::field("", "the query string cannot be read"))?;
        let mut query = Self { values: HashMap::new(), errors: Vec::new() };
        for (name, value) in pairs.into_inner() {
            let shown: String = name.chars().filter(|c| !c.is_control()).take(40).collect();
            let pointer = format!("/{}", shown.replace('~', "~0").replace('/', "~1"));
            if !known.contains(&name.as_str()) {
                let those = if known.is_empty() { "no parameters".to_owned() } else { known.join(", ") };
                let detail = format!("is no parameter of this call; it has {those}");
                query.errors.push(FieldError::new(pointer, detail));
            } else if value.contains('\0') {
                query.errors.push(FieldError::new(pointer, "contains the character U+0000"));
            } else if query.values.insert(name, value).is_some() {
                query.errors.push(FieldError::new(pointer, "is given more than once"));
            }
        }
        Ok(query)
    }

    /// A text.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.values.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// A value of a type that reads from text.
    pub(super) fn value<T: FromStr>(&mut self, name: &str, expected: &str) -> Option<T> {
        let text = self.text(name)?;
        let value = text.parse().ok();
        if value.is_none() {
            self.errors.push(FieldError::new(format!("/{name}"), format!("must be {expected}")));
        }
        value
    }

    /// One of the contract's words.
    pub(super) fn word<T: FromStr<Err = crate::domain::UnknownWord>>(&mut self, name: &str) -> Option<T> {
        match self.text(name)?.parse::<T>() {
            Ok(word) => Some(word),
            Err(error) => {
                self.errors
                    .push(FieldError::new(format!("/{name}"), format!("must be one of {}", error.allowed)));
                None
            }
        }
    }

    /// A moment, RFC 3339 with an offset.
    pub(super) fn moment(&mut self, name: &str) -> Option<Instant> {
        // A plus that was not escaped reads as a blank.
        let text = self.text(name)?.replace(' ', "+");
        let at = Instant::parse(&text).ok();
        if at.is_none() {
            let detail = "must be a time with an offset, such as 2026-11-24T09:15:00Z (RFC 3339)";
            self.errors.push(FieldError::new(format!("/{name}"), detail));
        }
        at
    }

    /// A duration such as `500ms` or `5s`, at most `most`.
    pub(super) fn duration(&mut self, name: &str, most: Duration) -> Option<Duration> {
        let text = self.text(name)?;
        let unit = |unit: &str| text.strip_suffix(unit).and_then(|number| number.parse::<u64>().ok());
        let duration = unit("ms").map(Duration::from_millis).or_else(|| unit("s").map(Duration::from_secs));
        let duration = duration.filter(|duration| *duration <= most);
        if duration.is_none() {
            let detail = format!("must be a duration such as 500ms or 5s, at most {}s", most.as_secs());
            self.errors.push(FieldError::new(format!("/{name}"), detail));
        }
        duration
    }

    /// The size of the page, as `limit=` says.
    pub(super) fn limit(&mut self) -> usize {
        let text = self.text("limit");
        parse_limit(text.as_deref()).unwrap_or_else(|error| {
            self.errors.push(error);
            0
        })
    }

    /// Where the page begins, as `cursor=` says, in the list of this name.
    /// `read` takes the kind of cursor that the list gives; any other is one that it did not give.
    pub(super) fn cursor<T>(&mut self, list: &str, read: impl FnOnce(Cursor) -> Option<T>) -> Option<T> {
        let text = self.text("cursor")?;
        match Cursor::decode(list, &text).and_then(|cursor| read(cursor).ok_or_else(Cursor::not_given)) {
            Ok(place) => Some(place),
            Err(error) => {
                self.errors.push(error);
                None
            }
        }
    }

    /// The errors that were found, if any.
    pub(super) fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(self.errors)) }
    }
}
