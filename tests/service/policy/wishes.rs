//! Quiet hours, opt-outs, erasure and expiry, up to the moment before the send.

use reqwest::Method;
use serde_json::{Value, json};

use super::{delivery, notification, quiet_now, send_to};
use crate::{
    harness::{Api, Db, Event, Herald, JSON, ingest, on_both, oracle, settle},
    peers::{GatewayAnswer, SmsPeer, Wording},
};

on_both!(what_changes_before_the_send_is_honoured);

const RULES: &str = "
[routes.\"offer.made\"]
channels = [\"sms\"]
[routes.\"offer.brief\"]
channels = [\"sms\"]
expires_after = \"1h\"
[routes.\"offer.daytime\"]
channels = [\"sms\"]
quiet_hours = \"suppress\"
[routes.\"offer.loud\"]
channels = [\"sms\"]
quiet_hours = \"send\"
[routes.\"card.blocked\"]
channels = [\"sms\"]
mandatory = true
";

/// A customer in UTC with these preferences.
async fn customer(api: &Api, id: i64, preferences: &Value) {
    user_in(api, id, "Etc/UTC", 201).await;
    api.put(&format!("/v1/users/{id}/preferences"), preferences).await.expect(200);
}

async fn user_in(api: &Api, id: i64, zone: &str, status: u16) {
    let body = json!({"phone": phone(id), "locale": "en", "time_zone": zone});
    api.put(&format!("/v1/users/{id}"), &body).await.expect(status);
}

fn phone(id: i64) -> String {
    format!("+26599{:07}", 1_000_000 + id)
}

async fn tell(api: &Api, id: &str, kind: &str, user: i64) {
    ingest(api, &Event::new(id).set("/type", kind).set("/aggregateId", id).to(user)).await;
}

async fn patch(api: &Api, id: i64, change: &Value) {
    let path = format!("/v1/users/{id}/preferences");
    api.send(Method::PATCH, &path, JSON, change.to_string()).await.expect(200);
}

fn assert_is(delivery: &Value, state: &str, reason: &str) {
    assert_eq!((&delivery["state"], &delivery["reason"]), (&json!(state), &json!(reason)), "{delivery}");
    assert_eq!(delivery["attempts"], json!([]), "{delivery}");
}

async fn what_changes_before_the_send_is_honoured(db: Db) {
    let gateway = SmsPeer::start(Wording::Json);
    let mut herald = Herald::prepare(db, &[("HERALD__RETRY__BASE", "1ms")], RULES).await;
    send_to(&mut herald, &gateway);
    herald.restart().await;
    let api = herald.api("admin").await;
    quiet_hours(&api).await;
    expiry(&api, &gateway).await;
    before_the_send(&api).await;
    settle(&api).await;
    // Nothing else came than what is said to be sent.
    let mut came: Vec<String> = gateway.messages().all().iter().map(|message| message.id.clone()).collect();
    came.sort_unstable();
    let sent = "SELECT notification_id || ':' || channel AS v FROM notification_history ORDER BY 1";
    assert_eq!(came, herald.database.texts(sent).await);
    oracle::check_reconciled(&herald).await;
}

async fn quiet_hours(api: &Api) {
    let quiet = json!({"quiet_hours": quiet_now()});
    let until = quiet["quiet_hours"][0]["to"].as_str().unwrap();
    for id in 1..=4 {
        customer(api, id, &quiet).await;
        tell(api, &format!("quiet-{id}"), "offer.made", id).await;
    }
    for id in 1..=4 {
        let waits = delivery(api, &format!("quiet-{id}"), "sms", &["deferred"]).await;
        assert_is(&waits, "deferred", "quiet_hours");
        let not_before = waits["not_before"].as_str().unwrap();
        assert!(not_before.contains(&format!("T{until}:00")), "{not_before}, not {until}");
    }
    let told = notification(api, "quiet-1").await.unwrap();
    assert_eq!(told["status"], "PENDING");
    let listed = api.all("/v1/notifications?state=deferred").await;
    assert_eq!(listed.len(), 4);

    // It is released when the wish changes, and when the customer's clock does.
    patch(api, 1, &json!({"quiet_hours": null})).await;
    delivery(api, "quiet-1", "sms", &["sent"]).await;
    user_in(api, 2, "Asia/Dhaka", 200).await;
    delivery(api, "quiet-2", "sms", &["sent"]).await;
    // It is asked again then, not just sent.
    patch(api, 3, &json!({"quiet_hours": null, "opt_outs": [{"type": "offer.made"}]})).await;
    assert_is(&delivery(api, "quiet-3", "sms", &["suppressed", "sent"]).await, "suppressed", "opted_out");
    // A change of something else leaves it waiting for the same moment.
    let before = delivery(api, "quiet-4", "sms", &["deferred"]).await["not_before"].clone();
    patch(api, 4, &json!({"limits": [{"limit": 5, "window": "1h"}]})).await;
    tell(api, "quiet-4b", "offer.loud", 4).await;
    delivery(api, "quiet-4b", "sms", &["sent"]).await;
    assert_eq!(delivery(api, "quiet-4", "sms", &["deferred"]).await["not_before"], before);
    // By route.
    tell(api, "quiet-4c", "offer.daytime", 4).await;
    assert_is(&delivery(api, "quiet-4c", "sms", &["suppressed"]).await, "suppressed", "quiet_hours");
    tell(api, "quiet-4d", "card.blocked", 4).await;
    delivery(api, "quiet-4d", "sms", &["sent"]).await;
    patch(api, 4, &json!({"quiet_hours": null})).await;
    delivery(api, "quiet-4", "sms", &["sent"]).await;
}

async fn expiry(api: &Api, gateway: &SmsPeer) {
    // A deferral that would be too late.
    customer(api, 11, &json!({"quiet_hours": quiet_now()})).await;
    tell(api, "late-deferral", "offer.brief", 11).await;
    assert_is(&delivery(api, "late-deferral", "sms", &["expired"]).await, "expired", "expired");
    // A retry that would be too late.
    customer(api, 12, &json!({})).await;
    gateway.answer(&phone(12), GatewayAnswer::TooMany("7200"));
    tell(api, "late-retry", "offer.brief", 12).await;
    let expired = delivery(api, "late-retry", "sms", &["expired", "dead"]).await;
    assert_eq!((&expired["state"], &expired["reason"]), (&json!("expired"), &json!("expired")));
    assert_eq!(expired["attempts"].as_array().unwrap().len(), 1, "{expired}");
    let flow = api.get("/v1/events/late-retry/flow").await.expect(200).body;
    let last = &flow["decisions"].as_array().unwrap().last().unwrap()["verdicts"][0];
    assert_eq!(
        (&last["state"], &last["steps"][0]["answer"]),
        (&json!("expired"), &json!("expire")),
        "{flow}"
    );
    // One that came too late, whatever its own clock says of the future.
    let event = |id: &str, at: chrono::DateTime<chrono::Utc>| {
        let event = Event::new(id).set("/type", "offer.brief").to(12);
        event.set("/timestamp", at.to_rfc3339())
    };
    let now = chrono::Utc::now();
    ingest(api, &event("late-event", now - chrono::TimeDelta::hours(2))).await;
    assert_is(&delivery(api, "late-event", "sms", &["expired"]).await, "expired", "expired");
    ingest(api, &event("early-event", now + chrono::TimeDelta::hours(2))).await;
    let early = delivery(api, "early-event", "sms", &["expired", "dead"]).await;
    assert_eq!((&early["state"], early["attempts"].as_array().unwrap().len()), (&json!("expired"), 1));
    gateway.heal();
}

/// What has been decided to be sent, and waits for its turn.
async fn before_the_send(api: &Api) {
    for id in 21..=24 {
        customer(api, id, &json!({})).await;
    }
    api.post("/v1/channels/sms/pause", &json!({})).await.expect(200);
    for (id, kind) in [(21, "offer.made"), (22, "offer.made"), (23, "offer.made"), (24, "card.blocked")] {
        tell(api, &format!("turn-{id}"), kind, id).await;
        delivery(api, &format!("turn-{id}"), "sms", &["pending", "sending"]).await;
    }
    patch(api, 21, &json!({"opt_outs": [{"channel": "sms"}]})).await;
    api.delete("/v1/users/22").await.expect(204);
    patch(api, 23, &json!({"quiet_hours": quiet_now()})).await;
    patch(api, 24, &json!({"opt_outs": [{"channel": "sms"}]})).await;
    api.post("/v1/channels/sms/resume", &json!({})).await.expect(200);
    assert_is(&delivery(api, "turn-21", "sms", &["suppressed", "sent"]).await, "suppressed", "opted_out");
    assert_is(&delivery(api, "turn-22", "sms", &["suppressed", "sent"]).await, "suppressed", "no_contact");
    assert_is(&delivery(api, "turn-23", "sms", &["deferred", "sent"]).await, "deferred", "quiet_hours");
    delivery(api, "turn-24", "sms", &["sent"]).await;
    // Erased while it waits for the night to end: released, it has nobody to go to.
    tell(api, "erased", "offer.made", 23).await;
    delivery(api, "erased", "sms", &["deferred"]).await;
    api.delete("/v1/users/23").await.expect(204);
    for event in ["turn-23", "erased"] {
        assert_is(&delivery(api, event, "sms", &["suppressed"]).await, "suppressed", "no_contact");
    }
}
