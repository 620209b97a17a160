//! Recipients as JSON.

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::contact::{Field, MOST_DEVICES, token_problem};
use super::{Device, Recipient};
use crate::domain::json::{MOST_LEVELS, as_integer, inspect, syntax};
use crate::domain::reader::Reader;
use crate::domain::{FieldError, FieldErrors, Platform};

/// Reads a recipient of this id; a field that is `null` is absent. The body may repeat the id.
///
/// # Errors
///
/// Everything that is wrong, unknown fields included.
pub fn parse_recipient(id: i64, body: &[u8]) -> Result<Recipient, Vec<FieldError>> {
    read(Some(id), body)
}

/// Reads a recipient with its id, as a line of an import.
///
/// # Errors
///
/// Everything that is wrong, unknown fields included.
pub fn parse_recipient_line(line: &[u8]) -> Result<Recipient, Vec<FieldError>> {
    read(None, line)
}

/// The id, if it is one that a user of the bank can have.
pub(super) fn positive(id: Option<i64>, errors: &mut FieldErrors) -> Option<i64> {
    let id = id.filter(|id| *id > 0);
    if id.is_none() {
        errors.push("/id", "must be a positive integer of at most 64 bits, in plain digits");
    }
    id
}

fn read(known: Option<i64>, body: &[u8]) -> Result<Recipient, Vec<FieldError>> {
    let mut errors = FieldErrors::default();
    let raw = match std::str::from_utf8(body) {
        Ok(text) => syntax(text).map_err(FieldError::from),
        Err(error) => Err(FieldError::new("", format!("is not UTF-8 at byte {}", error.valid_up_to()))),
    };
    let raw = raw.map_err(|error| vec![error])?;
    inspect(raw.get(), "", MOST_LEVELS, &mut errors);
    let Some(mut reader) = Reader::of(raw, "", &mut errors) else { return Err(errors.into()) };
    let told = reader.take_some("id");
    let id = match (known, told) {
        (Some(id), Some(told)) if as_integer(told) != Some(id) => {
            errors.push("/id", "is another id than the one that was asked for");
            None
        }
        (Some(id), _) => positive(Some(id), &mut errors),
        (None, Some(told)) => positive(as_integer(told), &mut errors),
        (None, None) => {
            errors.push("/id", "is required");
            None
        }
    };
    let mut recipient = Recipient::new(id.unwrap_or_default());
    for field in Field::ALL {
        let Some(value) = reader.take_some(field.name()) else { continue };
        if let Some(text) = reader.string(field.name(), value, &mut errors)
            && let Err(problem) = field.set(&mut recipient, text)
        {
            errors.push(reader.pointer(field.name()), problem);
        }
    }
    if let Some(value) = reader.take_some("devices") {
        recipient.devices = devices(value, &mut errors);
    }
    for (pointer, _, _) in reader.rest() {
        let detail =
            "is no field of a recipient; these are: id, name, email, phone, locale, time_zone, devices";
        errors.push(pointer, detail);
    }
    errors.result(Some(recipient))
}

/// The devices that a text is, on its own.
pub(super) fn devices_of(text: &str, errors: &mut FieldErrors) -> Vec<Device> {
    match syntax(text).map_err(FieldError::from) {
        Ok(value) => {
            inspect(value.get(), "/devices", MOST_LEVELS, errors);
            devices(value, errors)
        }
        Err(error) => {
            errors.push("/devices", error.detail);
            Vec::new()
        }
    }
}

fn devices(value: &RawValue, errors: &mut FieldErrors) -> Vec<Device> {
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(value.get()) else {
        errors.push("/devices", "must be an array");
        return Vec::new();
    };
    if items.len() > MOST_DEVICES {
        errors.push("/devices", format!("holds {} devices; at most {MOST_DEVICES} are allowed", items.len()));
        return Vec::new();
    }
    let mut tokens = HashSet::new();
    let mut devices = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let Some(device) = device(item, &format!("/devices/{at}"), errors) else { continue };
        if tokens.insert(device.token.clone()) {
            devices.push(device);
        } else {
            errors.push(format!("/devices/{at}/token"), "is the token of an earlier device");
        }
    }
    devices
}

fn device(value: &RawValue, prefix: &str, errors: &mut FieldErrors) -> Option<Device> {
    let mut reader = Reader::of(value, prefix, errors)?;
    let token = reader.required("token", errors).and_then(|value| reader.string("token", value, errors));
    let token = token.and_then(|token| match token_problem(&token) {
        Some(problem) => {
            errors.push(reader.pointer("token"), problem);
            None
        }
        None => Some(token),
    });
    let platform = reader.required("platform", errors);
    let platform = platform.and_then(|value| reader.string("platform", value, errors)).and_then(|word| {
        let platform: Result<Platform, _> = word.parse();
        let wrong = |error: crate::domain::UnknownWord| {
            errors.push(reader.pointer("platform"), format!("must be one of {}", error.allowed));
        };
        platform.map_err(wrong).ok()
    });
    for (pointer, _, _) in reader.rest() {
        errors.push(pointer, "is no field of a device; these are: token, platform");
    }
    Some(Device { token: token?, platform: platform? })
}
