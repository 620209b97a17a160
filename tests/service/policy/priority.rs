//! What is urgent goes first, through handling and sending, however much waits.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{publish, send_to};
use crate::{
    harness::{Db, Event, Herald, LATE, soak, user, wait_until},
    peers::{SmsPeer, Wording},
};

const RULES: &str = "
[routes.\"offer.made\"]
channels = [\"sms\"]
priority = \"bulk\"
[routes.\"account.frozen\"]
channels = [\"sms\"]
priority = \"critical\"
mandatory = true
";

const BULK_USERS: i64 = 50;

/// While a backlog of bulk messages is handled and sent, critical events come in one by one: each is with
/// the provider long before the backlog is worked off.
#[tokio::test]
async fn critical_events_overtake_a_backlog_of_bulk_ones() {
    let (bulk, critical) = if soak() { (100_000, 100) } else { (6_000, 25) };
    let gateway = SmsPeer::start(Wording::Json);
    let mut herald = Herald::prepare(Db::Postgres, &[], RULES).await;
    send_to(&mut herald, &gateway);
    herald.restart().await;
    let api = herald.api("admin").await;
    for id in 1..=BULK_USERS {
        user(&api, id).await;
    }
    api.post("/v1/dispatch/hold", &serde_json::json!({})).await.expect(200);
    let backlog: Vec<Event> = (0..bulk)
        .map(|n| {
            let event = Event::new(&format!("bulk-{n}")).set("/type", "offer.made").to(1 + n % BULK_USERS);
            event.set("/aggregateId", format!("B-{}", n % 1_000))
        })
        .collect();
    publish(std::slice::from_ref(&api), &backlog, 1_000).await;
    api.post("/v1/dispatch/resume", &serde_json::json!({})).await.expect(200);
    wait_until(LATE, "the first of the backlog", async || (gateway.messages().len() >= 200).then_some(()))
        .await;

    let mut stored = HashMap::new();
    for n in 0..critical {
        let event = Event::new(&format!("critical-{n}")).set("/type", "account.frozen");
        let event = event.set("/aggregateId", format!("C-{n}")).to(1 + n % BULK_USERS);
        api.post("/v1/events", &event.0).await.expect(202);
        stored.insert(format!("critical-{n}"), Instant::now());
        // As they would come, one after the other.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let sent =
        "SELECT count(*) AS v FROM notifications WHERE event_type = 'account.frozen' AND status = 'SENT'";
    wait_until(LATE, "an end of all critical ones", async || {
        (herald.database.number(sent).await == critical).then_some(())
    })
    .await;
    // In the same moment or later: so much of the backlog was still to come.
    let open = "SELECT (SELECT count(*) FROM event_queue)
                     + (SELECT count(*) FROM notifications WHERE open > 0 AND event_type = 'offer.made') AS v";
    let left = herald.database.number(open).await;
    assert!(left > bulk / 4, "only {left} of {bulk} were left: there was nothing to overtake");

    let event_of = "SELECT id || ' ' || event_id AS v FROM notifications WHERE event_type = 'account.frozen'";
    let event_of: HashMap<String, String> = herald
        .database
        .texts(event_of)
        .await
        .iter()
        .map(|pair| pair.split_once(' ').unwrap())
        .map(|(notification, event)| (format!("{notification}:sms"), event.to_owned()))
        .collect();
    let mut latencies: Vec<Duration> = gateway
        .messages()
        .all()
        .iter()
        .filter_map(|message| Some(message.at.saturating_duration_since(stored[event_of.get(&message.id)?])))
        .collect();
    assert_eq!(latencies.len(), critical as usize, "each came once");
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() * percent).div_ceil(100) - 1];
    eprintln!(
        "{critical} critical events behind {bulk} bulk ones, of which {left} were open at the end: from the \
         acknowledgement to the gateway p50 {:?}, p95 {:?}, p99 {:?}, at most {:?}",
        at(50),
        at(95),
        at(99),
        at(100)
    );
}
