//! SMTP: answers, security, and what the mail looks like.

use std::time::{Duration, Instant};

use herald::{
    domain::{AttemptOutcome, Content, Destination},
    providers::{
        Provider, Report,
        smtp::{Smtp, SmtpConfig, SmtpDeadlines},
    },
};

use crate::{
    messages::{email, push},
    peers::{Fault, Security, SmtpPeer, SmtpSettings, Step, nobody},
};

pub(crate) fn config(peer: &SmtpPeer) -> SmtpConfig {
    SmtpConfig {
        url: peer.url(),
        from: "The Bank <no-reply@bank.example>".into(),
        ca_file: Some(peer.ca_file()),
        connections: 4,
    }
}

pub(crate) fn smtp(peer: &SmtpPeer) -> Smtp {
    Smtp::new(config(peer)).unwrap()
}

/// With deadlines that a silent peer reaches soon.
pub(crate) fn hasty(peer: &SmtpPeer) -> Smtp {
    let soon = Duration::from_millis(600);
    let deadlines = SmtpDeadlines { connect: soon, greeting: soon, command: soon, message: soon };
    Smtp::with_deadlines(config(peer), deadlines).unwrap()
}

fn told(report: &Report) -> (AttemptOutcome, bool, Option<&str>) {
    (report.outcome, report.misconfigured, report.code.as_deref())
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_meant() {
    let peer = SmtpPeer::plain();
    let mut message = email(1, "chisomo@example.com");
    message.content = Content::Email {
        subject: "Überweisung: 5.000 € 😀 and a rather long subject that has to be folded somewhere".into(),
        text: "Dear Chisomo,\n.\n..leading dots\r\nümläut\rlone\u{0} CR".into(),
        html: format!("<p>{}</p>", "long line ".repeat(200)),
    };
    let report = smtp(&peer).send(&message).await;
    assert_eq!(report, Report { reference: Some("Q1".into()), ..Report::of(AttemptOutcome::Accepted) });

    let mail = peer.mails().last().unwrap();
    assert_eq!((&*mail.from, &*mail.to), ("no-reply@bank.example", "chisomo@example.com"));
    assert_eq!(mail.text, "Dear Chisomo,\r\n.\r\n..leading dots\r\nümläut\r\nlone CR");
    assert_eq!(mail.html, format!("<p>{}</p>", "long line ".repeat(200)));
    assert_eq!(
        mail.header("subject").unwrap(),
        "Überweisung: 5.000 € 😀 and a rather long subject that has to be folded somewhere"
    );
    assert_eq!(mail.header("to"), Some("\"Chisomo Banda\" <chisomo@example.com>"));
    assert_eq!(mail.header("from"), Some("\"The Bank\" <no-reply@bank.example>"));
    assert_eq!(mail.header("x-herald-event"), Some("event-1"));
    assert_eq!(mail.header("auto-submitted"), Some("auto-generated"));
    assert!(mail.header("content-type").unwrap().starts_with("multipart/alternative"));
    let date = chrono::DateTime::parse_from_rfc2822(mail.header("date").unwrap()).unwrap();
    assert!((chrono::Utc::now() - date.to_utc()).num_seconds().abs() < 60);
    assert!(mail.raw.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])));
}

#[tokio::test]
async fn a_message_id_is_the_same_at_each_attempt() {
    let peer = SmtpPeer::plain();
    let smtp = smtp(&peer);
    let message = email(7, "a@example.com");
    smtp.send(&message).await;
    smtp.send(&message).await;
    smtp.send(&email(8, "a@example.com")).await;
    let ids: Vec<_> =
        peer.mails().all().iter().map(|mail| mail.header("message-id").unwrap().to_owned()).collect();
    assert_eq!(ids[0], format!("<{}.email@bank.example>", message.delivery.notification));
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[1], ids[2]);
}

#[tokio::test]
async fn nothing_in_a_name_or_id_becomes_a_header() {
    let peer = SmtpPeer::plain();
    let smtp = smtp(&peer);
    let names = [
        "Eve\r\nBcc: evil@example.com",
        "Eve\nBcc: evil@example.com\n\nbody",
        "Eve\rBcc: evil@example.com",
        "Eve\0\u{7f}\u{85}",
        "\r\n",
        "\"; <evil@example.com>, \\",
        "Évë 😀, Ltd. <evil@example.com>",
        &"x\r\n".repeat(500),
    ];
    for name in names {
        let mut message = email(1, "eve@example.com");
        message.to = Destination::Mailbox { address: "eve@example.com".into(), name: Some(name.into()) };
        message.event_id = format!("e{name}");
        message.content = Content::Email { subject: format!("s{name}"), text: "t".into(), html: "h".into() };
        let report = smtp.send(&message).await;
        assert_eq!(report.outcome, AttemptOutcome::Accepted, "{name:?}: {report:?}");
        let mail = peer.mails().last().unwrap();
        assert_eq!(mail.to, "eve@example.com");
        assert_eq!(mail.header("bcc"), None, "{name:?}");
        let mut known: Vec<_> = mail.headers.iter().map(|(name, _)| &**name).collect();
        known.sort_unstable();
        let expected = [
            "auto-submitted",
            "content-type",
            "date",
            "from",
            "message-id",
            "mime-version",
            "subject",
            "to",
            "x-herald-event",
        ];
        assert_eq!(known, expected, "{name:?}");
        assert_eq!(mail.text.trim_end(), "t");
    }
}

