//! Health, the supervision tree, start and stop, and what is printed.

use std::{collections::BTreeSet, sync::Arc};

use reqwest::{Method, header};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::harness::{
    Answer, Api, Db, Event, Herald, SOON, ingest, on_both, oracle, settle, user, wait_until,
};

on_both!(
    health,
    the_tree_is_told_and_an_actor_restarts,
    a_stop_under_load_is_clean,
    nothing_personal_is_printed,
);

async fn health(db: Db) {
    let mut herald = Herald::start(db, &[]).await;
    let anyone = herald.anonymous();
    for path in ["/health/live", "/health/ready", "/metrics"] {
        anyone.get(path).await.expect(200);
    }
    herald.stop().await;
    anyone.try_send(Method::GET, "/health/live", &[], String::new()).await.err().expect("it has stopped");
    herald.restart().await;
    herald.anonymous().get("/health/live").await.expect(200);
}

/// Every object in a document that describes an actor.
fn actors(value: &Value) -> Vec<&Value> {
    let mut found = Vec::new();
    match value {
        Value::Array(items) => found.extend(items.iter().flat_map(actors)),
        Value::Object(fields) => {
            if fields.contains_key("name") && fields.contains_key("restarts") {
                found.push(value);
            }
            found.extend(fields.values().flat_map(actors));
        }
        _ => {}
    }
    found
}

fn actor<'a>(tree: &'a Value, like: &str) -> &'a Value {
    let plain = |name: &Value| name.as_str().unwrap().replace(['-', '_', ' '], "").to_lowercase();
    let found = actors(tree).into_iter().find(|actor| plain(&actor["name"]).contains(like));
    found.unwrap_or_else(|| panic!("no {like} in {tree}"))
}

async fn the_tree_is_told_and_an_actor_restarts(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let api = herald.api("admin").await;
    let tree = api.get("/v1/runtime").await.expect(200).body;
    for actor in actors(&tree) {
        for field in ["name", "state", "restarts", "last_error", "since"] {
            assert!(actor.get(field).is_some(), "`{field}` is missing: {actor}");
        }
    }
    for concern in ["eventwriter", "dispatcher", "notifier", "push", "email", "sms", "outcomewriter"] {
        let actor = actor(&tree, concern);
        assert_eq!(actor["state"], "running", "{actor}");
        assert_eq!(actor["restarts"], 0, "{actor}");
    }

    user(&api, 42).await;
    for (n, concern) in
        ["dispatcher", "notifier", "email", "outcomewriter", "eventwriter"].into_iter().enumerate()
    {
        let name = actor(&tree, concern)["name"].as_str().unwrap().to_owned();
        let answer = api.post(&format!("/v1/runtime/{name}/restart"), &json!({})).await;
        assert!((200..300).contains(&answer.status), "{name}: {}", answer.text);
        wait_until(SOON, "the restart", async || {
            let tree = api.get("/v1/runtime").await.expect(200).body;
            let actor = actor(&tree, concern);
            (actor["restarts"] == 1 && actor["state"] == "running").then_some(())
        })
        .await;
        ingest(&api, &Event::new(&format!("e-{n}")).to(42)).await;
        settle(&api).await;
        let told = api.all(&format!("/v1/notifications?event_id=e-{n}")).await;
        assert_eq!(told[0]["status"], "SENT", "after the restart of {name}");
    }
    api.post("/v1/runtime/nobody/restart", &json!({})).await.problem(404);
    herald.api("read").await.post("/v1/runtime/notifier/restart", &json!({})).await.problem(403);
}

