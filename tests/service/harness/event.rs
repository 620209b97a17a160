//! The events and recipients of the tests.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Answer, Api, LATE, wait_until};

/// An event in the making: by default a completed transaction on account 1001.
#[derive(Clone)]
pub(crate) struct Event(pub(crate) Value);

impl Event {
    pub(crate) fn new(id: &str) -> Self {
        Self(json!({
            "id": id,
            "type": "transaction.completed",
            "aggregateId": "1001",
            "aggregateType": "account",
            "payload": {"accountNumber": "1001", "amount": "2500.00", "currency": "MWK"},
            "metadata": {"source": "core-banking"},
        }))
    }

    /// Sets the value at a JSON pointer whose parent is there.
    #[track_caller]
    pub(crate) fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = self.0.pointer_mut(parent).and_then(Value::as_object_mut).unwrap();
        parent.insert(key.to_owned(), value.into());
        self
    }

    /// Removes the value at a JSON pointer.
    #[track_caller]
    pub(crate) fn without(mut self, pointer: &str) -> Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = self.0.pointer_mut(parent).and_then(Value::as_object_mut).unwrap();
        assert!(parent.remove(key).is_some(), "{pointer}");
        self
    }

    /// Tells a user by `payload.userId`.
    pub(crate) fn to(self, user: i64) -> Self {
        self.set("/payload/userId", user)
    }
}

/// Posts an event that is new.
pub(crate) async fn ingest(api: &Api, event: &Event) -> Answer {
    let answer = api.post("/v1/events", &event.0).await.expect(202);
    assert_eq!(answer.body["events"][0]["id"], event.0["id"]);
    assert_eq!(answer.statuses(), ["stored"]);
    answer
}

/// A recipient with a mailbox, a phone and a device.
pub(crate) async fn user(api: &Api, id: i64) {
    let body = json!({
        "name": format!("Customer {id}"),
        "email": format!("customer{id}@example.com"),
        "phone": format!("+26599{:07}", 1_000_000 + id),
        "locale": "en",
        "time_zone": "Africa/Blantyre",
        "devices": [{"token": format!("device-of-{id}"), "platform": "android"}],
    });
    api.put(&format!("/v1/users/{id}"), &body).await.expect(201);
}

/// Waits until nothing is pending: every event has its outcome, every delivery its end.
pub(crate) async fn settle(api: &Api) {
    settle_within(LATE, api).await;
}

/// The same for more work than usual. What is tried again goes to and fro between `RETRY` and `PENDING`, and
/// a look at one can miss it while it is the other: only two rounds that find nothing are an end.
pub(crate) async fn settle_within(limit: Duration, api: &Api) {
    const OPEN: [&str; 3] =
        ["events?outcome=pending", "notifications?status=PENDING", "notifications?status=RETRY"];
    wait_until(limit, "an end of all work", async || {
        for open in OPEN.iter().chain(&OPEN) {
            let list = api.get(&format!("/v1/{open}&limit=1")).await.expect(200);
            if !list.items().is_empty() {
                return None;
            }
        }
        Some(())
    })
    .await;
}
