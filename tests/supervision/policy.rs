//! Restart type, backoff, restart intensity, escalation.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::common::*;
use actix::{clock::sleep, prelude::*};
use herald::supervision::{
    Backoff, ChildSpec, Exit, Intensity, Restart, SpecError, State, SupervisedContext, Supervisor, Tree,
};
use tokio::time::Instant;

fn stop() -> Do {
    Do::that(|_, ctx| ctx.stop())
}

/// A child whose every life ends at once; returns when its lives began.
fn crash_loop(name: &str) -> (ChildSpec, Arc<Mutex<Vec<Instant>>>) {
    let starts = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&starts);
    let factory = move |_: &mut SupervisedContext<Probe>| {
        noted.lock().unwrap().push(Instant::now());
        panic!("every time")
    };
    let (spec, _) = ChildSpec::worker(name, &Arbiter::current(), factory);
    (spec.backoff(quick()), starts)
}

#[test]
fn backoff_doubles_up_to_its_maximum() {
    let backoff = Backoff { initial: 100 * MS, max: 1000 * MS, reset_after: MS };
    let delays = [0, 1, 2, 3, 4, 40, u32::MAX].map(|failures| backoff.delay(failures, 0.5).as_millis());
    assert_eq!(delays, [100, 200, 400, 800, 1000, 1000, 1000]);
}

#[test]
fn a_delay_is_varied_by_a_fifth_to_either_side() {
    let backoff = Backoff { initial: 100 * MS, max: 1000 * MS, reset_after: MS };
    let at = |random| [0, 9].map(|failures| backoff.delay(failures, random).as_millis());
    assert_eq!(at(0.0), [80, 800]);
    assert_eq!(at(0.25), [90, 900]);
    assert_eq!(at(1.0), [120, 1200]);
    // A source that breaks its promise does no harm.
    assert_eq!([at(-1.0), at(7.0), at(f64::NAN)], [at(0.0), at(1.0), at(0.5)]);
}

#[test]
fn children_that_failed_together_do_not_come_back_together() {
    paused(async {
        let mut numbers = [0.0, 1.0].into_iter();
        let source = move || numbers.next().unwrap();
        let (first_spec, first) = Probe::spec("first", &Record::default());
        let (second_spec, second) = Probe::spec("second", &Record::default());
        let backoff = Backoff { initial: 1000 * MS, ..quick() };
        let root = Supervisor::new("root", tolerant()).random(source);
        let root = root.child(first_spec.backoff(backoff)).unwrap();
        let tree = run(root.child(second_spec.backoff(backoff)).unwrap());
        first.do_send(Do::panic());
        sleep(MS).await;
        second.do_send(Do::panic());
        sleep(900 * MS).await;
        assert_eq!(tree.status("first").state, State::Running, "after 800 ms");
        sleep(290 * MS).await;
        assert_eq!(tree.status("second").state, State::BackingOff, "for 1200 ms");
        sleep(20 * MS).await;
        assert_eq!(tree.status("second").state, State::Running);
        tree.stop().await.unwrap();
    });
}

#[test]
fn endless_durations_do_no_harm() {
    paused(async {
        let (spec, addr) = Probe::spec("worker", &Record::default());
        let endless = Backoff { initial: MS, max: Duration::MAX, reset_after: Duration::MAX };
        let spec = spec.backoff(endless).shutdown(Duration::MAX);
        let tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        addr.do_send(Do::panic());
        assert_eq!(addr.send(Count).await, Ok(1));
        assert_eq!(endless.delay(u32::MAX, 0.5), Duration::from_secs(24 * 60 * 60));
        tree.stop().await.unwrap();
    });
}

#[test]
fn each_restart_waits_longer() {
    paused(async {
        let (spec, starts) = crash_loop("loop");
        let tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        sleep(700 * MS).await;
        let starts = starts.lock().unwrap().clone();
        let waits: Vec<_> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for (wait, expected) in waits.iter().zip([10, 20, 40, 80, 160, 320]) {
            // Timers are exact to the millisecond, rounded up.
            assert!((expected..=expected + 2).contains(&wait.as_millis()), "{waits:?}");
        }
        assert_eq!(waits.len(), 6);
        assert_eq!(tree.status("loop").restarts, 6);
    });
}

