//! Bad input gets an answer that names the field, and leaves no trace.

use reqwest::Method;
use serde_json::{Value, json};

use herald::domain::Cursor;

use crate::harness::{Answer, Api, Db, Event, Herald, ingest, on_both};

on_both!(bad_events, bad_recipients, bad_callers, forged_cursors);

/// Nothing at all was stored.
async fn no_trace(herald: &Herald, of: &str) {
    assert_eq!(herald.database.number("SELECT count(*) AS v FROM domain_events").await, 0, "{of}");
}

/// A problem with a status that says "your fault".
#[track_caller]
fn refused(what: &str, answer: Answer) -> Answer {
    assert!([400, 413, 422].contains(&answer.status), "{what}: {} {}", answer.status, answer.text);
    let status = answer.status;
    answer.problem(status)
}

async fn bad_events(db: Db) {
    let herald = Herald::start(db, &[("HERALD__SERVER__MAX_BODY", "1MiB")]).await;
    let api = herald.api("events:write,read").await;
    let good = Event::new("e-1");
    let nested = |depth: usize| {
        let value = format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        good.0.to_string().replace(r#""2500.00""#, &value)
    };
    let cases: &[(&str, String, &str)] = &[
        ("invalid JSON", r#"{"id": "e-1", "#.to_owned(), ""),
        ("no object", "42".to_owned(), ""),
        ("trailing text", format!("{} x", good.0), ""),
        ("10,000 levels", nested(10_000), ""),
        ("65 levels", nested(65), ""),
        (
            "an event above 256 KiB",
            good.clone().set("/payload/note", "x".repeat(256 * 1024)).0.to_string(),
            "",
        ),
        ("an unknown field", good.clone().set("/colour", "red").0.to_string(), "/colour"),
        ("no id", good.clone().without("/id").0.to_string(), "/id"),
        ("no type", good.clone().without("/type").0.to_string(), "/type"),
        ("no payload", good.clone().without("/payload").0.to_string(), "/payload"),
        ("no metadata", good.clone().without("/metadata").0.to_string(), "/metadata"),
        ("no source", good.clone().without("/metadata/source").0.to_string(), "/metadata/source"),
        ("an empty id", good.clone().set("/id", "").0.to_string(), "/id"),
        ("an id of 51 characters", good.clone().set("/id", "x".repeat(51)).0.to_string(), "/id"),
        ("a control character in the id", good.clone().set("/id", "a\nb").0.to_string(), "/id"),
        ("an id that is a number", good.clone().set("/id", 7).0.to_string(), "/id"),
        ("a type with capitals", good.clone().set("/type", "Transaction.Done").0.to_string(), "/type"),
        ("a type of 101 characters", good.clone().set("/type", "a".repeat(101)).0.to_string(), "/type"),
        ("an empty aggregate", good.clone().set("/aggregateId", "").0.to_string(), "/aggregateId"),
        (
            "a long aggregate type",
            good.clone().set("/aggregateType", "a".repeat(51)).0.to_string(),
            "/aggregateType",
        ),
        ("no offset", good.clone().set("/timestamp", "2026-11-24T09:15:00").0.to_string(), "/timestamp"),
        (
            "a date that is none",
            good.clone().set("/timestamp", "2026-02-30T09:15:00Z").0.to_string(),
            "/timestamp",
        ),
        ("a payload that is a list", good.clone().set("/payload", json!([])).0.to_string(), "/payload"),
        ("a payload that is null", good.clone().set("/payload", Value::Null).0.to_string(), "/payload"),
        (
            "a user that is a text",
            good.clone().set("/metadata/userId", "42").0.to_string(),
            "/metadata/userId",
        ),
        ("half a user", good.clone().set("/metadata/userId", 1.5).0.to_string(), "/metadata/userId"),
        (
            "a long source",
            good.clone().set("/metadata/source", "s".repeat(101)).0.to_string(),
            "/metadata/source",
        ),
        (
            "a long correlation",
            good.clone().set("/metadata/correlationId", "c".repeat(101)).0.to_string(),
            "/metadata/correlationId",
        ),
        ("Herald's own type", good.clone().set("/type", "notification.sent").0.to_string(), "/type"),
        ("NUL in a value", good.clone().set("/payload/note", "a\0b").0.to_string(), "/payload"),
        ("NUL in a key", good.clone().set("/payload/a\0b", 1).0.to_string(), "/payload"),
        ("NUL in the metadata", good.clone().set("/metadata/extra", "\0").0.to_string(), "/metadata"),
        (
            "a bad event among good ones",
            json!([good.0, Event::new("e-2").without("/type").0]).to_string(),
            "/1/type",
        ),
    ];
    for (what, body, pointer) in cases {
        let answer = refused(what, api.post_text("/v1/events", body.clone()).await);
        let named = answer.pointers().iter().any(|named| named.starts_with(pointer));
        assert!(pointer.is_empty() || named, "{what}: {pointer} is not named: {}", answer.text);
        no_trace(&herald, what).await;
    }

    let many: Vec<_> = (0..1001).map(|n| Event::new(&format!("e-{n}")).0).collect();
    refused("a batch of 1,001", api.post("/v1/events", &json!(many)).await);
    api.post_text("/v1/events", " ".repeat(1024 * 1024 + 1)).await.problem(413);
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = api.send(Method::POST, "/v1/events", &form, "id=e-1").await;
    assert!([400, 415].contains(&answer.status), "{}", answer.text);
    no_trace(&herald, "a batch too large").await;

    let three = good.without("/type").set("/id", "").set("/metadata/source", 1);
    let answer = refused("three faults", api.post("/v1/events", &three.0).await);
    let mut pointers = answer.pointers();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/id", "/metadata/source", "/type"], "all at once");
    assert!(api.get("/v1/events").await.expect(200).items().is_empty());
    assert!(api.get("/v1/notifications").await.expect(200).items().is_empty());
}

async fn bad_recipients(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let api = herald.api("preferences:write,read").await;
    for (field, value) in [
        ("phone", json!("0999123456")),
        ("phone", json!("+999999999999999999")),
        ("phone", json!("call me")),
        ("email", json!("nobody")),
        ("email", json!("a@b@example.com")),
        ("email", json!("a@example.com\r\nBcc: b@example.com")),
        ("time_zone", json!("Mars/Olympus")),
        ("locale", json!("not a locale")),
        ("name", json!("Ann\r\nBcc: b@example.com")),
        ("name", json!("Ann\0")),
        ("name", json!(7)),
        ("colour", json!("red")),
        ("devices", json!([{"token": "t", "platform": "toaster"}])),
        ("devices", json!([{"platform": "ios"}])),
    ] {
        let what = format!("{field} {value}");
        let answer = refused(&what, api.put("/v1/users/7", &json!({ field: value })).await);
        let pointer = format!("/{field}");
        assert!(answer.pointers().iter().any(|named| named.starts_with(&pointer)), "{what}: {}", answer.text);
        let personal = value.as_str().filter(|text| text.len() > 3 && field != "colour");
        assert!(
            personal.is_none_or(|text| !answer.text.contains(text)),
            "{what} is repeated: {}",
            answer.text
        );
    }
    let answer = api.put("/v1/users/nobody", &json!({})).await;
    assert!([400, 404, 422].contains(&answer.status), "{}", answer.text);
    api.get("/v1/users/7").await.problem(404);
}

async fn bad_callers(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let event = Event::new("e-1").0;
    for api in [herald.anonymous(), herald.with_token("wrong"), herald.with_token("")] {
        let answer = api.post("/v1/events", &event).await.problem(401);
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{:?}", answer.headers);
        api.get("/v1/events").await.problem(401);
    }
    // None of these scopes includes what the call needs.
    let forbidden = async |scopes: &str, method: Method, path: &str, body: &Value| {
        let api: Api = herald.api(scopes).await;
        let headers = [("Content-Type", "application/json")];
        api.send(method, path, &headers, body.to_string()).await.problem(403);
    };
    forbidden("read,read:personal,preferences:write,operate", Method::POST, "/v1/events", &event).await;
    forbidden("events:write,preferences:write,operate", Method::GET, "/v1/events", &Value::Null).await;
    forbidden("events:write,read:personal,operate", Method::PUT, "/v1/users/7", &json!({})).await;
    forbidden("read,preferences:write,operate", Method::DELETE, "/v1/users/7", &Value::Null).await;
    let ids = json!({"ids": []});
    forbidden("events:write,read,preferences:write", Method::POST, "/v1/dead-letters/retry", &ids).await;
    forbidden("read:personal,operate", Method::GET, "/v1/tokens", &Value::Null).await;
    forbidden("read:personal,operate", Method::GET, "/v1/tokens", &Value::Null).await;
    no_trace(&herald, "a caller without the right").await;
    herald.api("admin").await.post("/v1/events", &event).await.expect(202);
}

async fn forged_cursors(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let api = herald.api("events:write,read").await;
    for n in 0..3 {
        ingest(&api, &Event::new(&format!("e-{n}"))).await;
    }
    let page = api.get("/v1/events?limit=1").await.expect(200);
    let real = page.body["next_cursor"].as_str().unwrap().to_owned();
    // A cursor of one list is none of another.
    refused("another list's cursor", api.get(&format!("/v1/dead-letters?cursor={real}")).await);
    for list in ["events", "notifications", "dead-letters"] {
        for forged in ["x", "%00", "' OR 1=1 --", "9999999999999999999999"] {
            let answer = refused(forged, api.get(&format!("/v1/{list}?cursor={forged}")).await);
            assert!(answer.text.contains("cursor"), "{list} {forged}: {}", answer.text);
        }
    }
    // A right checksum, and the wrong kind of place: whoever knows how can make one.
    for (list, made) in [
        ("events", Cursor::Id("x".to_owned())),
        ("notifications", Cursor::Position(1)),
        ("notifications", Cursor::Id("a\0".to_owned())),
        ("dead-letters", Cursor::Position(1)),
        ("dead-letters", Cursor::Id("yesterday x".to_owned())),
    ] {
        refused(list, api.get(&format!("/v1/{list}?cursor={}", made.encode(list))).await);
    }
    for (list, bad) in [("events", "limit=0"), ("events", "limit=x"), ("notifications", "status=HAPPY")] {
        let answer = refused(bad, api.get(&format!("/v1/{list}?{bad}")).await);
        assert!(answer.text.contains(bad.split('=').next().unwrap()), "{bad}: {}", answer.text);
    }
}
