//! SMTP: many mails over few connections.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use herald::{
    domain::AttemptOutcome,
    providers::{
        Provider,
        smtp::{Smtp, SmtpConfig},
    },
};

use crate::{
    messages::email,
    peers::{Fault, SmtpPeer, Step},
    smtp::{config, hasty, smtp},
};

#[tokio::test]
async fn many_at_once_use_few_connections_and_keep_their_results() {
    let peer = SmtpPeer::plain();
    let smtp = smtp(&peer);
    peer.fault(Step::Mail, Fault::Delay(Duration::from_millis(10)));
    for number in (0..20).step_by(5) {
        let fault = if number % 2 == 0 { "550 5.1.1 unknown" } else { "450 4.2.0 busy" };
        peer.fault_for(&format!("user{number}@example.com"), Step::Rcpt, Fault::Reply(fault));
    }
    let messages: Vec<_> = (0..20).map(|n| email(n, &format!("user{n}@example.com"))).collect();
    let reports = join_all(messages.iter().map(|message| smtp.send(message))).await;

    let mails = peer.mails().all();
    let by_reference: HashMap<_, _> =
        mails.iter().enumerate().map(|(n, mail)| (format!("Q{}", n + 1), mail)).collect();
    for (number, report) in reports.iter().enumerate() {
        let expected = match number {
            0 | 10 => AttemptOutcome::Permanent,
            5 | 15 => AttemptOutcome::Transient,
            _ => AttemptOutcome::Accepted,
        };
        assert_eq!(report.outcome, expected, "{number}: {report:?}");
        if let Some(reference) = &report.reference {
            let mail = by_reference[reference];
            assert_eq!(
                (&mail.to, &mail.text),
                (&format!("user{number}@example.com"), &format!("text {number}"))
            );
        }
    }
    assert_eq!(mails.len(), 16);
    assert!(
        peer.most_open() <= 4 && peer.opened() <= 4,
        "{} open at most, {} in all",
        peer.most_open(),
        peer.opened()
    );
    assert!(peer.opened() >= 2, "they ran at once");
}

#[tokio::test]
async fn a_send_that_is_dropped_anywhere_leaves_no_trace_in_the_next_one() {
    for step in [Step::Greeting, Step::Ehlo, Step::Mail, Step::Rcpt, Step::Data, Step::Dot] {
        let peer = SmtpPeer::plain();
        let smtp = Smtp::new(SmtpConfig { connections: 1, ..config(&peer) }).unwrap();
        if !matches!(step, Step::Greeting | Step::Ehlo) {
            // The connection is one that was used before.
            assert_eq!(smtp.send(&email(1, "first@example.com")).await.outcome, AttemptOutcome::Accepted);
        }
        let mails = peer.mails().len();
        peer.fault_times(1, step, Fault::Delay(Duration::from_millis(200)));
        let dropped = email(2, "dropped@example.com");
        {
            let mut send = smtp.send(&dropped);
            let before = peer.steps().len();
            let seen = async {
                for steps in before + 1.. {
                    if peer.steps().reach(steps).await.last().is_some_and(|(_, last)| *last == step) {
                        return;
                    }
                }
            };
            tokio::select! {
                report = &mut send => panic!("{step:?} was not delayed: {report:?}"),
                () = seen => {}
            }
        }
        for number in 3..6 {
            let report = smtp.send(&email(number, &format!("user{number}@example.com"))).await;
            assert_eq!(report.outcome, AttemptOutcome::Accepted, "{step:?}: {report:?}");
            let mail = peer.mails().last().unwrap();
            assert_eq!(
                (&*mail.to, &*mail.text),
                (&*format!("user{number}@example.com"), &*format!("text {number}"))
            );
        }
        let after_the_dot = usize::from(step == Step::Dot);
        assert_eq!(peer.mails().len(), mails + 3 + after_the_dot, "{step:?}");
    }
}