#[test]
fn a_long_life_clears_the_backoff() {
    paused(async {
        let (spec, addr) = Probe::spec("frail", &Record::default());
        let tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        for _ in 0..4 {
            addr.do_send(Do::panic());
            sleep(200 * MS).await;
        }
        addr.do_send(Do::panic());
        sleep(100 * MS).await;
        assert_eq!(tree.status("frail").state, State::BackingOff, "160 ms by now");
        sleep(61_000 * MS).await;
        addr.do_send(Do::panic());
        sleep(15 * MS).await;
        assert_eq!(tree.status("frail").state, State::Running, "10 ms again");
    });
}

#[test]
fn a_permanent_child_is_restarted_after_a_normal_end() {
    paused(async {
        let (spec, addr) = Probe::spec("worker", &Record::default());
        let tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        assert_eq!(addr.send(stop()).await, Ok(()));
        assert_eq!(addr.send(Count).await, Ok(1));
        assert_eq!(tree.status("worker").restarts, 1);
        assert!(tree.status("worker").last_error.is_none());
    });
}

#[test]
fn a_transient_child_is_restarted_only_after_a_failure() {
    paused(async {
        let (spec, addr) = Probe::spec("worker", &Record::default());
        let root = supervisor("root", tolerant());
        let tree = run(root.child(spec.restart(Restart::Transient)).unwrap());
        addr.do_send(Do::panic());
        assert_eq!(addr.send(Count).await, Ok(1));
        assert_eq!(addr.send(stop()).await, Ok(()));
        sleep(1000 * MS).await;
        assert_eq!(tree.status("worker").state, State::Stopped);
        assert_eq!(tree.status("worker").restarts, 1);
        // Its mailbox stays open. Who sends to a child that may end for good needs a timeout.
        assert_eq!(addr.send(Count).timeout(MS).await, Err(MailboxError::Timeout));
    });
}

#[test]
fn one_restart_too_many_ends_the_root() {
    paused(async {
        let (spec, starts) = crash_loop("loop");
        let (sibling, _) = Probe::spec("sibling", &Record::default());
        let intensity = Intensity { max_restarts: 3, window: 1000 * MS };
        let root = supervisor("root", intensity);
        let tree = run(root.child(sibling).unwrap().child(spec).unwrap());
        let board = tree.board.clone();
        let error = tree.outcome().await.unwrap_err().to_string();
        assert_eq!(starts.lock().unwrap().len(), 4, "three restarts, not a fourth");
        assert!(
            error.starts_with(
                "supervisor `root` gave up on `loop` (at most 3 restarts in 1s): \
                 panicked: every time at tests/supervision/policy.rs:"
            ),
            "{error}"
        );
        assert!(board.status().iter().all(|child| child.state != State::Running));
    });
}

#[test]
fn restarts_spread_over_a_longer_time_are_borne() {
    paused(async {
        let intensity = Intensity { max_restarts: 2, window: 1000 * MS };
        let (spec, addr) = Probe::spec("frail", &Record::default());
        let backoff = Backoff { reset_after: 500 * MS, ..quick() };
        let root = supervisor("root", intensity);
        let tree = run(root.child(spec.backoff(backoff)).unwrap());
        for _ in 0..20 {
            addr.do_send(Do::panic());
            sleep(600 * MS).await;
        }
        assert_eq!(tree.status("frail").restarts, 20);
        tree.stop().await.unwrap();
    });
}

