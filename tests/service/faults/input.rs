//! What comes in is the fault: one id again and again, and events that cannot be handled.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::bank::Bank;
use crate::harness::{Answer, Db, Event, LATE, soak, wait_until};

/// Posts events at the same moment, to both instances in turn.
async fn at_once(bank: &Bank, events: impl Iterator<Item = Event>) -> Vec<Answer> {
    let apis = [bank.api(0), bank.api(1)];
    let posts = events.enumerate().map(|(n, event)| {
        let api = apis[n % 2].clone();
        async move {
            loop {
                let answer = api.post("/v1/events", &event.0).await;
                if answer.status != 503 {
                    return answer;
                }
                // They may wait for each other's transactions for too long.
                assert!(!answer.header("retry-after").is_empty(), "{}", answer.text);
            }
        }
    });
    join_all(posts).await
}

#[tokio::test]
async fn one_id_a_hundred_times() {
    let mut bank = Bank::open(Db::Postgres, &[]).await;
    bank.open_another(&[]).await;
    bank.work().await;
    let rounds = if soak() { 50 } else { 3 };
    let mut conflicts = 0;
    for round in 0..rounds {
        let event = Event::new(&format!("same-{round}")).to(1);
        let answers = at_once(&bank, std::iter::repeat_n(event.clone(), 100)).await;
        let statuses = answers.into_iter().map(|answer| answer.expect(202).statuses()[0].to_owned());
        let stored = statuses.filter(|status| status == "stored").count();
        assert_eq!(stored, 1, "one of them is new");
        bank.acknowledged(&format!("same-{round}"));
        let other = event.set("/payload/amount", "1.00");
        bank.api(0).post("/v1/events", &other.0).await.problem(409);

        // Two bodies at the same moment: one wins, for all.
        let id = format!("two-{round}");
        let of =
            |n: usize| Event::new(&id).to(1).set("/payload/amount", if n < 50 { "1.00" } else { "2.00" });
        let answers = at_once(&bank, (0..100).map(of)).await;
        let won = |range: std::ops::Range<usize>| -> BTreeSet<u16> {
            answers[range].iter().map(|answer| answer.status).collect()
        };
        let sides = [won(0..50), won(50..100)];
        assert!(sides.contains(&[202].into()) && sides.contains(&[409].into()), "{sides:?}");
        conflicts += answers.iter().filter(|answer| answer.status == 409).count();
        bank.acknowledged(&id);
    }
    let seen = bank.check(&format!("one id 100 times, {rounds} rounds, {conflicts} conflicts")).await;
    let rows = "SELECT count(*) AS v FROM domain_events WHERE id LIKE 'same-%' OR id LIKE 'two-%'";
    assert_eq!(bank.heralds[0].database.number(rows).await, 2 * rounds);
    assert_eq!((seen.unknown, seen.copies), (0, 0), "{seen}");
}

/// Rows that break the rules, and one whose handling panics each time.
#[tokio::test]
async fn poison() {
    let mut bank = Bank::open(Db::Postgres, &[("HERALD_BREAKPOINTS", "notifier:poison=panic@1+")]).await;
    bank.work().await;
    let rounds = if soak() { 50 } else { 5 };
    let told = r#"'{"userId": 1, "amount": "2500.00", "currency": "MWK"}'"#;
    let source = r#"'{"source": "core-banking"}'"#;
    let bad = [
        ("transaction.completed", told, "NULL"),
        ("transaction.completed", told, "'{}'"),
        ("transaction.completed", "'[]'", source),
        ("Not A Type", told, source),
        ("notification.sent", told, source),
    ];
    for round in 0..rounds {
        let values: Vec<_> = (0..)
            .zip(bad)
            .map(|(n, (kind, payload, metadata))| {
                format!("('bad-{round}-{n}', '{kind}', 'r1p0-{n}', 'account', {payload}, {metadata}, now())")
            })
            .collect();
        let insert = format!(
            "INSERT INTO domain_events (id, type, aggregate_id, aggregate_type, payload, metadata, timestamp)
             VALUES {}",
            values.join(", ")
        );
        bank.heralds[0].database.execute(&insert).await;
        if round == 0 {
            // On an aggregate of its own, whose later events wait for its end.
            for id in ["poison", "after-poison"] {
                let event = Event::new(id).to(1).set("/aggregateId", "poisoned");
                bank.api(0).post("/v1/events", &event.0).await.expect(202);
                bank.acknowledged(id);
            }
        }
        bank.flows(30).await;
    }
    let api = bank.api(0);
    let letters = wait_until(LATE, "all are given up", async || {
        let letters = api.all("/v1/dead-letters?kind=event").await;
        (letters.len() == rounds * bad.len() + 1).then_some(letters)
    })
    .await;
    let crashed =
        letters.iter().filter(|letter| letter["error"].as_str().unwrap().contains("crashed 3 times"));
    assert_eq!(crashed.count(), 1, "the one that panics");
    let after = api.get("/v1/events/after-poison").await.expect(200).body;
    assert_eq!(after["outcome"], "notified", "{after}");
    bank.check(&format!("{} rows by outbox that break the rules, one that panics", letters.len() - 1)).await;
}
