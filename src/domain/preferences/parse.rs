//! Preferences as JSON from outside.

use serde_json::value::RawValue;

use super::{Limit, OptOut, Preferences, QuietWindow, never_ends, parse_day, parse_time};
use crate::domain::duration::parse_duration;
use crate::domain::event::kind_problem;
use crate::domain::json::{MOST_LEVELS, Object, as_integer, inspect, syntax};
use crate::domain::reader::Reader;
use crate::domain::{Channel, FieldError, FieldErrors};

/// Reads preferences that replace all earlier ones; a field that is absent or `null` is empty.
/// `is_mandatory` says which types cannot be opted out of, `bank` are the bank's own quiet hours.
///
/// # Errors
///
/// Everything that is wrong, unknown fields included.
pub fn parse_preferences(
    body: &[u8],
    is_mandatory: impl Fn(&str) -> bool,
    bank: &[QuietWindow],
) -> Result<Preferences, Vec<FieldError>> {
    let text = std::str::from_utf8(body).map_err(|error| {
        vec![FieldError::new("", format!("is not UTF-8 at byte {}", error.valid_up_to()))]
    })?;
    let raw = syntax(text).map_err(|problem| vec![problem.into()])?;
    let mut errors = FieldErrors::default();
    inspect(raw.get(), "", MOST_LEVELS, &mut errors);
    let Some(mut reader) = Reader::of(raw, "", &mut errors) else { return Err(errors.into()) };
    let opt_outs =
        list(&mut reader, "opt_outs", Preferences::MOST_OPT_OUTS, &mut errors, |value, at, errors| {
            opt_out(value, at, &is_mandatory, errors)
        });
    let quiet_hours =
        list(&mut reader, "quiet_hours", Preferences::MOST_QUIET_HOURS, &mut errors, quiet_window);
    let limits = list(&mut reader, "limits", Preferences::MOST_LIMITS, &mut errors, limit);
    for (pointer, _, _) in reader.rest() {
        errors.push(pointer, "is no field of preferences; these are: opt_outs, quiet_hours, limits");
    }
    if errors.is_empty() && !quiet_hours.is_empty() && never_ends(quiet_hours.iter().chain(bank)) {
        errors.push(
            "/quiet_hours",
            "together with the bank's own they leave no minute of the week: they would never end",
        );
    }
    errors.result(Some(Preferences { opt_outs, quiet_hours, limits }))
}

/// Applies a merge patch (RFC 7396) to preferences. Their fields are arrays, which a merge patch
/// replaces as a whole; `null` empties one.
///
/// # Errors
///
/// Everything that is wrong with the result, unknown fields included.
pub fn patch_preferences(
    current: &Preferences,
    patch: &[u8],
    is_mandatory: impl Fn(&str) -> bool,
    bank: &[QuietWindow],
) -> Result<Preferences, Vec<FieldError>> {
    let told = parse_preferences(patch, is_mandatory, bank)?;
    let has = |key: &str| {
        let object = std::str::from_utf8(patch).ok().and_then(|text| syntax(text).ok()).and_then(Object::of);
        object.is_some_and(|object| object.0.iter().any(|(name, _)| name == key))
    };
    let patched = Preferences {
        opt_outs: if has("opt_outs") { told.opt_outs } else { current.opt_outs.clone() },
        quiet_hours: if has("quiet_hours") { told.quiet_hours } else { current.quiet_hours.clone() },
        limits: if has("limits") { told.limits } else { current.limits.clone() },
    };
    Ok(patched)
}

/// The items of an array, each read by `item`.
fn list<T>(
    reader: &mut Reader<'_>,
    key: &str,
    most: usize,
    errors: &mut FieldErrors,
    item: impl Fn(&RawValue, &str, &mut FieldErrors) -> Option<T>,
) -> Vec<T> {
    let Some(value) = reader.take_some(key) else { return Vec::new() };
    let pointer = reader.pointer(key);
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(value.get()) else {
        errors.push(pointer, "must be an array");
        return Vec::new();
    };
    if items.len() > most {
        errors.push(pointer, format!("holds {} items; at most {most} are allowed", items.len()));
        return Vec::new();
    }
    let read = |(at, value): (usize, &&RawValue)| item(value, &format!("{pointer}/{at}"), errors);
    items.iter().enumerate().filter_map(read).collect()
}

fn unknown_fields(reader: Reader<'_>, fields: &str, errors: &mut FieldErrors) {
    for (pointer, _, _) in reader.rest() {
        errors.push(pointer, format!("is not known here; the fields are: {fields}"));
    }
}

