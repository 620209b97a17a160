//! A frequency cap is exact over any number of instances, whatever becomes of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{publish, send_to};
use crate::{
    harness::{Db, Event, Herald, LATE, oracle, settle_within, soak, user, wait_until},
    peers::{SmsPeer, Wording},
};

const SETTINGS: &[(&str, &str)] = &[
    ("HERALD__DISPATCH__LEASE", "2s"),
    ("HERALD__DISPATCH__POLL_INTERVAL", "50ms"),
    ("HERALD__LIMITS__DISPATCH__BATCH", "32"),
    ("HERALD__RETRY__BASE", "50ms"),
    ("HERALD__RETRY__MAX", "500ms"),
];

/// Two instances tell one customer of many events, and one of them is killed between the first grant and
/// the last: what is sent is the cap, not one more and not one less.
#[tokio::test]
async fn one_customer_over_two_instances_of_which_one_is_killed_gets_exactly_the_cap() {
    let (events, cap) = if soak() { (10_000, 4_000) } else { (1_500, 600) };
    let rules = format!(
        "[routes.\"transaction.completed\"]\nchannels = [\"sms\"]\nover_cap = \"suppress\"\n
         [[caps]]\nchannel = \"sms\"\nlimit = {cap}\nwindow = \"1d\"\n
         [[caps]]\nlimit = {}\nwindow = \"31d\"\n",
        cap * 2
    );
    let gateway = SmsPeer::start(Wording::Json);
    let mut one = Herald::prepare(Db::Postgres, SETTINGS, &rules).await;
    send_to(&mut one, &gateway);
    one.restart().await;
    let mut other = one.beside(SETTINGS, &rules);
    send_to(&mut other, &gateway);
    other.restart().await;
    let api = one.api("admin").await;
    let at_other = other.with_token(api.token.as_deref().unwrap());
    user(&api, 1).await;
    let shares = "SELECT count(*) AS v FROM partitions WHERE epoch IS NOT NULL GROUP BY epoch";
    wait_until(LATE, "a share of both", async || {
        (one.database.texts(shares).await == ["32", "32"]).then_some(())
    })
    .await;

    let begun = Instant::now();
    let all: Vec<Event> = (0..events)
        .map(|n| Event::new(&format!("e-{n}")).set("/aggregateId", format!("A-{}", n % 200)).to(1))
        .collect();
    let apis = [api, at_other];
    let fault = async {
        wait_until(LATE, "a quarter of the cap", async || (gateway.messages().len() > cap / 4).then_some(()))
            .await;
        other.kill9().await;
        let handled =
            "SELECT count(*) AS v FROM domain_events WHERE outcome <> 'pending' AND origin <> 'herald'";
        let at_the_kill = one.database.number(handled).await;
        let granted = one.database.number("SELECT count(*) AS v FROM cap_grants").await;
        assert!(granted < cap as i64, "it was killed before the cap was full");
        other.restart().await;
        (at_the_kill, granted)
    };
    let ((), (at_the_kill, granted)) = tokio::join!(publish(&apis, &all, 50), fault);
    let api = one.api("admin").await;
    settle_within(Duration::from_secs(600), &api).await;
    let took = begun.elapsed();

    let state = "SELECT state || ' ' || COALESCE(reason, '') || ' ' || count(*) AS v
                 FROM deliveries GROUP BY state, reason ORDER BY 1";
    let states = one.database.texts(state).await;
    assert_eq!(states, [format!("sent  {cap}"), format!("suppressed frequency_cap {}", events - cap)]);
    let sent: BTreeSet<String> = gateway.messages().all().into_iter().map(|message| message.id).collect();
    assert_eq!(sent.len(), cap, "messages that the gateway knows");
    assert_eq!(one.database.number("SELECT count(*) AS v FROM cap_grants").await, cap as i64);
    // A second copy only where an attempt says that it may have been sent.
    let mut copies: BTreeMap<String, usize> = BTreeMap::new();
    for message in gateway.messages().all() {
        *copies.entry(message.id).or_default() += 1;
    }
    let doubt = "SELECT notification_id || ':sms' AS v FROM notification_history WHERE outcome = 'unknown'";
    let doubts = one.database.texts(doubt).await;
    for (id, seen) in &copies {
        let explained = doubts.iter().filter(|doubt| *doubt == id).count();
        assert!(*seen <= 1 + explained, "{id} came {seen} times with {explained} doubts");
    }
    oracle::check_reconciled(&one).await;
    eprintln!(
        "a cap of {cap}: {events} events, {at_the_kill} handled and {granted} granted when one of two was \
         killed; {} messages sent, {} second copies with {} unknown; {:.0} s",
        sent.len(),
        gateway.messages().len() - sent.len(),
        doubts.len(),
        took.as_secs_f64()
    );
}
