//! What lies on top of what.

use std::{ffi::OsString, fs, time::Duration};

use herald::{
    config::{Config, DatabaseUrl, EmailProvider, SmsProvider},
    domain::{Channel, Lane},
    policy::{Mode, PUSH_FLOOR},
};

use super::{load, problems};

#[test]
fn the_environment_lies_on_the_file_and_the_file_on_the_defaults() {
    let text = "[server]\nbind = \"127.0.0.1:1\"\nmax_body = 4096\n[dispatch]\nlease = \"1m\"";
    let config =
        load(text, &[("HERALD__SERVER__BIND", "0.0.0.0:2"), ("HERALD_URL", "x"), ("OTHER__KEY", "x")])
            .unwrap();
    assert_eq!(config.server.bind.to_string(), "0.0.0.0:2");
    assert_eq!(config.server.max_body.0, 4096);
    assert_eq!(config.dispatch.lease, Duration::from_secs(60));
    assert_eq!(config.dispatch.poll_interval, Duration::from_secs(1));
}

#[test]
fn a_variable_is_read_by_the_type_of_its_key() {
    let variables = [
        ("HERALD__server__Max_Body", "64KiB"),
        ("HERALD__RETRY__FACTOR", "2.5"),
        ("HERALD__RETRY__RETRIES", "7"),
        ("HERALD__RETRY__BASE", "250ms"),
        ("HERALD__RETENTION__DAYS", "90"),
        ("HERALD__DATABASE__SCHEMA", "123_is_no_number_but_text"),
        ("HERALD__EMAIL__PER_SECOND", "5"),
        ("HERALD__ROUTES__USER.LOGIN__MANDATORY", "false"),
        ("HERALD__ROUTES__USER.LOGIN__CHANNELS", r#"["sms"]"#),
        ("HERALD__DEFAULTS__TIME_ZONE", "Africa/Blantyre"),
        ("HERALD__CAPS", r#"[{limit = 2, window = "1h", channel = "sms"}]"#),
        ("HERALD__QUIET_HOURS", r#"[{from = "22:00", to = "07:00"}]"#),
        ("HERALD__TLS__CA_FILE", "/etc/ca.pem"),
        ("HERALD__SMS__HTTP__BODY", r#"{"to": "{{ to }}"}"#),
    ];
    // A plain identifier begins with a letter: as text it is refused, which shows that it was text.
    assert_eq!(problems("", &variables).len(), 1);
    let variables: Vec<_> = variables.into_iter().filter(|(name, _)| !name.ends_with("SCHEMA")).collect();
    let config = load("", &variables).unwrap();
    assert_eq!(config.server.max_body.0, 65_536);
    assert_eq!((config.retry.retries, config.retry.factor), (7, 2.5));
    assert_eq!(config.retry.base, Duration::from_millis(250));
    assert_eq!(config.retention.days, 90);
    assert_eq!(config.email.per_second, Some(5.0));
    let login = config.routes.get("user.login").unwrap();
    assert!(!login.mandatory);
    assert_eq!(login.channels, [Channel::Sms]);
    assert_eq!(login.category, "security");
    assert_eq!(config.defaults.time_zone, chrono_tz::Africa::Blantyre);
    assert_eq!((config.caps.len(), config.caps[0].limit, config.caps[0].channel), (1, 2, Some(Channel::Sms)));
    assert_eq!(config.quiet_hours.len(), 1);
    assert_eq!(config.tls.ca_file, Some("/etc/ca.pem".into()));
}

#[test]
fn routes_are_merged_key_by_key() {
    let text = "[routes.\"transaction.completed\"]\nchannels = [\"sms\"]\n[routes.\"loan.approved\"]\nchannels = [\"push\"]";
    let routes = r#"{"transaction.completed" = {priority = "bulk"}, "loan.denied" = {channels = ["email"], mode = "shadow"}}"#;
    let config = load(text, &[("HERALD__ROUTES", routes)]).unwrap();
    let completed = config.routes.get("transaction.completed").unwrap();
    assert_eq!((completed.channels.as_slice(), completed.priority), ([Channel::Sms].as_slice(), Lane::Bulk));
    assert_eq!(completed.category, "transactions");
    assert_eq!(config.routes.get("loan.denied").unwrap().mode, Mode::Shadow);
    assert!(config.routes.get("loan.approved").is_some() && config.routes.get("account.frozen").is_some());
    assert_eq!(config.routes.types_of(Lane::Bulk), ["transaction.completed"]);
}

#[test]
fn a_value_can_stand_in_a_file_that_a_variable_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let database = path("database", "postgres://herald:s3cret@db/bank\n");
    let lease = path("lease", "30s\r\n");
    let token = path("token", "Bearer s3cret\n");
    let variables = [
        ("HERALD__DATABASE__URL_FILE", database.as_str()),
        ("HERALD__DISPATCH__LEASE_FILE", &lease),
        ("HERALD__SMS__PROVIDER", "http"),
        ("HERALD__SMS__HTTP__URL", "https://sms.example"),
        ("HERALD__SMS__HTTP__BODY", "{{ to }}"),
        ("HERALD__SMS__HTTP__ACCEPTED", "ok"),
        ("HERALD__SMS__HTTP__HEADERS__AUTHORIZATION_FILE", &token),
    ];
    let config = load("[database]\nurl = \"sqlite://other.db\"", &variables).unwrap();
    let DatabaseUrl::Postgres(url) = &config.database.url else { panic!("{:?}", config.database) };
    assert_eq!(url.expose().as_str(), "postgres://herald:s3cret@db/bank");
    assert_eq!(config.dispatch.lease, Duration::from_secs(30));
    let SmsProvider::Http(gateway) = &config.sms.provider else { panic!("{:?}", config.sms) };
    assert_eq!(gateway.headers.get("authorization").unwrap(), "Bearer s3cret");

    let both = [variables[0], ("HERALD__DATABASE__URL", "sqlite://x.db")];
    assert_eq!(problems("", &both), ["database.url: given twice: also by HERALD__DATABASE__URL_FILE"]);
    let missing = problems("", &[("HERALD__DATABASE__URL_FILE", "/does/not/exist")]);
    assert!(missing[0].starts_with("database.url: the file /does/not/exist cannot be read"), "{missing:?}");
    // A path is not a secret, and a configuration file has no such key.
    for (text, variables) in [
        ("[push.fcm]\nservice_account_file = \"x\"", &[][..]),
        ("", &[("HERALD__PUSH__FCM__SERVICE_ACCOUNT_FILE", "/x")][..]),
    ] {
        let found = problems(text, variables);
        assert!(found[0].starts_with("push.fcm.service_account_file: unknown key"), "{found:?}");
    }
    assert_eq!(problems("[database]\nurl_file = \"x\"", &[]), ["database.url_file: unknown key"]);
}

#[test]
fn retries_are_the_routes_then_the_channels_then_the_global_ones() {
    let text = "[email]\nretry = {retries = 9}\n[routes.\"user.login\"]\nretry = {base = \"1s\"}";
    let config = load(text, &[]).unwrap();
    let login = config.routes.get("user.login");
    let other = config.routes.get("account.frozen");
    for (route, channel, retries, base) in [
        (login, Channel::Email, 3, 1),
        (login, Channel::Push, 3, 1),
        (other, Channel::Email, 9, 5),
        (other, Channel::Sms, 3, 5),
        (None, Channel::Email, 9, 5),
    ] {
        let retry = config.retry_for(route, channel);
        assert_eq!((retry.retries, retry.base.as_secs()), (retries, base), "{channel}");
    }
}

#[test]
fn a_push_waits_as_fcm_asks_unless_something_else_is_configured() {
    let floor = |text: &str, variables: &[(&str, &str)]| {
        let config = load(text, variables).unwrap();
        let route = config.routes.get("user.login");
        [Channel::Push, Channel::Email].map(|channel| config.retry_for(route, channel).floor)
    };
    let none = Duration::ZERO;
    assert_eq!(floor("", &[]), [PUSH_FLOOR, none]);
    assert_eq!(floor("[email]\nretry = {retries = 1}", &[]), [PUSH_FLOOR, none]);
    assert_eq!(floor("[retry]\nretries = 4", &[]), [none; 2]);
    assert_eq!(floor("", &[("HERALD__RETRY__BASE", "1s")]), [none; 2]);
    assert_eq!(floor("", &[("HERALD__PUSH__RETRY", "{retries = 4}")]), [none; 2]);
    assert_eq!(floor("[routes.\"user.login\"]\nretry = {retries = 4}", &[]), [none; 2]);
}

#[test]
fn a_fallback_has_the_same_keys() {
    let text = r#"
        [email]
        provider = "smtp"
        from = "Bank <a@bank.example>"
        smtp.url = "smtps://u:p@one.example"
        [email.fallback]
        provider = "smtp"
        concurrency = 4
        smtp.url = "smtp://127.0.0.1:25?tls=none"
    "#;
    let config = load(text, &[("HERALD__EMAIL__FALLBACK__PER_SECOND", "0.5")]).unwrap();
    let fallback = config.email.fallback.as_ref().unwrap();
    assert_eq!((fallback.concurrency, fallback.per_second), (4, Some(0.5)));
    let EmailProvider::Smtp(smtp) = &fallback.provider else { panic!("{fallback:?}") };
    assert_eq!(smtp.from.to_string(), "Bank <a@bank.example>");
    assert_eq!(smtp.url.to_string(), "smtp://127.0.0.1:25");
    assert_eq!(config.email.concurrency, 32);
}

#[test]
fn an_empty_variable_empties_an_optional_key() {
    let config = load("[redis]\nurl = \"redis://localhost\"", &[("HERALD__REDIS__URL", "")]).unwrap();
    assert!(config.redis.url.is_none());
    assert_eq!(problems("", &[("HERALD__SERVER__BIND", "")]).len(), 1);
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_a_problem() {
    use std::os::unix::ffi::OsStringExt;
    let variables = [(OsString::from("HERALD__LOG__LEVEL"), OsString::from_vec(vec![0xff]))];
    let error = Config::load_with(None, variables).unwrap_err();
    assert_eq!(error.to_string(), "HERALD__LOG__LEVEL: the value is not UTF-8");
}
