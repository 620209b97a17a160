//! What is said when a configuration is wrong.

use super::{load, problems};

#[test]
fn an_unknown_key_is_named_with_its_path_at_every_level() {
    let text = r#"
        surver = 1
        [server]
        bnid = "x"
        [email.smtp]
        ulr = "x"
        [limits.event_writer]
        que = 1
        [routes."user.login"]
        chanels = ["push"]
        escalate = [{after = "1s", channel = "sms", until = 1}]
        retry = {retires = 1}
        [sms.fallback]
        provider = "sandbox"
        concurency = 1
        [[caps]]
        limit = 1
        window = "1h"
        whatever = 1
    "#;
    assert_eq!(
        problems(text, &[("HERALD__SERVR__BIND", "x"), ("HERALD__LOG__LEVLE", "x")]),
        [
            "caps[0].whatever: unknown key",
            "email.smtp.ulr: unknown key; did you mean `url`?",
            "limits.event_writer.que: unknown key",
            "log.levle: unknown key; did you mean `level`?",
            "routes.\"user.login\".chanels: unknown key; did you mean `channels`?",
            "routes.\"user.login\".escalate[0].until: unknown key",
            "routes.\"user.login\".retry.retires: unknown key; did you mean `retries`?",
            "server.bnid: unknown key; did you mean `bind`?",
            "servr: unknown key; did you mean `server`?",
            "sms.fallback.concurency: unknown key; did you mean `concurrency`?",
            "surver: unknown key; did you mean `server`?",
        ]
    );
}

#[test]
fn a_problem_says_where_the_value_came_from() {
    let error =
        load("[server]\nbnid = 1", &[("HERALD__DISPATCH__LEASE", "soon"), ("HERALD__SMS__PROVIDER", "http")])
            .unwrap_err();
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert!(lines[0].starts_with("dispatch.lease: expected a duration"), "{text}");
    assert!(lines[0].ends_with("found \"soon\" (HERALD__DISPATCH__LEASE)"), "{text}");
    assert!(lines[1].starts_with("server.bnid: ") && lines[1].ends_with(".toml)"), "{text}");
    assert_eq!(lines[2], "sms.http.accepted: needed where sms.provider is `http` (HERALD__SMS__PROVIDER)");
}

#[test]
fn a_wrong_type_names_what_is_expected_and_what_is_found() {
    let text = r#"
        tls = "x"
        caps = 5
        [server]
        bind = 8080
        max_body = true
        [dispatch]
        lease = 15
        [retry]
        retries = "3"
        factor = "five"
        [retention]
        days = -1
        [email]
        concurrency = 1.5
        [routes."user.login"]
        channels = "push"
        mandatory = "yes"
        priority = "urgent"
        [routes."user.registered"]
        channels = ["push", "fax"]
    "#;
    assert_eq!(
        problems(text, &[("HERALD__RETRY__RETRIES", "three"), ("HERALD__PUSH__CONCURRENCY", "-1")]),
        [
            "caps: expected an array, found a whole number",
            "dispatch.lease: expected a duration such as 250ms, 5s, 15m, 2h or 90d, found a whole number",
            "email.concurrency: expected a whole number, found a number with a fraction",
            "push.concurrency: expected a whole number, found text",
            "retention.days: expected a whole number from 0 to 4294967295, found -1",
            "retry.factor: expected a number, found text",
            "retry.retries: expected a whole number, found text",
            "routes.\"user.login\".channels: expected an array, found text",
            "routes.\"user.login\".mandatory: expected true or false, found text",
            "routes.\"user.login\".priority: `urgent` is no priority: one of critical high normal bulk",
            "routes.\"user.registered\".channels[1]: `fax` is no channel: one of push email sms",
            "server.bind: expected text, found a whole number",
            "server.max_body: expected a size such as 8MiB, 64KiB, 1MB or a number of bytes, found true or false",
            "tls: expected a table, found text",
        ]
    );
}

