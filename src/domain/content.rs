//! A rendered message, and where it goes.

use serde::Serialize;

use super::{Channel, words};

words! {
    /// What a device runs.
    Platform("platform") {
        /// Android.
        Android = "android",
        /// iOS.
        Ios = "ios",
        /// A browser.
        Web = "web",
    }
}

/// A rendered message. It is personal data: never logged.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Content {
    /// A push message.
    Push {
        /// The title.
        title: String,
        /// The text.
        body: String,
    },
    /// An e-mail.
    Email {
        /// One line.
        subject: String,
        /// The plain text.
        text: String,
        /// The same as HTML.
        html: String,
    },
    /// A text message.
    Sms {
        /// The text.
        text: String,
        /// How many segments it takes (3GPP TS 23.040 §9.2.3.24.1).
        segments: u16,
    },
}

impl Content {
    /// The channel that it is for.
    pub const fn channel(&self) -> Channel {
        match self {
            Self::Push { .. } => Channel::Push,
            Self::Email { .. } => Channel::Email,
            Self::Sms { .. } => Channel::Sms,
        }
    }
}

/// Where one attempt goes. It is personal data: never logged.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// One device.
    Device {
        /// FCM's registration token.
        token: String,
        /// What it runs.
        platform: Platform,
    },
    /// A mailbox.
    Mailbox {
        /// The address (RFC 5321).
        address: String,
        /// The recipient's name, without control characters.
        name: Option<String>,
    },
    /// A phone.
    Phone {
        /// E.164, with the plus.
        number: String,
    },
}
