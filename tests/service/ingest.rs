//! Ways in: the HTTP API, CloudEvents, `herald publish`; duplicates and conflicts.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Db, Event, Herald, ingest, on_both, settle, user};

on_both!(
    one_event,
    an_array,
    a_repeated_event_is_a_duplicate,
    other_content_is_a_conflict,
    order_of_keys_and_spelling_of_numbers_are_not_content,
    an_array_is_all_or_nothing,
    numbers_keep_all_their_digits,
    a_caller_may_wait_for_the_outcome,
    an_idempotency_key_replays_the_answer,
    cloud_events,
    publish_from_a_file_and_from_stdin,
);

async fn one_event(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let api = herald.api("events:write,read").await;
    let event = Event::new("e-1").set("/timestamp", "2026-11-24T11:15:00.1234567+02:00");
    let answer = api.post("/v1/events", &event.0).await.expect(202);
    assert_eq!(answer.body, json!({"events": [{"id": "e-1", "status": "stored"}]}));

    let stored = api.get("/v1/events/e-1").await.expect(200).body;
    assert_eq!((&stored["id"], &stored["type"]), (&event.0["id"], &event.0["type"]));
    let at = chrono::DateTime::parse_from_rfc3339(stored["timestamp"].as_str().unwrap()).unwrap();
    assert_eq!(at.to_utc().to_rfc3339(), "2026-11-24T09:15:00.123456+00:00", "kept to the microsecond");
    api.get("/v1/events/e-2").await.problem(404);
}

async fn an_array(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let api = herald.api("events:write,read").await;
    let events: Vec<_> = (0..1000).map(|n| Event::new(&format!("e-{n}")).0).collect();
    let answer = api.post("/v1/events", &json!(events)).await.expect(202);
    assert!(answer.statuses().iter().all(|status| *status == "stored"));
    let ids: Vec<_> = answer.body["events"].as_array().unwrap().iter().map(|event| &event["id"]).collect();
    assert_eq!(
        ids,
        events.iter().map(|event| &event["id"]).collect::<Vec<_>>(),
        "in the order of the request"
    );
    assert_eq!(api.all("/v1/events?type=transaction.completed").await.len(), 1000);
}

async fn a_repeated_event_is_a_duplicate(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let api = herald.api("events:write,read:personal,preferences:write").await;
    user(&api, 42).await;
    let event = Event::new("e-1").to(42).set("/timestamp", "2026-11-24T09:15:00Z");
    ingest(&api, &event).await;
    for again in [event.clone(), event.clone().without("/timestamp")] {
        let answer = api.post("/v1/events", &again.0).await.expect(202);
        assert_eq!(answer.statuses(), ["duplicate"]);
    }
    let twice = Event::new("e-2").to(42);
    let answer = api.post("/v1/events", &json!([twice.0, event.0, twice.0])).await.expect(202);
    assert_eq!(answer.statuses(), ["stored", "duplicate", "duplicate"]);
    settle(&api).await;
    assert_eq!(api.all("/v1/notifications?event_id=e-1").await.len(), 1);
    assert_eq!(api.all("/v1/notifications?event_id=e-2").await.len(), 1);
}

async fn other_content_is_a_conflict(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let api = herald.api("events:write,read:personal").await;
    let event = Event::new("e-1").set("/timestamp", "2026-11-24T09:15:00Z");
    ingest(&api, &event).await;
    for other in [
        event.clone().set("/payload/amount", "2500.01"),
        event.clone().set("/timestamp", "2026-11-24T09:15:01Z"),
        event.clone().set("/aggregateId", "1002"),
        event.clone().set("/metadata/extra", true),
        event.clone().set("/payload/amount", 2500),
    ] {
        let answer = api.post("/v1/events", &other.0).await.problem(409);
        assert!(answer.text.contains("e-1"), "it names the event: {}", answer.text);
    }
    let stored = api.get("/v1/events/e-1").await.expect(200).body;
    assert_eq!(stored["payload"]["currency"], "MWK", "{stored}");
    assert_eq!(api.all("/v1/events").await.len(), 1);
}