#[tokio::test]
async fn addresses_that_are_none_are_permanent() {
    let peer = SmtpPeer::plain();
    let smtp = smtp(&peer);
    for address in [
        "",
        "eve",
        "eve@",
        "a@b.example>\r\nRCPT TO:<evil@example.com",
        "a@b.example, c@d.example",
        "a b@c.example",
    ] {
        let report = smtp.send(&email(1, address)).await;
        assert_eq!(told(&report), (AttemptOutcome::Permanent, false, Some("address")), "{address}");
        assert!(address.is_empty() || !report.error.unwrap().contains(address));
    }
    let report = smtp.send(&push(1, "token")).await;
    assert_eq!(told(&report), (AttemptOutcome::Permanent, true, Some("channel")));
    let report = smtp.send(&email(1, "grüße@example.com")).await;
    assert_eq!(told(&report), (AttemptOutcome::Permanent, false, Some("unsupported")));
    assert_eq!(peer.mails().len(), 0);
    assert_eq!(smtp.send(&email(1, "gruesse@example.com")).await.outcome, AttemptOutcome::Accepted);
    assert_eq!(peer.opened(), 1, "nothing of this was the connection's fault");
}

#[tokio::test]
async fn smtputf8_is_used_where_the_server_has_it() {
    let peer =
        SmtpPeer::start(SmtpSettings { keywords: vec!["8BITMIME", "SMTPUTF8"], ..SmtpSettings::default() });
    assert_eq!(smtp(&peer).send(&email(1, "grüße@example.com")).await.outcome, AttemptOutcome::Accepted);
    assert_eq!(peer.mails().last().unwrap().to, "grüße@example.com");
}

#[tokio::test]
async fn each_reply_has_its_report() {
    use AttemptOutcome::{Permanent, Transient};
    let cases = [
        (Step::Greeting, "554 no mail from you", Transient, true, "554"),
        (Step::Greeting, "421 4.3.2 busy", Transient, false, "421 4.3.2"),
        (Step::Ehlo, "550 5.7.1 who?", Transient, true, "550 5.7.1"),
        (Step::Mail, "421 4.7.0 too fast", Transient, false, "421 4.7.0"),
        (Step::Mail, "530 5.7.0 log in", Transient, true, "530 5.7.0"),
        (Step::Mail, "550 5.1.8 sender unknown", Permanent, true, "550 5.1.8"),
        (Step::Rcpt, "450 4.2.0 secret@example.com busy", Transient, false, "450 4.2.0"),
        (Step::Rcpt, "450-4.7.1 greylisted\r\n450 4.7.1 come back", Transient, false, "450 4.7.1"),
        (Step::Rcpt, "452 too many", Transient, false, "452"),
        (Step::Rcpt, "550 5.1.1 <secret@example.com> unknown", Permanent, false, "550 5.1.1"),
        (Step::Rcpt, "550 5.2.1 disabled", Permanent, false, "550 5.2.1"),
        (Step::Rcpt, "552 4.2.2 mailbox full", Transient, false, "552 4.2.2"),
        (Step::Rcpt, "552 5.2.2 mailbox full", Transient, false, "552 5.2.2"),
        (Step::Rcpt, "554 5.7.1 relay denied", Permanent, true, "554 5.7.1"),
        (Step::Rcpt, "550 5.4.1 no such domain", Permanent, false, "550 5.4.1"),
        (Step::Data, "554 5.5.1 no valid recipients", Permanent, false, "554 5.5.1"),
        (Step::Data, "451 4.3.0 later", Transient, false, "451 4.3.0"),
        (Step::Data, "250 2.0.0 what?", Transient, false, "closed"),
        (Step::Dot, "451 4.3.0 queue full", Transient, false, "451 4.3.0"),
        (Step::Dot, "552 5.3.4 too big", Permanent, false, "552 5.3.4"),
        (Step::Dot, "550 5.7.26 unauthenticated", Permanent, true, "550 5.7.26"),
        (Step::Dot, "554 5.6.0 spam", Permanent, false, "554 5.6.0"),
        (Step::Dot, "354 again?", AttemptOutcome::Unknown, false, "closed"),
        (Step::Dot, "what?", AttemptOutcome::Unknown, false, "closed"),
        (Step::Rcpt, "what?", Transient, false, "closed"),
        (Step::Rcpt, "", Transient, false, "closed"),
    ];
    for (step, reply, outcome, misconfigured, code) in cases {
        let peer = SmtpPeer::plain();
        let smtp = smtp(&peer);
        peer.fault_times(1, step, Fault::Reply(reply));
        let report = smtp.send(&email(1, "secret@example.com")).await;
        assert_eq!(told(&report), (outcome, misconfigured, Some(code)), "{step:?} {reply}: {report:?}");
        assert!(!report.gone);
        assert!(!report.error.unwrap().contains("secret"), "{reply}");

        // And the next mail is not touched by it.
        let report = smtp.send(&email(2, "b@example.com")).await;
        assert_eq!(report.outcome, AttemptOutcome::Accepted, "after {step:?} {reply}: {report:?}");
        let mail = peer.mails().last().unwrap();
        assert_eq!((&*mail.to, &*mail.text), ("b@example.com", "text 2"));
    }
}

