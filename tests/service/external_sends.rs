//! Shadow mode: what the old system has sent, beside what Herald would have.

use serde_json::{Value, json};

use crate::harness::{Api, Db, Event, Herald, ingest, on_both, settle, user};

on_both!(the_two_systems_are_compared);

const SHADOW: &str = r#"
[routes."transaction.completed"]
channels = ["email", "sms"]
mode = "shadow"
"#;

async fn compared(api: &Api, query: &str) -> Value {
    api.get(&format!("/v1/external-sends{query}")).await.expect(200).body
}

async fn the_two_systems_are_compared(db: Db) {
    let herald = Herald::start_with(db, &[], SHADOW).await;
    let api = herald.api("admin").await;
    user(&api, 1).await;
    api.put("/v1/users/1/preferences", &json!({"opt_outs": [{"channel": "sms"}]})).await.expect(200);
    // The old system may be faster than the event.
    let first = json!({"event_id": "e-1", "channel": "email"});
    let reporter = herald.api("events:write").await;
    assert_eq!(reporter.post("/v1/external-sends", &first).await.expect(202).body, json!({"stored": 1}));
    assert_eq!(compared(&api, "").await["unknown_events"], json!({"count": 1, "ids": ["e-1"]}));
    for n in 1..=3 {
        ingest(&api, &Event::new(&format!("e-{n}")).to(1)).await;
    }
    settle(&api).await;
    let rest = json!([
        {"event_id": "e-1", "channel": "sms", "sent_at": "2026-11-24T09:15:00Z"},
        {"event_id": "e-2", "channel": "email", "sent": false},
        {"event_id": "e-2", "channel": "sms", "sent": false},
        {"event_id": "e-9", "channel": "sms"},
    ]);
    for _ in 0..2 {
        let answer = reporter.post("/v1/external-sends", &rest).await.expect(202).body;
        assert_eq!(answer, json!({"stored": 4}), "the same report twice has no further effect");
    }

    let all = compared(&api, "").await;
    let matches: Vec<(String, Vec<(&str, &str)>)> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            let channels = event["channels"].as_array().unwrap().iter();
            let channels =
                channels.map(|one| (one["channel"].as_str().unwrap(), one["match"].as_str().unwrap()));
            (event["event_id"].as_str().unwrap().to_owned(), channels.collect())
        })
        .collect();
    let expected = [
        ("e-3", vec![("email", "only_herald"), ("sms", "neither")]),
        ("e-2", vec![("email", "only_herald"), ("sms", "neither")]),
        ("e-1", vec![("email", "both"), ("sms", "only_old")]),
    ];
    assert_eq!(matches, expected.map(|(event, channels)| (event.to_owned(), channels)));
    let sms = &all["items"][2]["channels"][1];
    assert_eq!(sms["old"], json!({"sent": true, "sent_at": "2026-11-24T09:15:00.000000Z"}));
    assert_eq!(
        (&sms["herald"]["state"], &sms["herald"]["reason"]),
        (&json!("suppressed"), &json!("opted_out"))
    );
    assert_eq!(all["unknown_events"], json!({"count": 1, "ids": ["e-9"]}));
    assert_eq!(all["totals"]["complete"], true);
    let lines = all["totals"]["by_type_and_channel"].as_array().unwrap();
    let line = |channel: &str| lines.iter().find(|line| line["channel"] == channel).unwrap();
    assert_eq!((&line("email")["both"], &line("email")["only_herald"]), (&json!(1), &json!(2)));
    assert_eq!((&line("sms")["only_old"], &line("sms")["neither"]), (&json!(1), &json!(2)));

    // Page by page, each event once; and only what was asked for.
    let pages = api.all("/v1/external-sends?differ=true").await;
    assert_eq!(pages.len(), 3);
    let page = compared(&api, "?differ=true&limit=2").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    let next =
        compared(&api, &format!("?differ=true&limit=2&cursor={}", page["next_cursor"].as_str().unwrap()))
            .await;
    assert_eq!((&next["items"][0]["event_id"], &next["next_cursor"]), (&json!("e-1"), &Value::Null));
    assert!(next.get("totals").is_none(), "with the first page alone");
    assert_eq!(compared(&api, "?channel=sms&differ=true").await["items"].as_array().unwrap().len(), 1);
    assert!(compared(&api, "?type=loan.late").await["items"].as_array().unwrap().is_empty());
    assert!(compared(&api, "?from=2999-01-01T00:00:00Z").await["items"].as_array().unwrap().is_empty());

    let bad =
        reporter.post("/v1/external-sends", &json!([{"event_id": "e", "channel": "fax", "to": "x"}])).await;
    assert_eq!(bad.problem(400).pointers(), ["/0/channel", "/0/to"]);
    let bad = api.get("/v1/external-sends?differ=perhaps").await;
    assert_eq!(bad.problem(400).pointers(), ["/differ"]);
    reporter.get("/v1/external-sends").await.problem(403);
    herald.api("read").await.post("/v1/external-sends", &first).await.problem(403);
}
