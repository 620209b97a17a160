//! What recipients wish and what the bank allows: decided, held to, and told why.

mod caps;
mod escalation;
mod over_cap;
mod preferences;
mod priority;
mod replaying;
mod told;
mod wishes;

use reqwest::Method;
use serde_json::Value;

use crate::{
    harness::{Api, Event, Herald, JSON, LATE, wait_until},
    peers::SmsPeer,
};

/// Leads a Herald to a gateway.
fn send_to(herald: &mut Herald, gateway: &SmsPeer) {
    herald.set(&[
        ("HERALD__SMS__PROVIDER", "http"),
        ("HERALD__SMS__HTTP__URL", &gateway.url()),
        ("HERALD__SMS__HTTP__HEADERS", "{ Content-Type = \"application/json\" }"),
        ("HERALD__SMS__HTTP__BODY", gateway.body()),
        ("HERALD__SMS__HTTP__ACCEPTED", gateway.accepted()),
    ]);
}

/// Publishes events in arrays of this size, to one instance after the other, until each is acknowledged.
async fn publish(apis: &[Api], events: &[Event], size: usize) {
    let mut turn = 0;
    for part in events.chunks(size) {
        let body = Value::Array(part.iter().map(|event| event.0.clone()).collect()).to_string();
        wait_until(LATE, "an acknowledgement", async || {
            turn += 1;
            let answer =
                apis[turn % apis.len()].try_send(Method::POST, "/v1/events", JSON, body.clone()).await;
            answer.is_ok_and(|answer| answer.status == 202).then_some(())
        })
        .await;
    }
}

/// A delivery of an event, as soon as it is in one of these states.
async fn delivery(api: &Api, event: &str, channel: &str, states: &[&str]) -> Value {
    wait_until(LATE, &format!("{channel} of {event} is one of {states:?}"), async || {
        let told = notification(api, event).await?;
        let deliveries = told["deliveries"].as_array().unwrap();
        let found = deliveries.iter().find(|delivery| delivery["channel"] == channel)?;
        states.contains(&found["state"].as_str().unwrap()).then(|| found.clone())
    })
    .await
}

/// The one notification of an event, once it is there.
async fn notification(api: &Api, event: &str) -> Option<Value> {
    let found = api.all(&format!("/v1/notifications?event_id={event}")).await;
    assert!(found.len() < 2, "never a second one: {found:?}");
    let id = found.first()?["id"].as_str().unwrap().to_owned();
    Some(api.get(&format!("/v1/notifications/{id}")).await.expect(200).body)
}

/// Quiet hours in UTC that began an hour ago and end in two.
fn quiet_now() -> Value {
    let at = |hours: i64| (chrono::Utc::now() + chrono::TimeDelta::hours(hours)).format("%H:%M").to_string();
    serde_json::json!([{"from": at(-1), "to": at(2)}])
}
