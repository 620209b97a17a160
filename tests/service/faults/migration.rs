//! The database is migrated while instances work on it.
//!
//! There is no older binary to run. What is run instead is the migration of a newer one: under the
//! migrations' lock, one transaction adds a column, an index, a table and a trigger to the tables in use,
//! and notes a version that this binary does not know.

use tokio_postgres::NoTls;

use super::bank::Bank;
use crate::harness::{Db, LATE, soak, wait_until};

/// The lock that `src/store/migrate.rs` takes.
const LOCK: i64 = 0x4865_7261_6c64;

#[tokio::test]
async fn while_the_old_version_runs() {
    let mut bank = Bank::open(Db::Postgres, &[]).await;
    bank.work().await;
    let rounds = if soak() { 5 } else { 1 };
    for round in 0..rounds {
        let url = bank.heralds[0].database.url().clone();
        let (newer, connection) = tokio_postgres::connect(url.as_str(), NoTls).await.unwrap();
        tokio::spawn(connection);
        newer.batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK})")).await.unwrap();

        // A second instance starts meanwhile: it waits for the lock, and serves only then.
        let version = format!("9{round:013}");
        let migration = async {
            let waits = "SELECT count(*) AS v FROM pg_stat_activity
                         WHERE datname = current_database() AND wait_event = 'advisory'";
            wait_until(LATE, "the second instance waits", async || {
                (bank_number(url.as_str(), waits).await > 0).then_some(())
            })
            .await;
            newer
                .batch_execute(&format!(
                    "ALTER TABLE deliveries ADD COLUMN newer_{round} TEXT;
                     ALTER TABLE domain_events ADD COLUMN newer_{round} BIGINT NOT NULL DEFAULT 7;
                     CREATE INDEX newer_{round} ON deliveries (newer_{round}) WHERE newer_{round} IS NOT NULL;
                     CREATE TABLE newer_table_{round} (id BIGINT PRIMARY KEY);
                     INSERT INTO __diesel_schema_migrations (version) VALUES ('{version}');
                     SELECT pg_sleep(1); COMMIT"
                ))
                .await
                .unwrap();
        };
        if round == 0 {
            tokio::join!(bank.open_another(&[]), migration);
        } else {
            bank.heralds[1].stop().await;
            tokio::join!(bank.restart(1), migration);
        }
        bank.flows(60).await;
    }
    // The old version can be started again on the newer schema, and finds nothing to do.
    bank.heralds[0].run(&["migrate", "--check"]).await.code(0);
    bank.heralds[0].stop().await;
    bank.restart(0).await;
    bank.flows(60).await;
    let seen = bank.check(&format!("migrated at work, {rounds} times")).await;
    assert_eq!((seen.unknown, seen.copies), (0, 0), "{seen}");
}

async fn bank_number(url: &str, query: &str) -> i64 {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.query_one(&query.replace(" AS v", ""), &[]).await.unwrap().get(0)
}
