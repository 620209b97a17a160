//! What a refusal, a silence or a broken connection means in each phase.

use std::{error::Error, fmt, time::Duration};

use lettre::transport::smtp;

use crate::{
    domain::AttemptOutcome::{Permanent, Transient, Unknown},
    policy::Sign,
    providers::Report,
};

/// A full mailbox does not empty itself in minutes.
const MAILBOX_FULL_WAIT: Duration = Duration::from_secs(60 * 60);

/// Greylisting servers want to be asked again after minutes (RFC 6647 §4.1).
const GREYLIST_WAIT: Duration = Duration::from_secs(5 * 60);

/// How far the dialogue had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The greeting, EHLO and STARTTLS.
    Greeting,
    /// AUTH.
    Auth,
    /// RSET, before the next mail.
    Reset,
    /// MAIL FROM.
    Sender,
    /// RCPT TO.
    Recipient,
    /// DATA, up to the invitation to send.
    Data,
    /// The message itself and the final dot: from here on it may have been taken.
    Message,
}

impl Phase {
    const fn words(self) -> &'static str {
        match self {
            Self::Greeting => "at the greeting",
            Self::Auth => "at the log-in",
            Self::Reset => "between two mails",
            Self::Sender => "at the sender",
            Self::Recipient => "at the recipient",
            Self::Data => "before the message",
            Self::Message => "after the message",
        }
    }
}

/// An enhanced status code (RFC 3463).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Enhanced(u8, u16, u16);

impl Enhanced {
    /// The code at the start of a reply's text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split_whitespace().next()?.split('.');
        let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
        let in_range = [class, subject, detail].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()));
        let class = class.parse().ok().filter(|class| matches!(class, 2 | 4 | 5))?;
        (in_range && parts.next().is_none()).then_some(Self(
            class,
            subject.parse().ok()?,
            detail.parse().ok()?,
        ))
    }
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Why an attempt did not end in acceptance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is no connection, or no encrypted one.
    Connect {
        /// What failed.
        problem: String,
        /// Waiting does not mend it.
        misconfigured: bool,
    },
    /// The server lacks what this mail needs; it was not asked.
    Unable(&'static str),
    /// The server said no.
    Refused {
        /// To what.
        phase: Phase,
        /// The reply's code.
        code: u16,
        /// The enhanced one, where the reply has it.
        enhanced: Option<Enhanced>,
    },
    /// The connection broke, or the answer was no SMTP.
    Broken(Phase),
    /// The phase's deadline passed.
    TimedOut(Phase),
}

impl Fault {
    /// What lettre's error means in this phase.
    pub(super) fn of(phase: Phase, error: &smtp::Error) -> Self {
        match error.status() {
            Some(code) => {
                let enhanced = error.source().and_then(|reply| Enhanced::parse(&reply.to_string()));
                Self::Refused { phase, code: code.into(), enhanced }
            }
            None => Self::Broken(phase),
        }
    }

    /// The server had closed the connection, and nothing of the message was sent.
    pub(super) fn is_closed_before_message(&self) -> bool {
        match self {
            Self::Broken(phase) | Self::Refused { phase, code: 421, .. } => *phase != Phase::Message,
            _ => false,
        }
    }

    /// The dialogue is at a point from which RSET begins anew.
    pub(super) fn leaves_usable(&self) -> bool {
        match self {
            Self::Unable(_) => true,
            Self::Refused { phase, code, .. } => {
                *code != 421
                    && matches!(phase, Phase::Sender | Phase::Recipient | Phase::Data | Phase::Message)
            }
            _ => false,
        }
    }

    /// The attempt's report. It quotes nothing of a reply: replies repeat addresses.
    pub(super) fn report(self) -> Report {
        match self {
            Self::Connect { problem, misconfigured } => {
                Report::failed(Transient, "connect", problem).and_misconfigured(misconfigured)
            }
            Self::Unable(problem) => {
                Report::failed(Permanent, "unsupported", problem).and_sign(Sign::Nothing)
            }
            Self::Refused { phase, code, enhanced } => {
                let report = refused(phase, code, enhanced);
                if is_about_one_mailbox(phase, code, enhanced) {
                    report.and_sign(Sign::Nothing)
                } else {
                    report
                }
            }
            Self::Broken(phase) => lost(phase, "closed", "the server broke the connection"),
            Self::TimedOut(phase) => lost(phase, "timeout", "the server did not answer within the deadline"),
        }
    }
}

