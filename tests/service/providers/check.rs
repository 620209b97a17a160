//! `herald check` reaches every provider, and says what is wrong with one.

use super::{Bank, email, push, sms};
use crate::{
    harness::Db,
    peers::{SmtpPeer, Wording, nobody},
};

async fn bank(smtp: &SmtpPeer, authorities: bool) -> (Bank, crate::peers::FcmPeer, crate::peers::SmsPeer) {
    let (fcm, gateway) = (push::peer(), sms::peer(Wording::Xml));
    let (url, account, endpoint) = (email::url(smtp), fcm.service_account(), fcm.endpoint());
    let mut settings = vec![
        ("HERALD__EMAIL__PROVIDER", "smtp"),
        ("HERALD__EMAIL__SMTP__URL", &*url),
        ("HERALD__EMAIL__FROM", "alerts@bank.example"),
        ("HERALD__PUSH__PROVIDER", "fcm"),
        ("HERALD__PUSH__FCM__SERVICE_ACCOUNT", account.to_str().unwrap()),
        ("HERALD__PUSH__FCM__ENDPOINT", &endpoint),
    ];
    let text_messages = sms::settings(&gateway);
    settings.extend(text_messages.iter().map(|(key, value)| (*key, value.as_str())));
    let trusted = match authorities {
        true => vec![smtp.ca_file(), fcm.ca_file().unwrap(), gateway.ca_file().unwrap()],
        false => Vec::new(),
    };
    let bank = Bank::prepare(Db::Sqlite, r#"["email"]"#, &trusted, &settings).await;
    bank.herald.run(&["migrate"]).await.code(0);
    (bank, fcm, gateway)
}

/// What it says of a channel, and nothing else that is wrong.
async fn problem(bank: &Bank, what: &str) -> String {
    let ended = bank.herald.run(&["check"]).await.code(1);
    let problems: Vec<_> = ended.stdout.lines().filter(|line| line.starts_with("problem ")).collect();
    assert_eq!(problems.len(), 1, "{}", ended.stdout);
    let start = format!("problem  {what}: ");
    let problem = problems[0].strip_prefix(&start).unwrap_or_else(|| panic!("{}", ended.stdout)).to_owned();
    for secret in ["pass/word", "a_pass", "k3y-of"] {
        assert!(!ended.stdout.contains(secret) && !ended.stderr.contains(secret), "{secret}");
    }
    problem
}

#[tokio::test]
async fn every_provider_is_reached_and_gets_nothing() {
    let smtp = email::peer();
    let (bank, fcm, gateway) = bank(&smtp, true).await;
    let ended = bank.herald.run(&["check"]).await.code(0);
    for what in ["configuration", "database", "push by fcm", "email by smtp", "sms by http"] {
        assert!(ended.stdout.lines().any(|line| line == format!("ok       {what}")), "{}", ended.stdout);
    }
    let json = bank.herald.run(&["check", "--json"]).await.code(0).json();
    assert!(json["checks"].as_array().unwrap().iter().all(|check| check["ok"] == true), "{json}");
    assert!(smtp.mails().is_empty() && fcm.messages().is_empty() && gateway.messages().is_empty());
    assert_eq!(fcm.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_wrong_with_a_provider_is_said() {
    let smtp = email::peer();
    let (mut bank, fcm, gateway) = bank(&smtp, true).await;

    let wrong = email::url(&smtp).replace("alerts:", "nobody:");
    bank.herald.set(&[("HERALD__EMAIL__SMTP__URL", &wrong)]);
    let said = problem(&bank, "email by smtp").await;
    assert!(said.contains("535") && said.contains("user and password"), "{said}");
    let nobody = nobody();
    bank.herald.set(&[("HERALD__EMAIL__SMTP__URL", &format!("smtp://{nobody}"))]);
    let said = problem(&bank, "email by smtp").await;
    assert!(said.contains(&nobody.to_string()) && said.contains("refused"), "{said}");
    bank.herald.set(&[("HERALD__EMAIL__SMTP__URL", &email::url(&smtp))]);

    fcm.refuse_tokens(Some((400, r#"{"error":"invalid_grant"}"#)));
    let said = problem(&bank, "push by fcm").await;
    assert!(said.contains("invalid_grant") && said.contains("clock"), "{said}");
    fcm.refuse_tokens(None);

    bank.herald.set(&[("HERALD__SMS__HTTP__URL", &format!("http://{nobody}/send"))]);
    let said = problem(&bank, "sms by http").await;
    assert!(said.contains(&nobody.to_string()), "{said}");
    bank.herald.set(&[("HERALD__SMS__HTTP__URL", &gateway.url())]);
    bank.herald.run(&["check"]).await.code(0);

    bank.herald.set(&[("HERALD__PUSH__FCM__SERVICE_ACCOUNT", "/nowhere/account.json")]);
    let ended = bank.herald.run(&["check"]).await.code(1);
    assert!(ended.stdout.contains("/nowhere/account.json"), "{}", ended.stdout);
    // A service that could not send does not start.
    let ended = bank.herald.run(&["serve"]).await.code(2);
    assert!(ended.stderr.contains("/nowhere/account.json"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_peer_that_nobody_vouches_for_is_not_trusted() {
    let smtp = email::peer();
    let (bank, _fcm, _gateway) = bank(&smtp, false).await;
    let ended = bank.herald.run(&["check"]).await.code(1);
    for what in ["push by fcm", "email by smtp", "sms by http"] {
        let start = format!("problem  {what}: ");
        let line = ended.stdout.lines().find(|line| line.starts_with(&start));
        assert!(line.is_some_and(|line| line.contains("TLS")), "{what}: {}", ended.stdout);
    }
    assert!(smtp.mails().is_empty());
}
