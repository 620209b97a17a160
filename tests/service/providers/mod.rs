//! Each provider against a real peer: what the peer gets, and that every class of answer ends in the
//! right state.

mod breaker;
mod check;
mod email;
mod pace;
mod push;
mod sms;

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Answer, Api, Db, Event, Herald, LATE, given, ingest, wait_until};

/// Retries that come at once, and often enough for every case; no breaker mixes the cases' attempts.
const QUICK: [(&str, &str); 4] = [
    ("HERALD__RETRY__BASE", "50ms"),
    ("HERALD__RETRY__MAX", "500ms"),
    ("HERALD__RETRY__RETRIES", "4"),
    ("HERALD__LIMITS__BREAKER__FAILURES", "1000"),
];

/// What is in no event but in the text of the messages: it must be printed nowhere.
const NARRATION: &str = "Mangoes for Thoko";

/// A Herald that trusts the authorities of its peers.
struct Bank {
    herald: Herald,
    api: Api,
    _trusted: TempDir,
}

impl Bank {
    /// Starts one whose completed transactions are told on these channels.
    async fn start(db: Db, channels: &str, authorities: &[PathBuf], settings: &[(&str, &str)]) -> Self {
        let mut bank = Self::prepare(db, channels, authorities, settings).await;
        bank.herald.restart().await;
        bank.api = bank.herald.api("admin").await;
        bank
    }

    /// The same without its process. The log tells all that it can, since nothing personal is to be in it.
    async fn prepare(db: Db, channels: &str, authorities: &[PathBuf], settings: &[(&str, &str)]) -> Self {
        let trusted = tempfile::tempdir().unwrap();
        let mut files = authorities.to_vec();
        if db == Db::Postgres {
            files.push(given("HERALD_TEST_POSTGRES_CA").into());
        }
        let pem: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        let ca_file = trusted.path().join("ca.pem");
        std::fs::write(&ca_file, pem).unwrap();

        let route = format!("[routes.\"transaction.completed\"]\nchannels = {channels}\n");
        let mut herald = Herald::prepare(db, &QUICK, &route).await;
        if !files.is_empty() {
            herald.set(&[("HERALD__TLS__CA_FILE", ca_file.to_str().unwrap())]);
        }
        herald.set(&[("HERALD__LOG__LEVEL", "debug")]);
        herald.set(settings);
        let api = herald.anonymous();
        Self { herald, api, _trusted: trusted }
    }

    /// Publishes an event to a user.
    async fn tell(&self, event: &str, user: i64) {
        let event = Event::new(event).to(user).set("/payload/narration", NARRATION);
        ingest(&self.api, &event.set("/metadata/correlationId", "c-7")).await;
    }

    /// The one delivery of an event, as soon as it is in one of these states.
    async fn delivery(&self, event: &str, states: &[&str]) -> Value {
        wait_until(LATE, &format!("the delivery of {event} is one of {states:?}"), async || {
            let told = self.notification(event).await?;
            let deliveries = told["deliveries"].as_array().unwrap();
            assert_eq!(deliveries.len(), 1, "{told}");
            states.contains(&deliveries[0]["state"].as_str().unwrap()).then(|| deliveries[0].clone())
        })
        .await
    }

    /// The one notification of an event, once it is there.
    async fn notification(&self, event: &str) -> Option<Value> {
        let found = self.api.all(&format!("/v1/notifications?event_id={event}")).await;
        let id = found.first()?["id"].as_str().unwrap().to_owned();
        Some(self.api.get(&format!("/v1/notifications/{id}")).await.expect(200).body)
    }

    /// Puts the dead delivery of an event back.
    async fn retry(&self, event: &str) -> Answer {
        let id = self.notification(event).await.unwrap()["id"].as_str().unwrap().to_owned();
        self.api.post(&format!("/v1/notifications/{id}/retry"), &json!({})).await.expect(202)
    }

    /// Stops it, and looks for these words in all that it printed.
    async fn printed_nothing_of(mut self, secrets: &[&str]) -> Vec<String> {
        let token = self.api.token.clone().unwrap();
        self.herald.stop().await;
        let lines = self.herald.output.lines();
        assert!(lines.iter().any(|line| line.contains("DEBUG")), "the log told all that it can");
        for secret in secrets.iter().chain([&NARRATION, &"2,500.00", &token.as_str()]) {
            let line = lines.iter().find(|line| line.contains(secret));
            assert!(line.is_none(), "{secret} is printed: {line:?}");
        }
        lines
    }
}

/// Outcome and code of each attempt; an empty code is none.
type Attempts<'a> = &'a [(&'a str, &'a str)];

/// Fails unless a delivery had these attempts by this provider, and tells of each all that is known.
#[track_caller]
fn assert_attempts(delivery: &Value, provider: &str, expected: Attempts<'_>, what: &str) {
    let attempts = delivery["attempts"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let told: Vec<_> =
        attempts.iter().map(|attempt| (text(&attempt["outcome"]), text(&attempt["code"]))).collect();
    let told: Vec<_> = told.iter().map(|(outcome, code)| (outcome.as_str(), code.as_str())).collect();
    assert_eq!(told, expected, "{what}: {delivery}");
    for attempt in attempts {
        let accepted = attempt["outcome"] == "accepted";
        assert_eq!(attempt["provider"], provider, "{what}: {attempt}");
        assert!(attempt["latency_ms"].is_u64(), "{what}: {attempt}");
        assert_eq!(attempt["error"].is_string(), !accepted, "{what}: {attempt}");
        assert_eq!(attempt["reference"].is_string(), accepted, "{what}: {attempt}");
        at(&attempt["at"]);
    }
    assert_eq!(delivery["provider"], provider, "{what}: {delivery}");
}

fn at(moment: &Value) -> chrono::DateTime<chrono::FixedOffset> {
    chrono::DateTime::parse_from_rfc3339(moment.as_str().unwrap_or_else(|| panic!("no moment: {moment}")))
        .unwrap()
}

/// How long after its last attempt a delivery is due again, in seconds.
fn wait_of(delivery: &Value) -> f64 {
    let last = delivery["attempts"].as_array().unwrap().last().unwrap();
    (at(&delivery["next_attempt_at"]) - at(&last["at"])).as_seconds_f64()
}

/// Fails unless the log told an operator of each of these codes that the provider refuses Herald itself.
#[track_caller]
fn assert_operator_told(lines: &[String], provider: &str, codes: &[&str]) {
    for code in codes {
        let told = lines.iter().any(|line| {
            line.contains("refuses Herald itself") && line.contains(provider) && line.contains(code)
        });
        assert!(told, "nobody was told of {code}:\n{}", lines.join("\n"));
    }
}
