//! Channels.

use super::words;

words! {
    /// What a delivery goes out by. The tables keep the word, so that adding one changes no table.
    Channel("channel") {
        /// A push message to each of the recipient's devices.
        Push = "push",
        /// An e-mail.
        Email = "email",
        /// A text message.
        Sms = "sms",
    }
}
