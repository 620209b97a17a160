//! A panic in each kind of actor under load: the others go on, it comes back, nothing is lost. And the
//! death of the process at the points where it hurts most.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    harness::{Api, Db, Event, Herald, LATE, SOON, ingest, on_both, oracle, settle_within, user, wait_until},
    peers::{SmsPeer, Wording},
};

const EVENTS: usize = 300;
const PUBLISHERS: usize = 12;
const USERS: i64 = 20;

/// Small batches, so that every point is passed often.
const SETTINGS: &[(&str, &str)] = &[
    ("HERALD__LIMITS__EVENT_WRITER__BATCH", "4"),
    ("HERALD__LIMITS__DISPATCH__BATCH", "4"),
    ("HERALD__LIMITS__OUTCOME_WRITER__BATCH", "4"),
    ("HERALD__DISPATCH__POLL_INTERVAL", "50ms"),
    ("HERALD__DISPATCH__LEASE", "2s"),
    ("HERALD__RETRY__BASE", "50ms"),
    ("HERALD__RETRY__MAX", "500ms"),
    ("HERALD__RETRY__RETRIES", "10"),
    ("HERALD__SMS__PROVIDER", "http"),
];

const ROUTE: &str = "[routes.\"transaction.completed\"]\nchannels = [\"sms\"]\n";

/// Most messages wait for room in a cap, some of them several times, and all are sent in the end.
const CAPPED: &str = "[routes.\"transaction.completed\"]\nchannels = [\"sms\"]\nover_cap = \"defer\"
[[caps]]\nchannel = \"sms\"\nlimit = 3\nwindow = \"500ms\"\n";

/// A Herald that fails at break points, a gateway that counts, and publishers that insist.
struct Load {
    herald: Herald,
    api: Api,
    gateway: SmsPeer,
    serve: watch::Sender<Api>,
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
}

impl Load {
    async fn start(db: Db, breakpoints: &str) -> Self {
        Self::start_with(db, breakpoints, ROUTE).await
    }

    async fn start_with(db: Db, breakpoints: &str, rules: &str) -> Self {
        let gateway = SmsPeer::start(Wording::Json);
        let mut herald = Herald::prepare(db, SETTINGS, rules).await;
        herald.set(&[
            ("HERALD_BREAKPOINTS", breakpoints),
            ("HERALD__SMS__HTTP__URL", &gateway.url()),
            ("HERALD__SMS__HTTP__HEADERS", "{ Content-Type = \"application/json\" }"),
            ("HERALD__SMS__HTTP__BODY", gateway.body()),
            ("HERALD__SMS__HTTP__ACCEPTED", gateway.accepted()),
        ]);
        herald.restart().await;
        let api = herald.api("admin").await;
        for id in 1..=USERS {
            user(&api, id).await;
        }
        let (serve, _) = watch::channel(api.clone());
        Self { herald, api, gateway, serve, acknowledged: Arc::default() }
    }

    /// Starts the publishers, on a few aggregates each.
    fn publish(&self) -> Vec<JoinHandle<()>> {
        let publisher = |publisher: usize| {
            let event = |n: usize| {
                let event = Event::new(&format!("p{publisher}-{n}")).to(1 + n as i64 % USERS);
                vec![event.set("/aggregateId", format!("A-{publisher}-{}", n % 5))]
            };
            let events = (0..EVENTS / PUBLISHERS).map(event).collect();
            tokio::spawn(publish(self.serve.subscribe(), events, Arc::clone(&self.acknowledged)))
        };
        (0..PUBLISHERS).map(publisher).collect()
    }

    /// Waits for an end that nobody asked for; gives its code, and none for a signal.
    async fn ended(&mut self) -> Option<i32> {
        self.herald.ended(LATE).await
    }

    /// Starts it again, without break points.
    async fn restart(&mut self) {
        self.herald.set(&[("HERALD_BREAKPOINTS", "")]);
        self.herald.restart().await;
        self.api = self.herald.with_token(self.api.token.as_ref().unwrap());
        self.serve.send_replace(self.api.clone());
    }

    /// What must hold once all work has ended, whatever happened on the way. Gives the number of
    /// attempts that left a doubt.
    async fn check(&mut self) -> usize {
        settle_within(LATE, &self.api).await;
        let mut copies = oracle::Copies::new();
        for message in self.gateway.messages().all() {
            *copies.entry(message.id).or_default() += 1;
        }
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        assert_eq!(acknowledged.len(), EVENTS);
        let notifications = oracle::check(&self.api, &acknowledged, &copies).await;
        assert_eq!(notifications.len(), EVENTS, "one notification for each event");
        for notification in &notifications {
            assert_eq!(notification["status"], "SENT", "{notification}");
            let delivery = notification["deliveries"][0]["id"].as_str().unwrap();
            assert!(copies.contains_key(delivery), "sent, and the gateway never got it: {notification}");
        }
        assert!(self.api.all("/v1/dead-letters").await.is_empty());
        self.herald.anonymous().get("/health/ready").await.expect(200);
        assert!(self.herald.is_running(), "it is the same process");
        self.herald.run(&["reconcile"]).await.code(0);
        let attempts = notifications.iter().flat_map(|told| told["deliveries"][0]["attempts"].as_array());
        attempts.flatten().filter(|attempt| attempt["outcome"] == "unknown").count()
    }

