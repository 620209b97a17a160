//! Another channel where the first one cannot deliver.

use serde_json::json;

use super::{delivery, notification, send_to};
use crate::{
    harness::{Api, Db, Event, Herald, ingest, on_both, oracle, settle, user},
    peers::{FcmAnswer, FcmPeer, SmsPeer, Wording},
};

on_both!(sms_goes_where_push_cannot);

/// `later` would come long after the test: whatever it does before, it does since push has ended.
const RULES: &str = "
[routes.\"card.later\"]
channels = [\"push\"]
escalate = [{after = \"1h\", channel = \"sms\"}]
[routes.\"card.soon\"]
channels = [\"push\"]
escalate = [{after = \"2s\", channel = \"sms\"}]
";

async fn tell(api: &Api, id: &str, kind: &str, user: i64) {
    ingest(api, &Event::new(id).set("/type", kind).set("/aggregateId", id).to(user)).await;
}

async fn sms_goes_where_push_cannot(db: Db) {
    let (fcm, gateway) = (FcmPeer::start(), SmsPeer::start(Wording::Json));
    let account = fcm.service_account().display().to_string();
    let mut herald = Herald::prepare(db, &[("HERALD__RETRY__BASE", "50ms")], RULES).await;
    send_to(&mut herald, &gateway);
    herald.set(&[
        ("HERALD__PUSH__PROVIDER", "fcm"),
        ("HERALD__PUSH__FCM__SERVICE_ACCOUNT", &account),
        ("HERALD__PUSH__FCM__ENDPOINT", &fcm.endpoint()),
    ]);
    herald.restart().await;
    let api = herald.api("admin").await;
    for id in 1..=6 {
        user(&api, id).await;
    }
    fcm.answer("device-of-2", FcmAnswer::InvalidMessage);
    fcm.answer("device-of-3", FcmAnswer::Unavailable(Some("3600")));
    fcm.answer("device-of-4", FcmAnswer::Unavailable(Some("3600")));
    let no_device = json!({"phone": "+265991000005", "locale": "en"});
    api.put("/v1/users/5", &no_device).await.expect(200);
    api.put("/v1/users/6/preferences", &json!({"opt_outs": [{"channel": "push"}]})).await.expect(200);

    // Push has sent it: SMS is not needed, and that shows at once.
    tell(&api, "sent", "card.later", 1).await;
    let sms = delivery(&api, "sent", "sms", &["suppressed", "sent"]).await;
    assert_eq!((&sms["state"], &sms["reason"]), (&json!("suppressed"), &json!("not_needed")), "{sms}");
    assert_eq!(notification(&api, "sent").await.unwrap()["status"], "SENT");
    // It cannot be sent by push at all: SMS goes at once.
    tell(&api, "dead", "card.later", 2).await;
    delivery(&api, "dead", "sms", &["sent"]).await;
    delivery(&api, "dead", "push", &["dead"]).await;
    assert_eq!(notification(&api, "dead").await.unwrap()["status"], "PARTIAL");
    // There is nothing to push to, or push is not wanted.
    for (event, user) in [("no-device", 5), ("opted-out", 6)] {
        tell(&api, event, "card.later", user).await;
        delivery(&api, event, "sms", &["sent"]).await;
        delivery(&api, event, "push", &["suppressed"]).await;
        assert_eq!(notification(&api, event).await.unwrap()["status"], "SENT");
    }
    // The event had to wait longer than that: push gets its time all the same.
    api.post("/v1/dispatch/hold", &json!({})).await.expect(200);
    tell(&api, "held", "card.soon", 1).await;
    let long_ago = "UPDATE domain_events SET created_at = '2000-01-01T00:00:00.000000Z' WHERE id = 'held'";
    herald.database.execute(long_ago).await;
    api.post("/v1/dispatch/resume", &json!({})).await.expect(200);
    let sms = delivery(&api, "held", "sms", &["suppressed", "sent"]).await;
    assert_eq!((&sms["state"], &sms["reason"]), (&json!("suppressed"), &json!("not_needed")), "{sms}");
    // Push is tried again later: SMS waits for its time, and goes then.
    tell(&api, "slow", "card.later", 3).await;
    delivery(&api, "slow", "push", &["retry"]).await;
    let waits = delivery(&api, "slow", "sms", &["deferred"]).await;
    assert_eq!((&waits["reason"], waits["not_before"].is_string()), (&json!("escalation"), true));
    tell(&api, "soon", "card.soon", 4).await;
    delivery(&api, "soon", "sms", &["sent"]).await;
    assert_eq!(delivery(&api, "soon", "push", &["retry"]).await["attempts"].as_array().unwrap().len(), 1);

    // Push works again. What SMS has told comes by push as well, as it was never withdrawn; what waited
    // for it is not needed any more.
    fcm.heal();
    herald
        .database
        .execute(
            "UPDATE deliveries SET next_attempt_at = '2000-01-01T00:00:00.000000Z' WHERE state = 'retry'",
        )
        .await;
    let sms = delivery(&api, "slow", "sms", &["suppressed", "sent"]).await;
    assert_eq!((&sms["state"], &sms["reason"]), (&json!("suppressed"), &json!("not_needed")), "{sms}");
    settle(&api).await;
    let mut texts: Vec<String> = gateway.messages().all().into_iter().map(|message| message.to).collect();
    texts.sort_unstable();
    let to = [2, 4, 5, 6].map(|id| format!("+26599{:07}", 1_000_000 + id));
    assert_eq!(texts, to, "each once");
    oracle::check_reconciled(&herald).await;
}