async fn order_of_keys_and_spelling_of_numbers_are_not_content(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let api = herald.api("events:write").await;
    let event = |payload: &str| {
        format!(
            r#"{{"id":"e-1","type":"transaction.completed","aggregateId":"1","aggregateType":"account",
            "payload":{payload},"metadata":{{"source":"core"}}}}"#
        )
    };
    let first = event(r#"{"amount": 100, "fee": 12345678901234567890.120, "name": "Ma\u006e"}"#);
    assert_eq!(api.post_text("/v1/events", first).await.expect(202).statuses(), ["stored"]);
    for same in [
        r#"{"amount":1e2,"fee":12345678901234567890.12,"name":"Man"}"#,
        r#"{"name":"Man","fee":1.234567890123456789012E19,"amount":100.00}"#,
    ] {
        let answer = api.post_text("/v1/events", event(same)).await.expect(202);
        assert_eq!(answer.statuses(), ["duplicate"], "{same}");
    }
    for other in [
        r#"{"amount":100,"fee":12345678901234567890.121,"name":"Man"}"#,
        r#"{"amount":"100","fee":12345678901234567890.12,"name":"Man"}"#,
    ] {
        api.post_text("/v1/events", event(other)).await.problem(409);
    }
}

async fn an_array_is_all_or_nothing(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let api = herald.api("events:write,read").await;
    ingest(&api, &Event::new("old")).await;
    let conflict = Event::new("old").set("/payload/amount", "1");
    let array = json!([Event::new("new-1").0, conflict.0, Event::new("new-2").0]);
    api.post("/v1/events", &array).await.problem(409);

    let within = Event::new("new-1").set("/payload/amount", "1");
    api.post("/v1/events", &json!([Event::new("new-1").0, within.0])).await.problem(409);
    assert_eq!(api.get("/v1/events").await.expect(200).each("id"), ["old"]);
}

