//! Push, with an FCM that verifies the assertion's signature and knows its access tokens.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Attempts, Bank, assert_attempts, assert_operator_told, wait_of};
use crate::{
    harness::{Db, SOON, on_both, user, wait_until},
    peers::{Authority, FcmAnswer, FcmPeer, PushMessage},
};

on_both!(
    a_push_arrives_as_it_was_meant,
    each_answer_ends_in_the_right_state,
    a_push_to_two_devices,
    a_crash_forgets_nobody_who_accepted,
    a_refusal_to_log_in_is_no_loss,
);

async fn start(db: Db, peer: &FcmPeer) -> Bank {
    start_with(db, peer, &[]).await
}

async fn start_with(db: Db, peer: &FcmPeer, more: &[(&str, &str)]) -> Bank {
    let (account, endpoint) = (peer.service_account(), peer.endpoint());
    let mut settings = vec![
        ("HERALD__PUSH__PROVIDER", "fcm"),
        ("HERALD__PUSH__FCM__SERVICE_ACCOUNT", account.to_str().unwrap()),
        ("HERALD__PUSH__FCM__ENDPOINT", &endpoint),
    ];
    settings.extend_from_slice(more);
    Bank::start(db, r#"["push"]"#, &[peer.ca_file().unwrap()], &settings).await
}

pub(super) fn peer() -> FcmPeer {
    FcmPeer::start_with(Some(Authority::new()), 0)
}

fn messages(peer: &FcmPeer, token: &str) -> Vec<PushMessage> {
    peer.messages().all().into_iter().filter(|message| message.token == token).collect()
}

async fn devices(bank: &Bank, user: i64) -> Vec<Value> {
    let shown = bank.api.get(&format!("/v1/users/{user}")).await.expect(200).body;
    shown["devices"].as_array().unwrap().iter().map(|device| device["token"].clone()).collect()
}

async fn a_push_arrives_as_it_was_meant(db: Db) {
    let peer = peer();
    let bank = start(db, &peer).await;
    user(&bank.api, 42).await;
    bank.tell("e-1", 42).await;
    let delivery = bank.delivery("e-1", &["sent", "dead"]).await;
    assert_attempts(&delivery, "fcm", &[("accepted", "")], "a push");
    assert_eq!(delivery["reference"], "projects/bank-test/messages/1");
    let device = delivery["attempts"][0]["device"].as_str().unwrap();
    assert!(!device.is_empty() && !device.contains("device-of"), "a device is named by its hash: {device}");

    let told = bank.notification("e-1").await.unwrap();
    let id = told["id"].as_str().unwrap();
    let messages = peer.messages().all();
    assert_eq!(messages.len(), 1);
    let message = &messages[0].message;
    assert_eq!(message["token"], "device-of-42");
    assert_eq!(message["notification"]["title"], "Transaction completed");
    assert!(message["notification"]["body"].as_str().unwrap().contains("MWK 2,500.00"), "{message}");
    let data = json!({
        "id": format!("{id}:push"), "notification_id": id, "event_id": "e-1",
        "event_type": "transaction.completed", "correlation_id": "c-7",
    });
    assert_eq!(message["data"], data);
    assert_eq!(message["android"]["notification"]["tag"], id);
    assert_eq!(message["android"]["priority"], "NORMAL");
    assert_eq!((peer.token_requests(), peer.complaints()), (1, Vec::new()));
    bank.printed_nothing_of(&["device-of", "access-1", "PRIVATE KEY", "customer"]).await;
}

struct Case {
    answer: FcmAnswer,
    /// How often it is given before the device is accepted; none is always.
    times: Option<usize>,
    attempts: Attempts<'static>,
    state: &'static str,
    keeps_device: bool,
}

const fn once(answer: FcmAnswer, attempts: Attempts<'static>) -> Case {
    Case { answer, times: Some(1), attempts, state: "sent", keeps_device: true }
}

const fn refused(answer: FcmAnswer, attempts: Attempts<'static>, keeps_device: bool) -> Case {
    Case { answer, times: None, attempts, state: "dead", keeps_device }
}

const CASES: &[Case] = &[
    Case {
        answer: FcmAnswer::Accepted,
        times: None,
        attempts: &[("accepted", "")],
        state: "sent",
        keeps_device: true,
    },
    once(FcmAnswer::Quota(Some("2")), &[("transient", "QUOTA_EXCEEDED"), ("accepted", "")]),
    once(FcmAnswer::Unavailable(Some("11")), &[("transient", "UNAVAILABLE"), ("accepted", "")]),
    once(FcmAnswer::Overloaded, &[("unknown", "HTTP 503"), ("accepted", "")]),
    once(FcmAnswer::Drop, &[("unknown", "closed"), ("accepted", "")]),
    once(FcmAnswer::Portal, &[("unknown", "HTTP 200"), ("accepted", "")]),
    once(FcmAnswer::NulInCode, &[("unknown", "A B"), ("accepted", "")]),
    Case {
        answer: FcmAnswer::NulInName,
        times: None,
        attempts: &[("accepted", "")],
        state: "sent",
        keeps_device: true,
    },
    once(FcmAnswer::ThirdPartyAuth, &[("transient", "THIRD_PARTY_AUTH_ERROR"), ("accepted", "")]),
    once(FcmAnswer::Forbidden, &[("transient", "HTTP 403"), ("accepted", "")]),
    // It says nothing of the device, so the device stays.
    once(FcmAnswer::NotFound, &[("transient", "HTTP 404"), ("accepted", "")]),
    // A 401 costs a new access token; the second one in a row is an operator's business.
    Case {
        answer: FcmAnswer::Unauthenticated,
        times: Some(2),
        attempts: &[("transient", "HTTP 401"), ("accepted", "")],
        state: "sent",
        keeps_device: true,
    },
    refused(FcmAnswer::InvalidMessage, &[("permanent", "INVALID_ARGUMENT")], true),
    refused(FcmAnswer::SenderIdMismatch, &[("permanent", "SENDER_ID_MISMATCH")], true),
    refused(FcmAnswer::InvalidToken, &[("permanent", "INVALID_ARGUMENT")], false),
    refused(FcmAnswer::Unregistered, &[("permanent", "UNREGISTERED")], false),
];

async fn each_answer_ends_in_the_right_state(db: Db) {
    let peer = peer();
    let bank = start(db, &peer).await;
    let token = |id: i64| format!("device-of-{id}");
    for (id, case) in (1..).zip(CASES) {
        user(&bank.api, id).await;
        match case.times {
            Some(times) => peer.answer_times(times, &token(id), case.answer),
            None => peer.answer(&token(id), case.answer),
        }
        bank.tell(&format!("e-{id}"), id).await;
    }
    for (id, case) in (1..).zip(CASES) {
        let what = format!("{:?}", case.answer);
        let delivery = bank.delivery(&format!("e-{id}"), &["sent", "dead"]).await;
        assert_eq!(delivery["state"], case.state, "{what}: {delivery}");
        assert_attempts(&delivery, "fcm", case.attempts, &what);
        let kept = devices(&bank, id).await;
        assert_eq!(kept.len(), usize::from(case.keeps_device), "{what}");
        let messages = messages(&peer, &token(id));
        let ids: Vec<_> = messages.iter().map(|message| &message.message["data"]["id"]).collect();
        assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "one id for every copy: {ids:?}");
        let wait = match case.answer {
            FcmAnswer::Quota(Some(seconds)) | FcmAnswer::Unavailable(Some(seconds)) => {
                seconds.parse().unwrap()
            }
            FcmAnswer::Overloaded | FcmAnswer::NulInCode => 10,
            _ => continue,
        };
        let waited = messages[1].at - messages[0].at;
        assert!(waited > Duration::from_secs(wait) - Duration::from_millis(5), "{what}: {waited:?}");
    }
    assert!(peer.token_requests() >= 2, "a refused access token was asked for again");
    assert_eq!(peer.complaints(), Vec::<String>::new());

    // Healed, the dead ones go out to the devices that are left, or that came instead.
    assert_eq!(bank.api.all("/v1/dead-letters?channel=push").await.len(), 4);
    for (id, case) in (1..).zip(CASES).filter(|(_, case)| case.state == "dead") {
        peer.answer(&token(id), FcmAnswer::Accepted);
        if !case.keeps_device {
            let body = json!({"devices": [{"token": format!("new-device-of-{id}"), "platform": "ios"}]});
            bank.api.put(&format!("/v1/users/{id}"), &body).await.expect(200);
        }
        bank.retry(&format!("e-{id}")).await.counts(1);
        let delivery = bank.delivery(&format!("e-{id}"), &["sent"]).await;
        let attempts = [case.attempts, &[("accepted", "")]].concat();
        assert_attempts(&delivery, "fcm", &attempts, "after the retry");
        let old = messages(&peer, &token(id)).len();
        assert_eq!(old, 1 + usize::from(case.keeps_device), "a device that is gone is left alone");
    }

    let printed = bank.printed_nothing_of(&["device-of", "access-", "secret-token-in-text"]).await;
    let codes = ["THIRD_PARTY_AUTH_ERROR", "HTTP 401", "HTTP 403", "HTTP 404", "SENDER_ID_MISMATCH"];
    assert_operator_told(&printed, "fcm", &codes);
}

