//! The templates that are compiled in.

use super::part::Part;

/// The name of the message for types that have none of their own.
pub(super) const GENERIC: &str = "generic";

/// Several messages told as one.
pub(super) const DIGEST: &str = "digest";

/// The languages that there are.
pub(super) const LANGUAGES: &[&str] = &["en", "fr"];

/// One built-in template in one language.
pub(super) struct BuiltIn {
    pub(super) name: &'static str,
    pub(super) language: &'static str,
    /// In the order of [`Part::ALL`].
    sources: [&'static str; 6],
}

impl BuiltIn {
    /// Its parts and their sources.
    pub(super) fn parts(&self) -> impl Iterator<Item = (Part, &'static str)> {
        Part::ALL.into_iter().zip(self.sources)
    }
}

macro_rules! in_language {
    ($name:literal, $language:literal) => {
        BuiltIn {
            name: $name,
            language: $language,
            sources: [
                include_str!(concat!("builtin/", $name, "/", $language, "/email.subject")),
                include_str!(concat!("builtin/", $name, "/", $language, "/email.txt")),
                include_str!(concat!("builtin/", $name, "/", $language, "/email.html")),
                include_str!(concat!("builtin/", $name, "/", $language, "/push.title")),
                include_str!(concat!("builtin/", $name, "/", $language, "/push.body")),
                include_str!(concat!("builtin/", $name, "/", $language, "/sms.txt")),
            ],
        }
    };
}

macro_rules! built_in {
    ($($name:literal),+ $(,)?) => {
        /// The names of the built-in templates: the event types that a customer is told of, one for all
        /// others, and one for several messages in one.
        pub(super) const NAMES: &[&str] = &[$($name),+];

        /// All of them.
        pub(super) static TEMPLATES: &[BuiltIn] = &[
            $(in_language!($name, "en"), in_language!($name, "fr")),+
        ];
    };
}

built_in!(
    "account.balance.low",
    "account.created",
    "account.frozen",
    "account.unfrozen",
    "alert.triggered",
    "checkbook.approved",
    "checkbook.collected",
    "checkbook.ready",
    "checkbook.rejected",
    "checkbook.requested",
    "digest",
    "generic",
    "transaction.completed",
    "transaction.created",
    "transaction.failed",
    "user.login",
    "user.login.failed",
    "user.registered",
);

/// What the others extend or import, by the name that they use. `layout.html` may be extended by a
/// bank's own `email.html` too.
pub(super) const SHARED: &[(&str, &str)] = &[
    (LAYOUT, include_str!("builtin/layout.html")),
    ("en/layout.html", include_str!("builtin/en/layout.html")),
    ("en/layout.txt", include_str!("builtin/en/layout.txt")),
    ("en/labels.txt", include_str!("builtin/en/labels.txt")),
    ("fr/layout.html", include_str!("builtin/fr/layout.html")),
    ("fr/layout.txt", include_str!("builtin/fr/layout.txt")),
    ("fr/labels.txt", include_str!("builtin/fr/labels.txt")),
];

/// The frame of every mail.
pub(super) const LAYOUT: &str = "layout.html";
