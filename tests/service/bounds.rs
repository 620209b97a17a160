//! What happens at the bounds.

use std::{collections::BTreeSet, time::Duration};

use diesel::{Connection, SqliteConnection, connection::SimpleConnection};
use futures_util::future::join_all;
use reqwest::Method;
use tokio_postgres::NoTls;

use crate::harness::{Db, Event, Herald, JSON, given, on_both, settle, user};

on_both!(a_full_queue_asks_to_come_again);

/// Holds the database up for as long as it lives.
enum Hold {
    Sqlite(SqliteConnection),
    Postgres(tokio_postgres::Client),
}

impl Hold {
    async fn up(db: Db, herald: &Herald) -> Self {
        match db {
            Db::Sqlite => {
                let file = herald.dir().join("herald.db").display().to_string();
                let mut connection = SqliteConnection::establish(&file).unwrap();
                connection.batch_execute("PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE").unwrap();
                Self::Sqlite(connection)
            }
            Db::Postgres => {
                let settings = herald.database.settings();
                let url = settings.iter().find(|(key, _)| key.contains("URL")).unwrap().1.clone();
                let url = url.replace("?sslmode=require", "");
                assert!(given("HERALD_TEST_POSTGRES_URL").starts_with("postgres"));
                let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
                tokio::spawn(connection);
                client
                    .batch_execute("BEGIN; LOCK TABLE domain_events IN ACCESS EXCLUSIVE MODE")
                    .await
                    .unwrap();
                Self::Postgres(client)
            }
        }
    }

    async fn release(self) {
        match self {
            Self::Sqlite(mut connection) => connection.batch_execute("COMMIT").unwrap(),
            Self::Postgres(client) => client.batch_execute("COMMIT").await.unwrap(),
        }
    }
}

async fn a_full_queue_asks_to_come_again(db: Db) {
    let herald = Herald::start(db, &[("HERALD__LIMITS__EVENT_WRITER__QUEUE", "20")]).await;
    let api = herald.api("admin").await;
    user(&api, 1).await;
    let hold = Hold::up(db, &herald).await;
    let post = async |n: usize| {
        let event = Event::new(&format!("e-{n}")).to(1).0.to_string();
        (n, api.send(Method::POST, "/v1/events", JSON, event).await)
    };
    let released = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        hold.release().await;
    };
    let (answers, ()) = tokio::join!(join_all((0..60).map(post)), released);
    let mut acknowledged = BTreeSet::new();
    let mut refused = Vec::new();
    for (n, answer) in answers {
        match answer.status {
            202 => drop(acknowledged.insert(n)),
            _ => {
                assert!(!answer.header("retry-after").is_empty(), "{}", answer.text);
                answer.problem(503);
                refused.push(n);
            }
        }
    }
    assert!(refused.len() >= 40, "20 may wait, {} were refused", refused.len());
    // What was refused can be sent again, whether it was stored or not.
    for n in refused {
        post(n).await.1.expect(202);
        acknowledged.insert(n);
    }
    settle(&api).await;
    assert_eq!(acknowledged.len(), 60);
    let own = |event: &&serde_json::Value| event["type"] == "transaction.completed";
    assert_eq!(api.all("/v1/events").await.iter().filter(own).count(), 60);
}
