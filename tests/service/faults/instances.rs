//! Two instances: one hangs, one after the other is started anew.

use std::time::Duration;

use super::bank::{Bank, SHORT_LEASE};
use crate::harness::{Db, soak};

async fn two(lease: (&str, &str)) -> Bank {
    let mut bank = Bank::open(Db::Postgres, &[lease]).await;
    bank.open_another(&[lease]).await;
    bank.work().await;
    bank.shared(&[32, 32]).await;
    bank
}

#[tokio::test]
async fn one_hangs_past_its_lease() {
    let mut bank = two(SHORT_LEASE).await;
    let rounds = if soak() { 5 } else { 1 };
    for _ in 0..rounds {
        bank.flows(60).await;
        bank.heralds[1].signal("STOP");
        bank.shared(&[64]).await;
        bank.flows(60).await;
        bank.heralds[1].signal("CONT");
        bank.shared(&[32, 32]).await;
    }
    bank.check(&format!("one of two stopped past its lease, {rounds} times")).await;
    assert!(bank.said(1, "silent past its lease"), "it was told");
}

#[tokio::test]
async fn one_is_killed() {
    let mut bank = two(SHORT_LEASE).await;
    let rounds = if soak() { 10 } else { 1 };
    for round in 0..rounds {
        let victim = round % 2;
        bank.flows(60).await;
        bank.heralds[victim].kill9().await;
        bank.shared(&[64]).await;
        bank.flows(60).await;
        bank.restart(victim).await;
        bank.shared(&[32, 32]).await;
    }
    bank.check(&format!("one of two killed, {rounds} times")).await;
}

/// Who asks again, and asks the other one, sees no error; nothing is lost, and nothing is in doubt.
#[tokio::test]
async fn a_rolling_restart() {
    let mut bank = two(("HERALD__DISPATCH__LEASE", "5s")).await;
    let rounds = if soak() { 5 } else { 1 };
    for _ in 0..rounds {
        for instance in 0..2 {
            bank.heralds[instance].stop().await;
            bank.restart(instance).await;
            bank.flows(60).await;
        }
    }
    let seen = bank.check(&format!("a rolling restart of two, {rounds} times")).await;
    assert_eq!((seen.unknown, seen.copies), (0, 0), "{seen}");
    assert!(seen.tally.slowest < Duration::from_secs(5), "the slowest call: {seen}");
}