    async fn actors(&self) -> Vec<Value> {
        self.api.get("/v1/runtime").await.expect(200).body["actors"].as_array().unwrap().clone()
    }
}

/// Publishes until all is acknowledged: after an error or a refusal the same request again, to
/// whoever serves then.
async fn publish(
    mut serving: watch::Receiver<Api>,
    requests: Vec<Vec<Event>>,
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
) {
    for request in requests {
        let events: Vec<_> = request.iter().map(|event| &event.0).collect();
        let body = json!(events).to_string();
        loop {
            let api = serving.borrow_and_update().clone();
            let headers = [("Content-Type", "application/json")];
            match api.try_send(Method::POST, "/v1/events", &headers, body.clone()).await {
                Ok(answer) if answer.status == 202 => break,
                // Full, or on the way down: it asks to come again.
                Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text),
                // Nobody is there until the next one serves.
                Err(_) if serving.has_changed().unwrap_or(true) => {}
                Err(_) => drop(tokio::time::timeout(Duration::from_millis(200), serving.changed()).await),
            }
        }
        let ids = request.iter().map(|event| event.0["id"].as_str().unwrap().to_owned());
        acknowledged.lock().unwrap().extend(ids);
    }
}

/// Panics at two passages of a point, which are one actor's panics, or those of two shards of it; `said` is
/// what its last error tells.
async fn a_panic_is_one_actors(db: Db, point: &str, actor: &str, passages: [usize; 2], said: &[&str]) {
    let [first, second] = passages;
    let rules = if ["rate_limiter", "releaser"].contains(&point) { CAPPED } else { ROUTE };
    let points = format!("{point}=panic@{first},{point}=panic@{second}");
    let mut load = Load::start_with(db, &points, rules).await;
    for publisher in load.publish() {
        publisher.await.unwrap();
    }
    let is_it = |one: &Value| one["name"].as_str().unwrap().starts_with(actor);
    wait_until(SOON, &format!("{actor} is back"), async || {
        let actors = load.actors().await;
        let shards: Vec<&Value> = actors.iter().filter(|one| is_it(one)).collect();
        let restarts: u64 = shards.iter().map(|one| one["restarts"].as_u64().unwrap()).sum();
        (restarts == 2 && shards.iter().all(|one| one["state"] == "running")).then_some(())
    })
    .await;
    let doubts = load.check().await;
    match point {
        "sender_sent" => assert!(doubts > 0, "what had been sent left a doubt"),
        "sender" => {}
        _ => assert_eq!(doubts, 0, "nothing that was being sent was cut off"),
    }
    for one in load.actors().await {
        assert_eq!(one["state"], "running", "{one}");
        if is_it(&one) && one["restarts"] != 0 {
            let error = one["last_error"].as_str().unwrap();
            for part in ["a break point at src/actors/"].iter().chain(said) {
                assert!(error.contains(part), "{part}: {error}");
            }
        } else {
            assert_eq!((&one["restarts"], &one["last_error"]), (&json!(0), &json!(null)), "{one}");
        }
    }
}

/// A test for each point: the actor, the passages, and what the actor's last error names.
macro_rules! panics {
    ($($db:ident { $($point:ident in $actor:literal at $passages:expr, $said:expr;)+ })+) => {
        $(mod $db {
            $(#[tokio::test]
            async fn $point() {
                let db = crate::panics::of(stringify!($db));
                super::a_panic_is_one_actors(db, stringify!($point), $actor, $passages, &$said).await;
            })+
        })+
    };
}

fn of(name: &str) -> Db {
    if name == "on_postgres" { Db::Postgres } else { Db::Sqlite }
}

