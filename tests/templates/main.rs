//! Messages from templates, as the rest of Herald asks for them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod built_in;
mod cost;
mod own;

use herald::domain::{Channel, Content, Instant};
use herald::policy::{Digest, Total};
use herald::templates::{TemplateError, Templates, Variables};

/// A payload that has every field that the documentation lists for a type.
fn example(template: &str) -> &'static str {
    match template {
        "transaction.completed" | "transaction.created" => {
            r#"{"accountNumber":"0012341001","amount":"2500.00","currency":"MWK","direction":"debit","description":"Rent November",
                "reference":"FT26328X1","counterparty":"Chisomo Banda","balance":41250.5}"#
        }
        "transaction.failed" => {
            r#"{"accountNumber":"0012341001","amount":2500,"currency":"MWK","reason":"Insufficient funds","reference":"FT26328X1","balance":"12.00"}"#
        }
        "account.balance.low" | "alert.triggered" => {
            r#"{"accountNumber":"0012341001","balance":"950.00","threshold":"1000.00","currency":"MWK","condition":"below"}"#
        }
        "account.created" | "account.frozen" | "account.unfrozen" => {
            r#"{"accountNumber":"0012341001","currency":"MWK","reason":"Requested by the holder","branch":"Blantyre Main"}"#
        }
        "user.login" | "user.login.failed" => {
            r#"{"device":"Pixel 9","ipAddress":"203.0.113.7","location":"Lilongwe"}"#
        }
        "user.registered" => r#"{"name":"Chisomo Banda"}"#,
        _ => {
            r#"{"accountNumber":"0012341001","checkbookNumber":"000451","requestId":"CB-77","branch":"Blantyre Main","reason":"Account too new",
                "amount":"1.00","currency":"MWK","description":"A note"}"#
        }
    }
}

fn variables(event_type: &str, payload: &str, locale: &str) -> Variables {
    Variables {
        event_id: "e-1".into(),
        event_type: event_type.into(),
        occurred_at: Instant::parse("2026-11-24T09:15:00Z").unwrap(),
        aggregate_id: "ACC-1001".into(),
        aggregate_type: "account".into(),
        payload: payload.into(),
        name: Some("Chisomo".into()),
        locale: Some(locale.into()),
        time_zone: Some("Africa/Blantyre".into()),
        digest: (event_type == "digest").then(digest),
    }
}

/// Five messages with amounts of two currencies.
fn digest() -> Digest {
    let total = |currency: &str, amount: &str| Total { currency: currency.into(), amount: amount.into() };
    Digest { count: 5, totals: vec![total("MWK", "12400.00"), total("USD", "3.5")] }
}

fn content(templates: &Templates, template: &str, channel: Channel, variables: &Variables) -> Content {
    match templates.render(template, channel, variables) {
        Ok(rendered) => rendered.content,
        Err(error) => panic!("{error}"),
    }
}

/// The parts of a message, in the order of its fields.
fn parts(content: Content) -> Vec<String> {
    match content {
        Content::Push { title, body } => vec![title, body],
        Content::Email { subject, text, html } => vec![subject, text, html],
        Content::Sms { text, .. } => vec![text],
    }
}

fn render(template: &str, channel: Channel, payload: &str, locale: &str) -> Vec<String> {
    parts(content(&Templates::built_in(), template, channel, &variables(template, payload, locale)))
}

fn refused(templates: &Templates, template: &str, channel: Channel, variables: &Variables) -> TemplateError {
    templates.render(template, channel, variables).err().expect("an error")
}

fn one_line(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && !text.contains(char::is_control)
}

fn check(content: &Content, what: &str) {
    match content {
        Content::Push { title, body } => {
            assert!(one_line(title) && title.chars().count() <= 65, "{what}: {title}");
            assert!(!body.is_empty() && body.chars().count() <= 240, "{what}: {body}");
        }
        Content::Email { subject, text, html } => {
            assert!(one_line(subject) && subject.chars().count() <= 150, "{what}: {subject}");
            assert!(text.contains("-- \n") || text.contains("--\n"), "{what}: {text}");
            assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>"), "{what}");
        }
        Content::Sms { text, segments } => {
            assert!(!text.is_empty() && *segments <= 3, "{what}: {segments} for {text}");
            assert_eq!(*segments, herald::templates::segments(text));
        }
    }
}
