//! Exit codes, and what a command says when it cannot go on.

use crate::harness::{Db, Event, Herald, on_both};

on_both!(migrate_says_what_is_pending, check_reaches_what_is_configured);

async fn migrate_says_what_is_pending(db: Db) {
    let herald = Herald::prepare(db, &[], "").await;
    let pending = herald.run(&["migrate", "--check"]).await.code(1);
    assert!(!pending.stdout.trim().is_empty(), "the list of what is pending");
    herald.run(&["migrate", "--check"]).await.code(1);
    herald.run(&["migrate"]).await.code(0);
    herald.run(&["migrate", "--check"]).await.code(0);
    herald.run(&["migrate"]).await.code(0);
}

async fn check_reaches_what_is_configured(db: Db) {
    let mut herald = Herald::prepare(db, &[], "").await;
    herald.run(&["check"]).await.code(0);
    herald.set(&[("HERALD__REDIS__URL", "redis://127.0.0.1:1")]);
    let failed = herald.run(&["check"]).await.code(1);
    assert!((failed.stdout + &failed.stderr).contains("redis"), "it says what cannot be reached");
}

/// What only asks makes no file; what makes one makes it for its owner alone.
#[cfg(unix)]
#[tokio::test]
async fn the_file_is_made_by_what_needs_it_and_is_private() {
    use std::os::unix::fs::PermissionsExt;

    let herald = Herald::prepare(Db::Sqlite, &[], "").await;
    let files = || {
        let names = std::fs::read_dir(herald.dir()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().contains(".db")).collect::<Vec<_>>()
    };
    let checked = herald.run(&["check"]).await.code(0).stdout;
    assert!(checked.contains("does not exist yet; the first start makes it"), "{checked}");
    let pending = herald.run(&["migrate", "--check"]).await.code(1).stdout;
    assert!(pending.lines().count() >= 3 && pending.contains("0001_events"), "{pending}");
    let ended = herald.run(&["reconcile"]).await.code(1);
    assert!(ended.stderr.contains("migrations are pending"), "{}", ended.stderr);
    assert_eq!(files(), Vec::<std::ffi::OsString>::new());

    herald.run(&["migrate"]).await.code(0);
    herald.run(&["token", "create", "--name", "t", "--scope", "read"]).await.code(0);
    let made = files();
    assert!(!made.is_empty());
    for name in made {
        let mode = std::fs::metadata(herald.dir().join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name:?}");
    }
    herald.run(&["reconcile"]).await.code(0);
}

#[tokio::test]
async fn a_setting_without_effect_is_noted_and_warned_of() {
    let mut herald =
        Herald::prepare(Db::Sqlite, &[("HERALD__COREBANK__URL", "https://corebank.example/api")], "").await;
    let checked = herald.run(&["check"]).await.code(0).stdout;
    let notes: Vec<_> =
        checked.lines().filter(|line| line.starts_with("note ") && !line.contains("sms template")).collect();
    assert_eq!(notes, ["note     corebank.url: is set, and has no effect yet"]);
    let json = herald.run(&["check", "--json"]).await.code(0).json();
    let noted = json["checks"].as_array().unwrap().iter().find(|check| check["what"] == "corebank.url");
    assert!(noted.is_some_and(|check| check["ok"] == true && check["note"].is_string()), "{json}");
    herald.restart().await;
    let said = herald.output.text();
    assert!(said.lines().any(|line| line.contains("corebank.url") && line.contains("no effect")), "{said}");
}

#[tokio::test]
async fn bad_usage_and_configuration_exit_2() {
    let herald = Herald::prepare(Db::Sqlite, &[], "").await;
    for usage in [
        &["serve", "--bogus"][..],
        &["sing"],
        &["publish"],
        &["token", "create", "--name", "t"],
        &["token", "create", "--name", "t", "--scope", "fly"],
        &["token", "create", "--name", "t", "--scope", "read", "--expires", "soon"],
    ] {
        let ended = herald.run(usage).await.code(2);
        assert!(!ended.stderr.trim().is_empty(), "{usage:?} says nothing");
    }
    for (key, value, named) in [
        ("HERALD__SERVER__BNID", "127.0.0.1:8080", "server.bnid"),
        ("HERALD__DISPATCH__LEASE", "15", "dispatch.lease"),
        ("HERALD__DISPATCH__LEASE", "-15s", "dispatch.lease"),
        ("HERALD__SERVER__BIND", "here", "server.bind"),
        ("HERALD__EMAIL__PROVIDER", "pigeon", "email.provider"),
        ("HERALD__DATABASE__URL", "oracle://x", "database.url"),
        ("HERALD_CONFIG", "/nowhere/herald.toml", "/nowhere/herald.toml"),
    ] {
        let wrong = Herald::prepare(Db::Sqlite, &[(key, value)], "").await;
        let ended = wrong.run(&["serve"]).await.code(2);
        assert!(ended.stderr.contains(named), "{key}={value} is named {named}: {}", ended.stderr);
    }
    let file = "[routes.\"notification.sent\"]\nchannels = [\"email\"]\n";
    let route = Herald::prepare(Db::Sqlite, &[], file).await;
    let ended = route.run(&["serve"]).await.code(2);
    assert!(ended.stderr.contains("notification.sent"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_herald_that_cannot_be_reached_exits_1() {
    let herald =
        Herald::prepare(Db::Sqlite, &[("HERALD_URL", "http://127.0.0.1:1"), ("HERALD_TOKEN", "t")], "").await;
    std::fs::write(herald.dir().join("event.json"), Event::new("e-1").0.to_string()).unwrap();
    let ended = herald.run(&["publish", "event.json"]).await.code(1);
    assert!(ended.stderr.contains("127.0.0.1:1"), "it says whom it asked: {}", ended.stderr);
    let ended = herald.run(&["publish", "missing.json"]).await;
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("missing.json"), "{}", ended.stderr);
}