#[test]
fn escalation_restarts_the_whole_subtree_and_nothing_else() {
    paused(async {
        let records = [Record::default(), Record::default(), Record::default()];
        let (frail_spec, frail) = Probe::spec("frail", &records[0]);
        let (sibling_spec, sibling) = Probe::spec("sibling", &records[1]);
        let (aloof_spec, aloof) = Probe::spec("aloof", &records[2]);
        let touchy = Intensity { max_restarts: 1, window: 60_000 * MS };
        let channels = supervisor("channels", touchy);
        let channels = channels.child(frail_spec).unwrap().child(sibling_spec).unwrap();
        let root = supervisor("root", tolerant());
        let root = root.child(channels.into_spec().backoff(quick())).unwrap();
        let tree = run(root.child(aloof_spec).unwrap());

        for addr in [&frail, &sibling, &aloof] {
            assert_eq!(addr.send(Count).await, Ok(1));
        }
        frail.do_send(Do::panic());
        sleep(100 * MS).await;
        frail.do_send(Do::panic());
        sleep(MS).await;
        assert_eq!(tree.status("channels").state, State::BackingOff);
        assert_eq!(tree.status("sibling").state, State::Stopped);
        // Sent to children of a supervisor that is down: they wait in the mailboxes.
        let queued = sibling.send(Count);
        sleep(100 * MS).await;

        assert_eq!(queued.await, Ok(1), "a new value, behind the old address");
        assert_eq!(frail.send(Count).await, Ok(1));
        assert_eq!(aloof.send(Count).await, Ok(2), "untouched");
        assert_eq!(records.map(|record| record.lives()), [3, 2, 1]);
        assert_eq!(tree.status("channels").restarts, 1);
        let error = tree.last_error("channels");
        assert!(error.contains("`channels` gave up on `frail`"), "{error}");
        assert_eq!(tree.status("frail").supervisor.as_deref(), Some("channels"));
        assert_eq!(tree.status("channels").supervisor.as_deref(), Some("root"));
        tree.stop().await.unwrap();
    });
}

#[test]
fn escalation_goes_up_level_by_level_to_the_root() {
    paused(async {
        let (spec, starts) = crash_loop("loop");
        let once = Intensity { max_restarts: 1, window: 60_000 * MS };
        let inner = supervisor("inner", once).child(spec).unwrap();
        let root = supervisor("root", once);
        let tree = run(root.child(inner.into_spec().backoff(quick())).unwrap());
        let error = tree.outcome().await.unwrap_err().to_string();
        // Two starts for each of the inner supervisor's two lives, 10 ms apart in both.
        let starts = starts.lock().unwrap();
        assert_eq!(starts.len(), 4);
        for pair in [&starts[..2], &starts[2..]] {
            assert!(pair[1] - pair[0] <= 12 * MS, "{starts:?}");
        }
        assert!(error.starts_with("supervisor `root` gave up on `inner`"), "{error}");
        assert!(error.contains("supervisor `inner` gave up on `loop`"), "{error}");
        assert!(error.contains("every time at tests/supervision/policy.rs"), "{error}");
    });
}

#[test]
fn the_loss_of_an_arbiter_goes_to_the_root_at_once() {
    real(async {
        let arbiter = Arbiter::new();
        let (spec, addr) = ChildSpec::worker("worker", &arbiter.handle(), |_| Probe::new(&Record::default()));
        let inner = supervisor("inner", tolerant()).child(spec).unwrap();
        let root = supervisor("root", tolerant());
        let tree = run(root.child(inner.into_spec()).unwrap());
        assert_eq!(addr.send(Count).await, Ok(1));
        arbiter.stop();
        let error = tree.outcome().await.unwrap_err().to_string();
        assert!(error.ends_with("its thread is gone"), "{error}");

        // The same for a child that was put on a dead arbiter to begin with.
        let handle = arbiter.handle();
        arbiter.join().unwrap();
        let (spec, addr) = ChildSpec::worker("worker", &handle, |_| Probe::new(&Record::default()));
        let tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        assert!(tree.outcome().await.is_err());
        assert_eq!(addr.send(Count).await, Err(MailboxError::Closed));
    });
}

#[test]
fn a_tree_that_cannot_work_is_refused() {
    paused(async {
        let spec = || Probe::spec("worker", &Record::default()).0;
        let root = supervisor("root", tolerant());
        let root = root.child(spec()).unwrap().child(spec()).unwrap();
        let error = Tree::new(root).err().unwrap();
        assert_eq!(error, SpecError::DuplicateName("worker".into()));

        // 10 restarts take 100 ms + 200 ms + … > 5 s: this child would be restarted for ever.
        let impatient = Intensity { max_restarts: 10, window: 5_000 * MS };
        let root = supervisor("root", impatient).child(spec().backoff(Backoff::default()));
        assert_eq!(
            root.err().unwrap().to_string(),
            "`worker` backs off so long that `root` never reaches its restart intensity"
        );
    });
}

#[test]
fn an_exit_tells_its_whole_story_in_one_line() {
    assert_eq!(Exit::Failed("no connection".into()).to_string(), "failed: no connection");
    assert!(Exit::Normal.is_normal() && !Exit::Killed.is_normal());
}
