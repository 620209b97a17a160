//! Several instances over one PostgreSQL.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;

use crate::{
    harness::{Api, Db, Event, Herald, LATE, SOON, ingest, oracle, settle_within, user, wait_until},
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