async fn numbers_keep_all_their_digits(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let api = herald.api("events:write,read:personal").await;
    let digits = "12345678901234567890.123456789";
    let event = Event::new("e-1").0.to_string().replace(r#""2500.00""#, digits);
    api.post_text("/v1/events", event).await.expect(202);
    let stored = api.get("/v1/events/e-1").await.expect(200);
    assert!(stored.text.contains(digits), "{}", stored.text);
}

async fn a_caller_may_wait_for_the_outcome(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let api = herald.api("events:write,preferences:write").await;
    user(&api, 42).await;
    let answer = api.post("/v1/events?wait=20s", &Event::new("e-1").to(42).0).await.expect(200);
    let told = &answer.body["events"][0];
    assert_eq!(
        (&told["id"], &told["status"], &told["outcome"]),
        (&json!("e-1"), &json!("stored"), &json!("notified"))
    );
    let deliveries = told["deliveries"].as_array().unwrap();
    assert!(
        !deliveries.is_empty() && deliveries.iter().all(|delivery| delivery["state"] == "sent"),
        "{told}"
    );

    let other = Event::new("e-2").set("/type", "tea.served");
    let answer = api.post("/v1/events?wait=20s", &other.0).await.expect(200);
    assert_eq!(answer.body["events"][0]["outcome"], "not_routed");
}

async fn an_idempotency_key_replays_the_answer(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let api = herald.api("events:write,read").await;
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", r#""k-1""#)];
    let post =
        async |event: &Event| api.send(Method::POST, "/v1/events", &headers, event.0.to_string()).await;
    let first = post(&Event::new("e-1")).await.expect(202);
    let again = post(&Event::new("e-1")).await.expect(202);
    assert_eq!(again.text, first.text, "not `duplicate`: the first answer, as it was");
    post(&Event::new("e-2")).await.problem(422);
    assert_eq!(api.all("/v1/events").await.len(), 1);

    // A key is one caller's own.
    let other = herald.api("events:write").await;
    let answer = other.send(Method::POST, "/v1/events", &headers, Event::new("e-2").0.to_string()).await;
    assert_eq!(answer.expect(202).statuses(), ["stored"]);
}

async fn cloud_events(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let api = herald.api("events:write").await;
    let structured = |id: &str| {
        json!({
            "specversion": "1.0", "id": id, "source": "/core", "type": "transaction.completed",
            "time": "2026-11-24T09:15:00Z", "subject": "1001", "datacontenttype": "application/json",
            "aggregatetype": "account", "userid": 42, "correlationid": "c-1", "causationid": "c-0",
            "data": {"accountNumber": "1001", "amount": "2500.00", "currency": "MWK"},
        })
    };
    let post = async |kind: &str, body: Value| {
        let answer = api.send(Method::POST, "/v1/events", &[("Content-Type", kind)], body.to_string()).await;
        answer.expect(202)
    };
    post("application/cloudevents+json", structured("s-1")).await;
    let batch = json!([structured("b-1"), structured("b-2")]);
    let answer = post("application/cloudevents-batch+json; charset=utf-8", batch).await;
    assert_eq!(answer.statuses(), ["stored", "stored"]);
    let headers = [
        ("Content-Type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "h-1"),
        ("ce-source", "/core"),
        ("ce-type", "transaction.completed"),
        ("ce-time", "2026-11-24T09:15:00Z"),
        ("ce-subject", "1001"),
        ("ce-aggregatetype", "account"),
        ("ce-userid", "42"),
        ("ce-correlationid", "c-1"),
        ("ce-causationid", "c-0"),
    ];
    let data = structured("h-1")["data"].to_string();
    api.send(Method::POST, "/v1/events", &headers, data).await.expect(202);

    for id in ["s-1", "b-1", "b-2", "h-1"] {
        let column = async |name: &str| {
            herald
                .database
                .texts(&format!("SELECT {name} AS v FROM domain_events WHERE id = '{id}'"))
                .await
                .remove(0)
        };
        assert_eq!(column("aggregate_id").await, "1001", "{id}");
        assert_eq!(column("aggregate_type").await, "account", "{id}");
        let metadata: Value = serde_json::from_str(&column("metadata").await).unwrap();
        let expected = json!({"source": "/core", "userId": 42, "correlationId": "c-1", "causationId": "c-0"});
        assert_eq!(metadata, expected, "{id}");
        let payload: Value = serde_json::from_str(&column("payload").await).unwrap();
        assert_eq!(payload, structured(id)["data"], "{id}");
    }

    let mut short = structured("d-1");
    short.as_object_mut().unwrap().remove("aggregatetype");
    post("application/cloudevents+json", short).await;
    let kind = "SELECT aggregate_type AS v FROM domain_events WHERE id = 'd-1'";
    assert_eq!(herald.database.texts(kind).await, ["transaction"], "the first word of the type");

    for (wrong, value) in [("specversion", "0.3"), ("source", ""), ("id", "")] {
        let mut event = structured("x-1");
        event[wrong] = json!(value);
        let kind = [("Content-Type", "application/cloudevents+json")];
        let answer = api.send(Method::POST, "/v1/events", &kind, event.to_string()).await;
        assert!((400..500).contains(&answer.status), "{wrong}: {}", answer.text);
        assert!(answer.text.contains(wrong), "it names the attribute {wrong}: {}", answer.text);
    }
}

async fn publish_from_a_file_and_from_stdin(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let api = herald.api("events:write,read").await;
    let file = |name: &str, text: String| {
        let path = herald.dir().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let one = file("one.json", serde_json::to_string_pretty(&Event::new("f-1").0).unwrap());
    herald.run_as(&api, &["publish", &one], "").await.code(0);
    let array = file("array.json", json!([Event::new("f-2").0, Event::new("f-3").0]).to_string());
    herald.run_as(&api, &["publish", &array], "").await.code(0);
    // More than one request takes.
    let lines: Vec<_> = (0..1500).map(|n| Event::new(&format!("n-{n}")).0.to_string()).collect();
    herald.run_as(&api, &["publish", "-"], &lines.join("\n")).await.code(0);
    assert_eq!(api.all("/v1/events?aggregate_id=1001").await.len(), 1503);

    let ended = herald.run_as(&api, &["publish", "-", "--json"], &lines[0]).await.code(0);
    assert!(ended.stdout.contains("duplicate"), "{}", ended.stdout);
    let conflict = Event::new("f-1").set("/payload/amount", "1").0.to_string();
    let ended = herald.run_as(&api, &["publish", "-"], &conflict).await.code(1);
    assert!(ended.stderr.contains("f-1"), "it names the event: {}", ended.stderr);
    let bad = format!("{}\n{}\n", Event::new("f-4").0, Event::new("f-5").without("/type").0);
    let ended = herald.run_as(&api, &["publish", "-"], &bad).await.code(1);
    assert!(ended.stderr.contains("type"), "it names the field: {}", ended.stderr);
}
