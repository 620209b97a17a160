//! API tokens.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Db, Herald, on_both, wait_until};

on_both!(a_token_is_kept_as_a_hash, a_revoked_token_is_refused_soon, a_token_expires, tokens_are_listed);

/// The object of a document that has this name.
fn named<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Array(items) => items.iter().find_map(|item| named(item, name)),
        Value::Object(fields) if fields.get("name").is_some_and(|found| found == name) => Some(value),
        Value::Object(fields) => fields.values().find_map(|field| named(field, name)),
        _ => None,
    }
}

async fn create(herald: &Herald, arguments: &[&str]) -> String {
    let all: Vec<_> = ["token", "create", "--json"].iter().chain(arguments).copied().collect();
    herald.run(&all).await.code(0).json()["token"].as_str().unwrap().to_owned()
}

async fn a_token_is_kept_as_a_hash(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let token = create(&herald, &["--name", "core", "--scope", "read"]).await;
    assert!(token.len() >= 32, "long enough not to be guessed");
    assert!(herald.database.contains("core").await, "the name is found, so the search works");
    let secret = &token[token.len() - 43..];
    assert!(
        secret.len() >= 20 && !herald.database.contains(secret).await,
        "the secret is not in the database"
    );
    herald.with_token(&token).get("/v1/events").await.expect(200);
    let bent = format!("{}{}", &token[..token.len() - 1], if token.ends_with('a') { 'b' } else { 'a' });
    herald.with_token(&bent).get("/v1/events").await.problem(401);

    let printed = herald.run(&["token", "create", "--name", "plain", "--scope", "read"]).await.code(0);
    assert!(printed.stdout.lines().any(|line| !line.trim().is_empty()), "for people too");
}

async fn tokens_are_listed(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let token =
        create(&herald, &["--name", "core", "--scope", "events:write,read", "--expires", "90d"]).await;
    let admin = herald.api("admin").await;
    let listed = herald.run(&["token", "list", "--json"]).await.code(0);
    let over_http = admin.get("/v1/tokens").await.expect(200);
    for (text, list) in [(&listed.stdout, listed.json()), (&over_http.text, over_http.body.clone())] {
        assert!(!text.contains(&token), "{text}");
        let core = named(&list, "core").unwrap_or_else(|| panic!("not listed: {text}"));
        assert!(core.to_string().contains("events:write"), "{core}");
        assert!(core["id"].is_string() && core["expires_at"].is_string(), "{core}");
    }
}

async fn a_revoked_token_is_refused_soon(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let token = create(&herald, &["--name", "core", "--scope", "read"]).await;
    let other = create(&herald, &["--name", "other", "--scope", "read"]).await;
    let api = herald.with_token(&token);
    api.get("/v1/events").await.expect(200);
    let list = herald.run(&["token", "list", "--json"]).await.code(0).json();
    let id = named(&list, "core").unwrap()["id"].as_str().unwrap().to_owned();
    herald.run(&["token", "revoke", &id]).await.code(0);
    wait_until(Duration::from_secs(2), "the refusal", async || {
        (api.get("/v1/events").await.status == 401).then_some(())
    })
    .await;
    herald.with_token(&other).get("/v1/events").await.expect(200);
    let missing = herald.run(&["token", "revoke", "nothing"]).await;
    assert_eq!(missing.code, Some(1), "{}", missing.stderr);
}

async fn a_token_expires(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let token = create(&herald, &["--name", "brief", "--scope", "read", "--expires", "4s"]).await;
    let made = Instant::now();
    let api = herald.with_token(&token);
    let first = api.get("/v1/events").await.status;
    assert!(first == 200 || made.elapsed() > Duration::from_secs(3), "{first} after {:?}", made.elapsed());
    wait_until(Duration::from_secs(10), "the expiry", async || {
        (api.get("/v1/events").await.status == 401).then_some(())
    })
    .await;
    assert!(made.elapsed() > Duration::from_secs(3), "not before its time");
}
