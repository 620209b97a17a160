//! Redis and a bank's transaction that is still open: nobody waits for it, and it does not fail.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

use crate::harness::{Api, Db, Event, Herald, LATE, SOON, ingest, redis::Redis, settle, user, wait_until};

struct Case {
    herald: Herald,
    api: Api,
    redis: Redis,
}

impl Case {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let redis = Redis::start().await;
        let herald = Herald::prepare(Db::Postgres, settings, "").await;
        let mut case = Self { api: herald.anonymous(), herald, redis };
        case.herald.set(&[("HERALD__REDIS__URL", &case.redis.url())]);
        case.herald.restart().await;
        case.api = case.herald.api("admin").await;
        user(&case.api, 42).await;
        case
    }

    /// The bank's own connection.
    async fn bank(&self) -> Client {
        let url = self.herald.database.url().clone();
        let (client, connection) = tokio_postgres::connect(url.as_str(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    async fn publish(&self, id: &str) {
        self.redis.publish("events:account", &event(id).0.to_string()).await;
    }

    async fn adopted(&self) -> u64 {
        let told = self.api.get("/v1/runtime").await.expect(200).body;
        told["redis"]["adopted"].as_u64().unwrap()
    }

    /// Others are stored at once, one after the other, and all together.
    async fn others_do_not_wait(&self, prefix: &str) -> Duration {
        let begun = Instant::now();
        for n in 0..20 {
            ingest(&self.api, &event(&format!("{prefix}-{n}"))).await;
        }
        let together = (20..60).map(|n| event(&format!("{prefix}-{n}")));
        let together: Vec<_> = together.collect();
        futures_util::future::join_all(together.iter().map(|event| ingest(&self.api, event))).await;
        begun.elapsed()
    }

    /// The event is there once, and was told once.
    async fn told_once(&self, id: &str) {
        wait_until(LATE, &format!("{id} is told"), async || {
            let told = self.api.all(&format!("/v1/notifications?event_id={id}")).await;
            (told.len() == 1).then_some(())
        })
        .await;
        settle(&self.api).await;
        let rows = format!("SELECT count(*) AS v FROM domain_events WHERE id = '{id}'");
        assert_eq!(self.herald.database.number(&rows).await, 1);
        let told = self.api.all(&format!("/v1/notifications?event_id={id}")).await;
        assert_eq!((told.len(), &told[0]["status"]), (1, &"SENT".into()));
        self.herald.run(&["reconcile"]).await.code(0);
    }
}

fn event(id: &str) -> Event {
    Event::new(id).to(42).set("/timestamp", "2026-11-24T09:15:00.000000Z")
}

fn insert(id: &str) -> String {
    let event = event(id).0;
    format!(
        "INSERT INTO domain_events (id, type, aggregate_id, aggregate_type, payload, metadata, timestamp)
         VALUES ('{id}', 'transaction.completed', '1001', 'account', '{}', '{}', '2026-11-24T09:15:00.000000Z')",
        event["payload"], event["metadata"]
    )
}

const SOON_ADOPTED: &[(&str, &str)] = &[("HERALD__REDIS__ADOPT_AFTER", "200ms")];

/// The row is there, uncommitted, when the event is published, and stays so for long after
/// `adopt_after`.
#[tokio::test]
async fn a_row_in_an_open_transaction_blocks_nobody() {
    let case = Case::start(SOON_ADOPTED).await;
    for (round, ending) in ["COMMIT", "ROLLBACK"].into_iter().enumerate() {
        let id = format!("open-{round}");
        let bank = case.bank().await;
        bank.batch_execute(&format!("BEGIN; {}", insert(&id))).await.unwrap();
        case.publish(&id).await;
        // It is being adopted: Herald's insert waits behind the bank's.
        let waiting = "SELECT count(*) AS v FROM pg_stat_activity
                       WHERE datname = current_database() AND application_name = 'herald' AND wait_event_type = 'Lock'";
        wait_until(SOON, "an insert that waits", async || {
            (case.herald.database.number(waiting).await > 0).then_some(())
        })
        .await;
        let took = case.others_do_not_wait(&format!("others-{round}")).await;
        assert!(took < Duration::from_secs(5), "60 others took {took:?}");
        eprintln!("{ending} of an open transaction: 60 others were stored in {took:?} meanwhile");
        assert_eq!(case.adopted().await, 0, "it is the bank's to store");
        bank.batch_execute(ending).await.unwrap();
        case.told_once(&id).await;
    }
    // The one whose row was rolled back was known from Redis, and was stored.
    assert_eq!(case.adopted().await, 1);
}

/// The publish comes before the insert, and the transaction is short: the bank notices nothing.
#[tokio::test]
async fn a_row_that_comes_after_its_publish_is_not_refused() {
    // Long enough that only the bank's own row can have told of the event.
    let case = Case::start(&[("HERALD__REDIS__ADOPT_AFTER", "20s")]).await;
    for round in 0..5 {
        let id = format!("late-{round}");
        case.publish(&id).await;
        let received = case.api.get("/v1/runtime").await.expect(200).body["redis"]["received"].clone();
        let bank = case.bank().await;
        bank.batch_execute(&format!("BEGIN; {}; COMMIT", insert(&id))).await.unwrap();
        case.told_once(&id).await;
        assert!(received.as_u64().is_some());
    }
    assert_eq!(case.adopted().await, 0);
}

/// Nobody stores it but Herald, and not before its time.
#[tokio::test]
async fn an_event_that_is_published_only_is_adopted_in_its_time() {
    let case = Case::start(&[("HERALD__REDIS__ADOPT_AFTER", "1s")]).await;
    let begun = Instant::now();
    case.publish("alone").await;
    let rows = "SELECT count(*) AS v FROM domain_events WHERE id = 'alone'";
    wait_until(SOON, "it is stored", async || (case.herald.database.number(rows).await == 1).then_some(()))
        .await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    case.told_once("alone").await;
    assert_eq!(case.adopted().await, 1);
}

/// What was stored while Redis was away is found when it is back, and not only at the next look.
#[tokio::test]
async fn a_new_subscription_catches_up() {
    let patient = [("HERALD__DISPATCH__POLL_INTERVAL", "60s"), ("HERALD__DISPATCH__LEASE", "5m")];
    let mut case = Case::start(&patient).await;
    let told = async |case: &Case, expected: bool| {
        wait_until(SOON, "the subscription", async || {
            let told = case.api.get("/v1/runtime").await.expect(200).body;
            (told["redis"]["subscribed"] == expected).then_some(())
        })
        .await;
    };
    told(&case, true).await;
    case.redis.down();
    told(&case, false).await;
    let bank = case.bank().await;
    bank.batch_execute(&insert("missed")).await.unwrap();
    case.redis.up().await;
    let begun = Instant::now();
    told(&case, true).await;
    case.told_once("missed").await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}
