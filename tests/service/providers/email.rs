//! E-mail, with a mail server that encrypts and wants a log-in.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Attempts, Bank, assert_attempts, assert_operator_told, wait_of};
use crate::{
    harness::{Db, on_both, user},
    peers::{Fault, Security, SmtpPeer, SmtpSettings, Step},
};

on_both!(a_mail_arrives_as_it_was_meant, each_answer_ends_in_the_right_state, a_refused_login_is_no_loss);

const PASSWORD: &str = "a_pass%2Fword";

pub(super) fn peer() -> SmtpPeer {
    SmtpPeer::start(SmtpSettings {
        security: Security::StartTls,
        login: Some(("alerts".to_owned(), PASSWORD.replace("%2F", "/"))),
        ..SmtpSettings::default()
    })
}

/// The server's URL with the password as it has to be written.
pub(super) fn url(peer: &SmtpPeer) -> String {
    peer.url().replace("a_pass/word", PASSWORD)
}

async fn start(db: Db, peer: &SmtpPeer, more: &[(&str, &str)]) -> Bank {
    let url = url(peer);
    let mut settings = vec![
        ("HERALD__EMAIL__PROVIDER", "smtp"),
        ("HERALD__EMAIL__SMTP__URL", &*url),
        ("HERALD__EMAIL__FROM", r#""Büro \"The Bank\"" <alerts@bank.example>"#),
    ];
    settings.extend_from_slice(more);
    Bank::start(db, r#"["email"]"#, &[peer.ca_file()], &settings).await
}

async fn a_mail_arrives_as_it_was_meant(db: Db) {
    let peer = peer();
    let bank = start(db, &peer, &[]).await;
    let name = "Chisomo \"CB\" Bánda, Jr. <x@y.example>";
    let body = json!({"name": name, "email": "chisomo@example.com", "time_zone": "Africa/Blantyre"});
    bank.api.put("/v1/users/42", &body).await.expect(201);
    bank.tell("e-1", 42).await;
    let delivery = bank.delivery("e-1", &["sent", "dead"]).await;
    assert_attempts(&delivery, "smtp", &[("accepted", "")], "a mail");
    assert_eq!((&delivery["state"], &delivery["reference"]), (&json!("sent"), &json!("Q1")), "{delivery}");
    let told = bank.notification("e-1").await.unwrap();
    assert_eq!((&told["status"], &delivery["reason"]), (&json!("SENT"), &json!(null)), "{told}");

    let mails = peer.mails().all();
    assert_eq!(mails.len(), 1);
    let mail = &mails[0];
    assert_eq!((&*mail.from, &*mail.to), ("alerts@bank.example", "chisomo@example.com"));
    let id = format!("<{}.email@bank.example>", told["id"].as_str().unwrap());
    assert_eq!(mail.header("message-id"), Some(&*id));
    assert_eq!(mail.header("x-herald-event"), Some("e-1"));
    assert_eq!(mail.header("auto-submitted"), Some("auto-generated"));
    assert!(mail.header("subject").unwrap().starts_with("Transaction completed"), "{:?}", mail.headers);
    assert!(mail.header("content-type").unwrap().starts_with("multipart/alternative"), "{:?}", mail.headers);
    for (header, name, address) in
        [("to", name, "<chisomo@example.com>"), ("from", "Büro \"The Bank\"", "<alerts@bank.example>")]
    {
        let shown = mail.header(header).unwrap();
        let (shown, rest) = shown.rsplit_once(' ').unwrap();
        assert_eq!((unquoted(shown), rest), (name.to_owned(), address), "{header}");
    }
    assert!(mail.text.contains("MWK 2,500.00") && !mail.text.contains("<p"), "{}", mail.text);
    assert!(mail.html.contains("MWK 2,500.00") && mail.html.contains("<p"), "{}", mail.html);
    assert!(mail.text.contains("<x@y.example>") && !mail.html.contains("<x@y.example>"), "{}", mail.html);
    for part in [&mail.text, &mail.html] {
        assert!(part.contains("Mangoes for Thoko"), "{part}");
    }
    let steps: Vec<_> = peer.steps().all().into_iter().map(|(_, step)| step).collect();
    let before: Vec<_> = steps.iter().take_while(|step| **step != Step::Mail).collect();
    assert!(before.contains(&&Step::StartTls) && before.contains(&&Step::Auth), "{before:?}");

    bank.printed_nothing_of(&["chisomo", "Chisomo", PASSWORD, "pass/word"]).await;
}

/// A display name without its quotes.
fn unquoted(name: &str) -> String {
    let name = name.trim().strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name.trim());
    name.replace("\\\"", "\"")
}

struct Case {
    what: &'static str,
    fault: Option<(usize, Step, Fault)>,
    attempts: Attempts<'static>,
    state: &'static str,
    copies: usize,
}

const ALWAYS: usize = usize::MAX;

fn cases() -> Vec<Case> {
    let case = |what, fault, attempts, state, copies| Case { what, fault, attempts, state, copies };
    let refused = |times, step, reply| Some((times, step, Fault::Reply(reply)));
    vec![
        case("accepted", None, &[("accepted", "")], "sent", 1),
        case(
            "busy at the recipient",
            refused(1, Step::Rcpt, "450 4.2.0 busy"),
            &[("transient", "450 4.2.0"), ("accepted", "")],
            "sent",
            1,
        ),
        case(
            "an error after the message",
            refused(2, Step::Dot, "451 4.3.0 local error"),
            &[("transient", "451 4.3.0"), ("transient", "451 4.3.0"), ("accepted", "")],
            "sent",
            1,
        ),
        case(
            "leaving after the message",
            refused(1, Step::Dot, "421 4.3.2 shutting down"),
            &[("transient", "421 4.3.2"), ("accepted", "")],
            "sent",
            1,
        ),
        case(
            "no such mailbox",
            refused(ALWAYS, Step::Rcpt, "550 5.1.1 <customer5@example.com>: no such user"),
            &[("permanent", "550 5.1.1")],
            "dead",
            0,
        ),
        case(
            "too big",
            refused(ALWAYS, Step::Dot, "552 5.3.4 too big"),
            &[("permanent", "552 5.3.4")],
            "dead",
            0,
        ),
        case(
            "the server's policy",
            refused(ALWAYS, Step::Rcpt, "554 5.7.1 not from here"),
            &[("permanent", "554 5.7.1")],
            "dead",
            0,
        ),
        case(
            "never anything but busy",
            refused(ALWAYS, Step::Rcpt, "452 4.3.1 disk full"),
            &[("transient", "452 4.3.1"); 5],
            "dead",
            0,
        ),
        case(
            "closed after the message",
            Some((1, Step::Dot, Fault::Close)),
            &[("unknown", "closed"), ("accepted", "")],
            "sent",
            2,
        ),
    ]
}

async fn each_answer_ends_in_the_right_state(db: Db) {
    let peer = peer();
    let bank = start(db, &peer, &[]).await;
    let cases = cases();
    let address = |id: i64| format!("customer{id}@example.com");
    for (id, case) in (1..).zip(&cases) {
        user(&bank.api, id).await;
        if let Some((times, step, fault)) = &case.fault {
            peer.fault_times_for(*times, &address(id), *step, fault.clone());
        }
    }
    for (id, waits) in [(91, "450 4.7.1 greylisted"), (92, "552 5.2.2 mailbox full")] {
        user(&bank.api, id).await;
        peer.fault_for(&address(id), Step::Rcpt, Fault::Reply(waits));
    }
    for id in (1..).take(cases.len()).chain([91, 92]) {
        bank.tell(&format!("e-{id}"), id).await;
    }

    for (id, case) in (1..).zip(&cases) {
        let delivery = bank.delivery(&format!("e-{id}"), &["sent", "dead"]).await;
        assert_eq!(delivery["state"], case.state, "{}: {delivery}", case.what);
        assert_attempts(&delivery, "smtp", case.attempts, case.what);
        let status = bank.notification(&format!("e-{id}")).await.unwrap()["status"].clone();
        assert_eq!(status, if case.state == "sent" { "SENT" } else { "FAILED" }, "{}", case.what);
        let error = &delivery["attempts"].as_array().unwrap().last().unwrap()["error"];
        assert_eq!(&delivery["reason"], error, "the last error, and none where it was sent: {delivery}");
        let mails: Vec<_> = peer.mails().all().into_iter().filter(|mail| mail.to == address(id)).collect();
        assert_eq!(mails.len(), case.copies, "{}", case.what);
        let ids: BTreeSet<_> = mails.iter().map(|mail| mail.header("message-id").unwrap()).collect();
        assert_eq!(ids.len(), case.copies.min(1), "one id for every copy: {}", case.what);
    }
    for (id, seconds) in [(91, 300.0), (92, 3600.0)] {
        let waiting = bank.delivery(&format!("e-{id}"), &["retry"]).await;
        assert!((wait_of(&waiting) - seconds).abs() < 1.0, "{waiting}");
        assert_eq!(bank.notification(&format!("e-{id}")).await.unwrap()["status"], "RETRY");
    }

    // An operator has seen to it.
    let dead: Vec<_> = (1..).zip(&cases).filter(|(_, case)| case.state == "dead").collect();
    let letters = bank.api.all("/v1/dead-letters?channel=email").await;
    assert_eq!(letters.len(), dead.len());
    for letter in &letters {
        assert!(letter["error"].as_str().is_some_and(|error| !error.contains('@')), "{letter}");
    }
    peer.heal();
    bank.retry(&format!("e-{}", dead[0].0)).await.counts(1);
    let all = json!({"filter": {"channel": "email"}});
    bank.api.post("/v1/dead-letters/retry", &all).await.counts(dead.len() as u64 - 1);
    for (id, case) in dead {
        let delivery = bank.delivery(&format!("e-{id}"), &["sent"]).await;
        let attempts = [case.attempts, &[("accepted", "")]].concat();
        assert_attempts(&delivery, "smtp", &attempts, case.what);
    }
    assert!(bank.api.all("/v1/dead-letters").await.is_empty());

    let printed = bank.printed_nothing_of(&["customer", "@example.com", PASSWORD, "pass/word"]).await;
    assert_operator_told(&printed, "smtp", &["554 5.7.1"]);
}

async fn a_refused_login_is_no_loss(db: Db) {
    let peer = peer();
    let bank = start(db, &peer, &[("HERALD__EMAIL__CONCURRENCY", "1")]).await;
    user(&bank.api, 1).await;
    peer.fault_times(2, Step::Auth, Fault::Reply("535 5.7.8 wrong user or password"));
    bank.tell("e-1", 1).await;
    let delivery = bank.delivery("e-1", &["sent", "dead"]).await;
    let attempts = [("transient", "535 5.7.8"), ("transient", "535 5.7.8"), ("accepted", "")];
    assert_attempts(&delivery, "smtp", &attempts, "the log-in");
    assert_eq!(peer.mails().len(), 1);
    let printed = bank.printed_nothing_of(&["customer", PASSWORD, "pass/word"]).await;
    assert_operator_told(&printed, "smtp", &["535 5.7.8"]);
}
