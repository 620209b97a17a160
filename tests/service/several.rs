//! Several instances over one PostgreSQL.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;

use crate::{
    harness::{Api, Db, Event, Herald, LATE, SOON, ingest, oracle, settle_within, user, wait_until},
    peers::{SmsPeer, Wording},
    runtime::sandbox_copies,
};

const LEASE: (&str, &str) = ("HERALD__DISPATCH__LEASE", "2s");
const USERS: i64 = 10;

/// Two instances over one database.
async fn two() -> (Herald, Herald) {
    let one = Herald::start(Db::Postgres, &[LEASE]).await;
    let mut other = one.beside(&[LEASE], "");
    other.restart().await;
    (one, other)
}

async fn holders(herald: &Herald) -> Vec<i64> {
    let query = "SELECT count(*) AS v FROM partitions WHERE epoch IS NOT NULL GROUP BY epoch";
    herald.database.texts(query).await.iter().map(|count| count.parse().unwrap()).collect()
}

fn events(prefix: &str, count: usize) -> Vec<Event> {
    let event = |n| Event::new(&format!("{prefix}-{n}")).set("/aggregateId", format!("A-{}", n % 40));
    (0..count).map(|n| event(n).to(1 + n as i64 % USERS)).collect()
}

async fn publish(api: &Api, events: &[Event]) -> BTreeSet<String> {
    join_all(events.iter().map(|event| ingest(api, event))).await;
    events.iter().map(|event| event.0["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn they_share_the_work() {
    let (one, other) = two().await;
    let api = one.api("admin").await;
    for id in 1..=USERS {
        user(&api, id).await;
    }
    wait_until(SOON, "an equal share", async || (holders(&one).await == [32, 32]).then_some(())).await;
    let (mine, theirs) = (events("one", 200), events("other", 200));
    let at_other = other.with_token(api.token.as_deref().unwrap());
    let (first, second) = tokio::join!(publish(&api, &mine), publish(&at_other, &theirs));
    let acknowledged: BTreeSet<_> = first.into_iter().chain(second).collect();
    settle_within(LATE, &api).await;
    let notifications = oracle::check(&api, &acknowledged, &sandbox_copies(&api).await).await;
    assert_eq!(notifications.len(), 400);
    // Both have done some of it: the claims' epochs are gone, but the statistics have a shard for each.
    let shards = "SELECT count(DISTINCT shard) AS v FROM delivery_stats";
    assert_eq!(one.database.number(shards).await, 2);
    assert!(one.run(&["reconcile"]).await.code(0).stdout.contains("0 broken"));
}

#[tokio::test]
async fn one_that_stops_leaves_its_share_at_once() {
    // With a lease of a minute nothing but the stop itself can free what it held.
    let long = ("HERALD__DISPATCH__LEASE", "60s");
    let one = Herald::start(Db::Postgres, &[long]).await;
    let mut other = one.beside(&[long], "");
    other.restart().await;
    let api = one.api("admin").await;
    user(&api, 1).await;
    wait_until(Duration::from_secs(60), "an equal share", async || {
        (holders(&one).await == [32, 32]).then_some(())
    })
    .await;
    other.stop().await;
    wait_until(Duration::from_secs(30), "all of it", async || (holders(&one).await == [64]).then_some(()))
        .await;
}

/// Attempts that an instance has made.
async fn attempts(herald: &Herald) -> u64 {
    let text = herald.anonymous().get("/metrics").await.expect(200).text;
    let line = text.lines().find(|line| line.starts_with("herald_attempts_total{channel=\"sms\""));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_providers_limit_holds_over_all_of_them() {
    const PER_SECOND: usize = 20;
    let gateway = SmsPeer::start(Wording::Json);
    let (url, body, accepted) = (gateway.url(), gateway.body(), gateway.accepted());
    let route = "[routes.\"transaction.completed\"]\nchannels = [\"sms\"]\n";
    let mut settings = vec![
        ("HERALD__DISPATCH__LEASE", "3s"),
        ("HERALD__SMS__PER_SECOND", "20"),
        ("HERALD__SMS__PROVIDER", "http"),
        ("HERALD__SMS__HTTP__URL", &*url),
        ("HERALD__SMS__HTTP__HEADERS", "{ Content-Type = \"application/json\" }"),
        ("HERALD__SMS__HTTP__BODY", body),
        ("HERALD__SMS__HTTP__ACCEPTED", accepted),
    ];
    let one = Herald::start_with(Db::Postgres, &settings, route).await;
    let api = one.api("admin").await;
    for id in 1..=USERS {
        user(&api, id).await;
    }
    // One works alone, and another joins it.
    let mut acknowledged = publish(&api, &events("first", 240)).await;
    gateway.messages().reach(10).await;
    let database = one.database.settings();
    settings.extend(database.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let mut other = Herald::start_with(Db::Postgres, &settings, route).await;
    wait_until(LATE, "both have sent", async || (attempts(&other).await >= 40).then_some(())).await;
    wait_until(LATE, "all of the first", async || (gateway.messages().len() >= 240).then_some(())).await;
    // One leaves, and the other speeds up.
    other.stop().await;
    let alone = "SELECT count(*) AS v FROM instances WHERE ended_at IS NULL";
    assert_eq!(one.database.number(alone).await, 1);
    wait_until(SOON, "one that knows that it is alone", async || {
        let runtime = api.get("/v1/runtime").await.expect(200).body;
        (runtime["instance"]["live"] == 1).then_some(())
    })
    .await;
    acknowledged.extend(publish(&api, &events("second", 60)).await);
    settle_within(LATE, &api).await;
    let arrivals: Vec<_> = gateway.messages().all().iter().map(|message| message.at).collect();
    assert_eq!(arrivals.len(), 300, "each once");
    for (n, from) in arrivals.iter().enumerate() {
        let within = arrivals[n..].iter().take_while(|at| **at - *from < Duration::from_secs(1)).count();
        assert!(within <= PER_SECOND + 1, "{within} within a second, from message {n} on");
    }
    let took = arrivals[299] - arrivals[250];
    // At half the limit 49 gaps would be longer than this.
    assert!(took < Duration::from_millis(5_000), "49 more at 20 a second took {took:?}");
}