async fn with_devices(bank: &Bank, id: i64) {
    let device = |which: &str| json!({"token": format!("{which}-device-of-{id}"), "platform": "android"});
    let body = json!({"devices": [device("first"), device("second")]});
    bank.api.put(&format!("/v1/users/{id}"), &body).await.expect(201);
}

async fn a_push_to_two_devices(db: Db) {
    use FcmAnswer::{Accepted, InvalidMessage, Quota, Unregistered};
    let peer = peer();
    let bank = start(db, &peer).await;
    // The answers of both, and what the attempts come to; a retry asks only who is left.
    let cases: [(_, _, &[&str], _, _); 6] = [
        (Accepted, Accepted, &["accepted", "accepted"], "sent", 2),
        (Accepted, Unregistered, &["accepted", "permanent"], "sent", 1),
        (Accepted, InvalidMessage, &["accepted", "permanent"], "sent", 2),
        (Unregistered, Unregistered, &["permanent", "permanent"], "dead", 0),
        (Accepted, Quota(Some("1")), &["accepted", "transient", "accepted"], "sent", 2),
        (Unregistered, Quota(Some("1")), &["permanent", "transient", "accepted"], "sent", 1),
    ];
    for (id, (first, second, ..)) in (1..).zip(&cases) {
        with_devices(&bank, id).await;
        peer.answer_times(1, &format!("first-device-of-{id}"), *first);
        peer.answer_times(1, &format!("second-device-of-{id}"), *second);
        bank.tell(&format!("e-{id}"), id).await;
    }
    for (id, (first, second, outcomes, state, left)) in (1..).zip(&cases) {
        let what = format!("{first:?} and {second:?}");
        let delivery = bank.delivery(&format!("e-{id}"), &["sent", "dead"]).await;
        assert_eq!(delivery["state"], *state, "{what}: {delivery}");
        let attempts = delivery["attempts"].as_array().unwrap();
        let mut told: Vec<_> = attempts.iter().map(|one| one["outcome"].as_str().unwrap()).collect();
        // The two of one attempt have no order.
        told[..2].sort_unstable();
        let mut expected = outcomes.to_vec();
        expected[..2].sort_unstable();
        assert_eq!(told, expected, "{what}: {delivery}");
        assert_eq!(devices(&bank, id).await.len(), *left, "{what}");
        let of = |which: &str| messages(&peer, &format!("{which}-device-of-{id}")).len();
        assert_eq!((of("first"), of("second")), (1, outcomes.len() - 1), "{what}");
    }
    bank.printed_nothing_of(&["device-of", "access-"]).await;
}