#[tokio::test]
async fn a_full_mailbox_and_greylisting_say_when_to_come_back() {
    let peer = SmtpPeer::plain();
    let smtp = smtp(&peer);
    peer.fault_for("full@example.com", Step::Rcpt, Fault::Reply("552 5.2.2 full"));
    peer.fault_for("grey@example.com", Step::Rcpt, Fault::Reply("451 4.7.1 greylisted"));
    peer.fault_for("busy@example.com", Step::Rcpt, Fault::Reply("450 4.3.0 busy"));
    for (address, minutes) in
        [("full@example.com", Some(60)), ("grey@example.com", Some(5)), ("busy@example.com", None)]
    {
        let report = smtp.send(&email(1, address)).await;
        assert_eq!(report.retry_after, minutes.map(|minutes| Duration::from_secs(minutes * 60)), "{address}");
    }
    assert_eq!(peer.opened(), 1, "a refused recipient does not cost the connection");
}

#[tokio::test]
async fn silence_and_broken_connections_are_certain_only_before_the_message() {
    for (step, outcome) in [
        (Step::Greeting, AttemptOutcome::Transient),
        (Step::Ehlo, AttemptOutcome::Transient),
        (Step::Mail, AttemptOutcome::Transient),
        (Step::Rcpt, AttemptOutcome::Transient),
        (Step::Data, AttemptOutcome::Transient),
        (Step::Dot, AttemptOutcome::Unknown),
    ] {
        for (fault, code) in [(Fault::Close, "closed"), (Fault::Silence, "timeout")] {
            let peer = SmtpPeer::plain();
            let smtp = hasty(&peer);
            peer.fault_times(1, step, fault);
            let began = Instant::now();
            let report = smtp.send(&email(1, "a@example.com")).await;
            assert_eq!(told(&report), (outcome, false, Some(code)), "{step:?}");
            assert!(began.elapsed() < Duration::from_secs(5), "{step:?} {code}: {:?}", began.elapsed());
            assert_eq!(peer.mails().len(), usize::from(step == Step::Dot));
            assert_eq!(smtp.send(&email(2, "b@example.com")).await.outcome, AttemptOutcome::Accepted);
            assert_eq!(peer.mails().last().unwrap().to, "b@example.com");
        }
    }
}

#[tokio::test]
async fn encryption_and_log_in_work_both_ways() {
    for security in [Security::StartTls, Security::Implicit, Security::Plain] {
        for mechanisms in ["PLAIN LOGIN", "LOGIN", "PLAIN"] {
            let login = Some(("herald".to_owned(), "s3cret".to_owned()));
            let peer =
                SmtpPeer::start(SmtpSettings { security, login, mechanisms, ..SmtpSettings::default() });
            let smtp = smtp(&peer);
            smtp.check().await.unwrap();
            let report = smtp.send(&email(1, "a@example.com")).await;
            assert_eq!(report.outcome, AttemptOutcome::Accepted, "{security:?} {mechanisms}: {report:?}");
            let report = smtp.send(&email(2, "a@example.com")).await;
            assert_eq!(report.outcome, AttemptOutcome::Accepted);
            assert_eq!(peer.opened(), 2, "one for the check, one for both mails");
        }
    }
}

