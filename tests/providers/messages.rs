//! Messages to send.

use std::time::Duration;

use herald::{
    domain::{Channel, Content, DeliveryId, Destination, NotificationId, Platform},
    providers::Outgoing,
};

/// A text with everything that breaks a form.
pub(crate) const NASTY: &str = "He said \"5 < 6 & 7 > 6\"\nO'Brien + 100% = £5 \\ 😀 {{ id }} {% x %}";

fn outgoing(number: i64, channel: Channel, to: Destination, content: Content) -> Outgoing {
    Outgoing {
        delivery: DeliveryId { notification: NotificationId::of(number, "e-1", 42), channel },
        event_id: format!("event-{number}"),
        event_type: "transaction.completed".into(),
        correlation_id: None,
        to,
        content,
        time_to_live: Some(Duration::from_secs(3600)),
        urgent: false,
    }
}

pub(crate) fn email(number: i64, address: &str) -> Outgoing {
    let to = Destination::Mailbox { address: address.into(), name: Some("Chisomo Banda".into()) };
    let content = Content::Email {
        subject: format!("Payment {number}"),
        text: format!("text {number}"),
        html: format!("<p>html {number}</p>"),
    };
    outgoing(number, Channel::Email, to, content)
}

pub(crate) fn push(number: i64, token: &str) -> Outgoing {
    let to = Destination::Device { token: token.into(), platform: Platform::Android };
    let content = Content::Push { title: format!("title {number}"), body: NASTY.into() };
    outgoing(number, Channel::Push, to, content)
}

pub(crate) fn sms(number: i64, phone: &str) -> Outgoing {
    let to = Destination::Phone { number: phone.into() };
    outgoing(number, Channel::Sms, to, Content::Sms { text: NASTY.into(), segments: 2 })
}
