//! Lists: their order, their pages, their filters.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Api, Db, Event, Herald, ingest, on_both, settle, user};

on_both!(pages_of_120_notifications, filters_of_notifications, filters_of_events);

const ROUTES: &str = r#"
[routes."transaction.completed"]
channels = ["email", "sms"]

[routes."transaction.failed"]
channels = ["email"]
"#;

async fn ids(api: &Api, path: &str) -> BTreeSet<String> {
    api.all(path).await.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

async fn pages_of_120_notifications(db: Db) {
    let herald = Herald::start_with(db, &[], ROUTES).await;
    let api = herald.api("admin").await;
    user(&api, 42).await;
    let events: Vec<Value> = (0..120).map(|n| Event::new(&format!("e-{n:03}")).to(42).0).collect();
    api.post("/v1/events", &json!(events)).await.expect(202);
    settle(&api).await;

    let mut seen = Vec::new();
    let mut cursor = String::new();
    for (page, size) in [50, 50, 20].into_iter().enumerate() {
        let answer = api.get(&format!("/v1/notifications?limit=50{cursor}")).await.expect(200);
        assert_eq!(answer.items().len(), size, "page {page}");
        seen.extend(answer.each("event_id"));
        let next = &answer.body["next_cursor"];
        assert_eq!(next.is_null(), page == 2, "page {page}: {next}");
        cursor = format!("&cursor={}", next.as_str().unwrap_or_default());
        // What comes meanwhile is newer than what is still to be seen.
        ingest(&api, &Event::new(&format!("late-{page}")).to(42)).await;
        settle(&api).await;
    }
    let newest_first: Vec<Value> = events.iter().rev().map(|event| event["id"].clone()).collect();
    assert_eq!(seen, newest_first, "each once, newest first");

    assert_eq!(api.get("/v1/notifications").await.expect(200).each("event_id")[0], "late-2");
    let filtered = api.all("/v1/notifications?event_id=e-007").await;
    assert_eq!((filtered.len(), &filtered[0]["event_id"]), (1, &json!("e-007")));
}

async fn filters_of_notifications(db: Db) {
    let herald = Herald::start_with(db, &[], ROUTES).await;
    let api = herald.api("admin").await;
    user(&api, 42).await;
    ingest(&api, &Event::new("sent").to(42).set("/metadata/correlationId", "c-1")).await;
    ingest(&api, &Event::new("failed-tx").to(42).set("/type", "transaction.failed")).await;
    ingest(&api, &Event::new("stranger").to(43)).await;
    settle(&api).await;
    for (query, expected) in [
        ("", &["sent", "failed-tx", "stranger"][..]),
        ("user_id=42", &["sent", "failed-tx"]),
        ("event_type=transaction.failed", &["failed-tx"]),
        ("event_id=sent", &["sent"]),
        ("channel=sms", &["sent", "stranger"]),
        ("status=SENT", &["sent", "failed-tx"]),
        ("status=SUPPRESSED", &["stranger"]),
        ("state=suppressed", &["stranger"]),
        ("channel=sms&state=sent", &["sent"]),
        ("provider=sandbox", &["sent", "failed-tx"]),
        ("correlation_id=c-1", &["sent"]),
        ("user_id=42&channel=email&event_type=transaction.completed", &["sent"]),
        ("from=2020-01-01T00:00:00Z", &["sent", "failed-tx", "stranger"]),
        ("from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z", &[]),
        ("from=2100-01-01T00:00:00Z", &[]),
        ("user_id=44", &[]),
    ] {
        let found = api.all(&format!("/v1/notifications?{query}")).await;
        let found: BTreeSet<_> = found.iter().map(|item| item["event_id"].as_str().unwrap()).collect();
        assert_eq!(found, expected.iter().copied().collect(), "{query}");
    }
}

async fn filters_of_events(db: Db) {
    let herald = Herald::start_with(db, &[], ROUTES).await;
    let api = herald.api("admin").await;
    let at = |day: u32| format!("2026-11-{day:02}T09:15:00Z");
    let by = |event: Event, user: i64| event.to(user).set("/metadata/userId", user);
    let first = by(Event::new("e-1").set("/timestamp", at(1)), 42).set("/metadata/correlationId", "c-1");
    let second = by(Event::new("e-2").set("/timestamp", at(2)).set("/type", "tea.served"), 43);
    let third =
        Event::new("e-3").set("/timestamp", at(3)).set("/aggregateId", "7").set("/aggregateType", "cup");
    for event in [&first, &second, &third] {
        ingest(&api, event).await;
    }
    settle(&api).await;
    for (query, expected) in [
        ("", &["e-1", "e-2", "e-3"][..]),
        ("type=tea.served", &["e-2"]),
        ("aggregate_id=7", &["e-3"]),
        ("aggregate_type=account", &["e-1", "e-2"]),
        ("aggregate_type=account&aggregate_id=1001", &["e-1", "e-2"]),
        ("user_id=42", &["e-1"]),
        ("outcome=notified", &["e-1"]),
        ("outcome=not_routed", &["e-2"]),
        ("outcome=no_recipient", &["e-3"]),
        ("correlation_id=c-1", &["e-1"]),
        ("from=2026-11-02T00:00:00Z", &["e-2", "e-3"]),
        ("to=2026-11-02T00:00:00Z", &["e-1"]),
        ("from=2026-11-02T00:00:00Z&to=2026-11-03T00:00:00Z", &["e-2"]),
        ("type=tea.served&user_id=42", &[]),
    ] {
        let found = ids(&api, &format!("/v1/events?{query}")).await;
        let found: BTreeSet<_> = found.iter().map(String::as_str).filter(|id| id.starts_with("e-")).collect();
        assert_eq!(found, expected.iter().copied().collect(), "{query}");
    }
}
