//! What cannot be sent: retries, dead letters, and what an operator does with them.

use serde_json::{Value, json};

use crate::harness::{Api, Db, Event, Herald, SOON, ingest, on_both, settle, user, wait_until};

on_both!(
    a_failure_waits_for_its_retry,
    used_up_retries_make_a_dead_letter,
    some_sent_and_some_dead_is_partial,
    an_operator_puts_dead_letters_back,
    an_operator_gives_dead_letters_up,
    an_event_that_cannot_be_handled_is_a_dead_letter,
);

/// An SMS gateway where nobody listens: nothing is sent, and that is certain. The port is one
/// that no process of a user gets.
const CLOSED: &str = r#"
[sms]
provider = "http"

[sms.http]
url = "http://127.0.0.1:1/send"
method = "POST"
headers = { Content-Type = "application/json" }
body = '{"to": "{{ to }}", "text": "{{ text }}", "id": "{{ id }}"}'
accepted = "ok"

# What fails again and again is to die, and not to wait until the gateway is back.
[limits.breaker]
failures = 1000

[routes."transaction.completed"]
channels = ["sms"]

[routes."transaction.failed"]
channels = ["email", "sms"]
"#;

/// Retries that are over at once.
const QUICK: &[(&str, &str)] = &[("HERALD__RETRY__RETRIES", "2"), ("HERALD__RETRY__BASE", "50ms")];

async fn start(db: Db, settings: &[(&str, &str)]) -> (Herald, Api) {
    let herald = Herald::start_with(db, settings, CLOSED).await;
    let api = herald.api("admin").await;
    user(&api, 42).await;
    (herald, api)
}

/// The notification of an event, as soon as it has this status.
async fn with_status(api: &Api, event: &str, status: &str) -> Value {
    wait_until(SOON * 2, &format!("{event} is {status}"), async || {
        let found = api.all(&format!("/v1/notifications?event_id={event}&status={status}")).await;
        let id = found.first()?["id"].as_str().unwrap().to_owned();
        Some(api.get(&format!("/v1/notifications/{id}")).await.expect(200).body)
    })
    .await
}

/// Its delivery by SMS.
fn sms(notification: &Value) -> &Value {
    let deliveries = notification["deliveries"].as_array().unwrap();
    deliveries.iter().find(|delivery| delivery["channel"] == "sms").unwrap()
}

async fn a_failure_waits_for_its_retry(db: Db) {
    let (_herald, api) = start(db, &[("HERALD__RETRY__BASE", "1h"), ("HERALD__RETRY__MAX", "1h")]).await;
    ingest(&api, &Event::new("e-1").to(42)).await;
    let told = with_status(&api, "e-1", "RETRY").await;
    let delivery = sms(&told);
    assert_eq!(delivery["state"], "retry");
    let next = chrono::DateTime::parse_from_rfc3339(delivery["next_attempt_at"].as_str().unwrap()).unwrap();
    assert!(next > chrono::Utc::now(), "{delivery}");
    let attempts = delivery["attempts"].as_array().unwrap();
    assert_eq!(
        (attempts.len(), &attempts[0]["outcome"]),
        (1, &json!("transient")),
        "nothing was sent: {delivery}"
    );
    assert!(attempts[0]["error"].is_string(), "{delivery}");
    assert!(api.all("/v1/dead-letters").await.is_empty());
}

async fn used_up_retries_make_a_dead_letter(db: Db) {
    let (herald, api) = start(db, QUICK).await;
    ingest(&api, &Event::new("e-1").to(42).set("/metadata/correlationId", "c-1")).await;
    let told = with_status(&api, "e-1", "FAILED").await;
    let delivery = sms(&told);
    assert_eq!(delivery["state"], "dead");
    assert_eq!(delivery["attempts"].as_array().unwrap().len(), 3, "the first and two retries: {delivery}");

    let letters = api.get("/v1/dead-letters").await.expect(200);
    assert_eq!(letters.items().len(), 1);
    let letter = &letters.items()[0];
    assert_eq!((&letter["kind"], &letter["channel"]), (&json!("delivery"), &json!("sms")), "{letter}");
    assert!(letter["error"].as_str().is_some_and(|error| !error.is_empty()), "{letter}");
    for (query, count) in [("channel=sms", 1), ("channel=email", 0), ("kind=event", 0), ("kind=delivery", 1)]
    {
        assert_eq!(api.all(&format!("/v1/dead-letters?{query}")).await.len(), count, "{query}");
    }
    for secret in ["1000042", "2500.00", "2,500.00"] {
        let masked = herald.api("read").await.get("/v1/dead-letters").await.expect(200);
        assert!(!masked.text.contains(secret), "{}", masked.text);
    }

    let failed = wait_until(SOON, "notification.failed", async || {
        api.all("/v1/events?type=notification.failed").await.pop()
    });
    let failed = failed.await;
    let query =
        format!("SELECT metadata AS v FROM domain_events WHERE id = '{}'", failed["id"].as_str().unwrap());
    let metadata: Value = serde_json::from_str(&herald.database.texts(&query).await[0]).unwrap();
    let named = (&metadata["correlationId"], &metadata["causationId"], &metadata["source"]);
    assert_eq!(named, (&json!("c-1"), &json!("e-1"), &json!("herald")));
    assert!(api.all("/v1/events?type=notification.sent").await.is_empty());
}