#[tokio::test]
async fn a_connection_is_reused_until_the_server_closes_it() {
    let peer = SmtpPeer::plain();
    let smtp = smtp(&peer);
    for number in 0..5 {
        assert_eq!(smtp.send(&email(number, "a@example.com")).await.outcome, AttemptOutcome::Accepted);
    }
    assert_eq!(peer.opened(), 1);

    // Closed without a word, or with 421, where the next mail begins: a fresh one takes the mail.
    for (step, fault) in [
        (Step::Mail, Fault::Close),
        (Step::Mail, Fault::Reply("421 4.4.2 idle too long")),
        (Step::Rcpt, Fault::Close),
        (Step::Data, Fault::Close),
    ] {
        let (opened, mails) = (peer.opened(), peer.mails().len());
        peer.fault_times(1, step, fault);
        let report = smtp.send(&email(10, "b@example.com")).await;
        assert_eq!(report.outcome, AttemptOutcome::Accepted, "{step:?}: {report:?}");
        assert_eq!((peer.opened(), peer.mails().len()), (opened + 1, mails + 1), "{step:?}");
    }

    // Not after the message: it may have been taken.
    peer.fault_times(1, Step::Dot, Fault::Close);
    let (opened, mails) = (peer.opened(), peer.mails().len());
    assert_eq!(smtp.send(&email(11, "c@example.com")).await.outcome, AttemptOutcome::Unknown);
    assert_eq!((peer.opened(), peer.mails().len()), (opened, mails + 1), "it was not sent again");
}

#[tokio::test]
async fn a_server_that_was_restarted_is_found_again() {
    let peer = SmtpPeer::plain();
    let port = peer.port();
    let smtp = smtp(&peer);
    assert_eq!(smtp.send(&email(1, "a@example.com")).await.outcome, AttemptOutcome::Accepted);
    drop(peer);
    let report = smtp.send(&email(2, "a@example.com")).await;
    assert_eq!((report.outcome, report.code.as_deref()), (AttemptOutcome::Transient, Some("connect")));
    let peer = SmtpPeer::start(crate::peers::SmtpSettings { port, ..Default::default() });
    assert_eq!(smtp.send(&email(3, "a@example.com")).await.outcome, AttemptOutcome::Accepted);
    assert_eq!(peer.mails().len(), 1);
}

#[tokio::test]
async fn a_silent_server_costs_its_deadline_and_no_seat() {
    let peer = SmtpPeer::plain();
    let smtp = hasty(&peer);
    peer.fault_times(8, Step::Dot, Fault::Silence);
    let messages: Vec<_> = (0..8).map(|n| email(n, "a@example.com")).collect();
    let reports = join_all(messages.iter().map(|message| smtp.send(message))).await;
    assert!(reports.iter().all(|report| report.outcome == AttemptOutcome::Unknown));
    let reports = join_all(messages.iter().map(|message| smtp.send(message))).await;
    assert!(reports.iter().all(|report| report.outcome == AttemptOutcome::Accepted), "{reports:?}");
}

#[tokio::test]
async fn a_mail_takes_no_forty_milliseconds() {
    let peer = SmtpPeer::plain();
    let smtp = smtp(&peer);
    smtp.send(&email(0, "a@example.com")).await;
    let began = std::time::Instant::now();
    for number in 0..50 {
        smtp.send(&email(number, "a@example.com")).await;
    }
    // With Nagle's algorithm the dot waits 40 ms for an acknowledgement: 2 s in all.
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?} for 50 mails", began.elapsed());
}

#[test]
fn senders_on_several_threads_share_the_connections() {
    let peer = SmtpPeer::plain();
    let smtp = Arc::new(smtp(&peer));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (smtp, handle) = (smtp.clone(), runtime.handle().clone());
            std::thread::spawn(move || {
                handle.block_on(async {
                    for number in 0..10 {
                        let message = email(number, &format!("t{thread}@example.com"));
                        assert_eq!(smtp.send(&message).await.outcome, AttemptOutcome::Accepted);
                    }
                });
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(peer.mails().len(), 40);
    assert!(peer.most_open() <= 4);
}

#[tokio::test]
async fn an_idle_connection_is_left_politely_after_a_minute() {
    let peer = SmtpPeer::plain();
    let smtp = smtp(&peer);
    assert_eq!(smtp.send(&email(1, "a@example.com")).await.outcome, AttemptOutcome::Accepted);
    let steps = peer.steps().len();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    assert_eq!(peer.steps().reach(steps + 1).await.last(), Some(&(1, Step::Quit)));
    assert_eq!(smtp.send(&email(2, "a@example.com")).await.outcome, AttemptOutcome::Accepted);
    assert_eq!(peer.opened(), 2);
}
