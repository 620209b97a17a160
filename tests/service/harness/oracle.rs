//! What must hold after any fault, whatever happened on the way.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};
use serde_json::Value;

use super::{Api, Herald, settle};

/// How many copies of each delivery a provider got, by the delivery's id. For push, of its one device.
pub(crate) type Copies = BTreeMap<String, usize>;

/// Waits for the end of all work, then checks the contract's promises 2, 3 and 5:
/// every acknowledged event has an outcome, every delivery one end state, the status of each
/// notification follows from them, and a provider got a delivery again only after an attempt that
/// ended `unknown`. Gives the notifications.
pub(crate) async fn check(api: &Api, acknowledged: &BTreeSet<String>, copies: &Copies) -> Vec<Value> {
    settle(api).await;
    let mut outcomes = BTreeMap::new();
    for event in api.all("/v1/events").await {
        let before = outcomes.insert(text(&event["id"]), text(&event["outcome"]));
        assert_eq!(before, None, "event {} is listed twice", event["id"]);
    }
    for id in acknowledged {
        let outcome = outcomes.get(id).unwrap_or_else(|| panic!("acknowledged event {id} is gone"));
        let ended = ["notified", "not_routed", "no_recipient", "failed"];
        assert!(ended.contains(&outcome.as_str()), "event {id} has the outcome {outcome}");
    }
    for letter in api.all("/v1/dead-letters").await {
        let cause = letter["error"].as_str().unwrap_or_default();
        assert!(!cause.is_empty(), "a dead letter does not say why: {letter}");
    }

    let ids: Vec<_> = api.all("/v1/notifications").await.iter().map(|item| text(&item["id"])).collect();
    let notifications: Vec<_> = stream::iter(ids)
        .map(async |id| api.get(&format!("/v1/notifications/{id}")).await.expect(200).body)
        .buffered(8)
        .collect()
        .await;
    let mut told = BTreeMap::<_, BTreeSet<_>>::new();
    for notification in &notifications {
        let id = &notification["id"];
        let first = told
            .entry(text(&notification["event_id"]))
            .or_default()
            .insert(notification["user_id"].to_string());
        assert!(first, "{id}: a second notification for one event and recipient");
        let deliveries = notification["deliveries"].as_array().unwrap();
        let channels: BTreeSet<_> = deliveries.iter().map(|delivery| text(&delivery["channel"])).collect();
        assert_eq!(channels.len(), deliveries.len(), "{id}: two deliveries on one channel");
        deliveries.iter().for_each(|delivery| check_delivery(delivery, copies));
        let states: Vec<_> = deliveries.iter().map(|delivery| text(&delivery["state"])).collect();
        assert_eq!(notification["status"], status_of(&states), "{id}: {states:?}");
    }
    for (id, outcome) in &outcomes {
        assert_eq!(outcome == "notified", told.contains_key(id), "event {id} ended {outcome}");
    }
    notifications
}

/// Promise 4: the notifications of an aggregate were made in the order in which its events were stored.
/// (An event that an operator has handled again comes later.)
pub(crate) async fn check_order(herald: &Herald) {
    let pairs = "SELECT n.event_id AS id, n.created_at AS made, lag(n.created_at) OVER aggregate AS before
                 FROM notifications n JOIN domain_events e ON e.id = n.event_id
                 WINDOW aggregate AS (PARTITION BY e.aggregate_type, e.aggregate_id ORDER BY e.position)";
    let late = format!("SELECT id AS v FROM ({pairs}) AS pairs WHERE made < before");
    let late = herald.database.texts(&late).await;
    assert_eq!(late, Vec::<String>::new(), "made before the events that were stored earlier");
}

/// The database adds up.
pub(crate) async fn check_reconciled(herald: &Herald) {
    let reconciled = herald.run(&["reconcile"]).await.code(0);
    assert!(reconciled.stdout.contains("0 broken"), "{}", reconciled.stdout);
}

/// How many attempts ended so.
pub(crate) fn attempts(notifications: &[Value], outcome: &str) -> usize {
    let deliveries = notifications.iter().flat_map(|told| told["deliveries"].as_array().unwrap());
    let attempts = deliveries.flat_map(|delivery| delivery["attempts"].as_array().unwrap());
    attempts.filter(|attempt| attempt["outcome"] == outcome).count()
}

