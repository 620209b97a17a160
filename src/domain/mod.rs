//! The words of Herald's contract as types, and the parsing and validation of outside input.
//!
//! Nothing here does IO, reads a clock or draws a random number: they are given.

mod channel;
mod content;
mod dead_letter;
pub mod duration;
pub mod event;
mod external_send;
mod field_error;
mod ids;
mod instant;
pub mod json;
mod lane;
pub mod page;
mod phone;
pub mod preferences;
mod reader;
pub mod recipient;
mod replay;
mod scope;
pub mod secret;
mod state;

pub use channel::Channel;
pub use content::{Content, Destination, Platform};
pub use dead_letter::{DeadLetterKind, DeadLetterSelection, parse_dead_letter_selection};
pub use duration::{format_duration, parse_duration};
pub use event::NewEvent;
pub use external_send::{ExternalSend, MOST_SENDS, SendMatch, parse_external_sends};
pub use field_error::{FieldError, FieldErrors, MOST_ERRORS};
pub use ids::{DeliveryId, NotificationId};
pub use instant::Instant;
pub use json::{Document, JsonProblem};
pub use lane::Lane;
pub use page::Cursor;
pub use preferences::{Limit, OptOut, Preferences, QuietWindow};
pub use recipient::{Device, Recipient};
pub use replay::{ReplayFilter, ReplayRequest, ReplayState, parse_replay};
pub use scope::{Scope, Scopes};
pub use secret::{Token, TokenHash};
pub use state::{AttemptOutcome, Counts, DeliveryState, EventOutcome, NotificationStatus};

/// A text that is not one of the contract's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}: one of {allowed}")]
pub struct UnknownWord {
    /// What was expected, such as `channel`.
    pub what: &'static str,
    /// What was found.
    pub text: String,
    /// The words that exist.
    pub allowed: &'static str,
}

/// Gives an enum of plain words its text form: `as_str`, `FromStr`, `Display` and serde.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident ($what:literal) { $($(#[$variant_meta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* $variant),+
        }

        impl $name {
            /// All of them, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The contract's word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::domain::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::domain::UnknownWord {
                        what: $what,
                        text: text.chars().take(40).collect(),
                        allowed: concat!($($text, " "),+).trim_ascii_end(),
                    }),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use words;
