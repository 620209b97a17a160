//! The restore drill of docs/operations.md: back up, lose everything, restore, start with `--hold`,
//! look, resume.

use std::{collections::BTreeMap, path::Path, process::Command};

use serde_json::json;

use crate::{
    harness::{Database, Db, Event, Herald, SOON, ingest, on_both, settle, user, wait_until},
    peers::{SmsPeer, Wording},
};

on_both!(a_restored_database_is_looked_at_before_anything_is_sent);

const ROUTE: &str = "[routes.\"transaction.completed\"]\nchannels = [\"sms\"]\n";

fn run(program: &str, arguments: &[&str]) {
    let ended = Command::new(program).args(arguments).output().unwrap();
    assert!(ended.status.success(), "{program}: {}", String::from_utf8_lossy(&ended.stderr));
}

async fn back_up(herald: &Herald, to: &Path) {
    let to = to.to_str().unwrap();
    match &herald.database {
        Database::Sqlite { .. } => herald.database.execute(&format!("VACUUM INTO '{to}'")).await,
        Database::Postgres { url, .. } | Database::Shared { url, .. } => {
            run("pg_dump", &["--format=custom", "--file", to, url.as_str()]);
        }
    }
}

async fn restore(herald: &Herald, from: &Path) {
    match &herald.database {
        Database::Sqlite { file } => {
            for left in ["-wal", "-shm"] {
                let _ = std::fs::remove_file(format!("{file}{left}"));
            }
            std::fs::copy(from, file).unwrap();
        }
        Database::Postgres { url, .. } | Database::Shared { url, .. } => {
            herald.database.execute("DROP SCHEMA public CASCADE").await;
            herald.database.execute("CREATE SCHEMA public").await;
            run("pg_restore", &["--no-owner", "--dbname", url.as_str(), from.to_str().unwrap()]);
        }
    }
}

async fn a_restored_database_is_looked_at_before_anything_is_sent(db: Db) {
    let gateway = SmsPeer::start(Wording::Json);
    let mut herald = Herald::prepare(db, &[], ROUTE).await;
    herald.set(&[
        ("HERALD__DISPATCH__POLL_INTERVAL", "50ms"),
        ("HERALD__DISPATCH__LEASE", "2s"),
        ("HERALD__SMS__PROVIDER", "http"),
        ("HERALD__SMS__HTTP__URL", &gateway.url()),
        ("HERALD__SMS__HTTP__HEADERS", "{ Content-Type = \"application/json\" }"),
        ("HERALD__SMS__HTTP__BODY", gateway.body()),
        ("HERALD__SMS__HTTP__ACCEPTED", gateway.accepted()),
    ]);
    herald.restart().await;
    let mut api = herald.api("admin").await;
    user(&api, 42).await;
    ingest(&api, &Event::new("sent-before").to(42)).await;
    settle(&api).await;
    // What is under way when the backup is taken.
    api.post("/v1/dispatch/hold", &json!({})).await.expect(200);
    for n in 0..5 {
        ingest(&api, &Event::new(&format!("open-{n}")).to(42)).await;
    }
    let backup = herald.dir().join("backup");
    back_up(&herald, &backup).await;
    api.post("/v1/dispatch/resume", &json!({})).await.expect(200);
    settle(&api).await;
    ingest(&api, &Event::new("after-the-backup").to(42)).await;
    settle(&api).await;
    assert_eq!(gateway.messages().all().len(), 7);

    herald.kill9().await;
    restore(&herald, &backup).await;
    herald.hold_from_the_start();
    herald.restart().await;
    api = herald.with_token(api.token.as_ref().unwrap());
    // It is alive, takes events in, and has had twenty times the time to find what is open.
    ingest(&api, &Event::new("new").to(42)).await;
    let second = match db {
        Db::Sqlite => "strftime('%Y-%m-%dT%H:%M:%f000Z', started_at, '+1 second')",
        Db::Postgres => "started_at + interval '1 second'",
    };
    let beaten = format!(
        "SELECT count(*) AS v FROM instances WHERE ended_at IS NULL AND heartbeat_at > {second}
                          AND epoch = (SELECT max(epoch) FROM instances)"
    );
    wait_until(SOON, "heartbeats", async || (herald.database.number(&beaten).await == 1).then_some(())).await;
    assert_eq!(gateway.messages().all().len(), 7, "nothing is sent while it is held");

    // Looking: what is open, and what the backup does not know.
    let tree = api.get("/v1/runtime").await.expect(200).body;
    assert_eq!(tree["dispatch"]["held"], true);
    assert_eq!(api.all("/v1/events?outcome=pending").await.len(), 6);
    api.get("/v1/events/after-the-backup").await.problem(404);
    herald.run(&["reconcile"]).await.code(0);

    api.post("/v1/dispatch/resume", &json!({})).await.expect(200);
    wait_until(SOON, "all to be sent", async || (gateway.messages().all().len() == 13).then_some(())).await;
    settle(&api).await;
    let mut copies: BTreeMap<String, usize> = BTreeMap::new();
    for message in gateway.messages().all() {
        *copies.entry(message.id).or_default() += 1;
    }
    // What was sent after the backup was taken is sent again, under the same id.
    let twice = copies.values().filter(|copies| **copies == 2).count();
    assert_eq!((copies.len(), twice), (8, 5), "{copies:?}");
    herald.run(&["reconcile"]).await.code(0);
}
