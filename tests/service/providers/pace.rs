//! How fast a channel sends, how much at once, and that it can be stopped.

use std::time::Duration;

use serde_json::json;

use super::{Bank, email, sms};
use crate::{
    harness::{Db, LATE, SOON, on_both, settle, user, wait_until},
    peers::{Fault, Step, Wording},
};

on_both!(a_paused_channel_sends_nothing);

async fn a_paused_channel_sends_nothing(db: Db) {
    let peer = sms::peer(Wording::Json);
    let settings = sms::settings(&peer);
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let bank = Bank::start(db, r#"["email", "sms"]"#, &[peer.ca_file().unwrap()], &settings).await;
    user(&bank.api, 1).await;
    bank.api.post("/v1/channels/sms/pause", &json!({})).await.expect(200);
    for n in 1..=10 {
        bank.tell(&format!("e-{n}"), 1).await;
    }
    for n in 1..=10 {
        let told = wait_until(SOON, "the other channel goes on", async || {
            let told = bank.notification(&format!("e-{n}")).await?;
            let state = |channel| {
                let deliveries = told["deliveries"].as_array().unwrap();
                deliveries.iter().find(|delivery| delivery["channel"] == channel).unwrap()["state"].clone()
            };
            (state("email") == "sent").then(|| (state("sms"), told["status"].clone()))
        })
        .await;
        assert_eq!(told, (json!("pending"), json!("PENDING")));
    }
    assert!(peer.messages().is_empty());
    bank.api.post("/v1/channels/sms/resume", &json!({})).await.expect(200);
    settle(&bank.api).await;
    assert_eq!(peer.messages().len(), 10, "each once");
}

#[tokio::test]
async fn sends_keep_the_pace() {
    let peer = sms::peer(Wording::Json);
    let mut settings = sms::settings(&peer);
    settings.push(("HERALD__SMS__PER_SECOND", "20".to_owned()));
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let bank = Bank::start(Db::Sqlite, r#"["sms"]"#, &[peer.ca_file().unwrap()], &settings).await;
    user(&bank.api, 1).await;
    for n in 1..=40 {
        bank.tell(&format!("e-{n}"), 1).await;
    }
    settle(&bank.api).await;
    let messages = peer.messages().all();
    assert_eq!(messages.len(), 40);
    let took = messages[39].at - messages[0].at;
    assert!(took >= Duration::from_millis(1_800), "40 at 20 a second took {took:?}");
    for window in messages.windows(12) {
        let took = window[11].at - window[0].at;
        assert!(took >= Duration::from_millis(400), "a burst: 12 in {took:?}");
    }
}

#[tokio::test]
async fn no_more_at_once_than_allowed() {
    let peer = email::peer();
    let url = email::url(&peer);
    let settings = [
        ("HERALD__EMAIL__PROVIDER", "smtp"),
        ("HERALD__EMAIL__SMTP__URL", &*url),
        ("HERALD__EMAIL__FROM", "alerts@bank.example"),
        ("HERALD__EMAIL__CONCURRENCY", "3"),
    ];
    let bank = Bank::start(Db::Sqlite, r#"["email"]"#, &[peer.ca_file()], &settings).await;
    user(&bank.api, 1).await;
    peer.fault(Step::Dot, Fault::Delay(Duration::from_millis(50)));
    for n in 1..=60 {
        bank.tell(&format!("e-{n}"), 1).await;
    }
    wait_until(LATE, "60 mails", async || (peer.mails().len() == 60).then_some(())).await;
    settle(&bank.api).await;
    assert_eq!((peer.mails().len(), peer.most_open()), (60, 3), "as many as allowed, and no more");
}
