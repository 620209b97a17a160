//! Events of one aggregate are handled, and first sent, in the order in which they were stored.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    harness::{Db, Event, Herald, ingest, on_both, settle, user},
    peers::{GatewayAnswer, SmsPeer, Wording},
};

on_both!(the_order_of_an_aggregate_holds);

const AGGREGATES: i64 = 5;
const EACH: i64 = 40;

const FILE: &str = r#"
[routes."transaction.completed"]
channels = ["sms"]

[sms]
provider = "http"
concurrency = 1
"#;

async fn the_order_of_an_aggregate_holds(db: Db) {
    let gateway = Arc::new(SmsPeer::start(Wording::Json));
    let settings = [
        ("HERALD__SMS__HTTP__URL", gateway.url()),
        ("HERALD__SMS__HTTP__HEADERS", "{ Content-Type = \"application/json\" }".to_owned()),
        ("HERALD__SMS__HTTP__BODY", gateway.body().to_owned()),
        ("HERALD__SMS__HTTP__ACCEPTED", gateway.accepted().to_owned()),
        ("HERALD__RETRY__BASE", "50ms".to_owned()),
        ("HERALD__RETRY__MAX", "500ms".to_owned()),
        // A gateway that keeps throttling would be left alone: that is for another test.
        ("HERALD__LIMITS__BREAKER__FAILURES", "1000".to_owned()),
    ];
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let herald = Herald::start_with(db, &settings, FILE).await;
    let api = herald.api("admin").await;
    for id in 1..=AGGREGATES {
        user(&api, id).await;
        // Retries are behind what came after them; first attempts are not.
        gateway.answer_times(3, &number(id), GatewayAnswer::Throttled);
    }

    let publishers = (1..=AGGREGATES).map(|aggregate| {
        let api = api.clone();
        tokio::spawn(async move {
            for n in 1..=EACH {
                let event = Event::new(&event_id(aggregate, n)).to(aggregate);
                ingest(&api, &event.set("/aggregateId", format!("A-{aggregate}"))).await;
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    settle(&api).await;

    let expected: Vec<_> = (1..=EACH).collect();
    let notifications = api.all("/v1/notifications").await;
    assert_eq!(notifications.len(), usize::try_from(AGGREGATES * EACH).unwrap());
    let mut events = BTreeMap::new();
    let mut made = BTreeMap::<i64, Vec<i64>>::new();
    for notification in notifications.iter().rev() {
        let event = notification["event_id"].as_str().unwrap();
        let (aggregate, n) = event.strip_prefix("e-").unwrap().split_once('-').unwrap();
        let (aggregate, n): (i64, i64) = (aggregate.parse().unwrap(), n.parse().unwrap());
        events.insert(notification["id"].as_str().unwrap().to_owned(), (aggregate, n));
        made.entry(aggregate).or_default().push(n);
    }
    for (aggregate, order) in &made {
        assert_eq!(order, &expected, "the notifications of aggregate {aggregate}");
    }
    // The list is in the order of ids, so what says when each was made has to agree.
    // Across aggregates it need not: two stored at the same time have no order.
    for aggregate in 1..=AGGREGATES {
        let times = format!(
            "SELECT created_at AS v FROM notifications WHERE event_id LIKE 'e-{aggregate}-%' ORDER BY id"
        );
        let times = herald.database.texts(&times).await;
        assert_eq!(times.len() as i64, EACH);
        assert!(times.is_sorted(), "those of aggregate {aggregate} were made in the order of their events");
    }

    let mut first = BTreeMap::<i64, Vec<i64>>::new();
    for message in gateway.messages().all() {
        let (aggregate, n) = events[message.id.strip_suffix(":sms").unwrap()];
        let order = first.entry(aggregate).or_default();
        if !order.contains(&n) {
            order.push(n);
        }
    }
    for (aggregate, order) in &first {
        assert_eq!(order, &expected, "the first attempts of aggregate {aggregate}");
    }
    assert_eq!(gateway.messages().len() as i64, AGGREGATES * (EACH + 3), "three of each were retried");
}

fn event_id(aggregate: i64, n: i64) -> String {
    format!("e-{aggregate}-{n}")
}

fn number(user: i64) -> String {
    format!("+26599{:07}", 1_000_000 + user)
}