fn check_delivery(delivery: &Value, copies: &Copies) {
    let id = text(&delivery["id"]);
    let state = text(&delivery["state"]);
    let ended = [
        "sent",
        "delivered",
        "undelivered",
        "dead",
        "suppressed",
        "expired",
        "digested",
        "shadowed",
        "discarded",
    ];
    assert!(ended.contains(&state.as_str()), "delivery {id} is {state}");
    let attempts = delivery["attempts"].as_array().unwrap();
    let count = |outcome: &str| attempts.iter().filter(|attempt| attempt["outcome"] == outcome).count();

    for attempt in attempts.iter().filter(|attempt| attempt["outcome"] != "accepted") {
        let cause = attempt["error"].as_str().unwrap_or_default();
        assert!(!cause.is_empty(), "an attempt of {id} failed and does not say why: {attempt}");
    }
    let reason = delivery["reason"].as_str().unwrap_or_default();
    let silent = ["sent", "delivered", "shadowed"].contains(&state.as_str());
    assert!(silent || !reason.is_empty(), "delivery {id} is {state} and does not say why: {delivery}");

    let mut accepted = BTreeSet::new();
    for attempt in attempts.iter().filter(|attempt| attempt["outcome"] == "accepted") {
        let first = accepted.insert(attempt["device"].to_string());
        assert!(first, "delivery {id} was accepted twice for one destination: {delivery}");
    }
    if ["sent", "delivered", "undelivered"].contains(&state.as_str()) {
        assert!(!accepted.is_empty(), "delivery {id} is {state}, and no attempt was accepted");
    }
    if let Some(&seen) = copies.get(&id) {
        assert!(seen <= 1 + count("unknown"), "the provider got {seen} copies of {id}: {delivery}");
    }
}

/// The contract's list: the first line that fits.
fn status_of(states: &[String]) -> &'static str {
    let any = |of: &[&str]| states.iter().any(|state| of.contains(&state.as_str()));
    let sent = any(&["sent", "delivered"]);
    let failed = any(&["dead", "undelivered", "discarded"]);
    if any(&["retry"]) {
        "RETRY"
    } else if any(&["pending", "sending", "deferred"]) {
        "PENDING"
    } else if sent && failed {
        "PARTIAL"
    } else if sent {
        "SENT"
    } else if failed {
        "FAILED"
    } else {
        "SUPPRESSED"
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text was expected, not {value}")).to_owned()
}

mod tests {
    use serde_json::json;

    use super::*;

    fn delivery(state: &str, outcomes: &[&str]) -> Value {
        let attempts: Vec<_> = outcomes
            .iter()
            .map(|outcome| json!({"outcome": outcome, "device": null, "error": "why"}))
            .collect();
        json!({"id": "n:sms", "channel": "sms", "state": state, "reason": "why", "attempts": attempts})
    }

    fn passes(delivery: &Value, copies: usize) -> bool {
        let copies = Copies::from([("n:sms".to_owned(), copies)]);
        std::panic::catch_unwind(|| check_delivery(delivery, &copies)).is_ok()
    }

    #[test]
    fn it_tells_right_from_wrong() {
        assert!(passes(&delivery("sent", &["transient", "accepted"]), 1));
        assert!(passes(&delivery("sent", &["unknown", "accepted"]), 2));
        assert!(passes(&delivery("dead", &["unknown", "permanent"]), 1));
        assert!(!passes(&delivery("sending", &["accepted"]), 1), "an open state");
        assert!(!passes(&delivery("sent", &["transient", "accepted"]), 2), "a copy that nothing explains");
        assert!(!passes(&delivery("sent", &["unknown", "accepted"]), 3), "one unknown explains one copy");
        assert!(!passes(&delivery("sent", &["unknown"]), 1), "sent, and nobody accepted it");
        assert!(!passes(&delivery("sent", &["accepted", "accepted"]), 1), "recorded twice");
        let mut silent = delivery("sent", &["transient", "accepted"]);
        silent["attempts"][0]["error"] = Value::Null;
        assert!(!passes(&silent, 1), "an error without a cause");
        let mut silent = delivery("dead", &["permanent"]);
        silent["reason"] = Value::Null;
        assert!(!passes(&silent, 1), "an end without a reason");
    }
}
