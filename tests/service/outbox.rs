//! Rows that another application inserts into `domain_events` in its own transaction.

use serde_json::json;

use crate::harness::{Api, Db, Event, Herald, SOON, ingest, on_both, settle, user, wait_until};

on_both!(a_row_is_found_without_a_publish, bad_rows_hold_nothing_up, a_row_and_a_call_are_one_event);

/// An insert of the contract's columns, a row for each `(id, type, payload, metadata)`.
fn insert(rows: &[(&str, &str, &str, &str)]) -> String {
    let values: Vec<_> = rows
        .iter()
        .map(|(id, kind, payload, metadata)| {
            format!(
                "({id}, '{kind}', '1001', 'account', {payload}, {metadata}, '2026-11-24T09:15:00.000000Z')"
            )
        })
        .collect();
    format!(
        "INSERT INTO domain_events (id, type, aggregate_id, aggregate_type, payload, metadata, timestamp) VALUES {}",
        values.join(", ")
    )
}

const TOLD: &str = r#"'{"userId": 42, "accountNumber": "1001", "amount": "2500.00", "currency": "MWK"}'"#;
const SOURCE: &str = r#"'{"source": "core-banking"}'"#;

async fn start(db: Db) -> (Herald, Api) {
    let herald = Herald::start(db, &[]).await;
    let api = herald.api("admin").await;
    user(&api, 42).await;
    (herald, api)
}

async fn outcomes(api: &Api, count: usize) -> Vec<(String, String)> {
    let list = wait_until(SOON, "the outcomes", async || {
        let list = api.all("/v1/events?aggregate_type=account").await;
        let open = list.iter().any(|event| event["outcome"] == "pending");
        (list.len() == count && !open).then_some(list)
    });
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let mut outcomes: Vec<_> =
        list.await.iter().map(|event| (text(&event["id"]), text(&event["outcome"]))).collect();
    outcomes.sort();
    outcomes
}

async fn a_row_is_found_without_a_publish(db: Db) {
    let (herald, api) = start(db).await;
    let rows = [
        ("'a'", "transaction.completed", TOLD, SOURCE),
        ("'b'", "transaction.completed", TOLD, SOURCE),
        ("'c'", "tea.served", "'{}'", SOURCE),
    ];
    herald.database.execute(&insert(&rows)).await;
    let found = outcomes(&api, 3).await;
    let expected = [("a", "notified"), ("b", "notified"), ("c", "not_routed")];
    assert_eq!(found, expected.map(|(id, outcome)| (id.to_owned(), outcome.to_owned())));
    settle(&api).await;
    assert_eq!(api.all("/v1/notifications?status=SENT").await.len(), 2);
}

async fn bad_rows_hold_nothing_up(db: Db) {
    let (herald, api) = start(db).await;
    let rows = [
        ("'1'", "transaction.completed", TOLD, "NULL"),
        ("'2'", "transaction.completed", TOLD, "'{}'"),
        ("'3'", "transaction.completed", "'[]'", SOURCE),
        ("'4'", "Not A Type", TOLD, SOURCE),
        ("'5'", "notification.sent", TOLD, SOURCE),
        ("'6'", "transaction.completed", TOLD, SOURCE),
    ];
    herald.database.execute(&insert(&rows)).await;
    let found = outcomes(&api, 6).await;
    let expected = |id: &str| if id == "6" { "notified" } else { "failed" };
    for (id, outcome) in &found {
        assert_eq!(outcome, expected(id), "row {id}");
    }
    for letter in api.all("/v1/dead-letters?kind=event").await {
        assert!(letter["error"].as_str().is_some_and(|error| !error.is_empty()), "it says why: {letter}");
        assert!(!letter.to_string().contains("2500.00"), "{letter}");
    }
}

async fn a_row_and_a_call_are_one_event(db: Db) {
    let (herald, api) = start(db).await;
    herald.database.execute(&insert(&[("'a'", "transaction.completed", TOLD, SOURCE)])).await;
    let same = Event::new("a").to(42).set("/timestamp", "2026-11-24T09:15:00Z");
    assert_eq!(api.post("/v1/events", &same.0).await.expect(202).statuses(), ["duplicate"]);
    api.post("/v1/events", &same.set("/payload/amount", "1").0).await.problem(409);
    outcomes(&api, 1).await;
    ingest(&api, &Event::new("b").to(42)).await;
    settle(&api).await;
    assert_eq!(api.all("/v1/notifications").await.len(), 2);
}

#[tokio::test]
async fn another_application_needs_no_more_than_insert() {
    let (herald, api) = start(Db::Postgres).await;
    let role = format!("bank_{}", uuid::Uuid::new_v4().simple());
    let columns = "id, type, aggregate_id, aggregate_type, payload, metadata, timestamp";
    let row = insert(&[("'a'", "transaction.completed", TOLD, SOURCE)]);
    let statements = format!(
        "CREATE ROLE {role}; GRANT INSERT ({columns}) ON domain_events TO {role};
         SET ROLE {role}; {row}; RESET ROLE; REVOKE ALL ON domain_events FROM {role}; DROP ROLE {role}"
    );
    herald.database.execute(&statements).await;
    outcomes(&api, 1).await;
    settle(&api).await;
    assert_eq!(api.all("/v1/notifications").await[0]["user_id"], json!(42));
}
