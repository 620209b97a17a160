//! Redis: events that are published there, and Herald without it.

use std::pin::pin;

use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::harness::{Api, Db, Event, Herald, SOON, ingest, on_both, redis::Redis, settle, user, wait_until};

on_both!(
    a_published_event_is_stored,
    a_publisher_may_store_the_row_itself,
    accepted_events_are_published,
    it_may_come_and_go,
    nonsense_holds_nothing_up,
);

async fn start(db: Db, redis: &Redis) -> (Herald, Api) {
    let settings = [("HERALD__REDIS__URL", redis.url()), ("HERALD__REDIS__ADOPT_AFTER", "200ms".to_owned())];
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let herald = Herald::start(db, &settings).await;
    let api = herald.api("admin").await;
    user(&api, 42).await;
    (herald, api)
}

/// The status of an event's notification, once there is one and its work has ended.
async fn told(api: &Api, event: &str) -> String {
    let found = wait_until(SOON, &format!("a notification of {event}"), async || {
        api.all(&format!("/v1/notifications?event_id={event}")).await.pop()
    })
    .await;
    let id = found["id"].as_str().unwrap();
    settle(api).await;
    let notification = api.get(&format!("/v1/notifications/{id}")).await.expect(200).body;
    notification["status"].as_str().unwrap().to_owned()
}

async fn a_published_event_is_stored(db: Db) {
    let redis = Redis::start().await;
    let (_herald, api) = start(db, &redis).await;
    // An unknown field is no reason to lose it: nobody is there to be told.
    let event = Event::new("e-1").to(42).set("/colour", "red");
    redis.publish("events:account", &event.0.to_string()).await;
    redis.publish("events:account", &event.0.to_string()).await;
    assert_eq!(told(&api, "e-1").await, "SENT");
    assert_eq!(api.all("/v1/notifications?event_id=e-1").await.len(), 1);
    let again = api.post("/v1/events", &Event::new("e-1").to(42).0).await.expect(202);
    assert_eq!(again.statuses(), ["duplicate"]);
}

async fn a_publisher_may_store_the_row_itself(db: Db) {
    let redis = Redis::start().await;
    let (herald, api) = start(db, &redis).await;
    let event = Event::new("e-1").to(42).set("/timestamp", "2026-11-24T09:15:00.000000Z");
    let row = format!(
        "INSERT INTO domain_events (id, type, aggregate_id, aggregate_type, payload, metadata, timestamp)
         VALUES ('e-1', 'transaction.completed', '1001', 'account', '{}', '{}', '2026-11-24T09:15:00.000000Z')",
        event.0["payload"], event.0["metadata"]
    );
    herald.database.execute(&row).await;
    redis.publish("events:account", &event.0.to_string()).await;
    assert_eq!(told(&api, "e-1").await, "SENT");
    assert_eq!(herald.database.number("SELECT count(*) AS v FROM domain_events WHERE id = 'e-1'").await, 1);
    assert_eq!(api.all("/v1/notifications?event_id=e-1").await.len(), 1);
}

async fn accepted_events_are_published(db: Db) {
    let redis = Redis::start().await;
    let (_herald, api) = start(db, &redis).await;
    let mut published = pin!(redis.listen().await);
    ingest(&api, &Event::new("e-1").to(42)).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let next = tokio::time::timeout(SOON, published.next()).await.expect("both are published").unwrap();
        let event: Value = serde_json::from_str(&next.1).unwrap();
        seen.push((next.0, event["type"].as_str().unwrap().to_owned(), event));
    }
    let of = |kind: &str| seen.iter().find(|(_, found, _)| found == kind).unwrap();
    let (channel, _, event) = of("transaction.completed");
    assert_eq!((channel.as_str(), &event["id"]), ("events:account", &json!("e-1")));
    assert_eq!(event["aggregateType"], "account", "as publishers write it: {event}");
    let (channel, _, event) = of("notification.sent");
    assert_eq!(channel, "events:notification");
    assert_eq!(event["metadata"]["causationId"], "e-1", "{event}");
}

async fn it_may_come_and_go(db: Db) {
    let mut redis = Redis::absent();
    let (_herald, api) = start(db, &redis).await;
    ingest(&api, &Event::new("absent").to(42)).await;
    assert_eq!(told(&api, "absent").await, "SENT");
    for round in 0..2 {
        redis.up().await;
        let id = format!("up-{round}");
        redis.publish("events:account", &Event::new(&id).to(42).0.to_string()).await;
        assert_eq!(told(&api, &id).await, "SENT");
        redis.down();
        let id = format!("down-{round}");
        ingest(&api, &Event::new(&id).to(42)).await;
        assert_eq!(told(&api, &id).await, "SENT");
    }
}

async fn nonsense_holds_nothing_up(db: Db) {
    let redis = Redis::start().await;
    let (_herald, api) = start(db, &redis).await;
    let own = Event::new("own").set("/type", "notification.sent").0.to_string();
    let short = Event::new("short").without("/metadata").0.to_string();
    for nonsense in ["", "42", "{", "{}", "\u{0}", &own, &short] {
        redis.publish("events:account", nonsense).await;
    }
    redis.publish("events:account", &Event::new("e-1").to(42).0.to_string()).await;
    assert_eq!(told(&api, "e-1").await, "SENT");
    for ignored in ["own", "short"] {
        api.get(&format!("/v1/events/{ignored}")).await.problem(404);
    }
}