/// Everything that is valid by its type and wrong all the same, at once.
#[test]
fn every_rule_names_its_key() {
    let text = r#"
        caps = [{limit = 0, window = "0s"}, {limit = 1, window = "1h", category = "transaction"}]
        quiet_hours = [{from = "22:00", to = "22:00"}]
        [server]
        public_url = "ftp://x"
        max_body = 10
        [database]
        schema = "no-identifier"
        [redis]
        url = "http://x"
        [dispatch]
        poll_interval = "2m"
        lease = "700ms"
        [email]
        provider = "smtp"
        concurrency = 0
        per_second = 0
        [email.smtp]
        url = "smtp://mail.example?tls=none"
        [email.fallback]
        provider = "sandbox"
        retry = {retries = 1}
        [email.fallback.fallback]
        provider = "sandbox"
        [push]
        provider = "fcm"
        concurrency = 1001
        retry = {retries = 21, factor = 0.5}
        fcm.endpoint = "ftp://x"
        [sms]
        provider = "http"
        per_second = -1
        http.headers = {"no header" = "x"}
        http.reference = "no group"
        [corebank]
        url = "ftp://x"
        [retry]
        retries = 21
        factor = 0
        [log]
        level = "infoo"
        [defaults]
        locale = "english please"
        [limits]
        event_writer = {queue = 0, batch = 0}
        dispatch.batch = 0
        outcome_writer.batch = 0
        live_feed = {backlog = 0, clients = 0}
        breaker = {failures = 0, pause = "0s", max_pause = "0s"}
        [routes."notification.sent"]
        channels = ["push"]
        [routes."No Type"]
        channels = ["push"]
        [routes."a.b"]
        channels = []
        template = "../x"
        category = "A B"
        recipient = "payload.userId"
        expires_after = "0s"
        escalate = [{after = "0s", channel = "sms"}, {after = "1s", channel = "sms"}]
        [routes."c.d"]
        channels = ["push", "push"]
        recipient = "/a~2"
        [routes."e.f"]
        channels = ["push"]
        variants = [
            {name = "a", template = "e.f.b", share = 20},
            {name = "B", template = "../x", share = 0},
            {name = "c", template = "e.f.c", share = 50},
            {name = "c", template = "e.f.d", share = 40},
        ]
    "#;
    let keys: Vec<String> =
        load(text, &[]).unwrap_err().problems.into_iter().map(|problem| problem.key).collect();
    let expected = [
        "caps[0].limit",
        "caps[0].window",
        "caps[1].category",
        "corebank.url",
        "database.schema",
        "defaults.locale",
        "dispatch.lease",
        "dispatch.poll_interval",
        "dispatch.poll_interval",
        "email.concurrency",
        "email.fallback.fallback",
        "email.fallback.retry",
        "email.from",
        "email.per_second",
        "email.smtp.url",
        "limits.breaker.failures",
        "limits.breaker.pause",
        "limits.dispatch.batch",
        "limits.event_writer.batch",
        "limits.event_writer.queue",
        "limits.live_feed.backlog",
        "limits.live_feed.clients",
        "limits.outcome_writer.batch",
        "log.level",
        "push.concurrency",
        "push.fcm.endpoint",
        "push.fcm.service_account",
        "push.retry.factor",
        "push.retry.retries",
        "quiet_hours[0].to",
        "redis.url",
        "retry.factor",
        "retry.retries",
        "routes.\"No Type\"",
        "routes.\"a.b\".category",
        "routes.\"a.b\".channels",
        "routes.\"a.b\".escalate[0].after",
        "routes.\"a.b\".escalate[1].channel",
        "routes.\"a.b\".expires_after",
        "routes.\"a.b\".recipient",
        "routes.\"a.b\".template",
        "routes.\"c.d\".channels",
        "routes.\"c.d\".recipient",
        "routes.\"e.f\".variants",
        "routes.\"e.f\".variants[0].name",
        "routes.\"e.f\".variants[1].name",
        "routes.\"e.f\".variants[1].share",
        "routes.\"e.f\".variants[1].template",
        "routes.\"e.f\".variants[3].name",
        "routes.\"notification.sent\"",
        "server.max_body",
        "server.public_url",
        "sms.http.accepted",
        "sms.http.body",
        "sms.http.headers.\"no header\"",
        "sms.http.reference",
        "sms.http.url",
        "sms.per_second",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn values_that_cannot_be_read() {
    for (text, key) in [
        ("server.bind = \"localhost\"", "server.bind"),
        ("server.public_url = \"herald.example\"", "server.public_url"),
        ("database.url = \"mysql://x\"", "database.url"),
        ("database.url = \"sqlite://\"", "database.url"),
        ("database.url = \"sqlite://:memory:\"", "database.url"),
        ("database.url = \"postgres://x:port/y\"", "database.url"),
        ("email.from = \"nobody\"", "email.from"),
        ("email.provider = \"sendmail\"", "email.provider"),
        ("sms.http.accepted = \"(\"", "sms.http.accepted"),
        ("sms.http.method = \"DELETE\"", "sms.http.method"),
        ("defaults.time_zone = \"Mars/Base\"", "defaults.time_zone"),
        ("log.format = \"xml\"", "log.format"),
        ("log.level = \"herald=loud\"", "log.level"),
        ("quiet_hours = [{from = \"7:00\", to = \"08:00\"}]", "quiet_hours[0].from"),
        ("quiet_hours = [{from = \"24:00\", to = \"08:00\"}]", "quiet_hours[0].from"),
        ("quiet_hours = [{days = [\"Mon\"], from = \"07:00\", to = \"08:00\"}]", "quiet_hours[0].days[0]"),
        ("quiet_hours = [{from = \"07:00\"}]", "quiet_hours[0].to"),
        ("caps = [{limit = 1}]", "caps[0].window"),
        ("push.fallback = {}", "push.fallback.provider"),
        ("server = 5", "server"),
        (
            "routes.x = {channels = [\"sms\"], variants = [{name = \"b\", share = 5}]}",
            "routes.x.variants[0].template",
        ),
        (
            "routes.x = {channels = [\"sms\"], variants = [{name = \"b\", template = \"b\", share = 101}]}",
            "routes.x.variants[0].share",
        ),
        ("routes.x = {escalate = [{after = \"1s\", channel = \"pigeon\"}]}", "routes.x.escalate[0].channel"),
    ] {
        let keys: Vec<String> =
            load(text, &[]).expect_err(text).problems.into_iter().map(|found| found.key).collect();
        assert_eq!(keys, [key], "{text}");
    }
}

#[test]
fn good_urls_are_taken() {
    for text in [
        "database.url = \"postgresql://u:p@h:5432/db?sslmode=require\"",
        "database.url = \"sqlite:///var/lib/herald.db\"",
        "redis.url = \"redis://:p@h:6379/1\"",
        "redis.url = \"rediss://h\"",
        "redis.url = \"unix:///run/redis.sock\"",
        "email.smtp.url = \"smtp://u:p@h:587\"",
        "email.smtp.url = \"smtp://localhost:25?tls=none\"",
        "email.smtp.url = \"smtp://[::1]?tls=none\"",
        "log.level = \"warn,herald::store=debug\"",
        "log.level = \"off\"",
    ] {
        assert!(load(text, &[]).is_ok(), "{text}: {}", load(text, &[]).unwrap_err());
    }
}

#[test]
fn what_is_no_toml_or_no_file_is_named() {
    let error = load("[server]\n\nbind = 127", &[]);
    assert!(error.is_err());
    let text = load("[server]\n\nbind = ", &[]).unwrap_err().to_string();
    assert!(text.contains(".toml: line 3: not TOML: "), "{text}");
    let missing = std::path::Path::new("/does/not/exist.toml");
    let text = herald::config::Config::load_with(Some(missing), []).unwrap_err().to_string();
    assert!(text.starts_with("/does/not/exist.toml: cannot be read: "), "{text}");
    assert_eq!(problems("", &[("HERALD____BIND", "x")]), [": a name is HERALD__SECTION__KEY"]);
}
