//! The parts that a message is made of.

use crate::domain::Channel;

/// One of the files that a template may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    EmailSubject,
    EmailText,
    EmailHtml,
    PushTitle,
    PushBody,
    SmsText,
}

impl Part {
    pub(super) const ALL: [Self; 6] = [
        Self::EmailSubject,
        Self::EmailText,
        Self::EmailHtml,
        Self::PushTitle,
        Self::PushBody,
        Self::SmsText,
    ];

    /// The file's name.
    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::EmailSubject => "email.subject",
            Self::EmailText => "email.txt",
            Self::EmailHtml => "email.html",
            Self::PushTitle => "push.title",
            Self::PushBody => "push.body",
            Self::SmsText => "sms.txt",
        }
    }

    /// The part of a file's name.
    pub(super) fn of_file(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.file() == name)
    }

    /// The channel that it is for.
    pub(super) const fn channel(self) -> Channel {
        match self {
            Self::EmailSubject | Self::EmailText | Self::EmailHtml => Channel::Email,
            Self::PushTitle | Self::PushBody => Channel::Push,
            Self::SmsText => Channel::Sms,
        }
    }
}
