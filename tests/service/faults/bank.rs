//! A bank at work: Heralds over one database, providers that count, publishers that insist.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::json;
use tokio::sync::watch;

use super::{
    providing::Providers,
    publishing::{Publishing, Tally},
};
use crate::{
    harness::{Api, Database, Db, Herald, LATE, oracle, user, wait_until},
    runtime::sandbox_copies,
};

pub(super) const USERS: i64 = 10;

const ROUTE: &str = "[routes.\"transaction.completed\"]\nchannels = [\"push\", \"email\", \"sms\"]\n";

/// For faults that leases are about: what is silent for so long is taken over.
pub(super) const SHORT_LEASE: (&str, &str) = ("HERALD__DISPATCH__LEASE", "2s");

/// A lease that a busy machine does not break, quick retries, and enough of them for the longest fault.
const SETTINGS: &[(&str, &str)] = &[
    ("HERALD__DISPATCH__LEASE", "10s"),
    ("HERALD__DISPATCH__POLL_INTERVAL", "200ms"),
    ("HERALD__RETRY__BASE", "100ms"),
    ("HERALD__RETRY__MAX", "1s"),
    ("HERALD__RETRY__RETRIES", "20"),
];

pub(super) struct Bank {
    pub(super) heralds: Vec<Herald>,
    pub(super) providers: Providers,
    token: String,
    serving: watch::Sender<Vec<Api>>,
    tally: Arc<Mutex<Tally>>,
    publishing: Option<Publishing>,
    rounds: usize,
    /// Whether nothing was handled again out of its turn.
    in_order: bool,
    begun: Instant,
}

/// What the oracle saw when all was over.
pub(super) struct Seen {
    pub(super) events: usize,
    pub(super) deliveries: usize,
    /// Attempts that ended `unknown`.
    pub(super) unknown: usize,
    /// Copies beyond the first one of each delivery.
    pub(super) copies: usize,
    pub(super) tally: Tally,
    took: Duration,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, deliveries, unknown, copies, tally, took } = self;
        write!(
            f,
            "{events} events, {deliveries} deliveries, {unknown} unknown, {copies} second copies; {} x 503, \
             {} unanswered, slowest {:.1} s; {:.0} s in all",
            tally.turned_away,
            tally.unanswered,
            tally.slowest.as_secs_f64(),
            took.as_secs_f64()
        )
    }
}

impl Bank {
    /// One instance on a database of its own.
    pub(super) async fn open(db: Db, settings: &[(&str, &str)]) -> Self {
        let herald = Herald::prepare(db, SETTINGS, ROUTE).await;
        Self::with(herald, settings).await
    }

    /// One instance on a database that is there already.
    pub(super) async fn open_on(database: Database, settings: &[(&str, &str)]) -> Self {
        let herald = Herald::prepare_on(database, SETTINGS, ROUTE).await;
        Self::with(herald, settings).await
    }

    async fn with(mut herald: Herald, settings: &[(&str, &str)]) -> Self {
        let begun = Instant::now();
        let providers = Providers::start();
        for (key, value) in providers.settings() {
            herald.set(&[(key, &value)]);
        }
        herald.set(settings);
        herald.restart().await;
        let api = herald.api("admin").await;
        for id in 1..=USERS {
            user(&api, id).await;
        }
        Self {
            heralds: vec![herald],
            providers,
            token: api.token.clone().unwrap(),
            serving: watch::Sender::new(vec![api]),
            tally: Arc::default(),
            publishing: None,
            rounds: 0,
            in_order: true,
            begun,
        }
    }

    /// Starts a second instance beside the first one.
    pub(super) async fn open_another(&mut self, settings: &[(&str, &str)]) {
        let mut herald = self.heralds[0].beside(SETTINGS, ROUTE);
        for (key, value) in self.providers.settings() {
            herald.set(&[(key, &value)]);
        }
        herald.set(settings);
        herald.restart().await;
        self.heralds.push(herald);
        self.announce();
    }

    /// Tells the publishers where the instances are now.
    pub(super) fn announce(&self) {
        let apis = self.heralds.iter().map(|herald| herald.with_token(&self.token)).collect();
        self.serving.send_replace(apis);
    }

    /// The API of an instance.
    pub(super) fn api(&self, instance: usize) -> Api {
        self.heralds[instance].with_token(&self.token)
    }

    /// Starts an instance whose process has ended.
    pub(super) async fn restart(&mut self, instance: usize) {
        self.heralds[instance].restart().await;
        self.announce();
    }

    /// Starts the publishers, and waits until deliveries flow.
    pub(super) async fn work(&mut self) {
        self.rounds += 1;
        self.publishing = Some(Publishing::start(self.rounds, &self.serving, &self.tally));
        self.flows(60).await;
    }

