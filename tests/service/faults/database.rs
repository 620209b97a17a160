//! PostgreSQL dies, hangs, cannot be reached, or has no connection left.

use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use super::{
    bank::{Bank, SHORT_LEASE},
    postgres::Postgres,
};
use crate::{
    harness::{Db, LATE, soak, wait_until},
    peers::Proxy,
};

const FENCED: &str = "silent past its lease";

/// Waits until a publisher was asked to come again.
async fn turns_away(bank: &Bank) {
    let before = bank.tally().turned_away;
    wait_until(LATE, "a publisher is asked to come again", async || {
        (bank.tally().turned_away > before).then_some(())
    })
    .await;
}

/// The database's outage is nobody's fault: nobody was given up, and nothing is in doubt.
async fn nobody_is_to_blame(bank: &mut Bank, fault: &str) {
    let seen = bank.check(fault).await;
    for instance in 0..bank.heralds.len() {
        assert!(!bank.said(instance, FENCED), "instance {instance} was given up");
    }
    assert_eq!((seen.unknown, seen.copies), (0, 0), "{seen}");
}

#[tokio::test]
async fn postgres_killed() {
    let mut postgres = Postgres::start().await;
    let mut bank = Bank::open_on(postgres.database(), &[]).await;
    bank.open_another(&[]).await;
    bank.work().await;
    let kills = if soak() { 10 } else { 2 };
    for _ in 0..kills {
        postgres.kill9();
        turns_away(&bank).await;
        postgres.up().await;
        bank.flows(60).await;
    }
    nobody_is_to_blame(&mut bank, &format!("PostgreSQL killed {kills} times")).await;
}

async fn hung(lease: &str, pauses: &[u64], fault: &str) {
    let postgres = Postgres::start().await;
    let settings = [("HERALD__DISPATCH__LEASE", lease)];
    let mut bank = Bank::open_on(postgres.database(), &settings).await;
    bank.open_another(&settings).await;
    bank.work().await;
    bank.shared(&[32, 32]).await;
    // Long enough for either to believe that it may give up the other.
    bank.stores(100).await;
    for pause in pauses {
        postgres.hang();
        tokio::time::sleep(Duration::from_millis(*pause)).await;
        postgres.go_on();
        bank.flows(60).await;
    }
    nobody_is_to_blame(&mut bank, &format!("{fault}, {pauses:?} ms of a lease of {lease}")).await;
}

#[tokio::test]
async fn postgres_hung_shorter_than_the_lease() {
    let pauses: &[u64] = if soak() { &[500, 1_500, 2_500, 1_500, 2_500] } else { &[2_000] };
    hung("4s", pauses, "PostgreSQL stopped").await;
}

/// Both shorter and longer than a call of the store may take, which is 6 s.
#[tokio::test]
async fn postgres_hung_longer_than_the_lease() {
    let pauses: &[u64] = if soak() { &[4_500, 9_000, 5_000, 5_500, 12_000] } else { &[4_500, 7_000] };
    hung("3s", pauses, "PostgreSQL stopped").await;
}

/// One of two instances loses sight of the database for longer than its lease, and finds it again.
#[tokio::test]
async fn one_instance_cut_off() {
    let mut bank = Bank::open(Db::Postgres, &[SHORT_LEASE]).await;
    let mut url = bank.heralds[0].database.url().clone();
    let target = format!("127.0.0.1:{}", url.port().unwrap()).parse().unwrap();
    let line = Proxy::to(target);
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(line.port())).unwrap();
    url.set_query(Some("sslmode=disable"));
    bank.open_another(&[SHORT_LEASE, ("HERALD__DATABASE__URL", url.as_str())]).await;
    bank.work().await;
    bank.shared(&[32, 32]).await;
    let rounds = if soak() { 5 } else { 1 };
    for round in 0..rounds {
        line.slow_down(Duration::from_millis(5));
        bank.flows(60).await;
        if round % 2 == 0 {
            line.black_hole()
        } else {
            line.cut()
        }
        bank.shared(&[64]).await;
        bank.flows(60).await;
        line.heal();
        bank.shared(&[32, 32]).await;
    }
    bank.check(&format!("one of two cut off from PostgreSQL past its lease, {rounds} times")).await;
    assert!(bank.said(1, FENCED), "it was told");
}

/// All connections that PostgreSQL grants are in other hands.
#[tokio::test]
async fn no_connection_left() {
    const LIMIT: usize = 20;
    let mut bank = Bank::open(Db::Postgres, &[]).await;
    let role = format!("herald_{}", uuid::Uuid::new_v4().simple());
    let mut url = bank.heralds[0].database.url().clone();
    let name = url.path().trim_start_matches('/').to_owned();
    let grant = format!(
        "CREATE ROLE {role} LOGIN CONNECTION LIMIT {LIMIT}; ALTER DATABASE {name} OWNER TO {role};
         DO $$ DECLARE t record; BEGIN
           FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
             EXECUTE format('ALTER TABLE %I OWNER TO {role}', t.tablename);
           END LOOP;
         END $$"
    );
    bank.heralds[0].database.execute(&grant).await;
    url.set_username(&role).unwrap();
    let strangers_url = url.clone();
    url.set_query(Some("sslmode=disable"));
    bank.heralds[0].stop().await;
    bank.heralds[0].set(&[("HERALD__DATABASE__URL", url.as_str())]);
    bank.restart(0).await;
    bank.work().await;
    let rounds = if soak() { 5 } else { 1 };
    for _ in 0..rounds {
        let mut strangers: Vec<Client> = Vec::new();
        wait_until(LATE, "strangers hold all connections", async || {
            let end = format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE usename = '{role}' AND application_name = 'herald'"
            );
            bank.heralds[0].database.execute(&end).await;
            while let Ok((client, connection)) = tokio_postgres::connect(strangers_url.as_str(), NoTls).await
            {
                tokio::spawn(connection);
                strangers.push(client);
            }
            (strangers.len() == LIMIT).then_some(())
        })
        .await;
        turns_away(&bank).await;
        turns_away(&bank).await;
        drop(strangers);
        bank.flows(60).await;
    }
    nobody_is_to_blame(&mut bank, &format!("no connection left, {rounds} times")).await;
    let idle = format!("ALTER DATABASE {name} OWNER TO postgres; REASSIGN OWNED BY {role} TO postgres");
    bank.heralds[0].stop().await;
    bank.heralds[0].database.execute(&format!("{idle}; DROP OWNED BY {role}; DROP ROLE {role}")).await;
}
