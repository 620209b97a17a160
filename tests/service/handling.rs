//! What an event comes to: recipients, who is told, what they are sent.

use serde_json::{Value, json};

use crate::harness::{Api, Db, Event, Herald, SOON, ingest, on_both, settle, user, wait_until};

on_both!(
    recipients_come_and_go,
    each_rule_tells_somebody,
    the_owner_of_an_account_is_learned,
    nobody_to_tell,
    a_recipient_without_contacts,
    a_registration_never_changes_a_recipient,
    every_channel_gets_its_text,
    the_end_of_a_notification_is_an_event,
    a_notification_is_told_whole,
);

/// Routes that do not depend on the built-in ones.
const ROUTES: &str = r#"
[routes."transaction.completed"]
channels = ["push", "email", "sms"]
recipient = "/payload/customer/id"

[routes."account.created"]
channels = ["email"]

[routes."user.login"]
mode = "off"
"#;

async fn start(db: Db) -> (Herald, Api) {
    let herald = Herald::start_with(db, &[], ROUTES).await;
    let admin = herald.api("admin").await;
    (herald, admin)
}

/// The one notification of an event.
async fn notification(api: &Api, event: &str) -> Value {
    settle(api).await;
    let found = api.all(&format!("/v1/notifications?event_id={event}")).await;
    assert_eq!(found.len(), 1, "notifications of {event}");
    let id = found[0]["id"].as_str().unwrap();
    api.get(&format!("/v1/notifications/{id}")).await.expect(200).body
}

async fn outcome(api: &Api, event: &str) -> String {
    settle(api).await;
    let event = api.get(&format!("/v1/events/{event}")).await.expect(200).body;
    event["outcome"].as_str().unwrap().to_owned()
}

async fn recipients_come_and_go(db: Db) {
    let (herald, admin) = start(db).await;
    let writer = herald.api("preferences:write").await;
    let reader = herald.api("read").await;
    let personal = herald.api("read:personal").await;
    let ann = json!({
        "name": "Ann Banda", "email": "ann@example.com", "phone": "+265991234567", "locale": "en-GB",
        "time_zone": "Africa/Blantyre", "devices": [{"token": "secret-token-of-ann", "platform": "ios"}],
    });
    personal.get("/v1/users/42").await.problem(404);
    writer.put("/v1/users/42", &ann).await.expect(201);
    writer.put("/v1/users/42", &ann).await.expect(200);

    let whole = personal.get("/v1/users/42").await.expect(200).body;
    for field in ["name", "email", "phone", "locale", "time_zone"] {
        assert_eq!(whole[field], ann[field], "{field}: {whole}");
    }
    assert_eq!(whole["devices"][0]["platform"], "ios", "{whole}");
    let masked = reader.get("/v1/users/42").await.expect(200);
    for secret in ["ann@example.com", "991234567", "secret-token-of-ann", "Banda"] {
        assert!(!masked.text.contains(secret), "{secret} is not masked: {}", masked.text);
    }

    // What is not named is gone: it replaces the recipient.
    writer.put("/v1/users/42", &json!({"email": "other@example.com"})).await.expect(200);
    let whole = personal.get("/v1/users/42").await.expect(200).body;
    assert_eq!((&whole["email"], &whole["phone"]), (&json!("other@example.com"), &Value::Null));

    writer.delete("/v1/users/42").await.problem(403);
    assert!((200..300).contains(&admin.delete("/v1/users/42").await.status));
    personal.get("/v1/users/42").await.problem(404);
    assert!(!herald.database.contains("other@example.com").await, "erased");
}

async fn each_rule_tells_somebody(db: Db) {
    let (_herald, admin) = start(db).await;
    let owner =
        Event::new("account").set("/type", "account.created").set("/payload/accountNumber", "2002").to(13);
    let owner = owner.set("/aggregateId", "ACC-2002");
    ingest(&admin, &owner).await;
    settle(&admin).await;

    // Each event names everybody whom the later rules would tell.
    let by_metadata = Event::new("r-5").set("/metadata/userId", 15);
    let by_aggregate =
        by_metadata.clone().set("/id", "r-4").set("/aggregateType", "user").set("/aggregateId", "14");
    let by_account = by_aggregate.clone().set("/id", "r-3").set("/payload/accountNumber", "2002");
    let by_payload = by_account.clone().set("/id", "r-2").to(12);
    let by_route = by_payload.clone().set("/id", "r-1").set("/payload/customer", json!({"id": 11}));
    let account =
        by_metadata.clone().set("/id", "r-3a").without("/payload/accountNumber").set("/aggregateId", "2002");
    let by_aggregate_of_account = by_metadata.clone().set("/id", "r-3b").without("/payload/accountNumber");
    let by_aggregate_of_account = by_aggregate_of_account.set("/aggregateId", "ACC-2002");
    let not_positive =
        by_metadata.clone().set("/id", "r-5a").to(0).set("/payload/customer", json!({"id": -1}));
    for (event, told) in [
        (by_route, 11),
        (by_payload, 12),
        (by_account, 13),
        (account, 13),
        (by_aggregate_of_account, 13),
        (by_aggregate, 14),
        (by_metadata, 15),
        (not_positive, 15),
    ] {
        ingest(&admin, &event).await;
        let id = event.0["id"].as_str().unwrap();
        assert_eq!(notification(&admin, id).await["user_id"], told, "{id}");
    }
}

