//! The rules for each field of a recipient.

use std::net::IpAddr;

use super::Recipient;
use crate::domain::phone;
use crate::domain::reader::Text;

/// The most devices of one recipient.
pub(super) const MOST_DEVICES: usize = 50;
/// The most characters of a device's token.
const LONGEST_TOKEN: usize = 4_096;

const NAME: Text = Text { least: 1, most: 200, plain: true };
/// RFC 5321 §4.5.3.1.3 allows a path of 256 octets, two of which are its brackets.
const LONGEST_EMAIL: usize = 254;

/// A field that is one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Name,
    Email,
    Phone,
    Locale,
    TimeZone,
}

impl Field {
    pub(super) const ALL: [Self; 5] = [Self::Name, Self::Email, Self::Phone, Self::Locale, Self::TimeZone];

    /// The field's name in Herald's own API.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Locale => "locale",
            Self::TimeZone => "time_zone",
        }
    }

    /// Puts a text into the field, in its usual spelling.
    ///
    /// # Errors
    ///
    /// The rule that the text breaks.
    pub(super) fn set(self, recipient: &mut Recipient, text: String) -> Result<(), String> {
        let (field, value) = match self {
            Self::Name => (&mut recipient.name, NAME.problem(&text).map_or(Ok(text), Err)),
            Self::Email => (&mut recipient.email, email(text)),
            Self::Phone => {
                (&mut recipient.phone, phone::problem(&text).map_or(Ok(text), |rule| Err(rule.to_owned())))
            }
            Self::Locale => (&mut recipient.locale, locale(&text)),
            Self::TimeZone => (&mut recipient.time_zone, time_zone(text)),
        };
        *field = Some(value?);
        Ok(())
    }
}

/// A mailbox without a display name, as lettre takes it, and not at an address literal.
fn email(text: String) -> Result<String, String> {
    if text.len() > LONGEST_EMAIL {
        return Err(format!("is {} bytes long; at most {LONGEST_EMAIL} are allowed", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err("must not hold control characters".to_owned());
    }
    match text.parse::<lettre::Address>() {
        Ok(address) if address.domain().starts_with('[') || address.domain().parse::<IpAddr>().is_ok() => {
            Err("must be at a domain's name, not at an IP address".to_owned())
        }
        Ok(_) => Ok(text),
        Err(_) => Err("must be an e-mail address alone, such as `name@example.com`".to_owned()),
    }
}

/// `language[-Script][-REGION]` (RFC 5646 §2.1), in the letter case that it recommends (§2.1.1).
fn locale(text: &str) -> Result<String, String> {
    let letters = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphabetic());
    let parts = || {
        let mut parts = text.split('-').peekable();
        let language = parts.next().filter(|part| matches!(part.len(), 2..=3) && letters(part))?;
        let mut tag = language.to_ascii_lowercase();
        if let Some(script) = parts.next_if(|part| part.len() == 4 && letters(part)) {
            let (first, rest) = script.split_at_checked(1)?;
            tag.extend(["-", &first.to_ascii_uppercase(), &rest.to_ascii_lowercase()]);
        }
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let region = |part: &&str| match part.len() {
            2 => letters(part),
            3 => digits(part),
            _ => false,
        };
        if let Some(region) = parts.next_if(region) {
            tag.extend(["-", &region.to_ascii_uppercase()]);
        }
        parts.next().is_none().then_some(tag)
    };
    parts()
        .ok_or_else(|| "must be a language, perhaps a script, perhaps a region, such as `en-GB`".to_owned())
}

fn time_zone(text: String) -> Result<String, String> {
    match text.parse::<chrono_tz::Tz>() {
        Ok(_) => Ok(text),
        Err(_) => Err("must be a name of the IANA time zone database, such as `Africa/Blantyre`".to_owned()),
    }
}

/// What is wrong with a device's token, if anything.
pub(super) fn token_problem(token: &str) -> Option<String> {
    if !(1..=LONGEST_TOKEN).contains(&token.len()) {
        return Some(format!("is {} bytes long; 1 to {LONGEST_TOKEN} are allowed", token.len()));
    }
    let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
    (!visible).then(|| "must be visible ASCII characters without blanks".to_owned())
}
