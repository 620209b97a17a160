//! What operators are shown: state, load, stalls.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, SystemTime},
};

use crate::common::*;
use actix::{clock::sleep, prelude::*};
use herald::supervision::{ChildSpec, Exit, Intensity, Kind, Observation, Restart, State, Tree, watch};

#[test]
fn the_mailbox_depth_is_known() {
    paused(async {
        let (spec, addr) = Probe::spec("worker", &Record::default());
        let tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        let alone = addr.send(Alone(100 * MS, false));
        let later = addr.send(Later(100 * MS, false));
        for _ in 0..5000 {
            addr.do_send(Count);
        }
        sleep(MS).await;
        let status = tree.status("worker");
        assert_eq!((status.queued, status.in_flight, status.handled), (5001, 1, 1));
        sleep(150 * MS).await;
        let status = tree.status("worker");
        assert_eq!((status.queued, status.in_flight, status.handled), (0, 1, 5002));
        later.await.unwrap();
        sleep(MS).await;
        assert_eq!(tree.status("worker").in_flight, 0);
        alone.await.unwrap();

        addr.do_send(Do::panic());
        sleep(MS).await;
        addr.do_send(Count);
        sleep(MS).await;
        let status = tree.status("worker");
        assert_eq!((status.state, status.queued), (State::BackingOff, 1));
    });
}

#[test]
fn the_status_tells_state_and_since_when() {
    paused(async {
        let before = SystemTime::now();
        let (spec, addr) = Probe::spec("worker", &Record::default());
        let tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        assert_eq!(tree.status("worker").state, State::Stopped);
        addr.send(Count).await.unwrap();
        let all = tree.board.status();
        assert_eq!((&*all[0].name, all[0].kind, all[0].state), ("root", Kind::Supervisor, State::Running));
        assert_eq!((&*all[1].name, all[1].kind, all[1].state), ("worker", Kind::Worker, State::Running));
        assert!(all[1].since >= before && all[1].since <= SystemTime::now());
        assert!(all[1].last_error.is_none());
    });
}

#[test]
fn a_worker_that_blocks_its_thread_is_noticed_and_named() {
    real(async {
        let (shared, own) = (Arbiter::new(), Arbiter::new());
        let worker = |name: &str, arbiter: &Arbiter| {
            ChildSpec::worker(name, &arbiter.handle(), |_| Probe::new(&Record::default()))
        };
        let (culprit_spec, culprit) = worker("culprit", &shared);
        let (victim_spec, victim) = worker("victim", &shared);
        let (aloof_spec, aloof) = worker("aloof", &own);
        let root = supervisor("root", tolerant());
        let tree =
            run(root.child(culprit_spec).unwrap().child(victim_spec).unwrap().child(aloof_spec).unwrap());
        for addr in [&culprit, &victim, &aloof] {
            addr.send(Count).await.unwrap();
        }
        let (told, stalls) = mpsc::channel();
        watch(tree.board.clone(), Duration::from_secs(1), move |stall| {
            let _ = told.send((stall.worker.to_string(), stall.culprit));
        })
        .unwrap();

        let (release, released) = mpsc::channel::<()>();
        culprit.do_send(Do::that(move |_, _| {
            let _ = released.recv();
        }));
        let mut named = [(); 2].map(|()| stalls.recv_timeout(Duration::from_secs(20)).unwrap());
        named.sort();
        assert_eq!(named, [("culprit".to_owned(), true), ("victim".to_owned(), false)]);
        assert!(tree.status("victim").silent_for >= Duration::from_secs(1));
        assert_eq!(aloof.send(Count).await, Ok(2));

        // Told once, and no longer shown once the thread moves on.
        drop(release);
        culprit.send(Count).await.unwrap();
        until("nothing is shown", || tree.board.stalls(Duration::from_secs(1)).is_empty()).await;
        assert!(stalls.try_recv().is_err());
    });
}

#[test]
fn a_factory_that_blocks_its_thread_is_named_too() {
    real(async {
        let arbiter = Arbiter::new();
        let (release, released) = mpsc::channel::<()>();
        let (spec, _) = ChildSpec::worker("culprit", &arbiter.handle(), move |_| {
            let _ = released.recv();
            Probe::new(&Record::default())
        });
        let tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        until("it is shown", || !tree.board.stalls(Duration::from_secs(1)).is_empty()).await;
        let stalls = tree.board.stalls(Duration::from_secs(1));
        assert_eq!(stalls.len(), 1);
        assert!(stalls[0].culprit && &*stalls[0].worker == "culprit");
        drop(release);
    });
}