    /// Waits until so many more messages have come to the providers.
    pub(super) async fn flows(&self, more: usize) {
        let goal = self.providers.count() + more;
        wait_until(LATE, &format!("{more} more messages"), async || {
            (self.providers.count() >= goal).then_some(())
        })
        .await;
    }

    /// Waits until so many more events are acknowledged.
    pub(super) async fn stores(&self, more: usize) {
        let goal = self.tally().acknowledged.len() + more;
        wait_until(LATE, &format!("{more} more events"), async || {
            (self.tally().acknowledged.len() >= goal).then_some(())
        })
        .await;
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    /// Counts an event that was acknowledged otherwise, such as by the commit of its row.
    pub(super) fn acknowledged(&self, id: &str) {
        self.tally.lock().unwrap().acknowledged.insert(id.to_owned());
    }

    /// Has the publishers finish what they are at.
    pub(super) async fn rest(&mut self) {
        if let Some(publishing) = self.publishing.take() {
            publishing.stop().await;
        }
    }

    /// Ends the work, waits until all that is open has ended, and asks the oracle: everything that was
    /// acknowledged is told to its recipient on all channels.
    pub(super) async fn check(&mut self, fault: &str) -> Seen {
        let seen = self.check_without_states().await;
        eprintln!("{fault}: {seen}");
        assert_eq!(seen.deliveries, 3 * seen.events, "each on three channels");
        seen
    }

    async fn check_without_states(&mut self) -> Seen {
        self.rest().await;
        let api = self.api(0);
        settled(&api).await;
        let (tally, mut copies) = (self.tally(), self.providers.copies());
        copies.extend(sandbox_copies(&api).await);
        let notifications = oracle::check(&api, &tally.acknowledged, &copies).await;
        if self.in_order {
            oracle::check_order(&self.heralds[0]).await;
        }
        oracle::check_reconciled(&self.heralds[0]).await;
        let mut deliveries = 0;
        for notification in &notifications {
            let event = notification["event_id"].as_str().unwrap();
            assert!(tally.acknowledged.contains(event), "{event} was never acknowledged");
            assert_eq!(notification["status"], "SENT", "{notification}");
            for delivery in notification["deliveries"].as_array().unwrap() {
                let id = delivery["id"].as_str().unwrap();
                assert!(copies.contains_key(id), "sent, and no provider got it: {notification}");
                deliveries += 1;
            }
        }
        for herald in &mut self.heralds {
            assert!(herald.is_running());
            herald.anonymous().get("/health/ready").await.expect(200);
        }
        Seen {
            events: notifications.len(),
            deliveries,
            unknown: oracle::attempts(&notifications, "unknown"),
            copies: copies.values().map(|seen| seen - 1).sum(),
            tally,
            took: self.begun.elapsed(),
        }
    }

    /// Has events handled again that were suspected of crashes which were not their fault; gives how many.
    pub(super) async fn give_back_suspects(&mut self) -> usize {
        self.rest().await;
        let api = self.api(0);
        settled(&api).await;
        oracle::check_order(&self.heralds[0]).await;
        self.in_order = false;
        let suspects = api.all("/v1/dead-letters?kind=event").await.len();
        let all = json!({"filter": {"kind": "event"}});
        api.post("/v1/dead-letters/retry", &all).await.counts(suspects as u64);
        suspects
    }

    /// Whether an instance has printed these words.
    pub(super) fn said(&self, instance: usize, words: &str) -> bool {
        self.heralds[instance].output.text().contains(words)
    }

    /// How many partitions each instance holds that holds any.
    pub(super) async fn shares(&self) -> Vec<i64> {
        let query = "SELECT count(*) AS v FROM partitions WHERE epoch IS NOT NULL GROUP BY epoch";
        self.heralds[0].database.texts(query).await.iter().map(|count| count.parse().unwrap()).collect()
    }

    /// Waits until the instances hold so many partitions each.
    pub(super) async fn shared(&self, shares: &[i64]) {
        wait_until(LATE, &format!("shares of {shares:?}"), async || {
            (self.shares().await == shares).then_some(())
        })
        .await;
    }
}

/// Waits until all work has ended. A refusal is no answer yet: right after a fault there are some. What is
/// tried again goes to and fro between `RETRY` and `PENDING`: only two rounds that find nothing are an end.
async fn settled(api: &Api) {
    const OPEN: [&str; 3] =
        ["events?outcome=pending", "notifications?status=PENDING", "notifications?status=RETRY"];
    wait_until(LATE, "an end of all work", async || {
        for open in OPEN.iter().chain(&OPEN) {
            let path = format!("/v1/{open}&limit=1");
            let answer = api.try_send(Method::GET, &path, &[], String::new()).await.ok()?;
            if answer.status != 200 || !answer.items().is_empty() {
                return None;
            }
        }
        Some(())
    })
    .await;
}
