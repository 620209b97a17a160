//! A provider that keeps failing is left alone, and nothing is lost meanwhile.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Bank, email, sms};
use crate::{
    harness::{Db, LATE, SOON, on_both, settle, user, wait_until},
    peers::{Fault, GatewayAnswer, SmtpPeer, Step, Wording, nobody},
};

on_both!(an_outage_uses_up_no_retries, a_fallback_takes_over_and_gives_back);

/// Small pauses; by default a breaker is open for 5 s to a minute.
const BREAKER: [(&str, &str); 3] = [
    ("HERALD__LIMITS__BREAKER__FAILURES", "5"),
    ("HERALD__LIMITS__BREAKER__PAUSE", "200ms"),
    ("HERALD__LIMITS__BREAKER__MAX_PAUSE", "500ms"),
];

fn smtp_settings(url: &str) -> Vec<(&str, &str)> {
    let mut settings = vec![
        ("HERALD__EMAIL__PROVIDER", "smtp"),
        ("HERALD__EMAIL__SMTP__URL", url),
        ("HERALD__EMAIL__FROM", "alerts@bank.example"),
    ];
    settings.extend(BREAKER);
    settings
}

/// How a provider stands by `GET /v1/runtime`.
async fn provider(bank: &Bank, channel: &str, name: &str) -> Value {
    let runtime = bank.api.get("/v1/runtime").await.expect(200).body;
    let providers = runtime["channels"]["providers"].as_array().unwrap().clone();
    let found = providers.iter().find(|one| one["channel"] == channel && one["provider"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {runtime}")).clone()
}

async fn breaker_is(bank: &Bank, channel: &str, name: &str, state: &str) -> Value {
    wait_until(SOON, &format!("{name} is {state}"), async || {
        let found = provider(bank, channel, name).await;
        (found["breaker"] == state).then_some(found)
    })
    .await
}

async fn gauge(bank: &Bank, channel: &str, provider: &str) -> String {
    let text = bank.api.get("/metrics").await.expect(200).text;
    let start = format!("herald_breaker_state{{channel=\"{channel}\",provider=\"{provider}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("no {start}")).to_owned()
}

async fn an_outage_uses_up_no_retries(db: Db) {
    let peer = email::peer();
    let url = email::url(&peer);
    let bank = Bank::start(db, r#"["email", "sms"]"#, &[peer.ca_file()], &smtp_settings(&url)).await;
    for id in 1..=20 {
        user(&bank.api, id).await;
    }
    assert_eq!(provider(&bank, "email", "smtp").await["breaker"], "closed");
    assert_eq!(gauge(&bank, "email", "smtp").await, "0");
    peer.fault(Step::Greeting, Fault::Reply("421 4.3.2 down for maintenance"));
    for id in 1..=20 {
        bank.tell(&format!("e-{id}"), id).await;
    }
    let open = breaker_is(&bank, "email", "smtp", "open").await;
    assert!(open["next_probe_at"].is_string() && open["since"].is_string(), "{open}");
    assert_eq!(open["failures"], 5);
    // Far more probes than anything has retries, and no delivery dies of it.
    let before = peer.opened();
    wait_until(LATE, "12 probes", async || (peer.opened() >= before + 12).then_some(())).await;
    for id in 21..=30 {
        user(&bank.api, id).await;
        bank.tell(&format!("e-{id}"), id).await;
    }
    assert_ne!(gauge(&bank, "email", "smtp").await, "0");
    assert_eq!(bank.api.all("/v1/notifications?state=dead").await.len(), 0);
    for id in 1..=30 {
        let told = wait_until(SOON, "the other channel does not notice", async || {
            let told = bank.notification(&format!("e-{id}")).await?;
            let of = |channel: &str| {
                let deliveries = told["deliveries"].as_array().unwrap();
                deliveries.iter().find(|delivery| delivery["channel"] == channel).unwrap().clone()
            };
            (of("sms")["state"] == "sent").then(|| of("email"))
        })
        .await;
        let state = told["state"].as_str().unwrap();
        assert!(["pending", "retry", "sending"].contains(&state), "{told}");
    }
    peer.heal();
    settle(&bank.api).await;
    assert_eq!(peer.mails().len(), 30, "each once");
    let sent = bank.api.all("/v1/notifications?status=SENT").await;
    assert_eq!(sent.len(), 30);
    let closed = provider(&bank, "email", "smtp").await;
    assert_eq!((&closed["breaker"], &closed["next_probe_at"]), (&json!("closed"), &json!(null)));
    let printed = bank.printed_nothing_of(&["customer", "@example.com"]).await;
    for words in ["is left alone, what is to be sent waits", "the provider works again"] {
        assert!(printed.iter().any(|line| line.contains(words) && line.contains("smtp")), "{words}");
    }
}

async fn a_fallback_takes_over_and_gives_back(db: Db) {
    let (first, second) = (email::peer(), SmtpPeer::plain());
    let (url, spare) = (email::url(&first), second.url());
    let mut settings = smtp_settings(&url);
    settings.extend([
        ("HERALD__EMAIL__FALLBACK__PROVIDER", "smtp"),
        ("HERALD__EMAIL__FALLBACK__SMTP__URL", &*spare),
        ("HERALD__EMAIL__FALLBACK__CONCURRENCY", "2"),
    ]);
    let bank = Bank::start(db, r#"["email"]"#, &[first.ca_file()], &settings).await;
    for id in 1..=40 {
        user(&bank.api, id).await;
    }
    // Two that the first one took, and broke off before it said so: it may still deliver them.
    first.fault(Step::Dot, Fault::Close);
    for id in 1..=2 {
        bank.tell(&format!("e-{id}"), id).await;
        wait_until(SOON, "an attempt that is unknown", async || {
            let delivery = bank.notification(&format!("e-{id}")).await?["deliveries"][0].clone();
            (delivery["attempts"][0]["outcome"] == "unknown").then_some(())
        })
        .await;
    }
    first.fault(Step::Greeting, Fault::Close);
    first.fault(Step::Mail, Fault::Reply("421 4.3.2 going"));
    for id in 3..=40 {
        bank.tell(&format!("e-{id}"), id).await;
    }
    wait_until(LATE, "the others go by the second", async || (second.mails().len() == 38).then_some(()))
        .await;
    assert!(second.most_open() <= 2, "{} at once", second.most_open());
    let unknown = ["customer1@example.com", "customer2@example.com"];
    assert!(second.mails().all().iter().all(|mail| !unknown.contains(&&*mail.to)), "they may come twice");
    for id in 3..=40 {
        let delivery = bank.delivery(&format!("e-{id}"), &["sent"]).await;
        assert_eq!(delivery["provider"], "smtp-fallback", "{delivery}");
        let attempts = delivery["attempts"].as_array().unwrap();
        assert_eq!(attempts.last().unwrap()["provider"], "smtp-fallback", "{delivery}");
        assert!(attempts[..attempts.len() - 1].iter().all(|one| one["provider"] == "smtp"), "{delivery}");
    }
    assert_eq!(provider(&bank, "email", "smtp-fallback").await["role"], "fallback");
    for id in 1..=2 {
        let delivery = bank.delivery(&format!("e-{id}"), &["retry", "pending", "sending"]).await;
        assert!(delivery["attempts"].as_array().unwrap().iter().all(|one| one["provider"] == "smtp"));
    }
    // The window of one of them is over: the first had its time.
    let id = bank.notification("e-1").await.unwrap()["id"].as_str().unwrap().to_owned();
    let moved = match db {
        Db::Postgres => "at - interval '10 minutes'",
        Db::Sqlite => "strftime('%Y-%m-%dT%H:%M:%f000Z', at, '-10 minutes')",
    };
    let sql = format!("UPDATE notification_history SET at = {moved} WHERE notification_id = '{id}'");
    bank.herald.database.execute(&sql).await;
    let delivery = bank.delivery("e-1", &["sent"]).await;
    assert_eq!(delivery["provider"], "smtp-fallback", "{delivery}");
    // Its probe is answered again, and all goes by it.
    first.heal();
    let delivery = bank.delivery("e-2", &["sent"]).await;
    assert_eq!(delivery["provider"], "smtp", "{delivery}");
    breaker_is(&bank, "email", "smtp", "closed").await;
    let before = second.mails().len();
    bank.tell("e-after", 1).await;
    assert_eq!(bank.delivery("e-after", &["sent"]).await["provider"], "smtp");
    assert_eq!(second.mails().len(), before);
}

#[tokio::test]
async fn greylisting_of_some_closes_nothing_for_others() {
    let peer = email::peer();
    let url = email::url(&peer);
    let bank = Bank::start(Db::Sqlite, r#"["email"]"#, &[peer.ca_file()], &smtp_settings(&url)).await;
    for id in 1..=21 {
        user(&bank.api, id).await;
        if id <= 20 {
            let address = format!("customer{id}@example.com");
            peer.fault_for(&address, Step::Rcpt, Fault::Reply("450 4.7.1 greylisted, come back"));
        }
    }
    for id in 1..=20 {
        bank.tell(&format!("e-{id}"), id).await;
        bank.delivery(&format!("e-{id}"), &["retry"]).await;
    }
    let found = provider(&bank, "email", "smtp").await;
    assert_eq!((&found["breaker"], &found["failures"]), (&json!("closed"), &json!(0)), "{found}");
    bank.tell("e-21", 21).await;
    bank.delivery("e-21", &["sent"]).await;
}

#[tokio::test]
async fn the_provider_says_how_long_and_a_restart_of_the_sender_forgets_nothing() {
    let peer = sms::peer(Wording::Json);
    let settings = sms::settings(&peer);
    let mut settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    settings.extend(BREAKER);
    let bank = Bank::start(Db::Sqlite, r#"["sms"]"#, &[peer.ca_file().unwrap()], &settings).await;
    for id in 1..=6 {
        user(&bank.api, id).await;
        peer.answer_times(1, &format!("+26599{:07}", 1_000_000 + id), GatewayAnswer::TooMany("4"));
        bank.tell(&format!("e-{id}"), id).await;
    }
    let open = breaker_is(&bank, "sms", "http", "open").await;
    let (began, seen) = (Instant::now(), peer.messages().len());
    bank.api.post("/v1/runtime/sms_sender/restart", &json!({})).await.expect(202);
    user(&bank.api, 7).await;
    bank.tell("e-7", 7).await;
    settle(&bank.api).await;
    let messages = peer.messages().all();
    let waited = messages[seen].at - began;
    assert!(waited > Duration::from_millis(2_500), "only {waited:?} of 4 s: {open}");
    assert_eq!(bank.api.all("/v1/notifications?status=SENT").await.len(), 7);
}

#[tokio::test]
async fn a_message_that_no_provider_takes_does_not_keep_the_others_waiting() {
    let peer = sms::peer(Wording::Json);
    let settings = sms::settings(&peer);
    let mut settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    settings.extend(BREAKER);
    let bank = Bank::start(Db::Sqlite, r#"["sms"]"#, &[peer.ca_file().unwrap()], &settings).await;
    for id in 1..=20 {
        user(&bank.api, id).await;
    }
    peer.answer("+265991000001", GatewayAnswer::Status(500));
    bank.tell("poison", 1).await;
    // Nothing else is sent, so that its failures are all that is known of the gateway.
    breaker_is(&bank, "sms", "http", "open").await;
    bank.delivery("poison", &["retry"]).await;
    for id in 2..=20 {
        bank.tell(&format!("e-{id}"), id).await;
    }
    for id in 2..=20 {
        let delivery = bank.delivery(&format!("e-{id}"), &["sent"]).await;
        assert_eq!(delivery["attempts"].as_array().unwrap().len(), 1, "{delivery}");
    }
    // The gateway works, so it is the message's own fault.
    bank.delivery("poison", &["dead"]).await;
}

#[tokio::test]
async fn check_reaches_the_fallback_too() {
    let (first, nobody) = (email::peer(), nobody());
    let (url, spare) = (email::url(&first), format!("smtp://{nobody}?tls=none"));
    let mut settings = smtp_settings(&url);
    settings.extend([
        ("HERALD__EMAIL__FALLBACK__PROVIDER", "smtp"),
        ("HERALD__EMAIL__FALLBACK__SMTP__URL", &*spare),
        ("HERALD__SMS__FALLBACK__PROVIDER", "sandbox"),
    ]);
    let bank = Bank::prepare(Db::Sqlite, r#"["email"]"#, &[first.ca_file()], &settings).await;
    bank.herald.run(&["migrate"]).await.code(0);
    let ended = bank.herald.run(&["check"]).await.code(1);
    let said = |line: &str| ended.stdout.lines().any(|one| one.starts_with(line));
    for line in [
        "ok       email by smtp",
        "problem  email by smtp, the fallback: ",
        "ok       sms by sandbox, the fallback",
    ] {
        assert!(said(line), "{line}: {}", ended.stdout);
    }
    assert!(!ended.stdout.contains("no effect"), "{}", ended.stdout);
}
