//! Stored events that are decided anew: what today's rules would send, and sending what was never sent.

use serde_json::{Value, json};

use crate::harness::{Api, Db, Event, Herald, SOON, ingest, on_both, settle, user, wait_until};

on_both!(
    a_dry_run_tells_what_today_would_differ_and_changes_nothing,
    caps_are_simulated_over_many_steps,
    what_was_never_sent_is_sent_once,
    caps_hold_for_what_is_sent_again,
);

const BEFORE: &str = r#"
[routes."transaction.completed"]
channels = ["email", "sms"]
[routes."loan.approved"]
channels = ["sms"]
mode = "shadow"
[routes."loan.late"]
channels = ["sms"]
mode = "off"
"#;

const AFTER: &str = r#"
[routes."transaction.completed"]
channels = ["email"]
[routes."loan.approved"]
channels = ["sms"]
[routes."loan.late"]
channels = ["sms"]
"#;

/// The replay with this body, when it is over.
async fn replayed(api: &Api, body: &Value) -> Value {
    let made = api.post("/v1/replays", body).await.expect(202).body;
    let path = format!("/v1/replays/{}", made["id"].as_str().unwrap());
    wait_until(SOON, "the end of a replay", async || {
        let replay = api.get(&path).await.expect(200).body;
        ["done", "failed"].contains(&replay["state"].as_str().unwrap()).then_some(replay)
    })
    .await
}

/// The same service with other rules.
async fn with_rules(herald: &mut Herald, rules: &str) {
    herald.stop().await;
    std::fs::write(herald.dir().join("herald.toml"), rules).unwrap();
    herald.restart().await;
}

/// One event of each kind, for one customer, and one for nobody.
async fn events(api: &Api) {
    user(api, 1).await;
    ingest(api, &Event::new("e-sent").to(1)).await;
    ingest(api, &Event::new("e-shadow").set("/type", "loan.approved").to(1)).await;
    ingest(api, &Event::new("e-off").set("/type", "loan.late").to(1)).await;
    ingest(api, &Event::new("e-none").set("/type", "loan.approved")).await;
    settle(api).await;
}

async fn a_dry_run_tells_what_today_would_differ_and_changes_nothing(db: Db) {
    let mut herald = Herald::start_with(db, &[], BEFORE).await;
    events(&herald.api("admin").await).await;
    with_rules(&mut herald, AFTER).await;
    let api = herald.api("operate,read").await;
    let before = api.all("/v1/notifications").await;

    let replay = replayed(&api, &json!({})).await;
    assert_eq!(
        (&replay["state"], &replay["send"], &replay["progress"]),
        (&json!("done"), &json!(false), &json!(1.0))
    );
    let report = &replay["report"];
    assert_eq!(report["events"], 4);
    assert_eq!(report["channels"], json!({"email": {"would": 1, "was": 1}, "sms": {"would": 2, "was": 1}}));
    assert_eq!(report["types"]["loan.approved"], json!({"would": 1, "was": 0}));
    assert_eq!(report["types"]["transaction.completed"], json!({"would": 1, "was": 2}));
    assert_eq!(report["rules"]["shadowed"], json!({"would": 0, "was": 1}));
    assert_eq!(report["outcomes"]["not_routed"], json!({"would": 0, "was": 1}));
    assert_eq!(report["outcomes"]["no_recipient"], json!({"would": 1, "was": 1}));
    assert_eq!(report["sms_segments"], json!({"would": 2, "was": 1}));
    assert_eq!(
        (&report["differing"], &report["differs"]),
        (&json!(3), &json!(["e-sent", "e-shadow", "e-off"]))
    );

    let one = replayed(&api, &json!({"types": ["loan.late", "loan.approved"], "aggregate": "1001"})).await;
    assert_eq!(one["report"]["events"], 3);
    assert_eq!(one["filter"], json!({"types": ["loan.late", "loan.approved"], "aggregate": "1001"}));
    let now = replayed(&api, &json!({"from": "2999-01-01T00:00:00Z"})).await;
    assert_eq!((&now["report"]["events"], &now["state"]), (&json!(0), &json!("done")));
    let then = replayed(&api, &json!({"from": "2000-01-01T00:00:00Z", "to": "2999-01-01T00:00:00Z"})).await;
    assert_eq!(then["report"]["events"], 4);
    assert_eq!(api.all("/v1/notifications").await, before, "nothing was changed");

    // As people see it.
    let table = herald.run_as(&api, &["replay", "--type", "loan.late"], "").await.code(0).stdout;
    assert!(table.contains("1 events differ") && table.contains("e-off"), "{table}");
    let printed = herald.run_as(&api, &["replay", "--type", "loan.late", "--json"], "").await.code(0).json();
    assert_eq!(printed["report"]["differs"], json!(["e-off"]));

    let bad = json!({"send": true, "types": [1], "kind": "x"});
    let refused = api.post("/v1/replays", &bad).await.problem(400);
    assert_eq!(refused.pointers(), ["/types/0", "/reason", "/kind"]);
    api.get("/v1/replays/none").await.problem(404);
    herald.api("read").await.post("/v1/replays", &json!({})).await.problem(403);
    let headers = &[("Content-Type", "application/json"), ("Idempotency-Key", "k")];
    let again = async || api.send(reqwest::Method::POST, "/v1/replays", headers, "{}").await.expect(202).body;
    assert_eq!(again().await["id"], again().await["id"]);
}