/// Within the message only a reply is certain (RFC 5321 §4.5.3.2.6, RFC 1047); before it nothing was sent.
fn lost(phase: Phase, code: &str, problem: &str) -> Report {
    let outcome = if phase == Phase::Message { Unknown } else { Transient };
    Report::failed(outcome, code, format!("{problem} {}", phase.words()))
}

/// Whether a temporary refusal is about this recipient, so that the next one may well be served: a busy or
/// full mailbox, greylisting, a route of its domain. `x.3.x` is the state of the server itself (RFC 3463
/// §3.4), and so is what comes before the recipient was named.
fn is_about_one_mailbox(phase: Phase, code: u16, enhanced: Option<Enhanced>) -> bool {
    let subject = enhanced.map_or(0, |enhanced| enhanced.1);
    let named = matches!(phase, Phase::Recipient | Phase::Data | Phase::Message);
    match code {
        421 | 454 => false,
        400..500 => subject == 2 || (named && subject != 3),
        // The one that is temporary although its code is not: the full mailbox.
        _ => enhanced.is_some_and(|enhanced| (enhanced.1, enhanced.2) == (2, 2)),
    }
}

/// RFC 3463 (enhanced codes), RFC 4954 §6 (AUTH), RFC 5321 §4.2.2, RFC 7505.
fn refused(phase: Phase, code: u16, enhanced: Option<Enhanced>) -> Report {
    let shown = match enhanced {
        Some(enhanced) => format!("{code} {enhanced}"),
        None => code.to_string(),
    };
    let (subject, detail) = enhanced.map_or((0, 0), |enhanced| (enhanced.1, enhanced.2));
    let transient = |error: &str| Report::failed(Transient, &*shown, error);
    let permanent = |error: &str| Report::failed(Permanent, &*shown, error);
    match (code, phase, subject, detail) {
        (421, ..) => transient("the server is closing the connection"),
        (530 | 534 | 535 | 538, ..) | (500.., Phase::Auth, ..) => {
            transient("the server refuses the log-in: check user and password in email.smtp.url")
                .and_misconfigured(true)
        }
        (500.., Phase::Greeting | Phase::Reset, ..) => {
            transient("the server does not take mail from this host").and_misconfigured(true)
        }
        // Even as 552: the address is right.
        (_, _, 2, 2) => transient("the mailbox is full").and_retry_after(Some(MAILBOX_FULL_WAIT)),
        (..500, Phase::Recipient | Phase::Data | Phase::Message, 7, _) => {
            transient("the server asks to come back later").and_retry_after(Some(GREYLIST_WAIT))
        }
        (..500, ..) => Report::failed(Transient, &*shown, format!("a temporary refusal {}", phase.words())),
        // The recipient is right, so it must not be suppressed: Herald is not allowed to send this.
        (_, _, 7, _) => permanent("the server's policy refuses the mail: check what the sender is allowed")
            .and_misconfigured(true),
        (_, _, 3, 4) | (552, ..) => permanent("the mail is too big for the server or the mailbox"),
        (_, _, 1, 7 | 8) | (_, Phase::Sender, ..) => {
            permanent("the server refuses the sender: check email.from").and_misconfigured(true)
        }
        (_, _, 1, _) => permanent("there is no such mailbox"),
        (_, _, 2, 1) => permanent("the mailbox is disabled"),
        (_, _, 4, _) => permanent("there is no route to the recipient's domain"),
        _ => Report::failed(Permanent, &*shown, format!("refused {}", phase.words())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enhanced_codes_are_read_from_the_start_of_the_text() {
        assert_eq!(Enhanced::parse("5.1.1 <x>: no"), Some(Enhanced(5, 1, 1)));
        assert_eq!(Enhanced::parse("4.7.100"), Some(Enhanced(4, 7, 100)));
        for text in ["", "no 5.1.1", "5.1", "5.1.1.1", "3.1.1", "5.+1.1", "5..1", "127.0.0.1"] {
            assert_eq!(Enhanced::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_refusal_is_classified_by_code_phase_and_enhanced_code() {
        use Phase::*;
        let cases = [
            (Recipient, 550, "5.1.1", Permanent, false),
            (Recipient, 550, "5.1.2", Permanent, false),
            (Recipient, 553, "5.1.3", Permanent, false),
            (Recipient, 556, "5.1.10", Permanent, false),
            (Recipient, 550, "5.2.1", Permanent, false),
            (Recipient, 550, "", Permanent, false),
            (Recipient, 552, "5.2.2", Transient, false),
            (Recipient, 552, "4.2.2", Transient, false),
            (Recipient, 452, "4.2.2", Transient, false),
            (Message, 552, "5.3.4", Permanent, false),
            (Message, 552, "", Permanent, false),
            (Recipient, 550, "5.4.4", Permanent, false),
            (Recipient, 554, "5.7.1", Permanent, true),
            (Message, 550, "5.7.26", Permanent, true),
            (Sender, 553, "", Permanent, true),
            (Sender, 550, "5.1.8", Permanent, true),
            (Sender, 530, "5.7.0", Transient, true),
            (Recipient, 450, "4.7.1", Transient, false),
            (Recipient, 451, "", Transient, false),
            (Recipient, 452, "", Transient, false),
            (Message, 451, "4.3.0", Transient, false),
            (Recipient, 421, "4.7.0", Transient, false),
            (Auth, 535, "5.7.8", Transient, true),
            (Auth, 534, "5.7.9", Transient, true),
            (Auth, 454, "4.7.0", Transient, false),
            (Auth, 504, "5.5.4", Transient, true),
            (Greeting, 554, "", Transient, true),
            (Greeting, 421, "", Transient, false),
        ];
        for (phase, code, enhanced, outcome, misconfigured) in cases {
            let report = Fault::Refused { phase, code, enhanced: Enhanced::parse(enhanced) }.report();
            assert_eq!(
                (report.outcome, report.misconfigured),
                (outcome, misconfigured),
                "{phase:?} {code} {enhanced}"
            );
            assert_eq!(report.code.as_deref(), Some(format!("{code} {enhanced}").trim()));
            assert!(report.error.is_some() && !report.gone);
        }
    }

    #[test]
    fn what_concerns_one_mailbox_says_nothing_of_the_server() {
        use Phase::*;
        use Sign::*;
        let cases = [
            (Recipient, 450, "4.7.1", Nothing),
            (Recipient, 450, "", Nothing),
            (Recipient, 451, "4.4.3", Nothing),
            (Recipient, 452, "4.2.2", Nothing),
            (Recipient, 552, "5.2.2", Nothing),
            (Message, 452, "", Nothing),
            (Message, 451, "4.3.0", Fails),
            (Recipient, 452, "4.3.1", Fails),
            (Sender, 451, "4.3.0", Fails),
            (Sender, 452, "", Fails),
            (Recipient, 421, "4.7.0", Fails),
            (Message, 421, "", Fails),
            (Greeting, 421, "", Fails),
            (Auth, 454, "4.7.0", Fails),
            (Auth, 535, "5.7.8", Fails),
            (Sender, 553, "", Fails),
            (Recipient, 554, "5.7.1", Fails),
            (Recipient, 550, "5.1.1", Answers),
            (Message, 552, "5.3.4", Answers),
        ];
        for (phase, code, enhanced, sign) in cases {
            let report = Fault::Refused { phase, code, enhanced: Enhanced::parse(enhanced) }.report();
            assert_eq!(report.sign, sign, "{phase:?} {code} {enhanced}");
        }
        for (fault, sign) in [
            (Fault::Connect { problem: String::new(), misconfigured: false }, Fails),
            (Fault::Broken(Message), Fails),
            (Fault::TimedOut(Greeting), Fails),
            (Fault::Unable("no SMTPUTF8"), Nothing),
        ] {
            assert_eq!(fault.clone().report().sign, sign, "{fault:?}");
        }
    }
}