async fn some_sent_and_some_dead_is_partial(db: Db) {
    let (_herald, api) = start(db, QUICK).await;
    ingest(&api, &Event::new("e-1").set("/type", "transaction.failed").to(42)).await;
    let told = with_status(&api, "e-1", "PARTIAL").await;
    assert_eq!(sms(&told)["state"], "dead");
    wait_until(SOON, "notification.sent", async || api.all("/v1/events?type=notification.sent").await.pop())
        .await;
    assert!(api.all("/v1/events?type=notification.failed").await.is_empty());
}

async fn an_operator_puts_dead_letters_back(db: Db) {
    let (mut herald, api) = start(db, QUICK).await;
    for id in ["e-1", "e-2", "e-3", "e-4"] {
        ingest(&api, &Event::new(id).to(42)).await;
        with_status(&api, id, "FAILED").await;
    }
    let token = api.token.clone().unwrap();
    herald.stop().await;
    // The gateway works again.
    herald.set(&[("HERALD__SMS__PROVIDER", "sandbox")]);
    herald.restart().await;
    let api = herald.with_token(&token);
    let letters = api.all("/v1/dead-letters").await;
    assert_eq!(letters.len(), 4, "they wait for somebody");

    let of = |event: &str| letters.iter().find(|letter| letter["event_id"] == event).unwrap();
    let id = of("e-1")["notification_id"].as_str().unwrap();
    api.post(&format!("/v1/notifications/{id}/retry"), &json!({})).await.expect(202).counts(1);
    let told = with_status(&api, "e-1", "SENT").await;
    assert_eq!(sms(&told)["attempts"].as_array().unwrap().len(), 4, "what was is kept: {told}");
    api.post(&format!("/v1/notifications/{id}/retry"), &json!({})).await.expect(202).counts(0);

    let answer = api.post("/v1/dead-letters/retry", &json!({"ids": [of("e-2")["id"]]})).await;
    assert!((200..300).contains(&answer.status), "{}", answer.text);
    answer.counts(1);
    with_status(&api, "e-2", "SENT").await;

    api.post("/v1/dead-letters/retry", &json!({"filter": {"channel": "email"}})).await.counts(0);
    api.post("/v1/dead-letters/retry", &json!({"filter": {"channel": "sms"}})).await.counts(2);
    settle(&api).await;
    assert!(api.all("/v1/dead-letters").await.is_empty());
    assert_eq!(
        api.all("/v1/notifications?status=SENT").await.len(),
        4,
        "the same notifications, no new ones"
    );
    let messages = api.all("/v1/sandbox/messages").await;
    assert_eq!(messages.iter().filter(|message| message["channel"] == "sms").count(), 4, "each once");
    api.post("/v1/notifications/none/retry", &json!({})).await.problem(404);
    for path in ["/v1/dead-letters/retry", "/v1/dead-letters/discard"] {
        api.post(path, &json!({})).await.problem(400);
        let filter = json!({"channel": "fax", "from": "today", "colour": "red"});
        let bad = api.post(path, &json!({"filter": filter})).await.problem(400);
        let mut named = bad.pointers();
        named.sort_unstable();
        assert_eq!(named, ["/filter/channel", "/filter/colour", "/filter/from"], "all at once: {}", bad.text);
    }
    let bad = api.get("/v1/dead-letters?kind=foo&limit=0").await.problem(400);
    let mut named = bad.pointers();
    named.sort_unstable();
    assert_eq!(named, ["/kind", "/limit"], "all at once: {}", bad.text);
}

async fn an_operator_gives_dead_letters_up(db: Db) {
    let (_herald, api) = start(db, QUICK).await;
    ingest(&api, &Event::new("e-1").to(42)).await;
    ingest(&api, &Event::new("e-2").set("/type", "transaction.failed").to(42)).await;
    with_status(&api, "e-1", "FAILED").await;
    with_status(&api, "e-2", "PARTIAL").await;
    let ids: Vec<_> = api.all("/v1/dead-letters").await.iter().map(|letter| letter["id"].clone()).collect();
    api.post("/v1/dead-letters/discard", &json!({"ids": ids})).await.counts(2);
    assert!(api.all("/v1/dead-letters").await.is_empty());
    for (event, status) in [("e-1", "FAILED"), ("e-2", "PARTIAL")] {
        let told = with_status(&api, event, status).await;
        assert_eq!(sms(&told)["state"], "discarded", "{told}");
    }
}

async fn an_event_that_cannot_be_handled_is_a_dead_letter(db: Db) {
    let (herald, api) = start(db, QUICK).await;
    // Another application wrote it past every check.
    let row = "INSERT INTO domain_events (id, type, aggregate_id, aggregate_type, payload, metadata, timestamp)
               VALUES ('bad', 'transaction.completed', '1001', 'account', '{}', NULL, '2026-11-24T09:15:00.000000Z')";
    herald.database.execute(row).await;
    let letter =
        wait_until(SOON, "the dead letter", async || api.all("/v1/dead-letters?kind=event").await.pop());
    let letter = letter.await;
    assert!(letter["error"].as_str().unwrap().contains("metadata"), "{letter}");
    assert_eq!(api.get("/v1/events/bad").await.expect(200).body["outcome"], "failed");
    ingest(&api, &Event::new("good").set("/type", "transaction.failed").to(42)).await;
    with_status(&api, "good", "PARTIAL").await;

    api.post("/v1/dead-letters/discard", &json!({"ids": [letter["id"]]})).await.counts(1);
    assert!(api.all("/v1/dead-letters?kind=event").await.is_empty());
    assert_eq!(api.get("/v1/events/bad").await.expect(200).body["outcome"], "failed", "what was is kept");
}
