//! A replay that sends goes on where it was, whatever becomes of the actor and of the process, and sends
//! nothing twice.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{publish, send_to};
use crate::{
    harness::{Api, Db, Event, Herald, LATE, on_both, oracle, settle_within, user, wait_until},
    peers::{SmsPeer, Wording},
};

on_both!(a_replay_that_is_killed_and_run_again_sends_nothing_twice);

const EVENTS: usize = 1_300;

/// Only what is told has the replayer work, so that its passages can be counted: the start, then the
/// steps of 500 events each.
const SETTINGS: &[(&str, &str)] = &[
    ("HERALD__DISPATCH__LEASE", "60s"),
    ("HERALD__DISPATCH__POLL_INTERVAL", "30s"),
    ("HERALD__RETRY__BASE", "50ms"),
    ("HERALD__RETRY__MAX", "500ms"),
];

fn rules(mode: &str) -> String {
    format!("[routes.\"loan.late\"]\nchannels = [\"sms\"]\nmode = \"{mode}\"\n")
}

/// A Herald that told nobody of its events, and would tell of them by now; it fails at these points.
async fn about_to_tell(db: Db, breakpoints: &str) -> (Herald, Api, SmsPeer) {
    let gateway = SmsPeer::start(Wording::Json);
    let mut herald = Herald::prepare(db, SETTINGS, &rules("off")).await;
    send_to(&mut herald, &gateway);
    herald.restart().await;
    let api = herald.api("admin").await;
    for id in 1..=20 {
        user(&api, id).await;
    }
    let events: Vec<Event> = (0..EVENTS)
        .map(|n| Event::new(&format!("e-{n}")).set("/type", "loan.late").to(1 + n as i64 % 20))
        .collect();
    publish(std::slice::from_ref(&api), &events, 650).await;
    settle_within(LATE, &api).await;
    herald.stop().await;
    std::fs::write(herald.dir().join("herald.toml"), rules("live")).unwrap();
    herald.set(&[("HERALD_BREAKPOINTS", breakpoints)]);
    herald.restart().await;
    let api = herald.with_token(api.token.as_deref().unwrap());
    (herald, api, gateway)
}

async fn asked(api: &Api) -> String {
    let body = json!({"send": true, "reason": "the route was off", "types": ["loan.late"]});
    let made = api.post("/v1/replays", &body).await.expect(202).body;
    format!("/v1/replays/{}", made["id"].as_str().unwrap())
}

async fn done(api: &Api, replay: &str) -> Value {
    wait_until(LATE, "the end of a replay", async || {
        let replay = api.get(replay).await.expect(200).body;
        assert_ne!(replay["state"], "failed", "{replay}");
        (replay["state"] == "done").then_some(replay)
    })
    .await
}

/// Each message came once, or once more where an attempt says that it may have been sent.
async fn each_once(herald: &Herald, gateway: &SmsPeer) {
    let mut copies: BTreeMap<String, usize> = BTreeMap::new();
    for message in gateway.messages().all() {
        *copies.entry(message.id).or_default() += 1;
    }
    assert_eq!(copies.len(), EVENTS, "all that was never sent");
    let doubt = "SELECT notification_id || ':sms' AS v FROM notification_history WHERE outcome = 'unknown'";
    let doubts = herald.database.texts(doubt).await;
    for (id, seen) in copies {
        let explained = doubts.iter().filter(|doubt| **doubt == id).count();
        assert!(seen <= 1 + explained, "{id} came {seen} times with {explained} doubts");
    }
    oracle::check_reconciled(herald).await;
}

async fn a_replay_that_is_killed_and_run_again_sends_nothing_twice(db: Db) {
    let (mut herald, api, gateway) = about_to_tell(db, "replayer=exit@4").await;
    let replay = asked(&api).await;
    assert_eq!(herald.ended(LATE).await, None, "it died in the middle of it");
    assert!(gateway.messages().len() < EVENTS);
    herald.set(&[("HERALD_BREAKPOINTS", "")]);
    herald.restart().await;
    let api = herald.with_token(api.token.as_deref().unwrap());
    let state = api.get(&replay).await.expect(200).body;
    assert_ne!(state["progress"], json!(0.0), "what was done is kept: {state}");
    // Asked for again by somebody who does not know whether it goes on by itself.
    let second = asked(&api).await;
    let (first, second) = (done(&api, &replay).await, done(&api, &second).await);
    assert_eq!(first["report"]["sent"]["first"], EVENTS, "{first}");
    assert_eq!(second["report"]["sent"]["first"], 0, "{second}");
    settle_within(LATE, &api).await;
    each_once(&herald, &gateway).await;
    let third = asked(&api).await;
    let third = done(&api, &third).await;
    assert_eq!(
        (&third["report"]["sent"]["first"], &third["report"]["sent"]["reopened"]),
        (&json!(0), &json!(0))
    );
    settle_within(LATE, &api).await;
    each_once(&herald, &gateway).await;
}

#[tokio::test]
async fn panics_of_the_replayer_lose_no_step_and_repeat_none() {
    let (mut herald, api, gateway) = about_to_tell(Db::Sqlite, "replayer=panic@3,replayer=panic@5").await;
    let replay = asked(&api).await;
    let replay = done(&api, &replay).await;
    assert_eq!(replay["report"]["sent"]["first"], EVENTS, "{replay}");
    assert_eq!(replay["report"]["events"], EVENTS);
    settle_within(LATE, &api).await;
    each_once(&herald, &gateway).await;
    let runtime = api.get("/v1/runtime").await.expect(200).body;
    let actors = runtime["actors"].as_array().unwrap();
    let replayer = actors.iter().find(|one| one["name"] == "replayer").unwrap();
    assert_eq!((&replayer["restarts"], &replayer["state"]), (&json!(2), &json!("running")), "{replayer}");
    assert!(herald.is_running());
}
