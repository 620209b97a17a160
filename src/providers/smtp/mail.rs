//! One mail: headers, text and HTML.

use lettre::{
    Message,
    address::{Address, Envelope},
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
};

use crate::{
    domain::{AttemptOutcome, Content, Destination},
    policy::Sign,
    providers::{Outgoing, Report},
};

/// A mail as it goes over the wire, and its envelope.
pub(super) struct Mail {
    /// Who sends it.
    pub(super) from: Address,
    /// The one recipient: a refused one among several would take the others' transaction with it.
    pub(super) to: Address,
    /// Headers and body.
    pub(super) bytes: Vec<u8>,
    /// Whether an address is outside ASCII, for which the server has to speak SMTPUTF8 (RFC 6531).
    pub(super) needs_utf8: bool,
}

impl Mail {
    /// Builds it; the error is the report of an attempt that cannot be made.
    pub(super) fn build(from: &Mailbox, message: &Outgoing) -> Result<Self, Box<Report>> {
        let (Content::Email { subject, text, html }, Destination::Mailbox { address, name }) =
            (&message.content, &message.to)
        else {
            return Err(Box::new(Report::wrong_channel(super::NAME, message)));
        };
        let permanent =
            // The server was not asked.
            |code: &str, error: &str| {
                Box::new(Report::failed(AttemptOutcome::Permanent, code, error).and_sign(Sign::Nothing))
            };
        let to: Address = address
            .parse()
            .map_err(|_| permanent("address", "the recipient's address is no mail address"))?;
        let id = format!(
            "<{}.{}@{}>",
            message.delivery.notification,
            message.delivery.channel,
            from.email.domain()
        );
        let built = Message::builder()
            .from(from.clone())
            .to(Mailbox::new(name.as_deref().and_then(clean_name), to.clone()))
            .subject(clean_line(subject))
            .date_now()
            .message_id(Some(id))
            .raw_header(header("X-Herald-Event", &message.event_id))
            // RFC 3834 §5: no vacation responder answers it.
            .raw_header(header("Auto-Submitted", "auto-generated"))
            .envelope(
                Envelope::new(Some(from.email.clone()), vec![to.clone()])
                    .map_err(|_| permanent("address", "the recipient's address is no mail address"))?,
            )
            .multipart(MultiPart::alternative_plain_html(clean_body(text), clean_body(html)))
            .map_err(|_| permanent("message", "the mail cannot be built from what was rendered"))?;
        let needs_utf8 = [&from.email, &to].iter().any(|address| !AsRef::<str>::as_ref(address).is_ascii());
        Ok(Self { from: from.email.clone(), to, bytes: built.formatted(), needs_utf8 })
    }
}

/// A header whose name is ours and whose value is another's.
fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), clean_line(value))
}

/// One line without control characters: a line break in a header would begin a header of its own.
fn clean_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A display name, unless nothing is left of it. lettre panics on one with a line break.
pub(super) fn clean_name(name: &str) -> Option<String> {
    let name = clean_line(name);
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Line ends of one kind, and no other control character but the tab: a NUL or a lone CR is not
/// allowed in a mail (RFC 5322 §2.3), and servers differ in what they take a lone CR for.
fn clean_body(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .filter_map(|c| match c {
            '\r' => Some('\n'),
            '\n' | '\t' => Some(c),
            c if c.is_control() => None,
            c => Some(c),
        })
        .collect()
}