panics! {
    on_sqlite {
        event_writer in "event_writer" at [20, 60], ["event_writer.rs", "while handling", "StoreEvents"];
        event_writer_committed in "event_writer" at [10, 30], ["event_writer.rs"];
        dispatcher in "dispatcher" at [20, 60], ["dispatcher.rs"];
        notifier in "notifier" at [10, 30], ["notifier/mod.rs", "while handling", "HandleEvents"];
        notifier_committed in "notifier" at [10, 30], ["notifier/mod.rs"];
        sender in "sms_sender" at [20, 60], ["sender/mod.rs"];
        sender_sent in "sms_sender" at [20, 60], ["sender/mod.rs"];
        outcome_writer in "outcome_writer" at [20, 60], ["outcome_writer.rs", "while handling", "RecordOutcome"];
        outcome_writer_committed in "outcome_writer" at [10, 30], ["outcome_writer.rs"];
        retry_timer in "retry_timer" at [10, 30], ["retry_timer.rs"];
        janitor in "janitor" at [3, 6], ["janitor.rs"];
        live_feed in "live_feed" at [10, 30], ["live_feed.rs", "while handling", "NotificationsChanged"];
        event_publisher in "event_publisher" at [10, 30], ["publisher.rs", "while handling", "PublishEvents"];
        rate_limiter in "rate_limiter_" at [10, 30], ["rate_limiter.rs", "while handling", "AskCaps"];
        releaser in "releaser" at [10, 30], ["releaser.rs"];
        replayer in "replayer" at [3, 6], ["replayer/mod.rs"];
    }
    on_postgres {
        rate_limiter in "rate_limiter_" at [10, 30], ["rate_limiter.rs", "while handling", "AskCaps"];
        releaser in "releaser" at [10, 30], ["releaser.rs"];
        event_writer_committed in "event_writer" at [10, 30], ["event_writer.rs"];
        notifier_committed in "notifier" at [10, 30], ["notifier/mod.rs"];
        sender_sent in "sms_sender" at [20, 60], ["sender/mod.rs"];
        outcome_writer_committed in "outcome_writer" at [10, 30], ["outcome_writer.rs"];
    }
}

on_both!(
    many_panics_at_once,
    a_death_after_events_were_stored,
    a_death_after_events_were_handled,
    a_death_after_a_send,
    a_death_after_outcomes_were_recorded,
);

async fn many_panics_at_once(db: Db) {
    let points = ["event_writer_committed", "notifier_committed", "sender_sent", "outcome_writer_committed"];
    let each = points.iter().flat_map(|point| [5, 15, 25].map(|at| format!("{point}=panic@{at}")));
    let mut load = Load::start(db, &each.collect::<Vec<_>>().join(",")).await;
    for publisher in load.publish() {
        publisher.await.unwrap();
    }
    assert!(load.check().await > 0, "what was in the sender's hands left a doubt");
    let restarts: u64 = load.actors().await.iter().map(|one| one["restarts"].as_u64().unwrap()).sum();
    assert_eq!(restarts, 12);
}

/// The process dies at this passage, is started again, and nothing is lost.
async fn a_death(db: Db, point: &str, passage: usize) {
    let mut load = Load::start(db, &format!("{point}=exit@{passage}")).await;
    let publishers = load.publish();
    assert_eq!(load.ended().await, None, "it died at {point}");
    load.restart().await;
    for publisher in publishers {
        publisher.await.unwrap();
    }
    load.check().await;
}

async fn a_death_after_events_were_stored(db: Db) {
    a_death(db, "event_writer_committed", 20).await;
}

async fn a_death_after_events_were_handled(db: Db) {
    a_death(db, "notifier_committed", 20).await;
}

async fn a_death_after_a_send(db: Db) {
    a_death(db, "sender_sent", 60).await;
}

async fn a_death_after_outcomes_were_recorded(db: Db) {
    a_death(db, "outcome_writer_committed", 20).await;
}

/// An event whose handling crashes each time is given up, and holds up nobody.
#[tokio::test]
async fn a_poison_event_is_given_up() {
    let mut load = Load::start(Db::Sqlite, "notifier=panic@1+").await;
    ingest(&load.api, &Event::new("poison").to(1)).await;
    let letter =
        wait_until(SOON, "it is given up", async || load.api.all("/v1/dead-letters?kind=event").await.pop())
            .await;
    assert!(letter["error"].as_str().unwrap().contains("crashed 3 times"), "{letter}");
    let event = load.api.get("/v1/events/poison").await.expect(200).body;
    assert_eq!(event["outcome"], "failed", "{event}");
    wait_until(SOON, "the third restart, and no further one", async || {
        let actors = load.actors().await;
        let notifier = actors.iter().find(|actor| actor["name"] == "notifier").unwrap();
        (notifier["restarts"] == 3 && notifier["state"] == "running").then_some(())
    })
    .await;
    assert!(load.herald.is_running());

    load.herald.kill9().await;
    load.restart().await;
    load.api.post("/v1/dead-letters/retry", &json!({"ids": [letter["id"]]})).await.counts(1);
    settle_within(LATE, &load.api).await;
    let event = load.api.get("/v1/events/poison").await.expect(200).body;
    assert_eq!(event["outcome"], "notified", "{event}");
    assert_eq!(load.gateway.messages().len(), 1);
}
