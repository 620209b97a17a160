//! What the system that Herald replaces has sent, by its own account.

use serde_json::value::RawValue;

use super::json::{MOST_LEVELS, inspect, syntax};
use super::reader::{Reader, Text};
use super::replay::moment;
use super::{Channel, DeliveryState, FieldError, FieldErrors, Instant, words};

/// The most that one call reports.
pub const MOST_SENDS: usize = 1_000;
const EVENT: Text = Text { least: 1, most: 50, plain: true };

/// One event on one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalSend {
    /// The event, which Herald may not know yet.
    pub event_id: String,
    /// The channel.
    pub channel: Channel,
    /// Whether it was sent; else that it was not.
    pub sent: bool,
    /// When.
    pub sent_at: Option<Instant>,
}

words! {
    /// How what two systems made of one event on one channel compares.
    SendMatch("match") {
        /// Both have sent it, or Herald would have.
        Both = "both",
        /// The old system alone.
        OnlyOld = "only_old",
        /// Herald alone.
        OnlyHerald = "only_herald",
        /// Neither.
        Neither = "neither",
        /// Herald has not come to an end with it.
        Open = "open",
    }
}

impl SendMatch {
    /// Compares whether the old system sent it with where Herald's delivery stands, if there is one. What
    /// ended in shadow mode would have been sent; what is told within another message was.
    pub const fn of(old: bool, herald: Option<DeliveryState>) -> Self {
        use DeliveryState::{Delivered, Digested, Sent, Shadowed, Undelivered};
        match (old, herald) {
            (_, Some(state)) if state.is_open() => Self::Open,
            (true, Some(Sent | Delivered | Undelivered | Digested | Shadowed)) => Self::Both,
            (false, Some(Sent | Delivered | Undelivered | Digested | Shadowed)) => Self::OnlyHerald,
            (true, _) => Self::OnlyOld,
            (false, _) => Self::Neither,
        }
    }

    /// Whether the two differ.
    pub const fn differs(self) -> bool {
        matches!(self, Self::OnlyOld | Self::OnlyHerald)
    }
}

/// Reads one object, or an array of up to [`MOST_SENDS`].
///
/// # Errors
///
/// Everything that is wrong, unknown fields included.
pub fn parse_external_sends(body: &[u8]) -> Result<Vec<ExternalSend>, Vec<FieldError>> {
    let mut errors = FieldErrors::default();
    let raw = match std::str::from_utf8(body) {
        Ok(text) => syntax(text).map_err(FieldError::from),
        Err(error) => Err(FieldError::new("", format!("is not UTF-8 at byte {}", error.valid_up_to()))),
    };
    let raw = raw.map_err(|error| vec![error])?;
    inspect(raw.get(), "", MOST_LEVELS, &mut errors);
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
        let send = send(raw, "", &mut errors);
        return errors.result(send.map(|send| vec![send]));
    };
    if items.len() > MOST_SENDS {
        let problem = format!("holds {} sends; at most {MOST_SENDS} are allowed", items.len());
        return Err(vec![FieldError::new("", problem)]);
    }
    let sends = items.into_iter().enumerate().map(|(at, item)| send(item, &format!("/{at}"), &mut errors));
    let sends: Vec<_> = sends.collect::<Vec<_>>().into_iter().flatten().collect();
    errors.result(Some(sends))
}

fn send(value: &RawValue, prefix: &str, errors: &mut FieldErrors) -> Option<ExternalSend> {
    let mut reader = Reader::of(value, prefix, errors)?;
    let event_id = reader.required("event_id", errors);
    let event_id = event_id.and_then(|value| reader.text("event_id", value, EVENT, errors));
    let channel = reader.required("channel", errors);
    let channel = channel.and_then(|value| reader.string("channel", value, errors));
    let channel = channel.and_then(|text| match text.parse::<Channel>() {
        Ok(channel) => Some(channel),
        Err(error) => {
            errors.push(reader.pointer("channel"), format!("must be one of {}", error.allowed));
            None
        }
    });
    let sent = match reader.take_some("sent").map(RawValue::get) {
        None | Some("true") => true,
        Some("false") => false,
        Some(_) => {
            errors.push(reader.pointer("sent"), "must be true or false");
            true
        }
    };
    let sent_at = moment(&mut reader, "sent_at", errors);
    for (pointer, _, _) in reader.rest() {
        errors.push(pointer, "is no field here; these are: event_id, channel, sent, sent_at");
    }
    Some(ExternalSend { event_id: event_id?, channel: channel?, sent, sent_at })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_or_many() {
        let one = parse_external_sends(br#"{"event_id":"e-1","channel":"sms"}"#).unwrap();
        let send =
            ExternalSend { event_id: "e-1".to_owned(), channel: Channel::Sms, sent: true, sent_at: None };
        assert_eq!(one, [send]);
        let many = parse_external_sends(
            br#"[{"event_id":"e-1","channel":"sms","sent":false},
                 {"event_id":"e-2","channel":"email","sent_at":"2026-11-24T09:15:00Z"}]"#,
        )
        .unwrap();
        assert_eq!(many.len(), 2);
        assert!(!many[0].sent && many[1].sent_at.is_some());
        assert!(parse_external_sends(b"[]").unwrap().is_empty());
    }

    #[test]
    fn two_systems_are_compared_by_what_they_would_have_sent() {
        use DeliveryState::{Dead, Deferred, Sent, Shadowed, Suppressed};
        for (old, herald, expected) in [
            (true, Some(Shadowed), "both"),
            (true, Some(Sent), "both"),
            (true, Some(Suppressed), "only_old"),
            (true, Some(Dead), "only_old"),
            (true, None, "only_old"),
            (false, Some(Shadowed), "only_herald"),
            (false, Some(Suppressed), "neither"),
            (true, Some(Deferred), "open"),
        ] {
            assert_eq!(SendMatch::of(old, herald).as_str(), expected, "{old} {herald:?}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_named() {
        let pointers = |body: &str| -> Vec<String> {
            parse_external_sends(body.as_bytes())
                .unwrap_err()
                .into_iter()
                .map(|error| error.pointer)
                .collect()
        };
        assert_eq!(pointers("{}"), ["/event_id", "/channel"]);
        assert_eq!(
            pointers(r#"[{"event_id":"","channel":"fax","sent":1,"sent_at":"x","user":3}]"#),
            ["/0/event_id", "/0/channel", "/0/sent", "/0/sent_at", "/0/user"]
        );
        let many = vec![r#"{"event_id":"e","channel":"sms"}"#; MOST_SENDS + 1].join(",");
        assert_eq!(pointers(&format!("[{many}]")), [""]);
    }
}
