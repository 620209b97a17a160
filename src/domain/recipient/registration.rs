//! Recipients that an event introduces.

use super::Recipient;
use super::contact::Field;
use crate::domain::{NewEvent, json};

/// A recipient as `user.registered` introduces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The recipient, with every contact that is valid.
    pub recipient: Recipient,
    /// The fields of the payload that were left out, since they break the rules.
    pub left_out: Vec<&'static str>,
}

/// The recipient that a `user.registered` introduces: from its payload's `userId` (else the
/// aggregate's id, where that is a user), `name`, `email`, `phone`, `locale` and `timeZone`. A field
/// that is not valid is left out: the customer exists all the same. `None` for events of other
/// types, and where no positive id is told.
pub fn recipient_of_registration(event: &NewEvent) -> Option<Registration> {
    if event.kind != "user.registered" {
        return None;
    }
    let positive = |id: &i64| *id > 0;
    let aggregate = || {
        let id = Some(&event.aggregate_id).filter(|_| event.aggregate_type == "user")?;
        id.parse().ok().filter(|_| id.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let id = event.payload.integer("/userId").filter(positive).or_else(|| aggregate().filter(positive))?;
    let mut recipient = Recipient::new(id);
    let mut left_out = Vec::new();
    for field in Field::ALL {
        let key = match field {
            Field::TimeZone => "timeZone",
            field => field.name(),
        };
        let value = event.payload.get(&format!("/{key}")).filter(|value| value.get() != "null");
        let Some(value) = value else { continue };
        let set = json::as_string(value).map(|text| field.set(&mut recipient, text));
        if !matches!(set, Some(Ok(()))) {
            left_out.push(key);
        }
    }
    Some(Registration { recipient, left_out })
}
