//! SMS gateways: answers, escaping, and what is refused at once.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use herald::{
    domain::AttemptOutcome::{self, Accepted, Permanent, Transient, Unknown},
    providers::{
        HttpDeadlines, Provider,
        sms_http::{SmsHttp, SmsHttpConfig},
    },
};

use crate::{
    messages::{NASTY, email, sms},
    peers::{Authority, GatewayAnswer, SmsPeer, Wording, nobody},
};

const WORDINGS: [Wording; 3] = [Wording::Json, Wording::Form, Wording::Xml];

fn config(peer: &SmsPeer) -> SmsHttpConfig {
    let headers = [("Content-Type", peer.content_type()), ("X-Api-Key", "k3y")];
    SmsHttpConfig {
        url: peer.url(),
        method: "POST".into(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        body: peer.body().into(),
        accepted: peer.accepted().into(),
        permanent: Some(peer.permanent().into()),
        reference: Some(peer.reference().into()),
        ca_file: peer.ca_file(),
    }
}

fn gateway(config: SmsHttpConfig) -> SmsHttp {
    let deadlines = HttpDeadlines { connect: Duration::from_millis(700), total: Duration::from_millis(1500) };
    SmsHttp::with_deadlines(config, deadlines).unwrap()
}

#[tokio::test]
async fn each_answer_has_its_report_in_each_wording() {
    type Case = (GatewayAnswer, AttemptOutcome, bool, &'static str, Option<u64>);
    let cases: &[Case] = &[
        (GatewayAnswer::Accepted, Accepted, false, "HTTP 200", None),
        (GatewayAnswer::Rejected, Permanent, false, "HTTP 200", None),
        (GatewayAnswer::Throttled, Transient, false, "HTTP 200", None),
        (GatewayAnswer::Nonsense, Transient, false, "HTTP 200", None),
        (GatewayAnswer::Status(400), Transient, false, "HTTP 400", None),
        (GatewayAnswer::RejectedWith(400), Permanent, false, "HTTP 400", None),
        (GatewayAnswer::Status(401), Transient, true, "HTTP 401", None),
        (GatewayAnswer::TooMany("30"), Transient, false, "HTTP 429", Some(30)),
        (GatewayAnswer::Status(500), Transient, false, "HTTP 500", None),
        (GatewayAnswer::RejectedWith(503), Transient, false, "HTTP 503", None),
        (GatewayAnswer::Moved, Transient, true, "HTTP 302", None),
        (GatewayAnswer::Endless, Unknown, false, "HTTP 200", None),
        (GatewayAnswer::SlowLoris, Unknown, false, "HTTP 200", None),
        (GatewayAnswer::SlowRefusal(503), Transient, false, "HTTP 503", None),
        (GatewayAnswer::Half, Unknown, false, "HTTP 200", None),
        (GatewayAnswer::Garbage, Unknown, false, "closed", None),
        (GatewayAnswer::Drop, Unknown, false, "closed", None),
        (GatewayAnswer::Silence, Unknown, false, "timeout", None),
    ];
    join_all(WORDINGS.map(async |wording| {
        let peer = SmsPeer::start(wording);
        let gateway = gateway(config(&peer));
        for (number, &(answer, outcome, misconfigured, code, wait)) in (1..).zip(cases) {
            let phone = format!("+26599100{number:04}");
            peer.answer(&phone, answer);
            let began = Instant::now();
            let report = gateway.send(&sms(number, &phone)).await;
            assert_eq!(
                (report.outcome, report.misconfigured),
                (outcome, misconfigured),
                "{wording:?} {answer:?}: {report:?}"
            );
            assert_eq!(report.code.as_deref(), Some(code), "{wording:?} {answer:?}");
            assert_eq!(report.retry_after, wait.map(Duration::from_secs), "{answer:?}");
            assert_eq!(report.reference, (outcome == Accepted).then(|| format!("G{number}")));
            assert!(report.error.is_none_or(|error| !error.contains(&phone) && !error.contains("Brien")));
            assert!(began.elapsed() < Duration::from_secs(5), "{answer:?}");
            // Once, and once only.
            assert_eq!(peer.messages().len(), usize::try_from(number).unwrap(), "{answer:?}");
        }
    }))
    .await;
}

#[tokio::test]
async fn without_a_rule_a_client_error_is_permanent_but_for_three() {
    let peer = SmsPeer::start(Wording::Json);
    let gateway = gateway(SmsHttpConfig { permanent: None, ..config(&peer) });
    for (number, (status, outcome, misconfigured)) in (1..).zip([
        (400, Permanent, false),
        (401, Permanent, true),
        (403, Permanent, true),
        (404, Permanent, true),
        (422, Permanent, false),
        (408, Transient, false),
        (425, Transient, false),
        (429, Transient, false),
        (500, Transient, false),
        (502, Transient, false),
        (503, Transient, false),
    ]) {
        let phone = format!("+26599200{number:04}");
        peer.answer(&phone, GatewayAnswer::Status(status));
        let report = gateway.send(&sms(number, &phone)).await;
        assert_eq!((report.outcome, report.misconfigured), (outcome, misconfigured), "{status}");
    }
    peer.answer("+265993", GatewayAnswer::Rejected);
    assert_eq!(
        gateway.send(&sms(99, "+265993")).await.outcome,
        Transient,
        "200 without a rule that says for good"
    );
    assert_eq!(gateway.send(&email(1, "a@example.com")).await.outcome, Permanent);
}

#[tokio::test]
async fn values_arrive_as_they_are_in_each_form() {
    for wording in WORDINGS {
        let peer = SmsPeer::start(wording);
        let gateway = gateway(config(&peer));
        let message = sms(1, "+265991234567");
        assert_eq!(gateway.send(&message).await.outcome, Accepted);
        let sent = peer.messages().last().unwrap();
        assert_eq!((&*sent.to, &*sent.text), ("+265991234567", NASTY), "{wording:?}");
        assert_eq!(sent.id, message.delivery.to_string());
        assert_eq!(sent.request.method, "POST");
        assert_eq!(sent.request.header("x-api-key"), Some("k3y"));
        assert_eq!(sent.request.header("content-type"), Some(peer.content_type()));
    }
}

#[tokio::test]
async fn a_get_gateway_has_it_all_in_the_url() {
    let peer = SmsPeer::start(Wording::Form);
    let gateway = gateway(SmsHttpConfig {
        url: format!("{}?user=bank&to={{{{ to }}}}&text={{{{ text }}}}&id={{{{ id }}}}", peer.url()),
        method: "get".into(),
        headers: BTreeMap::new(),
        body: String::new(),
        ..config(&peer)
    });
    assert_eq!(gateway.send(&sms(1, "+265991234567")).await.outcome, Accepted);
    let sent = peer.messages().last().unwrap();
    assert_eq!((&*sent.to, &*sent.text, &*sent.request.method), ("+265991234567", NASTY, "GET"));
    assert!(sent.request.path.starts_with("/send?user=bank&to=%2B265991234567&text=He%20said%20%225"));
}

#[tokio::test]
async fn many_at_once_keep_their_results() {
    let peer = SmsPeer::start(Wording::Json);
    let gateway = SmsHttp::new(config(&peer)).unwrap();
    for number in (0..40).step_by(4) {
        peer.answer(&format!("+2659{number}"), GatewayAnswer::Rejected);
    }
    let messages: Vec<_> = (0..40).map(|n| sms(n, &format!("+2659{n}"))).collect();
    let reports = join_all(messages.iter().map(|message| gateway.send(message))).await;
    let sent = peer.messages().all();
    assert_eq!(sent.len(), 40);
    for (number, report) in reports.iter().enumerate() {
        assert_eq!(report.outcome, if number % 4 == 0 { Permanent } else { Accepted }, "{number}");
        if let Some(reference) = &report.reference {
            let index: usize = reference.trim_start_matches('G').parse().unwrap();
            assert_eq!(sent[index - 1].to, format!("+2659{number}"));
        }
    }
}

#[tokio::test]
async fn who_is_not_there_or_not_trusted_gets_nothing() {
    let peer = SmsPeer::start_with(Wording::Json, Some(Authority::new()), 0);
    let trusting = gateway(config(&peer));
    trusting.check().await.unwrap();
    assert_eq!(trusting.send(&sms(1, "+265991")).await.outcome, Accepted);

    let stranger = SmsPeer::start_with(Wording::Json, Some(Authority::new()), 0);
    let wary = gateway(SmsHttpConfig { url: stranger.url(), ..config(&peer) });
    let report = wary.send(&sms(1, "+265991")).await;
    assert_eq!(
        (report.outcome, report.misconfigured, report.code.as_deref()),
        (Transient, true, Some("connect")),
        "{report:?}"
    );
    assert!(wary.check().await.unwrap_err().problem.contains("TLS"));
    assert_eq!(stranger.messages().len(), 0);

    for url in [format!("http://{}/send", nobody()), "http://no-such-host.invalid/send".into()] {
        let lonely = gateway(SmsHttpConfig { url, ..config(&peer) });
        let report = lonely.send(&sms(1, "+265991")).await;
        assert_eq!(
            (report.outcome, report.misconfigured, report.code.as_deref()),
            (Transient, false, Some("connect")),
            "{report:?}"
        );
        assert!(lonely.check().await.is_err());
    }
    let plain = SmsPeer::start(Wording::Json);
    gateway(config(&plain)).check().await.unwrap();
    assert_eq!(plain.messages().len(), 0);
}

#[test]
fn a_configuration_that_cannot_work_is_refused_at_once() {
    let peer = SmsPeer::start(Wording::Json);
    let refused = |change: &dyn Fn(&mut SmsHttpConfig)| {
        let mut config = config(&peer);
        change(&mut config);
        SmsHttp::new(config).err().map(|error| error.to_string()).unwrap_or_default()
    };
    type Change = Box<dyn Fn(&mut SmsHttpConfig)>;
    let cases: Vec<(&str, Change)> = vec![
        ("method", Box::new(|c| c.method = "DELETE".into())),
        ("no URL", Box::new(|c| c.url = "gateway/send".into())),
        ("http://", Box::new(|c| c.url = "ftp://gateway/send".into())),
        ("its host", Box::new(|c| c.url = "https://{{ id }}.example/send".into())),
        ("to, text and id", Box::new(|c| c.url = "https://gateway.example/{{ number }}".into())),
        ("inside quotes", Box::new(|c| c.body = r#"{"to": {{ to }}}"#.into())),
        ("sms.http.body", Box::new(|c| c.body = r#"{"to": "{{ nobody }}"}"#.into())),
        ("Content-Type", Box::new(|c| c.headers.clear())),
        ("Content-Type", Box::new(|c| drop(c.headers.insert("Content-Type".into(), "text/plain".into())))),
        ("header's name", Box::new(|c| drop(c.headers.insert("X Key".into(), "k3y".into())))),
        (
            "control character",
            Box::new(|c| drop(c.headers.insert("X-Key".into(), "k3y\r\nX-Evil: 1".into()))),
        ),
        ("accepted is required", Box::new(|c| c.accepted.clear())),
        ("sms.http.accepted", Box::new(|c| c.accepted = "(".into())),
        ("sms.http.permanent", Box::new(|c| c.permanent = Some("[".into()))),
        ("has no group", Box::new(|c| c.reference = Some("id".into()))),
        ("/no/such.pem", Box::new(|c| c.ca_file = Some("/no/such.pem".into()))),
    ];
    for (part, change) in cases {
        let problem = refused(&*change);
        assert!(problem.contains(part) && !problem.contains("k3y"), "{part}: {problem}");
    }
}
