//! Providers that fail under load, one class of fault after another, and what comes of it.
//!
//! Each case: three channels, each with a real peer; a third of the events while all is well, the rest
//! while one provider fails. The other two channels have to send everything meanwhile. Then it is healed,
//! and the oracle looks. A soak run (`bash tests/run --soak`) has all cases, and more events in each.

mod cases;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use serde_json::Value;

use crate::{
    harness::{Api, Db, Event, Herald, LATE, ingest, oracle, settle_within, soak, user, wait_until},
    peers::{Fault, FcmAnswer, FcmPeer, SmsPeer, SmtpPeer, Step, Wording},
};

const USERS: i64 = 20;

const ROUTES: &str = "[routes.\"transaction.completed\"]\nchannels = [\"push\", \"email\", \"sms\"]\n";

const SETTINGS: [(&str, &str); 4] = [
    ("HERALD__RETRY__BASE", "100ms"),
    ("HERALD__RETRY__MAX", "1s"),
    ("HERALD__LIMITS__BREAKER__PAUSE", "200ms"),
    ("HERALD__LIMITS__BREAKER__MAX_PAUSE", "1s"),
];

struct Peers {
    push: FcmPeer,
    email: SmtpPeer,
    sms: SmsPeer,
}

impl Peers {
    fn start() -> Self {
        let sms = SmsPeer::start(Wording::Json);
        Self { push: FcmPeer::start(), email: SmtpPeer::plain(), sms }
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("HERALD__PUSH__PROVIDER", "fcm".into()),
            ("HERALD__PUSH__FCM__SERVICE_ACCOUNT", self.push.service_account().display().to_string()),
            ("HERALD__PUSH__FCM__ENDPOINT", self.push.endpoint()),
            ("HERALD__EMAIL__PROVIDER", "smtp".into()),
            ("HERALD__EMAIL__SMTP__URL", self.email.url()),
            ("HERALD__EMAIL__FROM", "alerts@bank.example".into()),
            ("HERALD__SMS__PROVIDER", "http".into()),
            ("HERALD__SMS__HTTP__URL", self.sms.url()),
            ("HERALD__SMS__HTTP__HEADERS", "{ Content-Type = \"application/json\" }".into()),
            ("HERALD__SMS__HTTP__BODY", self.sms.body().into()),
            ("HERALD__SMS__HTTP__ACCEPTED", self.sms.accepted().into()),
        ]
    }

    /// How many copies of each delivery were taken, or may have been: what a provider refused it has not.
    fn copies(&self) -> oracle::Copies {
        let mut copies = oracle::Copies::new();
        use FcmAnswer::{Accepted, Drop, Garbage, Silence};
        let may_have_taken = |answer| matches!(answer, Accepted | Drop | Garbage | Silence);
        for push in self.push.messages().all().iter().filter(|push| may_have_taken(push.answer)) {
            *copies.entry(push.message["data"]["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        for mail in self.email.mails().all() {
            let id = mail.header("message-id").unwrap().trim_start_matches('<').to_owned();
            let (local, _) = id.split_once('@').unwrap();
            *copies.entry(local.replace(".email", ":email")).or_default() += 1;
        }
        for text in self.sms.messages().all() {
            *copies.entry(text.id).or_default() += 1;
        }
        copies
    }
}

/// A fault.
struct Case {
    name: &'static str,
    channel: &'static str,
    /// Retries of a delivery; where the breaker holds, few are enough.
    retries: &'static str,
    inject: fn(&Peers),
    /// What an attempt's code has to be for the fault to have been seen, and so often at least.
    code: &'static str,
    times: usize,
    heal: fn(&Peers),
    /// Deliveries that are dead in the end, of one recipient; else none.
    dead_of: Option<i64>,
    /// Whether the breaker has to open.
    opens: bool,
}

const CASE: Case = Case {
    name: "",
    channel: "",
    retries: "3",
    inject: |_| {},
    code: "",
    times: 5,
    heal: |_| {},
    dead_of: None,
    opens: true,
};

struct Bank {
    peers: Peers,
    herald: Herald,
    api: Api,
    acknowledged: BTreeSet<String>,
}

impl Bank {
    async fn open(db: Db, retries: &str) -> Self {
        let peers = Peers::start();
        let given = peers.settings();
        let mut settings: Vec<_> = given.iter().map(|(key, value)| (*key, value.as_str())).collect();
        settings.extend(SETTINGS);
        settings.push(("HERALD__RETRY__RETRIES", retries));
        let herald = Herald::start_with(db, &settings, ROUTES).await;
        let api = herald.api("admin").await;
        for id in 1..=USERS {
            user(&api, id).await;
        }
        Self { peers, herald, api, acknowledged: BTreeSet::new() }
    }

    async fn publish(&mut self, many: usize) {
        let from = self.acknowledged.len();
        let event = |n: usize| {
            let event = Event::new(&format!("e-{n}")).set("/aggregateId", format!("A-{}", n % 40));
            event.to(1 + n as i64 % USERS)
        };
        let events: Vec<Event> = (from..from + many).map(event).collect();
        let api = &self.api;
        stream::iter(&events).for_each_concurrent(16, async |event| drop(ingest(api, event).await)).await;
        self.acknowledged.extend(events.iter().map(|event| event.0["id"].as_str().unwrap().to_owned()));
    }

    /// How many deliveries of a channel are in a state.
    async fn count(&self, channel: &str, state: &str) -> usize {
        let query =
            format!("SELECT count(*) AS v FROM deliveries WHERE channel = '{channel}' AND state = '{state}'");
        usize::try_from(self.herald.database.number(&query).await).unwrap()
    }

    async fn all_sent(&self, channel: &str) {
        let many = self.acknowledged.len();
        wait_until(LATE, &format!("{channel} does not notice"), async || {
            (self.count(channel, "sent").await == many).then_some(())
        })
        .await;
    }

    async fn attempts_with(&self, channel: &str, code: &str) -> usize {
        let query = format!(
            "SELECT count(*) AS v FROM notification_history
             WHERE channel = '{channel}' AND code = '{code}' AND outcome <> 'accepted'"
        );
        usize::try_from(self.herald.database.number(&query).await).unwrap()
    }

    async fn openings(&self, channel: &str) -> String {
        let text = self.api.get("/metrics").await.expect(200).text;
        let start = format!("herald_breaker_openings_total{{channel=\"{channel}\"");
        let line = text.lines().find(|line| line.starts_with(&start));
        line.map_or_else(|| "0".to_owned(), |line| line.rsplit(' ').next().unwrap().to_owned())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Every attempt that was not accepted says why, with a code and in words.
fn assert_each_error_names_its_cause(notifications: &[Value]) {
    for notification in notifications {
        for delivery in notification["deliveries"].as_array().unwrap() {
            let attempts = delivery["attempts"].as_array().unwrap();
            for attempt in attempts.iter().filter(|attempt| attempt["outcome"] != "accepted") {
                assert!(
                    !text(&attempt["code"]).is_empty() && !text(&attempt["error"]).is_empty(),
                    "{delivery}"
                );
            }
            if delivery["state"] != "sent" {
                assert!(!text(&delivery["reason"]).is_empty(), "{delivery}");
            }
        }
    }
}

/// One case, from the first event to the oracle.
async fn survives(case: Case) {
    let Case { name, channel, retries, inject, code, times, heal, dead_of, opens } = case;
    let (before, during) = if soak() { (150, 450) } else { (60, 140) };
    let begun = Instant::now();
    let mut bank = Bank::open(Db::Postgres, retries).await;
    bank.publish(before).await;
    inject(&bank.peers);
    bank.publish(during).await;
    wait_until(LATE, &format!("the fault was seen {times} times"), async || {
        (bank.attempts_with(channel, code).await >= times).then_some(())
    })
    .await;
    for other in ["push", "email", "sms"].into_iter().filter(|other| *other != channel) {
        bank.all_sent(other).await;
    }
    let open = bank.acknowledged.len() - bank.count(channel, "sent").await;
    heal(&bank.peers);
    settle_within(LATE, &bank.api).await;
    let copies = bank.peers.copies();
    let notifications = oracle::check(&bank.api, &bank.acknowledged, &copies).await;
    assert_eq!(notifications.len(), before + during);
    assert_each_error_names_its_cause(&notifications);
    let mut outcomes = BTreeMap::<&str, usize>::new();
    let mut dead = 0;
    for notification in &notifications {
        for delivery in notification["deliveries"].as_array().unwrap() {
            for attempt in delivery["attempts"].as_array().unwrap() {
                *outcomes.entry(text(&attempt["outcome"])).or_default() += 1;
            }
            let dies = delivery["channel"] == channel && notification["user_id"].as_i64() == dead_of;
            let state = text(&delivery["state"]);
            // A device that is gone is removed, and a recipient without one has nothing to be sent to.
            let is_over = dies && ["dead", "suppressed"].contains(&state);
            assert!(state == "sent" || is_over, "{name}: {delivery}");
            assert!(is_over || copies.contains_key(text(&delivery["id"])), "{delivery}");
            dead += usize::from(state == "dead");
        }
    }
    assert_eq!(dead > 0, dead_of.is_some(), "{name}");
    let openings = bank.openings(channel).await;
    assert_eq!(openings != "0", opens, "{name}: the breaker opened {openings} times");
    let twice: usize = copies.values().map(|seen| seen - 1).sum();
    eprintln!(
        "FAULT {name}: {} events, {} deliveries; {open} of {channel} open when healed; attempts {outcomes:?}; \
         {dead} dead; {twice} second copies; breaker opened {openings} times; {:.1} s",
        notifications.len(),
        3 * notifications.len(),
        begun.elapsed().as_secs_f64()
    );
}

/// How long the providers of push and SMS wait for the last of so many messages.
async fn time_for(bank: &mut Bank, many: usize) -> Duration {
    let begun = Instant::now();
    bank.publish(many).await;
    for other in ["push", "sms"] {
        bank.all_sent(other).await;
    }
    begun.elapsed()
}

#[tokio::test]
async fn a_slow_or_failing_provider_does_not_slow_the_other_channels() {
    let many = if soak() { 400 } else { 150 };
    let mut bank = Bank::open(Db::Postgres, "3").await;
    time_for(&mut bank, 50).await;
    let well = time_for(&mut bank, many).await;
    // Every connection to the mail server hangs.
    bank.peers.email.fault(Step::Mail, Fault::Delay(Duration::from_secs(5)));
    let slow = time_for(&mut bank, many).await;
    let left = bank.acknowledged.len() - bank.count("email", "sent").await;
    assert!(left > 0, "the mail server is slow, and yet nothing waits");
    bank.peers.email.heal();
    bank.peers.email.fault(Step::Greeting, Fault::Close);
    bank.peers.email.fault(Step::Mail, Fault::Close);
    bank.peers.email.fault(Step::Rset, Fault::Close);
    let down = time_for(&mut bank, many).await;
    eprintln!(
        "FAULT other channels: {many} events took {well:.2?} when all was well, {slow:.2?} beside a slow mail \
         server, {down:.2?} beside one that is down; {left} mails waited"
    );
    let limit = well * 3 + Duration::from_secs(1);
    assert!(slow < limit && down < limit, "{well:?}, slow {slow:?}, down {down:?}");
    bank.peers.email.heal();
    settle_within(LATE, &bank.api).await;
    let copies = bank.peers.copies();
    oracle::check(&bank.api, &bank.acknowledged, &copies).await;
    assert_eq!(bank.count("email", "sent").await, bank.acknowledged.len());
}