/// The last attempt is cut off; what an earlier one had reached still counts.
async fn a_crash_forgets_nobody_who_accepted(db: Db) {
    let peer = peer();
    let settings = [("HERALD__PUSH__RETRY__RETRIES", "1"), ("HERALD_BREAKPOINTS", "sender_sent=panic@2")];
    let bank = start_with(db, &peer, &settings).await;
    with_devices(&bank, 1).await;
    peer.answer("second-device-of-1", FcmAnswer::Quota(Some("1")));
    bank.tell("e-1", 1).await;
    let delivery = bank.delivery("e-1", &["sent", "dead"]).await;
    assert_eq!(delivery["state"], "sent", "{delivery}");
    let attempts = delivery["attempts"].as_array().unwrap();
    let told: Vec<_> = attempts.iter().map(|one| one["outcome"].as_str().unwrap()).collect();
    assert_eq!(told[2..], ["unknown"], "{delivery}");
    assert_eq!(bank.notification("e-1").await.unwrap()["status"], "SENT");
}

async fn a_refusal_to_log_in_is_no_loss(db: Db) {
    let peer = peer();
    peer.refuse_tokens(Some((401, r#"{"error":"invalid_client"}"#)));
    let bank = start(db, &peer).await;
    user(&bank.api, 1).await;
    bank.tell("e-1", 1).await;
    let told = wait_until(SOON, "the first attempt", async || {
        let told = bank.notification("e-1").await?;
        (!told["deliveries"][0]["attempts"].as_array().unwrap().is_empty()).then_some(told)
    })
    .await;
    assert_eq!(told["deliveries"][0]["attempts"][0]["outcome"], "transient", "{told}");
    assert_eq!(told["deliveries"][0]["attempts"][0]["code"], "oauth", "{told}");
    peer.refuse_tokens(None);
    let delivery = bank.delivery("e-1", &["sent", "dead"]).await;
    if delivery["state"] == "dead" {
        // The retries were quicker than the operator.
        bank.retry("e-1").await.counts(1);
        bank.delivery("e-1", &["sent"]).await;
    }
    assert_eq!(peer.messages().len(), 1);
    let printed = bank.printed_nothing_of(&["device-of", "access-"]).await;
    assert_operator_told(&printed, "fcm", &["invalid_client"]);
}

/// A retry waits for as long as the provider asks, in what the API says too.
#[tokio::test]
async fn the_wait_that_fcm_asks_for_is_told() {
    let peer = peer();
    let bank = start(Db::Sqlite, &peer).await;
    user(&bank.api, 1).await;
    peer.answer("device-of-1", FcmAnswer::Quota(Some("600")));
    bank.tell("e-1", 1).await;
    let waiting = bank.delivery("e-1", &["retry"]).await;
    assert!((wait_of(&waiting) - 600.0).abs() < 1.0, "{waiting}");
    assert_eq!(waiting["reason"], "FCM's quota is used up", "{waiting}");
}
