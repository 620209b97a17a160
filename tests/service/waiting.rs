//! A caller that waits hears what became of its events, and why; and the metrics count the same.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Api, Db, Event, Herald, SOON, on_both, user, wait_until};

on_both!(the_reasons_come_back, what_is_deferred_is_waited_for_until_the_time_is_up, decisions_are_counted);

const ROUTES: &str = r#"
[[caps]]
channel = "email"
category = "offers"
limit = 1
window = "1h"
[routes."transaction.completed"]
channels = ["push", "email", "sms"]
[routes."loan.approved"]
channels = ["sms"]
mode = "shadow"
[routes."code.sent"]
channels = ["sms"]
expires_after = "5m"
[routes."offer.made"]
channels = ["email"]
category = "offers"
over_cap = "defer"
[routes."user.login.failed"]
channels = ["email"]
mandatory = true
[routes."tea.served"]
mode = "off"
"#;

async fn start(db: Db) -> (Herald, Api) {
    let herald = Herald::start_with(db, &[], ROUTES).await;
    let admin = herald.api("admin").await;
    user(&admin, 42).await;
    (herald, admin)
}

fn of(kind: &str, id: &str) -> Event {
    Event::new(id).set("/type", kind).to(42)
}

/// What a caller that waits is told of each delivery: channel, state and reason.
fn told(event: &Value) -> Vec<(&str, &str, Option<&str>)> {
    let deliveries = event["deliveries"].as_array().unwrap_or_else(|| panic!("{event}"));
    let text = |delivery: &'_ Value, field: &str| delivery[field].as_str().map(str::to_owned);
    assert!(deliveries.iter().all(|delivery| text(delivery, "state").is_some()));
    deliveries
        .iter()
        .map(|one| (one["channel"].as_str().unwrap(), one["state"].as_str().unwrap(), one["reason"].as_str()))
        .collect()
}

async fn the_reasons_come_back(db: Db) {
    let (_herald, admin) = start(db).await;
    let wishes = json!({"opt_outs": [{"channel": "sms", "type": "transaction.completed"}]});
    admin.put("/v1/users/42/preferences", &wishes).await.expect(200);
    admin.put("/v1/users/7", &json!({"phone": "+265991000007"})).await.expect(201);
    let events = [
        of("transaction.completed", "e-1"),
        Event::new("e-2").to(7),
        of("loan.approved", "e-3"),
        of("code.sent", "e-4").set("/timestamp", "2026-01-01T00:00:00Z"),
        of("user.login.failed", "e-5"),
        of("user.login.failed", "e-6"),
        of("tea.served", "e-7"),
        Event::new("e-8").set("/metadata/source", "nobody"),
    ];
    let array: Vec<Value> = events.iter().map(|event| event.0.clone()).collect();
    let answer = admin.post("/v1/events?wait=30s", &json!(array)).await.expect(200);
    let events = answer.body["events"].as_array().unwrap();
    let outcomes: Vec<_> = events.iter().map(|event| event["outcome"].as_str().unwrap()).collect();
    let notified = "notified";
    let expected = [notified, notified, notified, notified, notified, notified, "not_routed", "no_recipient"];
    assert_eq!(outcomes, expected, "{}", answer.text);
    let contact = Some("no_contact");
    let expected = [
        vec![("email", "sent", None), ("push", "sent", None), ("sms", "suppressed", Some("opted_out"))],
        vec![("email", "suppressed", contact), ("push", "suppressed", contact), ("sms", "sent", None)],
        vec![("sms", "shadowed", Some("shadow_mode"))],
        vec![("sms", "expired", Some("expired"))],
        vec![("email", "sent", None)],
        vec![("email", "suppressed", Some("flood_cap"))],
        vec![],
        vec![],
    ];
    for (event, expected) in events.iter().zip(expected) {
        assert_eq!(told(event), expected, "{event}");
    }
    // A duplicate has no effect, and is told what became of the first.
    let again = admin.post("/v1/events?wait=30s", &of("loan.approved", "e-3").0).await.expect(200);
    let event = &again.body["events"][0];
    assert_eq!((event["status"].as_str(), told(event)[0].1), (Some("duplicate"), "shadowed"));
    // Twice in one array, and each is told once what became of it.
    let twice = json!([of("loan.approved", "e-9").0, of("loan.approved", "e-9").0]);
    let answer = admin.post("/v1/events?wait=30s", &twice).await.expect(200);
    for event in answer.body["events"].as_array().unwrap() {
        assert_eq!(told(event), [("sms", "shadowed", Some("shadow_mode"))], "{}", answer.text);
    }
}