async fn the_owner_of_an_account_is_learned(db: Db) {
    let (_herald, admin) = start(db).await;
    user(&admin, 42).await;
    ingest(&admin, &Event::new("before").set("/payload/accountNumber", "3003")).await;
    assert_eq!(outcome(&admin, "before").await, "no_recipient");
    // In one array: what comes later in it is handled later.
    let created =
        Event::new("created").set("/type", "account.created").set("/payload/accountNumber", "3003").to(42);
    let used = Event::new("used").set("/payload/accountNumber", "3003");
    admin.post("/v1/events", &json!([created.0, used.0])).await.expect(202);
    assert_eq!(notification(&admin, "used").await["user_id"], 42);
    assert_eq!(outcome(&admin, "before").await, "no_recipient", "an end is an end");
}

async fn nobody_to_tell(db: Db) {
    let (_herald, admin) = start(db).await;
    ingest(&admin, &Event::new("unknown").set("/type", "tea.served").to(42)).await;
    ingest(&admin, &Event::new("off").set("/type", "user.login").to(42)).await;
    ingest(&admin, &Event::new("nobody")).await;
    assert_eq!(outcome(&admin, "unknown").await, "not_routed");
    assert_eq!(outcome(&admin, "off").await, "not_routed");
    assert_eq!(outcome(&admin, "nobody").await, "no_recipient");
    assert!(admin.all("/v1/notifications").await.is_empty());
    assert_eq!(admin.all("/v1/events?outcome=not_routed&type=tea.served").await.len(), 1);
}

async fn a_recipient_without_contacts(db: Db) {
    let (_herald, admin) = start(db).await;
    ingest(&admin, &Event::new("stranger").to(77)).await;
    let told = notification(&admin, "stranger").await;
    assert_eq!((&told["status"], &told["user_id"]), (&json!("SUPPRESSED"), &json!(77)));
    let deliveries = told["deliveries"].as_array().unwrap();
    assert_eq!(deliveries.len(), 3);
    for delivery in deliveries {
        assert_eq!((&delivery["state"], &delivery["reason"]), (&json!("suppressed"), &json!("no_contact")));
        assert_eq!(delivery["attempts"], json!([]));
    }

    admin.put("/v1/users/78", &json!({"phone": "+265991234567"})).await.expect(201);
    ingest(&admin, &Event::new("phone-only").to(78)).await;
    let told = notification(&admin, "phone-only").await;
    assert_eq!(told["status"], "SENT");
    for delivery in told["deliveries"].as_array().unwrap() {
        let expected = if delivery["channel"] == "sms" { "sent" } else { "suppressed" };
        assert_eq!(delivery["state"], expected, "{delivery}");
    }
    assert!(admin.all("/v1/events?type=notification.sent").await.len() == 1, "none for the suppressed one");
}

async fn a_registration_never_changes_a_recipient(db: Db) {
    let (_herald, admin) = start(db).await;
    let registered = |id: &str, email: &str| {
        Event::new(id)
            .set("/type", "user.registered")
            .set("/aggregateType", "user")
            .set("/aggregateId", "21")
            .set("/payload", json!({"userId": 21, "name": "Ann", "email": email, "phone": "+265991234567"}))
    };
    ingest(&admin, &registered("first", "ann@example.com")).await;
    settle(&admin).await;
    assert_eq!(admin.get("/v1/users/21").await.expect(200).body["email"], "ann@example.com");
    ingest(&admin, &registered("forged", "mallory@example.com")).await;
    settle(&admin).await;
    let ann = admin.get("/v1/users/21").await.expect(200).body;
    assert_eq!((&ann["email"], &ann["phone"]), (&json!("ann@example.com"), &json!("+265991234567")));
    let sandbox = admin.get("/v1/sandbox/messages").await.expect(200);
    assert!(!sandbox.text.contains("mallory@example.com"), "{}", sandbox.text);
}

