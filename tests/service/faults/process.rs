//! The process dies, is told to stop, or cannot live.

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use reqwest::Method;

use super::bank::Bank;
use crate::harness::{Db, LATE, on_both, soak, wait_until};

on_both!(killed_again_and_again);

async fn killed_again_and_again(db: Db) {
    let kills = if soak() { 20 } else { 4 };
    let mut bank = Bank::open(db, &[]).await;
    bank.work().await;
    for kill in 1..=kills {
        // Each time at another moment of the work.
        bank.flows(30 + 17 * (kill % 5)).await;
        bank.heralds[0].kill9().await;
        bank.restart(0).await;
    }
    bank.flows(60).await;
    let seen = bank.check(&format!("{kills} x kill -9, {}", name(db))).await;
    assert!(seen.tally.unanswered > 0, "publishers noticed it");
}

fn name(db: Db) -> &'static str {
    if db == Db::Postgres { "PostgreSQL" } else { "SQLite" }
}

#[tokio::test]
async fn killed_between_send_and_record() {
    let passages = if soak() { vec![90, 150, 300, 500] } else { vec![90] };
    for passage in passages {
        let dies = format!("sender_sent=exit@{passage}");
        let mut bank = Bank::open(Db::Postgres, &[("HERALD_BREAKPOINTS", &dies)]).await;
        bank.work().await;
        assert_eq!(bank.heralds[0].ended(LATE).await, None, "it died at the break point");
        bank.heralds[0].set(&[("HERALD_BREAKPOINTS", "")]);
        bank.restart(0).await;
        bank.flows(60).await;
        let seen = bank.check("killed between send and record").await;
        assert!(seen.unknown > 0 && seen.copies > 0, "what had been sent went again, and says so: {seen}");
    }
}

#[tokio::test]
async fn told_to_stop() {
    for _ in 0..if soak() { 10 } else { 1 } {
        let mut bank = Bank::open(Db::Postgres, &[]).await;
        bank.work().await;
        // A connection that a caller keeps, and does not use, holds nobody up.
        let address = bank.heralds[0].base.trim_start_matches("http://").to_owned();
        let mut idle = std::net::TcpStream::connect(address).unwrap();
        idle.write_all(b"GET /health/live HTTP/1.1\r\nHost: herald\r\n\r\n").unwrap();
        assert!(idle.read(&mut [0; 1_024]).unwrap() > 0);
        let begun = Instant::now();
        bank.heralds[0].stop().await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(20), "{took:?}");
        bank.restart(0).await;
        bank.flows(60).await;
        let seen = bank.check(&format!("SIGTERM under load, ended with 0 in {took:.1?}")).await;
        assert_eq!((seen.unknown, seen.copies), (0, 0), "a clean stop leaves no doubt");
    }
}

/// An actor that cannot live at all is the end of the process, and it says whose fault it was.
#[tokio::test]
async fn a_panic_loop_past_the_limit() {
    let actors = match soak() {
        true => vec!["notifier", "outcome_writer", "event_writer", "dispatcher"],
        false => vec!["notifier"],
    };
    for actor in actors {
        let panics = format!("{actor}=panic@80+");
        let mut bank = Bank::open(Db::Sqlite, &[("HERALD_BREAKPOINTS", &panics)]).await;
        bank.work().await;
        let begun = Instant::now();
        let api = bank.api(0);
        wait_until(LATE, "the restarts are seen", async || {
            let answer = api.try_send(Method::GET, "/v1/runtime", &[], String::new()).await.ok()?;
            let actors = answer.body["actors"].as_array()?;
            let restarts = &actors.iter().find(|one| one["name"] == actor)?["restarts"];
            (restarts.as_u64()? > 3).then_some(())
        })
        .await;
        // The rest of it needs no more events; but where none is stored, none can be waited for.
        if actor != "event_writer" {
            bank.rest().await;
        }
        assert_eq!(bank.heralds[0].ended(LATE).await, Some(1));
        let took = begun.elapsed();
        let last = bank.heralds[0].output.lines().pop().unwrap();
        for part in ["fatal: ", &format!("`{actor}`"), "a break point"] {
            assert!(last.contains(part), "{part}: {last}");
        }
        assert!(last.starts_with("fatal: "), "{last}");
        bank.heralds[0].set(&[("HERALD_BREAKPOINTS", "")]);
        bank.restart(0).await;
        bank.flows(60).await;
        let suspects = bank.give_back_suspects().await;
        let seen = bank.check(&format!("panic loop of `{actor}`, ended with 1 in {took:.0?}")).await;
        assert!(suspects < seen.events / 2, "{suspects} were given up");
    }
}
