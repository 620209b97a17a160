//! Redis goes, comes back with nothing, or was never there.

use super::bank::Bank;
use crate::harness::{Db, Event, LATE, redis::Redis, soak, wait_until};

async fn with(db: Db, redis: &Redis) -> Bank {
    let url = redis.url();
    let settings = [("HERALD__REDIS__URL", &*url), ("HERALD__REDIS__ADOPT_AFTER", "200ms")];
    let mut bank = Bank::open(db, &settings).await;
    if db == Db::Postgres {
        bank.open_another(&settings).await;
    }
    bank.work().await;
    bank
}

/// Another application stores rows of its own, each in its transaction; a commit acknowledges it.
async fn store_rows(bank: &Bank, redis: Option<&Redis>, round: usize) {
    for n in 0..10 {
        let id = format!("row-{round}-{n}");
        let event = Event::new(&id).to(1).set("/aggregateId", "rows").0;
        let insert = format!(
            "INSERT INTO domain_events (id, type, aggregate_id, aggregate_type, payload, metadata, timestamp)
             VALUES ('{id}', 'transaction.completed', 'rows', 'account', '{}', '{}',
                     '2026-11-24T09:15:00.000000Z')",
            event["payload"], event["metadata"]
        );
        bank.heralds[0].database.execute(&insert).await;
        bank.acknowledged(&id);
        if let Some(redis) = redis {
            redis.publish("events:account", &event.to_string()).await;
        }
    }
}

async fn subscribed(bank: &Bank, expected: bool) {
    for instance in 0..bank.heralds.len() {
        let api = bank.api(instance);
        wait_until(LATE, &format!("subscribed: {expected}"), async || {
            let told = api.get("/v1/runtime").await.expect(200).body;
            (told["redis"]["subscribed"] == expected).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn killed_and_back() {
    let mut redis = Redis::start().await;
    let mut bank = with(Db::Postgres, &redis).await;
    let rounds = if soak() { 10 } else { 2 };
    for round in 0..rounds {
        subscribed(&bank, true).await;
        store_rows(&bank, Some(&redis), 2 * round).await;
        redis.down();
        subscribed(&bank, false).await;
        store_rows(&bank, None, 2 * round + 1).await;
        bank.flows(60).await;
        redis.up().await;
    }
    bank.flows(60).await;
    let seen = bank.check(&format!("Redis killed and back, {rounds} times")).await;
    assert_eq!(seen.tally.turned_away, 0, "publishers notice nothing: {seen}");
    assert_eq!((seen.unknown, seen.copies), (0, 0), "{seen}");
}

#[tokio::test]
async fn absent_all_along() {
    let redis = Redis::absent();
    let mut bank = with(Db::Sqlite, &redis).await;
    store_rows(&bank, None, 0).await;
    bank.flows(if soak() { 3_000 } else { 200 }).await;
    let seen = bank.check("Redis absent all along").await;
    assert_eq!(seen.tally.turned_away, 0, "publishers notice nothing: {seen}");
    assert_eq!((seen.unknown, seen.copies), (0, 0), "{seen}");
}

#[tokio::test]
async fn comes_back_empty() {
    let mut redis = Redis::start().await;
    let mut bank = with(Db::Postgres, &redis).await;
    let rounds = if soak() { 10 } else { 2 };
    for round in 0..rounds {
        subscribed(&bank, true).await;
        assert_eq!(redis.command(&["SET", "something", "kept"]).await, "OK");
        // All that it knows is gone, its clients are; then it is another server altogether.
        redis.command(&["FLUSHALL"]).await;
        redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        store_rows(&bank, None, 2 * round).await;
        redis.down();
        redis.up().await;
        assert_eq!(redis.command(&["DBSIZE"]).await, "0");
        subscribed(&bank, true).await;
        store_rows(&bank, Some(&redis), 2 * round + 1).await;
        bank.flows(60).await;
    }
    let seen = bank.check(&format!("Redis came back empty, {rounds} times")).await;
    assert_eq!(seen.tally.turned_away, 0, "publishers notice nothing: {seen}");
    assert_eq!((seen.unknown, seen.copies), (0, 0), "{seen}");
}
