//! Text messages, with a gateway that speaks JSON, forms or XML.

use std::time::Duration;

use serde_json::json;

use super::{Attempts, Bank, assert_attempts, assert_operator_told, wait_of};
use crate::{
    harness::{Db, Event, ingest, on_both, user},
    peers::{Authority, GatewayAnswer, SmsPeer, Wording},
};

on_both!(each_answer_ends_in_the_right_state);

const KEY: &str = "k3y-of-the-gateway";

pub(super) fn peer(wording: Wording) -> SmsPeer {
    SmsPeer::start_with(wording, Some(Authority::new()), 0)
}

pub(super) fn settings(peer: &SmsPeer) -> Vec<(&'static str, String)> {
    let headers = format!("{{ Content-Type = {:?}, X-Api-Key = {KEY:?} }}", peer.content_type());
    vec![
        ("HERALD__SMS__PROVIDER", "http".to_owned()),
        ("HERALD__SMS__HTTP__URL", peer.url()),
        ("HERALD__SMS__HTTP__HEADERS", headers),
        ("HERALD__SMS__HTTP__BODY", peer.body().to_owned()),
        ("HERALD__SMS__HTTP__ACCEPTED", peer.accepted().to_owned()),
        ("HERALD__SMS__HTTP__PERMANENT", peer.permanent().to_owned()),
        ("HERALD__SMS__HTTP__REFERENCE", peer.reference().to_owned()),
    ]
}

