//! The plans of the statements that Herald really runs, beside a history that has grown: PostgreSQL
//! itself (`auto_explain`) writes each plan into its log, with what was read.
//!
//! `bash tests/run --soak` does it beside 10 million finished notifications and prints the plans; the
//! ordinary run does it at a small size. `HERALD_TEST_GROWN=<database>` takes one that an earlier run
//! has filled, on the same server.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use herald::domain::{Channel, DeliveryState, EventOutcome, Instant, NotificationStatus, ReplayFilter};
use herald::store::{DeadLetterFilter, EventFilter, Location, NotificationFilter, SendFilter, Store};
use serde_json::Value;

use crate::plans::round;
use crate::support::{Db, pg_column, stranger};

/// The tables that grow with the bank's history.
const GROWING: [&str; 13] = [
    "domain_events",
    "event_failures",
    "notifications",
    "deliveries",
    "notification_history",
    "work_items",
    "users",
    "devices",
    "accounts",
    "cap_grants",
    "decisions",
    "replay_grants",
    "external_sends",
];

/// More rows than this, read to answer one statement, are as bad as the whole table. A search looks at
/// 8,000 notifications at a time, with two deliveries each.
const MOST_ROWS: f64 = 20_000.0;

/// A statement is planned anew at its first five runs, and may then keep a plan for all values.
const RUNS: usize = 7;

/// What a statement was planned as.
struct Plan {
    query: String,
    milliseconds: f64,
    plan: Value,
}

/// The plans in a piece of the server's log: `duration: … ms  plan:` and JSON, each further line
/// with a tab before it.
fn plans_in(log: &str) -> Vec<Plan> {
    let mut found = Vec::new();
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((_, rest)) = line.split_once("duration: ") else { continue };
        let Some((milliseconds, _)) = rest.split_once(" ms  plan:") else { continue };
        let mut json = String::new();
        while let Some(more) = lines.next_if(|line| line.starts_with('\t')) {
            json.push_str(more);
        }
        let Ok(mut plan) = serde_json::from_str::<Value>(&json) else { continue };
        found.push(Plan {
            query: plan["Query Text"].as_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" "),
            milliseconds: milliseconds.parse().unwrap(),
            plan: plan["Plan"].take(),
        });
    }
    found
}

impl Plan {
    fn visit<'a>(node: &'a Value, see: &mut dyn FnMut(&'a Value)) {
        see(node);
        for child in node["Plans"].as_array().into_iter().flatten() {
            Self::visit(child, see);
        }
    }

    /// The nodes that read a growing table: its name, how, by which index, how many rows.
    fn reads(&self) -> Vec<(&str, &str, &str, f64)> {
        let mut reads = Vec::new();
        Self::visit(&self.plan, &mut |node| {
            let Some(table) = node["Relation Name"].as_str() else { return };
            let number = |name: &str| node[name].as_f64().unwrap_or_default();
            let kind = node["Node Type"].as_str().unwrap();
            if GROWING.contains(&table) && kind.contains("Scan") {
                let rows = number("Actual Rows")
                    + number("Rows Removed by Filter")
                    + number("Rows Removed by Index Recheck");
                let index = node["Index Name"].as_str().unwrap_or_default();
                reads.push((table, kind, index, rows * number("Actual Loops")));
            }
        });
        reads
    }

    /// What is wrong with it.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (table, kind, index, rows) in self.reads() {
            // Of a table of one page nothing else would make sense.
            if kind == "Seq Scan" && rows > 500.0 {
                faults.push(format!("Seq Scan on {table}: {rows} rows"));
            } else if rows > MOST_ROWS {
                faults.push(format!("{rows} rows of {table} by {kind} {index}"));
            }
        }
        faults
    }

    fn short(&self) -> String {
        let reads = self.reads().into_iter();
        let text = |(table, kind, index, rows): (&str, &str, &str, f64)| match index {
            "" => format!("{kind} {table}: {rows} rows"),
            _ => format!("{kind} {index}: {rows} rows"),
        };
        reads.map(text).collect::<Vec<_>>().join(" · ")
    }
}

async fn database() -> Db {
    match std::env::var("HERALD_TEST_GROWN") {
        Ok(name) => Db::existing(&name),
        Err(_) => {
            let db = Db::postgres().await;
            let size = if std::env::var_os("HERALD_TEST_SOAK").is_some() { "10000000" } else { "40000" };
            db.run(&include_str!("growth.sql").replace("{size}", size)).await;
            db.run("VACUUM ANALYZE").await;
            db
        }
    }
}

