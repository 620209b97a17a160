//! The sandbox.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use herald::{
    domain::AttemptOutcome,
    providers::{
        Outgoing, Provider, Sending,
        sandbox::{Behaviour, Sandbox, SandboxSink},
    },
};

use crate::messages::{email, push, sms};

#[derive(Default)]
struct Kept {
    ids: Mutex<Vec<String>>,
    broken: bool,
}

impl SandboxSink for Kept {
    fn keep<'a>(&'a self, message: &'a Outgoing) -> Sending<'a, Result<(), String>> {
        Box::pin(async move {
            if self.broken {
                return Err("the table is gone".to_owned());
            }
            self.ids.lock().unwrap().push(message.delivery.to_string());
            Ok(())
        })
    }
}

#[tokio::test]
async fn it_keeps_what_it_is_given_for_every_channel() {
    let sink = Arc::new(Kept::default());
    let sandbox = Sandbox::new(sink.clone(), None);
    sandbox.check().await.unwrap();
    let messages = [email(1, "a@example.com"), push(2, "token"), sms(3, "+265991")];
    for message in &messages {
        let report = sandbox.send(message).await;
        assert_eq!(
            (report.outcome, report.reference),
            (AttemptOutcome::Accepted, Some(message.delivery.to_string()))
        );
    }
    assert_eq!(*sink.ids.lock().unwrap(), messages.map(|message| message.delivery.to_string()));
}

#[tokio::test]
async fn a_sink_that_fails_is_transient() {
    let sandbox = Sandbox::new(Arc::new(Kept { broken: true, ..Kept::default() }), None);
    let report = sandbox.send(&sms(1, "+265991")).await;
    assert_eq!(
        (report.outcome, report.error.as_deref()),
        (AttemptOutcome::Transient, Some("the table is gone"))
    );
}

#[tokio::test(start_paused = true)]
async fn it_fails_and_dawdles_as_often_as_it_is_told_to() {
    let run = async |seed| {
        let sink = Arc::new(Kept::default());
        let behaviour = Behaviour {
            transient: 0.2,
            permanent: 0.1,
            slow: 0.25,
            slow_for: Duration::from_secs(1),
            ..Behaviour::seeded(seed)
        };
        let sandbox = Sandbox::new(sink.clone(), Some(behaviour));
        let mut course = Vec::new();
        for number in 0..400 {
            let began = tokio::time::Instant::now();
            let outcome = sandbox.send(&sms(number, "+265991")).await.outcome;
            course.push((outcome, began.elapsed() >= Duration::from_secs(1)));
        }
        let kept = sink.ids.lock().unwrap().len();
        assert_eq!(kept, course.iter().filter(|(outcome, _)| *outcome == AttemptOutcome::Accepted).count());
        course
    };
    let course = run(7).await;
    let share = |wanted| course.iter().filter(|(outcome, _)| *outcome == wanted).count();
    assert!((50..=110).contains(&share(AttemptOutcome::Transient)), "{}", share(AttemptOutcome::Transient));
    assert!((20..=65).contains(&share(AttemptOutcome::Permanent)), "{}", share(AttemptOutcome::Permanent));
    let slow = course.iter().filter(|(_, slow)| *slow).count();
    assert!((65..=135).contains(&slow), "{slow}");
    assert_eq!(course, run(7).await, "the same seed, the same course");
    assert_ne!(course, run(8).await);
}
