//! The host's clock is wrong. Leases, retries and expiry follow the database's.

use std::{fs, time::Duration};

use serde_json::Value;

use super::bank::{Bank, SHORT_LEASE};
use crate::{
    harness::{Db, LATE, soak, wait_until},
    peers::{Fault, Step},
};

/// Debian's package `faketime`.
fn library() -> String {
    let folders = fs::read_dir("/usr/lib").unwrap().flatten();
    let found =
        folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    let found = found.expect("libfaketime is missing: run as `bash tests/run`, or apt-get install faketime");
    found.display().to_string()
}

/// Without TLS to the database: a certificate is not valid before its time, whatever Herald does.
async fn off_by(bank: &Bank, offset: &str) -> Vec<(&'static str, String)> {
    let mut url = bank.heralds[0].database.url().clone();
    url.set_query(Some("sslmode=disable"));
    vec![
        ("LD_PRELOAD", library()),
        ("FAKETIME", offset.to_owned()),
        // Both names, of older and newer versions: the monotonic clock stays as it is.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("HERALD__DATABASE__URL", url.to_string()),
        ("HERALD__LOG__FORMAT", "json".to_owned()),
        // Google's accounts compare clocks: an assertion of another hour is refused, and says so.
        ("HERALD__PUSH__PROVIDER", "sandbox".to_owned()),
        (SHORT_LEASE.0, SHORT_LEASE.1.to_owned()),
        // What expires does so by the database's clock, too.
        ("HERALD__ROUTES", r#"{"transaction.completed" = {expires_after = "30m"}}"#.to_owned()),
    ]
}

/// How far the times in an instance's log are ahead, in minutes.
fn ahead(bank: &Bank, instance: usize) -> i64 {
    let lines = bank.heralds[instance].output.lines();
    let line = lines.iter().rev().find(|line| line.starts_with('{')).expect("a line of the log");
    let told: Value = serde_json::from_str(line).unwrap();
    let at = chrono::DateTime::parse_from_rfc3339(told["timestamp"].as_str().unwrap()).unwrap();
    (at.to_utc() - chrono::Utc::now()).num_minutes()
}

#[tokio::test]
async fn an_hour_ahead_and_an_hour_behind() {
    let mut bank = Bank::open(Db::Postgres, &[]).await;
    bank.heralds[0].stop().await;
    let settings = off_by(&bank, "+3600").await;
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    bank.heralds[0].set(&settings);
    bank.restart(0).await;
    let settings = off_by(&bank, "-3600").await;
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    bank.open_another(&settings).await;
    // Of one mailbox: it opens no breaker.
    bank.providers.mail.fault_times(25, Step::Rcpt, Fault::Reply("450 4.2.1 later"));
    bank.work().await;
    bank.shared(&[32, 32]).await;
    assert!((58..=60).contains(&ahead(&bank, 0)), "{} minutes ahead", ahead(&bank, 0));
    assert!((-61..=-58).contains(&ahead(&bank, 1)), "{} minutes ahead", ahead(&bank, 1));

    // For some leases nobody gives up the other.
    bank.flows(if soak() { 3_000 } else { 300 }).await;
    assert_eq!(bank.shares().await, [32, 32]);
    let retried = "SELECT count(*) AS v FROM notification_history WHERE outcome = 'transient'";
    assert_eq!(bank.heralds[0].database.number(retried).await, 25, "each came again in its time");
    for (fast, slow) in if soak() { vec![(0, 1), (1, 0), (0, 1)] } else { vec![(0, 1)] } {
        // A lease that ran out is seen by both, and not before its time.
        bank.heralds[slow].kill9().await;
        wait_until(LATE, "a takeover", async || (bank.shares().await == [64]).then_some(())).await;
        bank.flows(60).await;
        bank.restart(slow).await;
        bank.shared(&[32, 32]).await;
        assert!(bank.heralds[fast].is_running());
    }
    let seen = bank.check("clocks an hour ahead and an hour behind").await;
    for instance in 0..2 {
        assert!(!bank.said(instance, "silent past its lease"), "instance {instance} was given up: {seen}");
    }
    let waits = "SELECT count(*) AS v FROM deliveries WHERE state <> 'sent'";
    assert_eq!(bank.heralds[0].database.number(waits).await, 0);
    assert!(seen.tally.slowest < Duration::from_secs(30), "{seen}");
}