fn channel(reader: &mut Reader<'_>, errors: &mut FieldErrors) -> Result<Option<Channel>, ()> {
    let Some(value) = reader.take_some("channel") else { return Ok(None) };
    let word = reader.string("channel", value, errors).ok_or(())?;
    word.parse().map(Some).map_err(|error: crate::domain::UnknownWord| {
        errors.push(reader.pointer("channel"), format!("must be one of {}", error.allowed));
    })
}

fn opt_out(
    value: &RawValue,
    at: &str,
    is_mandatory: &impl Fn(&str) -> bool,
    errors: &mut FieldErrors,
) -> Option<OptOut> {
    let mut reader = Reader::of(value, at, errors)?;
    let channel = channel(&mut reader, errors);
    let kind = match reader.take_some("type") {
        None => Ok(None),
        Some(value) => reader.string("type", value, errors).ok_or(()).and_then(|kind| {
            if let Some(problem) = kind_problem(&kind) {
                errors.push(reader.pointer("type"), problem);
                return Err(());
            }
            if is_mandatory(&kind) {
                errors.push(reader.pointer("type"), "is mandatory: nobody can opt out of it");
                return Err(());
            }
            Ok(Some(kind))
        }),
    };
    unknown_fields(reader, "channel, type", errors);
    let opt_out = OptOut { channel: channel.ok()?, kind: kind.ok()? };
    if opt_out.channel.is_none() && opt_out.kind.is_none() {
        errors.push(at, "names neither a channel nor a type; name at least one");
        return None;
    }
    Some(opt_out)
}

fn quiet_window(value: &RawValue, at: &str, errors: &mut FieldErrors) -> Option<QuietWindow> {
    let mut reader = Reader::of(value, at, errors)?;
    let days = reader.take_some("days").map(|value| days(value, &reader.pointer("days"), errors));
    let from = time(&mut reader, "from", errors);
    let to = time(&mut reader, "to", errors);
    let to_pointer = reader.pointer("to");
    unknown_fields(reader, "days, from, to", errors);
    let window = QuietWindow { days: days.unwrap_or(Some(Vec::new()))?, from: from?, to: to? };
    if window.from == window.to {
        errors.push(to_pointer, "is the same as `from`: the window would never end");
        return None;
    }
    Some(window)
}

fn days(value: &RawValue, pointer: &str, errors: &mut FieldErrors) -> Option<Vec<chrono::Weekday>> {
    let Ok(names) = serde_json::from_str::<Vec<String>>(value.get()) else {
        errors.push(pointer, "must be an array of days such as \"mon\"");
        return None;
    };
    let mut days = Vec::new();
    for (at, name) in names.iter().enumerate() {
        match parse_day(name) {
            Some(day) if !days.contains(&day) => days.push(day),
            Some(_) => errors.push(format!("{pointer}/{at}"), "comes twice"),
            None => errors.push(format!("{pointer}/{at}"), "must be one of mon tue wed thu fri sat sun"),
        }
    }
    if names.is_empty() {
        errors.push(pointer, "is empty; leave it out for every day");
    }
    (days.len() == names.len() && !days.is_empty()).then_some(days)
}

fn time(reader: &mut Reader<'_>, key: &str, errors: &mut FieldErrors) -> Option<chrono::NaiveTime> {
    let value = reader.required(key, errors)?;
    let text = reader.string(key, value, errors)?;
    let time = parse_time(&text);
    if time.is_none() {
        errors.push(reader.pointer(key), "must be a time of day such as \"22:00\"");
    }
    time
}

fn limit(value: &RawValue, at: &str, errors: &mut FieldErrors) -> Option<Limit> {
    let mut reader = Reader::of(value, at, errors)?;
    let channel = channel(&mut reader, errors);
    let limit = reader.required("limit", errors).and_then(|value| {
        let limit = as_integer(value).and_then(|number| u32::try_from(number).ok());
        let limit = limit.filter(|limit| (1..=10_000).contains(limit));
        if limit.is_none() {
            errors.push(reader.pointer("limit"), "must be an integer from 1 to 10000");
        }
        limit
    });
    let window = reader.required("window", errors).and_then(|value| {
        let text = reader.string("window", value, errors)?;
        match parse_duration(&text) {
            Ok(window) if !window.is_zero() && window <= Preferences::LONGEST_WINDOW => Some(window),
            Ok(_) => {
                errors.push(reader.pointer("window"), "must be more than 0s and at most 31d");
                None
            }
            Err(expected) => {
                errors.push(reader.pointer("window"), expected);
                None
            }
        }
    });
    unknown_fields(reader, "channel, limit, window", errors);
    Some(Limit { channel: channel.ok()?, limit: limit?, window: window? })
}