#[test]
fn work_without_progress_is_shown_as_stalled() {
    paused(async {
        let (spec, addr) = Probe::spec("worker", &Record::default());
        let tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        let board = tree.board.clone().stalled_after(50 * MS);
        let worker = || board.status().swap_remove(1);

        // Nothing to do is no stall, however long it lasts; nor is work that has only just come.
        assert_eq!(addr.send(Count).await, Ok(1));
        assert!(!worker().stalled);
        thread::sleep(60 * MS);
        assert!(!worker().stalled);
        let stuck = addr.send(Alone(3_600_000 * MS, false));
        sleep(MS).await;
        let status = worker();
        assert_eq!((status.in_flight, status.stalled), (1, false));

        // Neither done nor begun: with a reply in flight, and with a queue behind it.
        until("it is shown", || worker().stalled).await;
        assert!(worker().no_progress_for > 50 * MS);
        assert!(!tree.status("worker").stalled, "to others it is not, for 30 s");
        let queued = addr.send(Count);
        sleep(MS).await;
        assert_eq!((worker().queued, worker().stalled), (1, true));

        stuck.await.unwrap();
        queued.await.unwrap();
        assert_eq!((worker().no_progress_for, worker().stalled), (Duration::ZERO, false));
    });
}

#[test]
fn a_child_that_is_down_with_a_queue_is_stalled_too() {
    paused(async {
        let (spec, addr) = Probe::spec("worker", &Record::default());
        let tree = run(supervisor("root", tolerant()).child(spec.restart(Restart::Transient)).unwrap());
        addr.send(Do::that(|_, ctx| ctx.stop())).await.unwrap();
        addr.do_send(Count);
        sleep(MS).await;
        let board = tree.board.clone().stalled_after(20 * MS);
        assert!(!board.status()[1].stalled);
        until("it is shown", || board.status()[1].stalled).await;
        assert_eq!(board.status()[1].state, State::Stopped);
    });
}

#[test]
fn the_last_error_has_a_text_and_a_time() {
    paused(async {
        let (spec, addr) = Probe::spec("worker", &Record::default());
        let tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        addr.send(Count).await.unwrap();
        assert!(tree.status("worker").last_error_at.is_none());
        let before = SystemTime::now();
        addr.do_send(Do::that(|_, ctx| ctx.fail("no connection")));
        sleep(1000 * MS).await;
        let failed = tree.status("worker").last_error_at.unwrap();
        assert!(failed >= before && failed <= SystemTime::now());
        // An end that was asked for is no error.
        tree.board.restart("worker").unwrap();
        sleep(MS).await;
        assert_eq!(tree.status("worker").restarts, 2);
        assert_eq!(tree.last_error("worker"), "failed: no connection");
        assert_eq!(tree.status("worker").last_error_at, Some(failed));
    });
}

#[test]
fn states_and_kinds_are_words() {
    let states = [State::Running, State::BackingOff, State::Stopping, State::Stopped];
    let words = serde_json::to_string(&states).unwrap();
    assert_eq!(words, r#"["running","backing_off","stopping","stopped"]"#);
    let words = serde_json::to_string(&[Kind::Worker, Kind::Supervisor]).unwrap();
    assert_eq!(words, r#"["worker","supervisor"]"#);
}

#[test]
fn the_application_is_told_of_each_end_and_each_restart() {
    paused(async {
        let told = Record::default();
        let noted = told.clone();
        let (frail_spec, frail) = Probe::spec("frail", &Record::default());
        let inner = supervisor("inner", Intensity { max_restarts: 1, window: 1000 * MS });
        let inner = inner.child(frail_spec).unwrap().into_spec().backoff(quick());
        let root = supervisor("root", tolerant()).child(inner).unwrap();
        let tree = Tree::new(root).unwrap().observed_by(move |observation| match observation {
            Observation::Restarted { child } => noted.note(format!("{child} restarted")),
            Observation::Ended { child, exit: Exit::Panicked(_) } => noted.note(format!("{child} panicked")),
            Observation::Ended { child, .. } => noted.note(format!("{child} ended")),
            _ => {}
        });
        let tree = run_tree(tree);
        frail.do_send(Do::panic());
        sleep(100 * MS).await;
        assert_eq!(told.log(), ["frail panicked", "frail restarted"]);
        frail.do_send(Do::panic());
        sleep(100 * MS).await;
        // The subtree's restart is the inner supervisor's, and that of the child that comes with it.
        let rest = ["frail panicked", "inner ended", "inner restarted", "frail restarted"];
        assert_eq!(told.log()[2..], rest);
        assert_eq!(tree.status("frail").restarts, 2);
        tree.stop().await.unwrap();
        assert_eq!(told.log()[6..], ["frail ended", "inner ended"]);
    });
}