async fn caps_are_simulated_over_many_steps(db: Db) {
    const EVENTS: usize = 1_200;
    let mut herald = Herald::start(db, &[]).await;
    let api = herald.api("admin").await;
    let off = "[routes.\"loan.late\"]\nchannels = [\"sms\"]\nmode = \"off\"\n";
    with_rules_env(&mut herald, off).await;
    let api = herald.with_token(api.token.as_deref().unwrap());
    user(&api, 1).await;
    user(&api, 2).await;
    for from in (0..EVENTS).step_by(600) {
        let events = (from..from + 600).map(|n| {
            let user = if n % 300 == 0 { 2 } else { 1 };
            Event::new(&format!("e-{n}")).set("/type", "loan.late").to(user).0
        });
        api.post("/v1/events", &Value::Array(events.collect())).await.expect(202);
    }
    settle(&api).await;
    let caps =
        format!("{}\n[[caps]]\nchannel = \"sms\"\nlimit = 5\nwindow = \"1d\"\n", off.replace("off", "live"));
    with_rules_env(&mut herald, &caps).await;
    let api = herald.with_token(api.token.as_deref().unwrap());

    let report = replayed(&api, &json!({"types": ["loan.late"]})).await["report"].clone();
    assert_eq!(
        report["channels"]["sms"],
        json!({"would": 9, "was": 0}),
        "five of one, four of the other: {report}"
    );
    assert_eq!(report["rules"]["suppressed/frequency_cap"], json!({"would": EVENTS - 9, "was": 0}));
    assert_eq!((&report["differing"], &report["events"]), (&json!(9), &json!(EVENTS)));
    assert_eq!(herald.database.number("SELECT count(*) AS v FROM replay_grants").await, 0);
    assert_eq!(herald.database.number("SELECT count(*) AS v FROM cap_grants").await, 0);
}

/// The same, where there was no file at the first start.
async fn with_rules_env(herald: &mut Herald, rules: &str) {
    let path = herald.dir().join("herald.toml").display().to_string();
    herald.set(&[("HERALD_CONFIG", &path)]);
    with_rules(herald, rules).await;
}

