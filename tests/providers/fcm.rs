//! FCM: answers, access tokens, and what the message says.

use std::{
    future::poll_fn,
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use herald::{
    domain::AttemptOutcome::{self, Accepted, Permanent, Transient, Unknown},
    providers::{
        HttpDeadlines, Provider, Report,
        fcm::{Fcm, FcmConfig},
    },
};
use serde_json::json;

use crate::{
    messages::{NASTY, email, push},
    peers::{Authority, FcmAnswer, FcmPeer, nobody},
};

fn config(peer: &FcmPeer) -> FcmConfig {
    FcmConfig { service_account: peer.service_account(), endpoint: peer.endpoint(), ca_file: peer.ca_file() }
}

fn fcm(peer: &FcmPeer) -> Fcm {
    let deadlines = HttpDeadlines { connect: Duration::from_millis(700), total: Duration::from_millis(1500) };
    Fcm::with_deadlines(config(peer), deadlines).unwrap()
}

#[tokio::test]
async fn each_answer_has_its_report() {
    let peer = FcmPeer::start();
    let fcm = fcm(&peer);
    // The answer; the outcome; whether the token is gone; whether the configuration is at fault; the
    // code; the seconds to wait.
    type Case = (FcmAnswer, AttemptOutcome, bool, bool, &'static str, Option<u64>);
    let cases: &[Case] = &[
        (FcmAnswer::Unregistered, Permanent, true, false, "UNREGISTERED", None),
        (FcmAnswer::InvalidToken, Permanent, true, false, "INVALID_ARGUMENT", None),
        (FcmAnswer::InvalidMessage, Permanent, false, false, "INVALID_ARGUMENT", None),
        (FcmAnswer::SenderIdMismatch, Permanent, false, true, "SENDER_ID_MISMATCH", None),
        (FcmAnswer::ThirdPartyAuth, Transient, false, true, "THIRD_PARTY_AUTH_ERROR", None),
        (FcmAnswer::Unauthenticated, Transient, false, true, "HTTP 401", None),
        (FcmAnswer::Forbidden, Transient, false, true, "HTTP 403", None),
        (FcmAnswer::NotFound, Transient, false, true, "HTTP 404", None),
        (FcmAnswer::Quota(Some("17")), Transient, false, false, "QUOTA_EXCEEDED", Some(17)),
        (FcmAnswer::Quota(None), Transient, false, false, "QUOTA_EXCEEDED", Some(60)),
        (FcmAnswer::Internal, Transient, false, false, "INTERNAL", Some(10)),
        (FcmAnswer::Unavailable(None), Transient, false, false, "UNAVAILABLE", Some(10)),
        (FcmAnswer::Unavailable(Some("3")), Transient, false, false, "UNAVAILABLE", Some(10)),
        (FcmAnswer::Unavailable(Some("120")), Transient, false, false, "UNAVAILABLE", Some(120)),
        (FcmAnswer::Overloaded, Unknown, false, false, "HTTP 503", Some(10)),
        (FcmAnswer::BadGateway, Unknown, false, false, "HTTP 502", Some(10)),
        (FcmAnswer::Unspecified, Unknown, false, false, "UNSPECIFIED_ERROR", Some(10)),
        (FcmAnswer::Portal, Unknown, false, false, "HTTP 200", None),
        (FcmAnswer::Drop, Unknown, false, false, "closed", None),
        (FcmAnswer::Garbage, Unknown, false, false, "closed", None),
        (FcmAnswer::Silence, Unknown, false, false, "timeout", None),
    ];
    for (number, &(answer, outcome, gone, misconfigured, code, wait)) in (1..).zip(cases) {
        let token = format!("secret-token-{number}");
        peer.answer(&token, answer);
        let report = fcm.send(&push(number, &token)).await;
        assert_eq!(
            (report.outcome, report.gone, report.misconfigured),
            (outcome, gone, misconfigured),
            "{answer:?}: {report:?}"
        );
        assert_eq!(report.code.as_deref(), Some(code), "{answer:?}");
        assert_eq!(report.retry_after, wait.map(Duration::from_secs), "{answer:?}");
        assert_eq!(report.reference, None);
        assert!(!report.error.unwrap().contains("secret"), "{answer:?}");
    }
    let sent: Vec<_> = peer.messages().all().into_iter().map(|message| message.token).collect();
    // A 401 alone is tried again, with a fresh access token.
    let expected: Vec<_> = (1..)
        .zip(cases)
        .flat_map(|(n, case)| {
            vec![format!("secret-token-{n}"); 1 + usize::from(case.0 == FcmAnswer::Unauthenticated)]
        })
        .collect();
    assert_eq!(sent, expected);

    let report = fcm.send(&push(100, "good")).await;
    assert_eq!(report.outcome, Accepted);
    assert!(report.reference.unwrap().starts_with("projects/bank-test/messages/"));
    let report = fcm.send(&email(1, "a@example.com")).await;
    assert_eq!((report.outcome, report.code.as_deref()), (Permanent, Some("channel")));
}

#[tokio::test]
async fn the_message_says_what_the_app_needs() {
    let peer = FcmPeer::start();
    let fcm = fcm(&peer);
    let mut message = push(1, "device-1");
    message.urgent = true;
    message.time_to_live = Some(Duration::from_secs(900));
    let before = chrono::Utc::now().timestamp();
    assert_eq!(fcm.send(&message).await.outcome, Accepted);
    let sent = peer.messages().last().unwrap().message;
    let id = message.delivery.notification.to_string();
    assert_eq!(sent["token"], "device-1");
    assert_eq!(sent["notification"], json!({"title": "title 1", "body": NASTY}));
    assert_eq!(
        sent["data"],
        json!({"id": format!("{id}:push"), "notification_id": id, "event_id": "event-1", "event_type": "transaction.completed"})
    );
    assert_eq!(sent["android"], json!({"priority": "HIGH", "ttl": "900s", "notification": {"tag": id}}));
    let apns = &sent["apns"]["headers"];
    assert_eq!((apns["apns-priority"].as_str(), apns["apns-collapse-id"].as_str()), (Some("10"), Some(&*id)));
    let expires: i64 = apns["apns-expiration"].as_str().unwrap().parse().unwrap();
    assert!((900..930).contains(&(expires - before)), "{expires}");
    assert_eq!(
        sent["webpush"]["headers"],
        json!({"TTL": "900", "Urgency": "high", "Topic": id.replace('-', "")})
    );

    message.urgent = false;
    message.time_to_live = Some(Duration::from_secs(u64::MAX));
    message.correlation_id = Some("c-1".into());
    assert_eq!(fcm.send(&message).await.outcome, Accepted);
    let sent = peer.messages().last().unwrap().message;
    assert_eq!(
        (sent["android"]["priority"].as_str(), sent["android"]["ttl"].as_str()),
        (Some("NORMAL"), Some("2419200s"))
    );
    assert_eq!(sent["data"]["correlation_id"], "c-1");

    message.time_to_live = None;
    assert_eq!(fcm.send(&message).await.outcome, Accepted);
    let sent = peer.messages().last().unwrap().message;
    assert_eq!(sent["android"].get("ttl"), None);
    assert_eq!(sent["apns"]["headers"].get("apns-expiration"), None);
}

#[tokio::test]
async fn one_access_token_serves_many_messages() {
    let peer = FcmPeer::start();
    let fcm = fcm(&peer);
    fcm.check().await.unwrap();
    let messages: Vec<_> = (0..30).map(|n| push(n, &format!("device-{n}"))).collect();
    let reports = join_all(messages.iter().map(|message| fcm.send(message))).await;
    assert!(reports.iter().all(|report| report.outcome == Accepted), "{reports:?}");
    assert_eq!((peer.token_requests(), peer.complaints()), (1, vec![]));
    let (issued, now) = (peer.claims()["iat"].as_i64().unwrap(), chrono::Utc::now().timestamp());
    assert!((25..60).contains(&(now - issued)), "half a minute early, for clocks differ");

    // All are refused at once, and one new token serves them all.
    peer.expire_tokens();
    let reports = join_all(messages.iter().map(|message| fcm.send(message))).await;
    assert!(reports.iter().all(|report| report.outcome == Accepted), "{reports:?}");
    assert_eq!(peer.token_requests(), 2);
    assert_eq!(peer.messages().len(), 60);
}

#[tokio::test]
async fn a_send_that_is_dropped_while_it_asks_for_a_token_holds_up_nobody() {
    let peer = FcmPeer::start();
    let fcm = fcm(&peer);
    let (first, second) = (push(1, "a"), push(2, "b"));
    {
        let mut dropped = fcm.send(&first);
        assert!(poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx))).await.is_pending());
    }
    assert_eq!(fcm.send(&second).await.outcome, Accepted);
    assert_eq!(peer.messages().len(), 1);
}

