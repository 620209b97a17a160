//! `config/default.toml` against the contract.

use std::time::Duration;

use herald::{
    config::{Config, DEFAULT_TOML, DatabaseUrl, EmailProvider, PushProvider, Size, SmsProvider},
    domain::{Channel, Lane},
    policy::{Mode, QuietHours, Retry},
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn every_key_has_the_contracts_default() {
    let config = Config::builtin().unwrap();
    assert_eq!(config.server.bind.to_string(), "127.0.0.1:8080");
    assert!(config.server.public_url.is_none());
    assert_eq!(config.server.max_body, Size(8 << 20));
    assert!(config.tls.ca_file.is_none());
    assert_eq!(config.database.url, DatabaseUrl::Sqlite("herald.db".into()));
    assert_eq!(config.database.schema, "public");
    assert!(config.redis.url.is_none());
    assert_eq!(config.redis.adopt_after, 2 * SECOND);
    assert_eq!(config.dispatch.poll_interval, SECOND);
    assert_eq!(config.dispatch.lease, 15 * SECOND);
    assert!(matches!(config.email.provider, EmailProvider::Sandbox));
    assert!(matches!(config.push.provider, PushProvider::Sandbox));
    assert!(matches!(config.sms.provider, SmsProvider::Sandbox));
    assert_eq!([config.email.concurrency, config.push.concurrency, config.sms.concurrency], [32; 3]);
    assert_eq!([config.email.per_second, config.push.per_second, config.sms.per_second], [None; 3]);
    assert!(
        config.email.fallback.is_none() && config.push.fallback.is_none() && config.sms.fallback.is_none()
    );
    assert!(config.corebank.url.is_none());
    assert!(config.caps.is_empty() && config.quiet_hours.is_empty());
    assert!(config.templates.dir.is_none());
    let retry = Retry { retries: 3, base: 5 * SECOND, factor: 5.0, max: HOUR, floor: Duration::ZERO };
    assert_eq!(config.retry, retry);
    assert_eq!(config.retention.days, 0);
    assert!(config.log.format.is_none());
    assert_eq!(config.log.level, "info");
    assert_eq!(config.defaults.locale, "en");
    assert_eq!(config.defaults.time_zone, chrono_tz::UTC);
    assert!(config.metrics.bind.is_none());
    assert_eq!((config.limits.event_writer.queue, config.limits.event_writer.batch), (10_000, 512));
    assert_eq!(config.limits.dispatch.batch, 256);
    assert_eq!(config.limits.outcome_writer.batch, 512);
    assert_eq!((config.limits.live_feed.backlog, config.limits.live_feed.clients), (256, 200));
    let breaker = &config.limits.breaker;
    let pauses = (Duration::from_secs(5), Duration::from_secs(60));
    assert_eq!((breaker.failures, (breaker.pause, breaker.max_pause)), (5, pauses));
}

#[test]
fn a_route_that_says_nothing_more_has_the_documented_defaults() {
    let config = super::load("[routes.\"loan.approved\"]\nchannels = [\"push\"]", &[]).unwrap();
    let route = config.routes.get("loan.approved").unwrap();
    assert_eq!(route.priority, Lane::Normal);
    assert_eq!((route.template.as_deref(), route.recipient.as_deref()), (None, None));
    assert_eq!(route.category, "general");
    assert!(!route.mandatory && route.escalate.is_empty() && route.variants.is_empty());
    assert_eq!((route.quiet_hours.as_str(), route.over_cap.as_str()), ("defer", "suppress"));
    assert_eq!((route.expires_after, route.retry, route.mode), (None, None, Mode::Live));
}

#[test]
fn variants_share_a_routes_recipients() {
    let text = r#"
        [routes."transaction.completed"]
        channels = ["push"]
        variants = [{name = "b", template = "transaction.completed.b", share = 20},
                    {name = "short-1", template = "generic", share = 80}]
    "#;
    let config = super::load(text, &[]).unwrap();
    let variants = &config.routes.get("transaction.completed").unwrap().variants;
    let shown: Vec<_> =
        variants.iter().map(|one| (one.name.as_str(), one.template.as_str(), one.share)).collect();
    assert_eq!(shown, [("b", "transaction.completed.b", 20), ("short-1", "generic", 80)]);
}

#[test]
fn customers_are_told_of_the_built_in_types() {
    use Channel::{Email, Push, Sms};
    let routes = Config::builtin().unwrap().routes;
    let told: &[(&str, Lane, &[Channel])] = &[
        ("account.balance.low", Lane::Normal, &[Push, Email, Sms]),
        ("account.created", Lane::Normal, &[Push, Email]),
        ("account.frozen", Lane::Critical, &[Push, Email, Sms]),
        ("account.unfrozen", Lane::High, &[Push, Email, Sms]),
        ("alert.triggered", Lane::High, &[Push, Email, Sms]),
        ("checkbook.approved", Lane::Normal, &[Push, Email]),
        ("checkbook.collected", Lane::Normal, &[Push, Email]),
        ("checkbook.ready", Lane::Normal, &[Push, Email, Sms]),
        ("checkbook.rejected", Lane::Normal, &[Push, Email]),
        ("checkbook.requested", Lane::Normal, &[Push, Email]),
        ("transaction.completed", Lane::Normal, &[Push, Email, Sms]),
        ("transaction.failed", Lane::High, &[Push, Email, Sms]),
        ("user.login", Lane::Normal, &[Push, Email]),
        ("user.login.failed", Lane::High, &[Push, Email, Sms]),
        ("user.registered", Lane::Normal, &[Email, Sms]),
    ];
    for (event_type, lane, channels) in told {
        let route = routes.get(event_type).unwrap_or_else(|| panic!("{event_type} has no route"));
        assert_eq!(
            (route.priority, route.channels.as_slice(), route.mode),
            (*lane, *channels, Mode::Live),
            "{event_type}"
        );
        assert_eq!(routes.lane_of(event_type), *lane);
        assert!(routes.types_of(*lane).iter().any(|known| known == event_type));
    }
    assert_eq!(routes.get("transaction.created").unwrap().mode, Mode::Off);
    assert_eq!(routes.iter().count(), told.len() + 1);
    for event_type in ["account.frozen", "user.login", "user.login.failed"] {
        let route = routes.get(event_type).unwrap();
        assert!(
            route.mandatory && route.category == "security" && route.quiet_hours == QuietHours::Send,
            "{event_type}"
        );
    }
    for event_type in ["user.login", "user.login.failed"] {
        assert_eq!(routes.get(event_type).unwrap().expires_after, Some(HOUR), "{event_type}");
    }
}

#[test]
fn a_setting_that_nothing_follows_yet_is_named_where_it_is_set() {
    use herald::config::without_effect;
    assert_eq!(without_effect(&Config::builtin().unwrap()), Vec::<String>::new());
    let text = r#"
        [corebank]
        url = "https://corebank.example"
        [[caps]]
        limit = 1
        window = "1h"
        [[quiet_hours]]
        from = "22:00"
        to = "07:00"
        [routes."user.login"]
        mode = "shadow"
        escalate = [{after = "30s", channel = "sms"}]
    "#;
    assert_eq!(without_effect(&super::load(text, &[]).unwrap()), ["corebank.url"]);
    let defaults = "[retention]\ndays = 90\n[email]\nper_second = 5";
    assert_eq!(without_effect(&super::load(defaults, &[]).unwrap()), Vec::<String>::new());
}

/// A commented key is an example: it has to be one that works.
#[test]
fn every_commented_example_can_be_taken_over() {
    let mut text = String::new();
    let mut in_routes_table = false;
    for line in DEFAULT_TOML.lines() {
        in_routes_table |= line.starts_with("# Routes:");
        let example = line.strip_prefix("# ").unwrap_or_default();
        let is_key = example.split_once(" = ").is_some_and(|(key, _)| {
            !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        });
        let uncommented = (is_key || example.starts_with('[')) && !in_routes_table;
        text.push_str(if uncommented { example } else { line });
        text.push('\n');
    }
    let config = super::load(&text, &[]).unwrap_or_else(|error| panic!("{error}"));
    assert!(config.server.public_url.is_some() && config.tls.ca_file.is_some() && config.redis.url.is_some());
    assert!(
        config.email.fallback.is_some() && config.email.retry.is_some() && config.push.per_second.is_some()
    );
    assert!(config.corebank.url.is_some() && config.templates.dir.is_some() && config.metrics.bind.is_some());
    assert_eq!((config.caps.len(), config.quiet_hours.len()), (1, 1));
    // The gateway's example, too, where it is chosen.
    let config =
        super::load(&text, &[("HERALD__SMS__PROVIDER", "http"), ("HERALD__EMAIL__PROVIDER", "smtp")])
            .unwrap();
    let SmsProvider::Http(gateway) = config.sms.provider else { panic!("not taken over") };
    assert!(
        gateway.accepted.is_match(r#"{"status": "queued"}"#)
            && !gateway.accepted.is_match(r#"{"status": "failed"}"#)
    );
    assert_eq!(
        gateway.reference.unwrap().captures(r#"{"messageId":"m-1"}"#).unwrap().get(1).unwrap().as_str(),
        "m-1"
    );
    assert_eq!(gateway.headers.len(), 2);
}

#[test]
fn every_key_is_documented_by_the_line_above() {
    let mut previous = "";
    for line in DEFAULT_TOML.lines().take_while(|line| !line.starts_with("# Routes:")) {
        if line.contains(" = ") && !line.starts_with('#') {
            assert!(previous.starts_with("# "), "`{line}` is not explained");
        }
        previous = line;
    }
}
