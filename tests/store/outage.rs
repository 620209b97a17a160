//! Lost connections, locks and deadlines.

use std::time::{Duration, Instant as Clock};

use herald::domain::Channel;
use herald::store::{Location, PostgresConfig, Store, StoreError};
use tokio::runtime::Handle;

use crate::support::{Db, event, notified, on_both, pending, stranger};

const OTHERS: &str = "SELECT pg_terminate_backend(pid) AS v FROM pg_stat_activity
                      WHERE datname = current_database() AND application_name = 'herald'";

on_both! {
    async fn the_database_answers(db) {
        db.store.ping().await.unwrap();
        let (first, second) = (db.store.now().await.unwrap(), db.store.now().await.unwrap());
        assert!(first <= second);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_idle_connection_is_replaced() {
    let db = Db::postgres().await;
    db.append([event("a")]).await;
    assert!(!db.column(OTHERS).await.is_empty());
    db.until("SELECT count(*) AS v FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'herald'", "0")
        .await;
    // The pool may not have seen it yet: then the call says so, and the next one works.
    let begun = Clock::now();
    while let Err(error) = db.store.append(vec![vec![event("b")]]).await {
        assert!(
            matches!(error, StoreError::Unavailable(_)) && error.is_transient() && error.is_outage(),
            "{error:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    assert_eq!(db.count("domain_events").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_in_a_transaction_is_an_outage_and_nothing_is_written() {
    let db = Db::postgres().await;
    let epoch = db.instance().await;
    db.append([event("e")]).await;
    let open = db.store.open_events(epoch, 10).await.unwrap();
    let now = db.store.now().await.unwrap();
    let other = stranger(db.config()).await;
    other.batch_execute("BEGIN; LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let (store, batch) = (db.store.clone(), vec![notified(&open[0], 42, &pending(&[Channel::Sms]))]);
    let handling = tokio::spawn(async move { store.handle(epoch, now, batch).await });
    db.until("SELECT count(*) AS v FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'", "1")
        .await;
    db.column(OTHERS).await;
    let error = handling.await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(error.is_transient() && error.is_outage());
    other.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(db.count("notifications").await, 0);
    let batch = vec![notified(&open[0], 42, &pending(&[Channel::Sms]))];
    assert_eq!(db.store.handle(epoch, now, batch).await.unwrap().len(), 1);
}

/// Far more callers than connections, all behind a lock: each is told soon, and then all is well.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_held_delays_nobody_for_long() {
    let db = Db::postgres().await;
    db.append([event("a")]).await;
    let other = stranger(db.config()).await;
    other.batch_execute("BEGIN; LOCK TABLE domain_events IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let begun = Clock::now();
    let calls = (0..30).map(|n| {
        let store = db.store.clone();
        tokio::spawn(async move { store.append(vec![vec![event(&format!("b-{n}"))]]).await })
    });
    for call in futures_util::future::join_all(calls).await {
        let error = call.unwrap().unwrap_err();
        assert!(error.is_transient(), "{error:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    other.batch_execute("ROLLBACK").await.unwrap();
    let calls = (0..30).map(|n| {
        let store = db.store.clone();
        tokio::spawn(async move { store.append(vec![vec![event(&format!("b-{n}"))]]).await })
    });
    for call in futures_util::future::join_all(calls).await {
        call.unwrap().unwrap();
    }
    assert_eq!(db.count("domain_events").await, 31);
}

/// A server that never answers, however the limits on its side are set.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_at_its_deadline_and_the_pool_recovers() {
    let db = Db::postgres().await;
    let patient = PostgresConfig {
        pool_size: 2,
        statement_timeout: Duration::from_secs(600),
        lock_timeout: Duration::from_secs(600),
        ..db.config().clone()
    };
    let store = Store::open(&Location::Postgres(patient), Handle::current()).unwrap();
    store.ping().await.unwrap();
    let other = stranger(db.config()).await;
    other.batch_execute("BEGIN; LOCK TABLE domain_events IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let begun = Clock::now();
    let calls = (0..4).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.append(vec![vec![event(&format!("b-{n}"))]]).await })
    });
    for call in futures_util::future::join_all(calls).await {
        let error = call.unwrap().unwrap_err();
        assert!(
            matches!(error, StoreError::Deadline(_)) && error.is_transient() && error.is_outage(),
            "{error:?}"
        );
    }
    let took = begun.elapsed();
    assert!(took >= Store::DEADLINE && took < Store::DEADLINE + Duration::from_secs(3), "{took:?}");
    // The connections that were cut off are not used again: these do not wait behind the lock.
    let begun = Clock::now();
    for _ in 0..4 {
        store.ping().await.unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(2));
    other.batch_execute("ROLLBACK").await.unwrap();
    store.append(vec![vec![event("c")]]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_server_is_an_outage() {
    let config = PostgresConfig::new("postgres://nobody@127.0.0.1:1/nothing");
    let location = Location::Postgres(config);
    let store = Store::open(&location, Handle::current()).unwrap();
    let error = store.ping().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let error = Store::migrate(&location, herald::store::MigrationMode::Check).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_used_is_told_at_once() {
    for bad in [
        PostgresConfig::new("postgres://x:secret@host/db?nonsense=1"),
        PostgresConfig {
            ca_file: Some("/nonexistent/ca.pem".into()),
            ..PostgresConfig::new("postgres://h/d")
        },
        PostgresConfig {
            schema: "x\"; DROP TABLE y; --".to_owned(),
            ..PostgresConfig::new("postgres://h/d")
        },
        PostgresConfig { schema: String::new(), ..PostgresConfig::new("postgres://h/d") },
    ] {
        let Err(error) = Store::open(&Location::Postgres(bad), Handle::current()) else {
            panic!("it was taken")
        };
        assert!(matches!(error, StoreError::Config(_)) && !error.is_transient(), "{error:?}");
        assert!(!format!("{error:?} {error}").contains("secret"));
    }
}