async fn every_channel_gets_its_text(db: Db) {
    let (herald, admin) = start(db).await;
    user(&admin, 42).await;
    ingest(&admin, &Event::new("e-1").to(42)).await;
    settle(&admin).await;
    let messages = admin.get("/v1/sandbox/messages").await.expect(200);
    let of = |channel: &str| {
        let found: Vec<_> = messages.items().iter().filter(|message| message["channel"] == channel).collect();
        assert_eq!(found.len(), 1, "{channel}: {}", messages.text);
        found[0].to_string()
    };
    for (channel, contact) in
        [("push", "device-of-42"), ("email", "customer42@example.com"), ("sms", "+265991000042")]
    {
        let message = of(channel);
        assert!(message.contains(contact), "{channel} goes to {contact}: {message}");
        assert!(message.contains("2,500.00"), "{channel} tells the amount as English writes it: {message}");
    }
    let masked = herald.api("read").await.get("/v1/sandbox/messages").await.expect(200);
    for secret in ["device-of-42", "customer42@", "1000042", "2,500.00"] {
        assert!(!masked.text.contains(secret), "{secret} is not masked: {}", masked.text);
    }
    assert!((200..300).contains(&admin.delete("/v1/sandbox/messages").await.status));
    assert!(admin.get("/v1/sandbox/messages").await.expect(200).items().is_empty());
}

async fn the_end_of_a_notification_is_an_event(db: Db) {
    let (herald, admin) = start(db).await;
    user(&admin, 42).await;
    ingest(&admin, &Event::new("e-1").to(42).set("/metadata/correlationId", "c-1")).await;
    let told = notification(&admin, "e-1").await;
    assert_eq!((&told["status"], &told["correlation_id"]), (&json!("SENT"), &json!("c-1")));

    let list = wait_until(SOON, "notification.sent", async || {
        let list = admin.all("/v1/events?type=notification.sent").await;
        (!list.is_empty()).then_some(list)
    });
    let list = list.await;
    assert_eq!(list.len(), 1);
    let column = async |name: &str| {
        let query = format!("SELECT {name} AS v FROM domain_events WHERE type = 'notification.sent'");
        herald.database.texts(&query).await.remove(0)
    };
    assert_eq!(column("aggregate_type").await, "notification");
    assert_eq!(column("aggregate_id").await, told["id"].as_str().unwrap());
    let metadata: Value = serde_json::from_str(&column("metadata").await).unwrap();
    let named = (&metadata["correlationId"], &metadata["causationId"], &metadata["source"]);
    assert_eq!(named, (&json!("c-1"), &json!("e-1"), &json!("herald")), "{metadata}");
    assert_eq!(admin.all("/v1/events?correlation_id=c-1").await.len(), 2, "both are found by what ties them");
}

async fn a_notification_is_told_whole(db: Db) {
    let (herald, admin) = start(db).await;
    user(&admin, 42).await;
    ingest(&admin, &Event::new("e-1").to(42)).await;
    let told = notification(&admin, "e-1").await;
    let has = |value: &Value, names: &[&str]| {
        let fields = value.as_object().unwrap();
        for name in names {
            assert!(fields.contains_key(*name), "`{name}` is missing: {value}");
        }
    };
    has(
        &told,
        &["id", "event_id", "event_type", "user_id", "status", "priority", "correlation_id", "created_at"],
    );
    assert_eq!((&told["event_id"], &told["user_id"]), (&json!("e-1"), &json!(42)));
    assert!(["critical", "high", "normal", "bulk"].contains(&told["priority"].as_str().unwrap()));
    for delivery in told["deliveries"].as_array().unwrap() {
        has(delivery, &["id", "channel", "state", "reason", "provider", "reference", "segments"]);
        has(delivery, &["next_attempt_at", "not_before", "attempts"]);
        assert_eq!((&delivery["state"], &delivery["provider"]), (&json!("sent"), &json!("sandbox")));
        assert_eq!(delivery["segments"].is_number(), delivery["channel"] == "sms", "{delivery}");
        let attempts = delivery["attempts"].as_array().unwrap();
        assert_eq!(attempts.len(), 1, "{delivery}");
        has(&attempts[0], &["outcome", "at", "provider", "device", "code", "error", "latency_ms"]);
        assert_eq!(attempts[0]["outcome"], "accepted");
        chrono::DateTime::parse_from_rfc3339(attempts[0]["at"].as_str().unwrap()).unwrap();
    }
    let id = told["id"].as_str().unwrap();
    let masked = herald.api("read").await;
    for path in [format!("/v1/notifications/{id}"), "/v1/events/e-1".into()] {
        let text = masked.get(&path).await.expect(200).text;
        for secret in ["device-of-42", "customer42@", "1000042", "2500.00", "2,500.00"] {
            assert!(!text.contains(secret), "{path}: {secret} is not masked: {text}");
        }
    }
    admin.get("/v1/notifications/none").await.problem(404);
}
