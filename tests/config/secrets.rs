//! Secrets are shown nowhere.

use super::load;

const SECRET: &str = "hunter2";

/// A valid configuration with a secret wherever one can stand.
const TEXT: &str = r#"
    [database]
    url = "postgres://herald:hunter2@db.example:5433/bank?application_name=hunter2"
    [redis]
    url = "rediss://:hunter2@redis.example"
    [email]
    provider = "smtp"
    from = "a@bank.example"
    smtp.url = "smtps://u:hunter2@mail.example"
    [sms]
    provider = "http"
    [sms.http]
    url = "https://u:hunter2@sms.example/hunter2?key=hunter2"
    headers = { Authorization = "hunter2" }
    body = "key=hunter2"
    accepted = "ok"
    [corebank]
    url = "https://core.example/?key=hunter2"
"#;

#[test]
fn debug_hides_them() {
    let config = load(TEXT, &[]).unwrap();
    let shown = format!("{config:?} {config:#?}");
    assert!(!shown.contains(SECRET), "{shown}");
    for place in [
        "postgres://db.example:5433",
        "rediss://redis.example",
        "smtps://mail.example",
        "https://core.example",
    ] {
        assert!(shown.contains(place), "{place}: {shown}");
    }
}

#[test]
fn errors_hide_them() {
    // Each of them spoils the value that holds the secret.
    let spoiled = [
        ("postgres://herald:", "postgrex://herald:"),
        (":5433/", ":99999/"),
        ("application_name", "unknown_option"),
        ("?application_name=hunter2", "?connect_timeout=hunter2"),
        ("rediss://:", "http://:"),
        ("redis.example", "redis.example:hunter2"),
        ("smtps://u:hunter2@", "smtp://hunter2@"),
        ("smtps://u:hunter2@mail.example", "smtps://u:hunter2@mail.example/hunter2"),
        ("smtps://u:hunter2@mail.example", "smtps://u:hunter2@mail.example?hunter2=hunter2"),
        ("https://u:", "ftp://u:"),
        ("https://u:", "u:"),
        ("\"hunter2\" }", "\"hunter2\\n\" }"),
        ("\"hunter2\" }", "[\"hunter2\"] }"),
        ("\"key=hunter2\"", "{ key = \"hunter2\" }"),
        ("\"key=hunter2\"", "\"key=hunter2"),
        ("\"key=hunter2\"", "hunter2"),
        ("https://core.example/", "ftp://core.example/"),
        ("accepted = \"ok\"", "accepted = \"(hunter2\""),
    ];
    for (part, instead) in spoiled {
        assert!(TEXT.contains(part), "{part}");
        let error = load(&TEXT.replace(part, instead), &[]).expect_err(instead);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(SECRET), "{instead}: {shown}");
    }
    for (name, value) in [
        ("HERALD__DATABASE__URL", "hunter2"),
        ("HERALD__SMS__HTTP__HEADERS", "{Authorization = \"hunter2\""),
        ("HERALD__SMS__HTTP__HEADERS__X", "hunter2\n"),
        ("HERALD__SMS__HTTP", "hunter2"),
        ("HERALD__SERVER__BIND", "postgres://u:hunter2@db"),
        ("HERALD__SERVER__PUBLIC_URL", "https://user:hunter2@herald.example"),
    ] {
        let error = load(TEXT, &[(name, value)]).expect_err(name);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(SECRET), "{name}: {shown}");
        assert!(shown.contains("HERALD__"), "{shown}");
    }
}