async fn start(db: Db, peer: &SmsPeer, settings: &[(&'static str, String)]) -> Bank {
    let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    Bank::start(db, r#"["sms"]"#, &[peer.ca_file().unwrap()], &settings).await
}

fn number(id: i64) -> String {
    format!("+26599{:07}", 1_000_000 + id)
}

struct Case {
    answer: GatewayAnswer,
    /// How often it is given before the number is accepted; none is always.
    times: Option<usize>,
    attempts: Attempts<'static>,
    state: &'static str,
}

const fn once(answer: GatewayAnswer, attempts: Attempts<'static>) -> Case {
    Case { answer, times: Some(1), attempts, state: "sent" }
}

const fn refused(answer: GatewayAnswer, attempts: Attempts<'static>) -> Case {
    Case { answer, times: None, attempts, state: "dead" }
}

/// The first ones are quick, and serve for each wording.
const CASES: &[Case] = &[
    Case {
        answer: GatewayAnswer::Accepted,
        times: None,
        attempts: &[("accepted", "HTTP 200")],
        state: "sent",
    },
    refused(GatewayAnswer::Rejected, &[("permanent", "HTTP 200")]),
    refused(GatewayAnswer::RejectedWith(400), &[("permanent", "HTTP 400")]),
    once(GatewayAnswer::Throttled, &[("transient", "HTTP 200"), ("accepted", "HTTP 200")]),
    once(GatewayAnswer::Status(503), &[("transient", "HTTP 503"), ("accepted", "HTTP 200")]),
    once(GatewayAnswer::Drop, &[("unknown", "closed"), ("accepted", "HTTP 200")]),
    // The others are told once.
    once(GatewayAnswer::TooMany("2"), &[("transient", "HTTP 429"), ("accepted", "HTTP 200")]),
    once(GatewayAnswer::Status(400), &[("transient", "HTTP 400"), ("accepted", "HTTP 200")]),
    once(GatewayAnswer::Status(401), &[("transient", "HTTP 401"), ("accepted", "HTTP 200")]),
    once(GatewayAnswer::Status(403), &[("transient", "HTTP 403"), ("accepted", "HTTP 200")]),
    once(GatewayAnswer::Moved, &[("transient", "HTTP 302"), ("accepted", "HTTP 200")]),
    once(GatewayAnswer::Nonsense, &[("transient", "HTTP 200"), ("accepted", "HTTP 200")]),
    once(GatewayAnswer::Half, &[("unknown", "HTTP 200"), ("accepted", "HTTP 200")]),
    once(GatewayAnswer::Garbage, &[("unknown", "closed"), ("accepted", "HTTP 200")]),
    once(GatewayAnswer::Endless, &[("unknown", "HTTP 200"), ("accepted", "HTTP 200")]),
    once(GatewayAnswer::Silence, &[("unknown", "timeout"), ("accepted", "HTTP 200")]),
    refused(GatewayAnswer::Status(500), &[("transient", "HTTP 500"); 5]),
];
const FOR_EACH_WORDING: usize = 6;

async fn each_case(bank: &Bank, peer: &SmsPeer, cases: &[Case]) {
    for (id, case) in (1..).zip(cases) {
        user(&bank.api, id).await;
        match case.times {
            Some(times) => peer.answer_times(times, &number(id), case.answer),
            None => peer.answer(&number(id), case.answer),
        }
        bank.tell(&format!("e-{id}"), id).await;
    }
    for (id, case) in (1..).zip(cases) {
        let what = format!("{:?}", case.answer);
        let delivery = bank.delivery(&format!("e-{id}"), &["sent", "dead"]).await;
        assert_eq!(delivery["state"], case.state, "{what}: {delivery}");
        assert_attempts(&delivery, "http", case.attempts, &what);
        let messages: Vec<_> =
            peer.messages().all().into_iter().filter(|message| message.to == number(id)).collect();
        assert_eq!(messages.len(), case.attempts.len(), "{what}");
        for message in &messages {
            assert_eq!(message.id, delivery["id"].as_str().unwrap(), "one id for every copy: {what}");
            assert!(message.text.contains("MWK 2,500.00"), "{}", message.text);
            assert_eq!(message.request.header("x-api-key"), Some(KEY));
        }
        if let GatewayAnswer::TooMany(seconds) = case.answer {
            let waited = messages[1].at - messages[0].at;
            let asked = Duration::from_secs(seconds.parse().unwrap());
            assert!(waited > asked - Duration::from_millis(5), "{what}: {waited:?}");
        }
    }
    let dead: Vec<_> = (1..).zip(cases).filter(|(_, case)| case.state == "dead").collect();
    assert_eq!(bank.api.all("/v1/dead-letters?channel=sms").await.len(), dead.len());
    for (id, case) in dead {
        peer.answer(&number(id), GatewayAnswer::Accepted);
        bank.retry(&format!("e-{id}")).await.counts(1);
        let delivery = bank.delivery(&format!("e-{id}"), &["sent"]).await;
        let attempts = [case.attempts, &[("accepted", "HTTP 200")]].concat();
        assert_attempts(&delivery, "http", &attempts, "after the retry");
    }
}

async fn each_answer_ends_in_the_right_state(db: Db) {
    let peer = peer(Wording::Json);
    let bank = start(db, &peer, &settings(&peer)).await;
    each_case(&bank, &peer, CASES).await;

    user(&bank.api, 99).await;
    peer.answer(&number(99), GatewayAnswer::TooMany("600"));
    bank.tell("e-99", 99).await;
    let waiting = bank.delivery("e-99", &["retry"]).await;
    assert!((wait_of(&waiting) - 600.0).abs() < 1.0, "{waiting}");

    let printed = bank.printed_nothing_of(&["+26599", "265991", KEY]).await;
    assert_operator_told(&printed, "http", &["HTTP 401", "HTTP 403", "HTTP 302"]);
}

async fn in_this_wording(wording: Wording) {
    let peer = peer(wording);
    let bank = start(Db::Sqlite, &peer, &settings(&peer)).await;
    each_case(&bank, &peer, &CASES[..FOR_EACH_WORDING]).await;
    bank.printed_nothing_of(&["+26599", "265991", KEY]).await;
}

#[tokio::test]
async fn a_gateway_that_speaks_forms() {
    in_this_wording(Wording::Form).await;
}

#[tokio::test]
async fn a_gateway_that_speaks_xml() {
    in_this_wording(Wording::Xml).await;
}

/// All in the URL, as many a gateway wants it, and no body.
#[tokio::test]
async fn a_gateway_for_get() {
    let peer = peer(Wording::Form);
    let mut settings = settings(&peer);
    settings.retain(|(key, _)| !["HERALD__SMS__HTTP__BODY", "HERALD__SMS__HTTP__URL"].contains(key));
    let query = "key=a%20key&to={{ to }}&text={{ text }}&id={{ id }}";
    settings.push(("HERALD__SMS__HTTP__URL", format!("{}?{query}", peer.url())));
    settings.push(("HERALD__SMS__HTTP__METHOD", "GET".to_owned()));
    let bank = start(Db::Sqlite, &peer, &settings).await;
    each_case(&bank, &peer, &CASES[..FOR_EACH_WORDING]).await;
    for message in peer.messages().all() {
        assert_eq!(message.request.method, "GET");
        assert!(message.request.path.starts_with("/send?key=a%20key&to=%2B265"), "{}", message.request.path);
        assert!(message.request.body.is_empty());
    }
    bank.printed_nothing_of(&["+26599", "265991", KEY, "a%20key"]).await;
}

/// The text comes out as it went in, and its segments are counted as the gateway will count them.
#[tokio::test]
async fn what_a_text_may_hold() {
    let templates = tempfile::tempdir().unwrap();
    let folder = templates.path().join("transaction.completed/en");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("sms.txt"), "{{ payload.said }}").unwrap();
    let texts = [
        ("Plain", 1),
        ("5 € [net] & \"quoted\" <b> 'it' 100% a+b \\ ~", 1),
        ("Zikomo 😀 ndi chimwemwe: 5 €", 1),
        (&"x".repeat(160), 1),
        (&"x".repeat(161), 2),
        // The sign takes two septets.
        (&"€".repeat(81), 2),
        (&"ш".repeat(71), 2),
    ];
    for wording in [Wording::Json, Wording::Form, Wording::Xml] {
        let peer = peer(wording);
        let mut settings = settings(&peer);
        settings.push(("HERALD__TEMPLATES__DIR", templates.path().display().to_string()));
        let bank = start(Db::Sqlite, &peer, &settings).await;
        user(&bank.api, 1).await;
        for (n, (text, segments)) in texts.iter().enumerate() {
            let event = format!("e-{n}");
            ingest(&bank.api, &Event::new(&event).to(1).set("/payload/said", *text)).await;
            let delivery = bank.delivery(&event, &["sent", "dead"]).await;
            assert_eq!(delivery["segments"], json!(segments), "{text}: {delivery}");
            assert_eq!(delivery["reference"], json!(format!("G{}", n + 1)), "{delivery}");
            let message = peer.messages().last().unwrap();
            assert_eq!(message.text, *text, "{wording:?}");
        }
    }
}