#[tokio::test]
async fn a_token_that_expires_is_renewed_early_and_serves_meanwhile() {
    let peer = FcmPeer::start();
    let fcm = fcm(&peer);
    // Renewed five minutes before its end, or at half its life where that is shorter.
    peer.expires_in(1);
    let began = Instant::now();
    assert_eq!(fcm.send(&push(1, "a")).await.outcome, Accepted);
    while peer.token_requests() < 2 {
        assert!(began.elapsed() < Duration::from_secs(10));
        assert_eq!(fcm.send(&push(1, "a")).await.outcome, Accepted);
    }
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());

    // Google's token service fails while the old token is good: nobody notices.
    let peer = FcmPeer::start();
    let fcm = self::fcm(&peer);
    peer.expires_in(4);
    assert_eq!(fcm.send(&push(1, "a")).await.outcome, Accepted);
    peer.refuse_tokens(Some((503, "")));
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2500) {
        assert_eq!(fcm.send(&push(1, "a")).await.outcome, Accepted);
    }
}

#[tokio::test]
async fn without_an_access_token_nothing_is_sent_and_nothing_is_lost() {
    let cases = [
        (400, r#"{"error":"invalid_grant","error_description":"secret"}"#, true, "clock"),
        (401, r#"{"error":"invalid_client"}"#, true, "invalid_client"),
        (500, "", false, "HTTP 500"),
        (200, "<html>", true, "token_uri"),
        (200, r#"{"access_token":"a\nb"}"#, true, "printable"),
    ];
    for (status, body, misconfigured, part) in cases {
        let peer = FcmPeer::start();
        let fcm = fcm(&peer);
        peer.refuse_tokens(Some((status, body)));
        let report = fcm.send(&push(1, "a")).await;
        assert_eq!(
            (report.outcome, report.misconfigured, report.code.as_deref()),
            (Transient, misconfigured, Some("oauth"))
        );
        let error = report.error.unwrap();
        assert!(error.contains(part) && !error.contains("secret"), "{error}");
        assert!(fcm.check().await.unwrap_err().problem.contains(part));
        assert_eq!(peer.messages().len(), 0);

        peer.refuse_tokens(None);
        assert_eq!(fcm.send(&push(1, "a")).await.outcome, Accepted);
    }
}

#[tokio::test]
async fn who_is_not_there_or_not_trusted_gets_nothing() {
    let told = |report: Report| (report.outcome, report.misconfigured, report.code);
    let peer = FcmPeer::start();
    let fcm = Fcm::new(FcmConfig { endpoint: format!("http://{}", nobody()), ..config(&peer) }).unwrap();
    assert_eq!(told(fcm.send(&push(1, "a")).await), (Transient, false, Some("connect".into())));

    let trusted = FcmPeer::start_with(Some(Authority::new()), 0);
    let fcm = Fcm::new(config(&trusted)).unwrap();
    assert_eq!(told(fcm.send(&push(1, "a")).await), (Accepted, false, None));

    // The access token comes from a peer that is trusted, the message would go to one that is not.
    let stranger = FcmPeer::start_with(Some(Authority::new()), 0);
    let fcm = Fcm::new(FcmConfig { endpoint: stranger.endpoint(), ..config(&trusted) }).unwrap();
    let report = fcm.send(&push(1, "a")).await;
    assert_eq!(told(report.clone()), (Transient, true, Some("connect".into())), "{report:?}");
    assert_eq!(stranger.messages().len(), 0);

    let fcm = Fcm::new(FcmConfig { ca_file: trusted.ca_file(), ..config(&stranger) }).unwrap();
    assert_eq!(told(fcm.send(&push(1, "a")).await), (Transient, true, Some("oauth".into())));
    assert_eq!(stranger.token_requests(), 0);
}

#[test]
fn a_configuration_that_cannot_work_is_refused_at_once() {
    let peer = FcmPeer::start();
    let refused =
        |config: FcmConfig| Fcm::new(config).err().map(|error| error.to_string()).unwrap_or_default();
    let problem = refused(FcmConfig { service_account: "/no/such.json".into(), ..config(&peer) });
    assert!(problem.contains("/no/such.json"), "{problem}");
    let problem = refused(FcmConfig { endpoint: "http://fcm.example".into(), ..config(&peer) });
    assert!(problem.contains("https"), "{problem}");

    let account: serde_json::Value =
        serde_json::from_slice(&std::fs::read(peer.service_account()).unwrap()).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let cases = [
        ("private_key", json!("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"), "RSA"),
        ("private_key", json!("secret"), "PKCS#8"),
        ("private_key", json!(["secret"]), "service account"),
        ("token_uri", json!("http://oauth2.example/token"), "https"),
        ("project_id", json!("../../secret"), "project_id"),
    ];
    for (field, value, part) in cases {
        let mut account = account.clone();
        account[field] = value;
        std::fs::write(file.path(), account.to_string()).unwrap();
        let problem = refused(FcmConfig { service_account: file.path().into(), ..config(&peer) });
        assert!(problem.contains(part) && !problem.contains("secret"), "{field}: {problem}");
    }
}
