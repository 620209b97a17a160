//! Recipients: users of the bank, and how to reach them.

mod contact;
mod csv;
mod parse;
mod registration;

use std::fmt;

use serde::Serialize;

use super::Platform;
pub use csv::{CsvRecipients, parse_recipients_csv};
pub use parse::{parse_recipient, parse_recipient_line};
pub use registration::{Registration, recipient_of_registration};

/// A user of the bank, with the contacts that Herald knows. Every field is checked.
///
/// It is personal data: `Debug` shows the id and which contacts there are, not the contacts.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Recipient {
    /// The bank's id, positive.
    pub id: i64,
    /// At most 200 characters, no control characters.
    pub name: Option<String>,
    /// A mailbox (RFC 5321), at most 254 characters.
    pub email: Option<String>,
    /// E.164, with the plus.
    pub phone: Option<String>,
    /// `language[-Script][-REGION]` (BCP 47) in its usual letter case.
    pub locale: Option<String>,
    /// A name of the IANA time zone database.
    pub time_zone: Option<String>,
    /// Where push messages go.
    pub devices: Vec<Device>,
}

impl Recipient {
    /// A recipient of whom nothing is known but the id.
    pub const fn new(id: i64) -> Self {
        Self { id, name: None, email: None, phone: None, locale: None, time_zone: None, devices: Vec::new() }
    }
}

/// One device. It is personal data: `Debug` does not show the token.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// FCM's registration token: 1–4096 visible ASCII characters.
    pub token: String,
    /// What it runs.
    pub platform: Platform,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.platform)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipient")
            .field("id", &self.id)
            .field("email", &self.email.is_some())
            .field("phone", &self.phone.is_some())
            .field("devices", &self.devices)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