/// Every list of the API and the dashboard, filter by filter, the first page and one further down.
async fn lists(store: &Store) -> Vec<(String, String)> {
    let mut slow = Vec::new();
    let now = store.now().await.unwrap();
    let ago = |days: i64| Instant::from(now.utc() - chrono::TimeDelta::days(days));
    let event = |change: &dyn Fn(&mut EventFilter)| {
        let mut filter = EventFilter::default();
        change(&mut filter);
        filter
    };
    let events = [
        ("events", event(&|_| ())),
        ("events of a type", event(&|f| f.kind = Some("user.login".into()))),
        ("events of a rare type", event(&|f| f.kind = Some("account.frozen".into()))),
        ("events of a type that no one has", event(&|f| f.kind = Some("no.such".into()))),
        ("events of an aggregate", event(&|f| f.aggregate_id = Some("ACC-77".into()))),
        ("events of a user", event(&|f| f.user_id = Some(77))),
        ("failed events", event(&|f| f.outcome = Some(EventOutcome::Failed))),
        ("pending events", event(&|f| f.outcome = Some(EventOutcome::Pending))),
        ("events nobody is told of", event(&|f| f.outcome = Some(EventOutcome::NoRecipient))),
        ("events of a correlation", event(&|f| f.correlation_id = Some("corr-77".into()))),
        ("events since yesterday", event(&|f| f.from = Some(ago(1)))),
        ("events of a day", event(&|f| (f.from, f.to) = (Some(ago(200)), Some(ago(199))))),
        ("events of long ago", event(&|f| f.to = Some(ago(360)))),
        (
            "events of a type since yesterday",
            event(&|f| (f.kind, f.from) = (Some("account.frozen".into()), Some(ago(1)))),
        ),
    ];
    for (name, filter) in events {
        for _ in 0..RUNS {
            match store.events(filter.clone(), None, 51).await {
                Ok(found) => {
                    let last = found.items.last().map(|last| last.position).or(found.next);
                    if last.is_some() {
                        drop(store.events(filter.clone(), last, 51).await);
                    }
                    if found.next.is_some() {
                        break;
                    }
                }
                Err(error) => slow.push((name.to_owned(), error.to_string())),
            }
        }
    }
    let told = |change: &dyn Fn(&mut NotificationFilter)| {
        let mut filter = NotificationFilter::default();
        change(&mut filter);
        filter
    };
    let notifications = [
        ("notifications", told(&|_| ())),
        ("notifications of a user", told(&|f| f.user_id = Some(77))),
        ("notifications of an event", told(&|f| f.event_id = Some("evt-000000000077".into()))),
        ("notifications of a type", told(&|f| f.event_type = Some("user.login".into()))),
        ("notifications of a rare type", told(&|f| f.event_type = Some("account.frozen".into()))),
        ("notifications of no type", told(&|f| f.event_type = Some("no.such".into()))),
        ("failed notifications", told(&|f| f.status = Some(NotificationStatus::Failed))),
        ("pending notifications", told(&|f| f.status = Some(NotificationStatus::Pending))),
        ("suppressed notifications", told(&|f| f.status = Some(NotificationStatus::Suppressed))),
        ("sent notifications", told(&|f| f.status = Some(NotificationStatus::Sent))),
        ("notifications of a correlation", told(&|f| f.correlation_id = Some("corr-77".into()))),
        ("notifications by push", told(&|f| f.channel = Some(Channel::Push))),
        ("notifications by email", told(&|f| f.channel = Some(Channel::Email))),
        ("notifications with a dead delivery", told(&|f| f.state = Some(DeliveryState::Dead))),
        ("notifications with a retry", told(&|f| f.state = Some(DeliveryState::Retry))),
        ("notifications with a suppression", told(&|f| f.state = Some(DeliveryState::Suppressed))),
        ("notifications that expired", told(&|f| f.state = Some(DeliveryState::Expired))),
        ("notifications of a provider", told(&|f| f.provider = Some("fcm".into()))),
        ("notifications of no provider", told(&|f| f.provider = Some("nobody".into()))),
        ("notifications since yesterday", told(&|f| f.from = Some(ago(1)))),
        ("notifications of a day", told(&|f| (f.from, f.to) = (Some(ago(200)), Some(ago(199))))),
        (
            "failed notifications of a day",
            told(&|f| {
                f.status = Some(NotificationStatus::Failed);
                (f.from, f.to) = (Some(ago(200)), Some(ago(199)));
            }),
        ),
    ];
    for (name, filter) in notifications {
        for _ in 0..RUNS {
            match store.notifications(filter.clone(), None, 51).await {
                Ok(found) => {
                    if let Some(last) = found.items.last() {
                        let before = Some(herald::domain::NotificationId(last.id.clone()));
                        drop(store.notifications(filter.clone(), before, 51).await);
                    }
                    if found.next.is_some() {
                        break;
                    }
                }
                Err(error) => slow.push((name.to_owned(), error.to_string())),
            }
        }
    }
    let letters = [
        ("dead letters", DeadLetterFilter::default()),
        ("dead letters by push", DeadLetterFilter { channel: Some(Channel::Push), ..Default::default() }),
        ("dead events", DeadLetterFilter { kind: Some("event".into()), ..Default::default() }),
        (
            "dead letters with an error",
            DeadLetterFilter { error: Some("cause".into()), ..Default::default() },
        ),
        ("dead letters since yesterday", DeadLetterFilter { from: Some(ago(1)), ..Default::default() }),
        (
            "dead letters of a notification",
            DeadLetterFilter { notification: Some("none".into()), ..Default::default() },
        ),
        (
            "dead letters by id",
            DeadLetterFilter { ids: Some(vec!["event:evt-1".into()]), ..Default::default() },
        ),
    ];
    for (name, filter) in letters {
        for _ in 0..RUNS {
            match store.dead_letters(filter.clone(), None, 51).await {
                Ok(found) => {
                    if let Some(last) = found.last() {
                        let after = Some((last.died_at, last.id.clone()));
                        drop(store.dead_letters(filter.clone(), after, 51).await);
                    }
                }
                Err(error) => slow.push((name.to_owned(), error.to_string())),
            }
        }
    }
    let compared = [
        ("sends compared", SendFilter::default()),
        ("sends compared of a type", SendFilter { kind: Some("user.login".into()), ..Default::default() }),
        ("sends that differ", SendFilter { differ: true, from: Some(ago(1)), ..Default::default() }),
    ];
    for (name, filter) in compared {
        for _ in 0..RUNS {
            if let Err(error) = store.compare_sends(filter.clone(), None, 51).await {
                slow.push((name.to_owned(), error.to_string()));
            }
        }
        store.compare_totals(&filter).await.unwrap();
    }
    let rare = ReplayFilter { types: vec!["account.frozen".into(), "no.such".into()], ..Default::default() };
    let of_aggregate = ReplayFilter { aggregate: Some("ACC-77".into()), ..Default::default() };
    for filter in [ReplayFilter::default(), rare, of_aggregate] {
        for _ in 0..RUNS {
            store.replay_events(&filter, 0, i64::MAX, 500).await.unwrap();
        }
    }
    for days in [1, 30] {
        for _ in 0..RUNS {
            store.totals(ago(days)).await.unwrap();
        }
    }
    for _ in 0..RUNS {
        store.count_dead_letters(1_000).await.unwrap();
        store.sends_of_unknown_events(100).await.unwrap();
        store.known_events(vec!["evt-000000000077".into(), "x".into()]).await.unwrap();
    }
    slow
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_reads_a_grown_table_through() {
    let db = database().await;
    let Location::Postgres(config) = &db.location else { unreachable!() };
    let client = stranger(config).await;
    let name = pg_column(&client, "SELECT current_database() AS v").await.remove(0);
    let settings = [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_format = 'json'",
        "auto_explain.log_analyze = on",
        "auto_explain.log_timing = off",
        "auto_explain.log_nested_statements = on",
    ];
    for setting in settings {
        client.batch_execute(&format!("ALTER DATABASE {name} SET {setting}")).await.unwrap();
    }
    // The server's log: `-l log` in its data directory, as `tests/run` starts it.
    let size = "SELECT size AS v FROM pg_stat_file('log')";
    let begin: i64 = pg_column(&client, size).await[0].parse().unwrap();

    let store = db.rival();
    for (earlier, _) in store.living().await.unwrap() {
        store.end(earlier).await.unwrap();
    }
    let epoch = db.instance().await;
    let first = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as usize;
    for n in 0..RUNS {
        round(&store, epoch, first + n, 40).await;
    }
    let slow = lists(&store).await;
    // That a table that is read through is found.
    stranger(config)
        .await
        .batch_execute("SELECT count(*) FROM deliveries WHERE reason = 'on purpose'")
        .await
        .unwrap();

    let end: i64 = pg_column(&client, size).await[0].parse().unwrap();
    let (mut log, mut at) = (String::new(), begin);
    while at < end {
        let length = (end - at).min(50_000_000);
        let part = format!("SELECT convert_from(pg_read_binary_file('log', {at}, {length}), 'LATIN1') AS v");
        log.push_str(&pg_column(&client, &part).await[0]);
        at += length;
    }
    let plans = plans_in(&log);
    let mut by_query: BTreeMap<String, (f64, f64, String)> = BTreeMap::new();
    let mut faults: BTreeMap<String, String> = BTreeMap::new();
    for plan in &plans {
        let reads: f64 = plan.reads().iter().map(|read| read.3).sum();
        let worst = by_query.entry(plan.query.clone()).or_default();
        worst.0 = worst.0.max(plan.milliseconds);
        if worst.2.is_empty() || reads > worst.1 {
            (worst.1, worst.2) = (reads, plan.short());
        }
        for fault in plan.faults() {
            faults.insert(
                format!("{fault}: {}", plan.query.chars().take(700).collect::<String>()),
                plan.short(),
            );
        }
    }
    for (query, (milliseconds, _, short)) in &by_query {
        println!("{milliseconds:9.2} ms | {} | {short}", query.chars().take(150).collect::<String>());
    }
    println!("{} plans of {} statements", plans.len(), by_query.len());
    assert!(by_query.len() > 60, "the log was read: {} statements", by_query.len());
    let caught = faults.extract_if(.., |query, _| query.contains("on purpose")).count();
    assert_eq!(caught, 1, "a table that is read through is found");
    assert!(slow.is_empty() && faults.is_empty(), "{slow:#?}\n{faults:#?}");
}