async fn what_is_deferred_is_waited_for_until_the_time_is_up(db: Db) {
    let (_herald, admin) = start(db).await;
    admin.post("/v1/events?wait=30s", &of("offer.made", "e-1").0).await.expect(200);
    let begun = Instant::now();
    let array = json!([of("offer.made", "e-2").0, of("transaction.completed", "e-3").0]);
    let answer = admin.post("/v1/events?wait=1500ms", &array).await.expect(202);
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_millis(1_500), "it waited {waited:?}");
    assert!(waited < Duration::from_secs(15), "it waited {waited:?}");
    let events = answer.body["events"].as_array().unwrap();
    assert_eq!(events[0]["outcome"], "notified");
    assert_eq!(told(&events[0]), [("email", "deferred", Some("frequency_cap"))]);
    assert!(told(&events[1]).iter().all(|(_, state, _)| *state == "sent"), "{}", answer.text);

    // Nothing is handled: the outcome is not known when the time is up.
    admin.post("/v1/dispatch/hold", &json!({})).await.expect(200);
    let held = admin.post("/v1/events?wait=200ms", &of("loan.approved", "e-4").0).await.expect(202);
    let event = &held.body["events"][0];
    assert_eq!((event["outcome"].as_str(), told(event).len()), (Some("pending"), 0), "{event}");
    admin.post("/v1/events?wait=61s", &of("loan.approved", "e-5").0).await.problem(400);
}

async fn decisions_are_counted(db: Db) {
    let (herald, admin) = start(db).await;
    for id in ["e-1", "e-2", "e-3"] {
        admin.post("/v1/events?wait=100ms", &of("offer.made", id).0).await;
    }
    for (id, kind) in [("e-4", "user.login.failed"), ("e-5", "user.login.failed"), ("e-6", "loan.approved")] {
        admin.post("/v1/events?wait=30s", &of(kind, id).0).await.expect(200);
    }
    let expected = [
        ("herald_decisions_total{during=\"handling\",verdict=\"pending\",reason=\"none\"}", 3),
        ("herald_decisions_total{during=\"handling\",verdict=\"deferred\",reason=\"frequency_cap\"}", 2),
        ("herald_decisions_total{during=\"handling\",verdict=\"suppressed\",reason=\"flood_cap\"}", 1),
        // The database was asked for the first of each; the limiters knew of the others.
        ("herald_caps_refused_early_total", 3),
    ];
    let metrics = || async { herald.anonymous().get("/metrics").await.expect(200).text };
    let text = metrics().await;
    for (name, n) in expected {
        assert!(text.lines().any(|line| line == format!("{name} {n}")), "{name} {n}: {text}");
    }
    // It is counted every ten seconds.
    wait_until(SOON, "the gauge of what is deferred", async || {
        metrics().await.lines().any(|line| line == "herald_deliveries_deferred 2").then_some(())
    })
    .await;

    // The recipient has left before the send, or the bank's cap is gone: asked again, and counted again.
    admin.put("/v1/users/42/preferences", &json!({"opt_outs": [{"channel": "email"}]})).await.expect(200);
    let again = "herald_decisions_total{during=\"release\",verdict=\"suppressed\",reason=\"opted_out\"} 2";
    wait_until(SOON, again, async || {
        let text = metrics().await;
        let released = text.lines().any(|line| line == "herald_deferred_released_total 2");
        (released && text.lines().any(|line| line == again)).then_some(())
    })
    .await;
}
