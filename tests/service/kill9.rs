//! The process dies in the middle of its work, again and again.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::Method;
use serde_json::json;
use tokio::sync::watch;

use crate::{
    harness::{Api, Db, Event, Herald, LATE, on_both, oracle, settle_within, soak, user, wait_until},
    runtime::sandbox_copies,
};

on_both!(nothing_acknowledged_is_lost_and_nothing_is_sent_twice_without_saying_so);

const PUBLISHERS: usize = 8;
const USERS: i64 = 20;

const ROUTES: &str = r#"
[routes."transaction.completed"]
channels = ["push", "email", "sms"]
"#;

/// The events of one publisher: single ones and arrays in turn, each array on one aggregate.
fn requests(publisher: usize, events: usize) -> Vec<Vec<Event>> {
    let mut made = (0..events).map(|n| {
        let event =
            Event::new(&format!("p{publisher}-{n}")).set("/aggregateId", format!("A-{publisher}-{}", n % 7));
        event.to(1 + n as i64 % USERS)
    });
    let mut requests = Vec::new();
    for size in [1, 1, 10, 1, 3].into_iter().cycle() {
        let request: Vec<_> = made.by_ref().take(size).collect();
        if request.is_empty() {
            break;
        }
        requests.push(request);
    }
    requests
}

/// Publishes until all is acknowledged: after an error or a refusal the same request again, to
/// whoever serves then.
pub(crate) async fn publish(
    mut serving: watch::Receiver<Api>,
    requests: Vec<Vec<Event>>,
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
) {
    for request in requests {
        let events: Vec<_> = request.iter().map(|event| &event.0).collect();
        let body = json!(events).to_string();
        loop {
            let api = serving.borrow_and_update().clone();
            let headers = [("Content-Type", "application/json")];
            match api.try_send(Method::POST, "/v1/events", &headers, body.clone()).await {
                Ok(answer) if answer.status == 202 => break,
                // Full, or on the way down: it asks to come again.
                Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text),
                // Nobody is there until the next one serves.
                Err(_) if serving.has_changed().unwrap_or(true) => {}
                Err(_) => drop(tokio::time::timeout(Duration::from_millis(200), serving.changed()).await),
            }
        }
        let ids = request.iter().map(|event| event.0["id"].as_str().unwrap().to_owned());
        acknowledged.lock().unwrap().extend(ids);
    }
}

async fn nothing_acknowledged_is_lost_and_nothing_is_sent_twice_without_saying_so(db: Db) {
    let (events, kills) = if soak() { (20_000, 10) } else { (2_000, 2) };
    // A short lease, so that what the dead process held is taken back soon.
    let mut herald = Herald::start_with(db, &[("HERALD__DISPATCH__LEASE", "2s")], ROUTES).await;
    let first = herald.api("admin").await;
    let token = first.token.clone().unwrap();
    for id in 1..=USERS {
        user(&first, id).await;
    }

    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let (serve, serving) = watch::channel(first);
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|n| {
            tokio::spawn(publish(
                serving.clone(),
                requests(n, events / PUBLISHERS),
                Arc::clone(&acknowledged),
            ))
        })
        .collect();
    let reached = async |count: usize| {
        wait_until(LATE, &format!("{count} acknowledged"), async || {
            (acknowledged.lock().unwrap().len() >= count).then_some(())
        })
        .await;
    };
    for kill in 1..=kills {
        reached(events * kill / (kills + 1)).await;
        herald.kill9().await;
        herald.restart().await;
        serve.send(herald.with_token(&token)).unwrap();
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
    // And once more with all of the publishing done and much of the sending not.
    herald.kill9().await;
    herald.restart().await;

    let api = herald.with_token(&token);
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert_eq!(acknowledged.len(), events);
    settle_within(LATE * kills as u32, &api).await;
    // The sandbox's messages are rows of their own, each written before the outcome of its attempt:
    // they are what a provider would have got.
    let copies = sandbox_copies(&api).await;
    let notifications = oracle::check(&api, &acknowledged, &copies).await;
    assert_eq!(notifications.len(), events, "one notification for each event");
    for notification in &notifications {
        assert_eq!(notification["status"], "SENT", "{notification}");
        for delivery in notification["deliveries"].as_array().unwrap() {
            assert_eq!(delivery["state"], "sent", "{delivery}");
        }
    }
    assert!(!copies.is_empty());
}