#[tokio::test]
async fn a_refused_log_in_is_a_fault_of_the_configuration() {
    let login = Some(("herald".to_owned(), "right".to_owned()));
    let peer = SmtpPeer::start(SmtpSettings { login, ..SmtpSettings::default() });
    let url = peer.url().replace("right", "wr0ng");
    let smtp = Smtp::new(SmtpConfig { url, ..config(&peer) }).unwrap();
    let report = smtp.send(&email(1, "a@example.com")).await;
    assert_eq!(told(&report), (AttemptOutcome::Transient, true, Some("535 5.7.8")));
    let problem = smtp.check().await.unwrap_err().to_string();
    assert!(
        problem.contains("535") && problem.contains(&peer.port().to_string()) && !problem.contains("wr0ng"),
        "{problem}"
    );

    let peer = SmtpPeer::plain();
    let url = peer.url().replace("smtp://", "smtp://herald:x@");
    let smtp = Smtp::new(SmtpConfig { url, ..config(&peer) }).unwrap();
    let report = smtp.send(&email(1, "a@example.com")).await;
    assert_eq!(told(&report), (AttemptOutcome::Transient, true, Some("connect")), "no AUTH is offered");
}

#[tokio::test]
async fn who_is_not_trusted_gets_nothing() {
    for security in [Security::StartTls, Security::Implicit] {
        let peer = SmtpPeer::start(SmtpSettings { security, ..SmtpSettings::default() });
        let other = SmtpPeer::plain();
        let stranger = Smtp::new(SmtpConfig { ca_file: Some(other.ca_file()), ..config(&peer) }).unwrap();
        let report = stranger.send(&email(1, "a@example.com")).await;
        assert_eq!(
            told(&report),
            (AttemptOutcome::Transient, true, Some("connect")),
            "{security:?}: {report:?}"
        );
        assert!(stranger.check().await.is_err());

        let peer = SmtpPeer::start(SmtpSettings {
            security,
            names: vec!["mail.example"],
            ..SmtpSettings::default()
        });
        let report = smtp(&peer).send(&email(1, "a@example.com")).await;
        assert_eq!(
            told(&report),
            (AttemptOutcome::Transient, true, Some("connect")),
            "{security:?}: {report:?}"
        );
        assert_eq!(peer.mails().len(), 0);
    }
    // The server speaks no TLS at all.
    let peer = SmtpPeer::plain();
    for url in
        [peer.url().replace("?tls=none", ""), peer.url().replace("smtp:", "smtps:").replace("?tls=none", "")]
    {
        let smtp = Smtp::new(SmtpConfig { url: url.clone(), ..config(&peer) }).unwrap();
        let report = smtp.send(&email(1, "a@example.com")).await;
        assert_eq!(told(&report), (AttemptOutcome::Transient, true, Some("connect")), "{url}: {report:?}");
    }
    assert_eq!(peer.mails().len(), 0);
}

#[tokio::test]
async fn a_reply_forged_behind_start_tls_is_not_believed() {
    let settings = SmtpSettings {
        security: Security::StartTls,
        injects_after_start_tls: true,
        ..SmtpSettings::default()
    };
    let peer = SmtpPeer::start(settings);
    let report = smtp(&peer).send(&email(1, "a@example.com")).await;
    assert_eq!(told(&report), (AttemptOutcome::Transient, true, Some("connect")), "{report:?}");
    assert_eq!(peer.mails().len(), 0);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_transient() {
    let peer = SmtpPeer::plain();
    let at = |url: String| Smtp::new(SmtpConfig { url, ..config(&peer) }).unwrap();
    for url in [format!("smtp://{}?tls=none", nobody()), "smtp://no-such-host.invalid".to_owned()] {
        let smtp = at(url.clone());
        let report = smtp.send(&email(1, "a@example.com")).await;
        assert_eq!(told(&report), (AttemptOutcome::Transient, false, Some("connect")), "{url}: {report:?}");
        assert!(smtp.check().await.is_err());
    }
}

#[test]
fn a_configuration_that_cannot_work_is_refused_at_once() {
    let config = |url: &str, from: &str, ca: Option<&str>| {
        let config =
            SmtpConfig { url: url.into(), from: from.into(), ca_file: ca.map(Into::into), connections: 1 };
        Smtp::new(config).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(config("smtp://mail.example?tls=none", "a@b.example", None).contains("loopback"));
    assert!(config("smtp://10.1.2.3:25?tls=none", "a@b.example", None).contains("loopback"));
    assert!(config("smtp://mail.example", "nobody", None).contains("email.from"));
    assert!(config("smtp://mail.example", "a@b.example", Some("/no/such.pem")).contains("/no/such.pem"));
    let empty = tempfile::NamedTempFile::new().unwrap();
    assert!(
        config("smtps://mail.example", "a@b.example", empty.path().to_str()).contains("no PEM certificate")
    );
}