async fn what_was_never_sent_is_sent_once(db: Db) {
    let mut herald = Herald::start_with(db, &[], BEFORE).await;
    let api = herald.api("admin").await;
    events(&api).await;
    let refused = json!({"channels": "not"});
    api.post("/v1/replays", &refused).await.problem(400);
    with_rules(&mut herald, AFTER).await;
    let api = herald.with_token(api.token.as_deref().unwrap());
    let sent = async || herald_messages(&api).await;
    assert_eq!(sent().await, ["e-sent email", "e-sent sms"]);

    let body = json!({"send": true, "reason": "the route was off by mistake"});
    let replay = replayed(&api, &body).await;
    let done = &replay["report"]["sent"];
    assert_eq!(done, &json!({"reopened": 1, "first": 1, "other_recipient": 0, "held_back": 0}));
    settle(&api).await;
    assert_eq!(sent().await, ["e-off sms", "e-sent email", "e-sent sms", "e-shadow sms"]);

    // Nothing is left to be sent, however often it is asked for.
    let again = replayed(&api, &body).await;
    assert_eq!(
        again["report"]["sent"],
        json!({"reopened": 0, "first": 0, "other_recipient": 0, "held_back": 0})
    );
    assert_eq!(again["report"]["differing"], 0, "what was sent counts as it is: {again}");
    settle(&api).await;
    assert_eq!(sent().await.len(), 4);

    for (event, outcome) in [("e-off", "notified"), ("e-shadow", "notified"), ("e-none", "no_recipient")] {
        assert_eq!(api.get(&format!("/v1/events/{event}")).await.expect(200).body["outcome"], outcome);
    }
    for event in ["e-off", "e-shadow"] {
        let flow = api.get(&format!("/v1/events/{event}/flow")).await.expect(200).body;
        let notifications = flow["notifications"].as_array().unwrap();
        assert_eq!(notifications.len(), 1, "never a second one");
        assert_eq!(notifications[0]["status"], "SENT");
        assert_eq!(notifications[0]["deliveries"][0]["replay_id"], replay["id"]);
        // Also where its first end was in shadow mode, of which nobody is told.
        let caused = flow["caused"].as_array().unwrap();
        assert_eq!((caused.len(), &caused[0]["type"]), (1, &json!("notification.sent")), "{flow}");
        let decisions = flow["decisions"].as_array().unwrap();
        let step = &decisions.last().unwrap()["steps"][0];
        assert_eq!(step["rule"], "replay");
        assert!(step["saw"].as_str().unwrap().ends_with(": the route was off by mistake"), "{step}");
    }
    herald.run(&["reconcile"]).await.code(0);
    assert!(herald.output.text().contains("the route was off by mistake"), "the log has the reason");
}

async fn caps_hold_for_what_is_sent_again(db: Db) {
    let mut herald = Herald::start_with(db, &[], BEFORE).await;
    let api = herald.api("admin").await;
    for id in [1, 2] {
        user(&api, id).await;
    }
    for n in 0..20 {
        ingest(&api, &Event::new(&format!("e-{n}")).set("/type", "loan.approved").to(1)).await;
    }
    ingest(&api, &Event::new("e-out").set("/type", "loan.approved").to(2)).await;
    settle(&api).await;
    let opt_out = json!({"opt_outs": [{"type": "loan.approved"}]});
    api.put("/v1/users/2/preferences", &opt_out).await.expect(200);
    let caps = format!("{AFTER}\n[[caps]]\nchannel = \"sms\"\nlimit = 3\nwindow = \"1h\"\n");
    with_rules(&mut herald, &caps).await;
    let api = herald.with_token(api.token.as_deref().unwrap());

    let body = json!({"send": true, "reason": "go live", "types": ["loan.approved"]});
    for reopened in [3, 0] {
        let report = replayed(&api, &body).await["report"].clone();
        assert_eq!(report["sent"]["reopened"], reopened, "{report}");
        assert_eq!(report["rules"]["suppressed/opted_out"]["would"], 1);
        settle(&api).await;
        assert_eq!(herald_messages(&api).await.len(), 3);
    }
    herald.run(&["reconcile"]).await.code(0);
}

/// What the sandbox was given.
async fn herald_messages(api: &Api) -> Vec<String> {
    let text = |message: &Value| {
        format!("{} {}", message["event_id"].as_str().unwrap(), message["channel"].as_str().unwrap())
    };
    let mut messages: Vec<String> = api.all("/v1/sandbox/messages").await.iter().map(text).collect();
    messages.sort_unstable();
    messages
}