async fn a_stop_under_load_is_clean(db: Db) {
    let mut herald = Herald::start(db, &[]).await;
    let api = herald.api("admin").await;
    for id in 1..=10 {
        user(&api, id).await;
    }
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let publishers = (0..8).map(|publisher| {
        let (api, acknowledged) = (api.clone(), Arc::clone(&acknowledged));
        tokio::spawn(async move {
            for n in 0.. {
                let id = format!("p{publisher}-{n}");
                let event = Event::new(&id).to(1 + n % 10).set("/aggregateId", format!("A-{publisher}"));
                let headers = [("Content-Type", "application/json")];
                match api.try_send(Method::POST, "/v1/events", &headers, event.0.to_string()).await {
                    Ok(answer) if answer.status == 202 => acknowledged.lock().await.insert(id),
                    // It says that it stops, or it has.
                    Ok(answer) => return assert_eq!(answer.status, 503, "{}", answer.text),
                    Err(_) => return,
                };
            }
        })
    });
    let publishers: Vec<_> = publishers.collect();
    wait_until(SOON, "load", async || (acknowledged.lock().await.len() >= 200).then_some(())).await;
    herald.stop().await;
    for publisher in publishers {
        publisher.await.unwrap();
    }

    herald.restart().await;
    let api = herald.with_token(api.token.as_ref().unwrap());
    let acknowledged = acknowledged.lock().await;
    let copies = sandbox_copies(&api).await;
    let notifications = oracle::check(&api, &acknowledged, &copies).await;
    let unknown = notifications.iter().filter(|told| told.to_string().contains(r#""outcome":"unknown""#));
    assert_eq!(unknown.count(), 0, "a clean stop leaves no doubt");
}

/// How many copies of each delivery the sandbox has kept.
pub(crate) async fn sandbox_copies(api: &Api) -> oracle::Copies {
    let mut copies = oracle::Copies::new();
    for message in api.all("/v1/sandbox/messages").await {
        let part = |name: &str| message[name].as_str().unwrap();
        *copies.entry(format!("{}:{}", part("notification_id"), part("channel"))).or_default() += 1;
    }
    copies
}

async fn nothing_personal_is_printed(db: Db) {
    let settings = [("HERALD__LOG__LEVEL", "debug"), ("HERALD__LOG__FORMAT", "json")];
    let mut herald = Herald::start(db, &settings).await;
    let api = herald.api("admin").await;
    let body = json!({
        "name": "Nomvula Secretname", "email": "secret.mail@example.com", "phone": "+265997654321",
        "devices": [{"token": "secret-device-token", "platform": "web"}],
    });
    api.put("/v1/users/42", &body).await.expect(201);
    api.put("/v1/users/42", &json!({"email": "secret.mail@", "phone": "+265997654321x"})).await;
    ingest(&api, &Event::new("e-1").to(42).set("/payload/narrative", "secret narrative")).await;
    let bad = Event::new("e-2").set("/payload/narrative", "secret narrative").without("/type").0.to_string();
    api.post_text("/v1/events", bad.clone()).await;
    api.post_text("/v1/events", &bad[..bad.len() - 9]).await;
    herald.with_token("secret-wrong-token").get("/v1/events").await.problem(401);
    settle(&api).await;
    api.get("/v1/users/42").await.expect(200);
    let metrics = herald.anonymous().get("/metrics").await.expect(200).text;
    herald.stop().await;

    let printed = herald.output.text();
    let token = api.token.as_deref().unwrap();
    let secrets = ["Secretname", "secret.mail", "997654321", "secret-device-token", "secret narrative"];
    for secret in secrets.into_iter().chain(["secret-wrong-token", "2500.00", "2,500.00", token]) {
        let line = printed.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret} is printed: {line:?}");
        assert!(!metrics.contains(secret), "{secret} is in the metrics");
    }
    let log: Vec<_> = printed.lines().filter(|line| line.starts_with('{')).collect();
    assert!(!log.is_empty(), "the log was looked at:\n{printed}");
}

#[tokio::test]
async fn one_file_is_served_once() {
    let herald = Herald::start(Db::Sqlite, &[]).await;
    let second = herald.run(&["serve"]).await.code(2);
    assert!(second.stderr.contains("herald.db"), "it names the file: {}", second.stderr);
    herald.anonymous().get("/health/ready").await.expect(200);
}

#[tokio::test]
async fn a_file_can_be_served_again_after_kill_9() {
    let mut herald = Herald::start(Db::Sqlite, &[]).await;
    herald.kill9().await;
    herald.restart().await;
    herald.anonymous().get("/health/ready").await.expect(200);
}

/// The part of a cookie that the browser sends back.
fn cookie(answer: &Answer) -> Option<String> {
    let cookie = answer.headers.get(header::SET_COOKIE)?.to_str().unwrap();
    Some(cookie.split(';').next().unwrap().to_owned())
}

#[tokio::test]
async fn a_login_link_works_once() {
    let herald = Herald::start(Db::Sqlite, &[]).await;
    let link = wait_until(SOON, "a login link", async || {
        let text = herald.output.text();
        let at = text.find(&format!("{}/", herald.base))?;
        let link: String = text[at..].chars().take_while(|c| !c.is_whitespace() && *c != '"').collect();
        link.strip_prefix(&herald.base).map(str::to_owned)
    })
    .await;
    let made = herald.api("read").await.token.unwrap();
    let prefix: String = made.chars().take_while(|c| *c != '_').collect();
    assert!(
        !herald.output.text().contains(&format!("{prefix}_")),
        "a token is printed:\n{}",
        herald.output.text()
    );

    let browser = herald.anonymous();
    let first = browser.get(&link).await;
    let session = cookie(&first).unwrap_or_else(|| panic!("{}: {}", first.status, first.text));
    let attributes = first.header("set-cookie").to_lowercase();
    assert!(attributes.contains("httponly") && attributes.contains("samesite"), "{attributes}");
    let page = browser.send(Method::GET, "/notifications", &[("Cookie", &session)], "").await.expect(200);
    assert!(page.header("content-type").starts_with("text/html"), "{:?}", page.headers);

    let second = browser.get(&link).await;
    assert!(cookie(&second).is_none() && second.status != 200, "{}: {}", second.status, second.text);
    for wrong in ["", "session=forged"] {
        let page = browser.send(Method::GET, "/notifications", &[("Cookie", wrong)], "").await;
        assert!([302, 303, 401].contains(&page.status), "{}", page.status);
    }
}
