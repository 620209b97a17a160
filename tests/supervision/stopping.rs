//! The graceful stop: in reverse order, queues first, within a deadline.

use std::{sync::mpsc, time::Duration};

use crate::common::*;
use actix::{clock::sleep, prelude::*};
use herald::supervision::{ChildSpec, Exit, State, SupervisedContext};
use tokio::time::Instant;

/// Notes its start and its end.
struct Noting {
    record: Record,
    refuses: bool,
}

impl Actor for Noting {
    type Context = SupervisedContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.record.note(format!("{} started", ctx.name()));
    }

    fn stopping(&mut self, _: &mut Self::Context) -> actix::Running {
        if self.refuses { actix::Running::Continue } else { actix::Running::Stop }
    }

    fn stopped(&mut self, ctx: &mut Self::Context) {
        self.record.note(format!("{} stopped", ctx.name()));
    }
}

fn noting(name: &str, record: &Record, refuses: bool) -> ChildSpec {
    let record = record.clone();
    let factory = move |_: &mut SupervisedContext<Noting>| Noting { record: record.clone(), refuses };
    ChildSpec::worker(name, &Arbiter::current(), factory).0.shutdown(200 * MS)
}

#[test]
fn children_stop_in_the_reverse_of_their_start() {
    paused(async {
        let record = Record::default();
        let channels = supervisor("channels", tolerant());
        let channels = channels
            .child(noting("email", &record, false))
            .unwrap()
            .child(noting("sms", &record, false))
            .unwrap();
        let root = supervisor("root", tolerant())
            .child(noting("store", &record, false))
            .unwrap()
            .child(channels.into_spec())
            .unwrap()
            .child(noting("ingress", &record, false))
            .unwrap();
        let tree = run(root);
        sleep(MS).await;
        let board = tree.board.clone();
        tree.stop().await.unwrap();
        let log = record.log();
        let (started, stopped) = log.split_at(4);
        assert_eq!(started[0], "store started");
        assert_eq!(stopped, ["ingress stopped", "sms stopped", "email stopped", "store stopped"]);
        assert!(board.status().iter().skip(1).all(|child| child.state == State::Stopped));
    });
}

#[test]
fn a_stop_handles_what_is_queued_and_waits_for_replies_in_flight() {
    paused(async {
        let record = Record::default();
        let (spec, addr) = Probe::spec("worker", &record);
        let tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        let later = addr.send(Later(300 * MS, false));
        let alone = addr.send(Alone(100 * MS, false));
        for _ in 0..999 {
            addr.do_send(Count);
        }
        let queued = addr.send(Count);
        sleep(MS).await;
        let begun = Instant::now();
        tree.stop().await.unwrap();
        assert_eq!(later.await, Ok(1));
        assert_eq!(alone.await, Ok(1));
        assert_eq!(queued.await, Ok(1000));
        assert_eq!(record.log(), ["alone", "later"]);
        // Not longer than the work, although a timer of the actor would have run for ever.
        assert!(begun.elapsed() < 310 * MS);
    });
}

#[test]
fn a_stop_handles_more_than_one_batch() {
    paused(async {
        let (spec, addr) = Probe::spec("worker", &Record::default());
        let tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        addr.send(Count).await.unwrap();
        let stop = tree.stop();
        for _ in 0..4999 {
            addr.do_send(Count);
        }
        let queued = addr.send(Count);
        stop.await.unwrap();
        assert_eq!(queued.await, Ok(5001));
    });
}

#[test]
fn a_child_past_its_deadline_is_killed_and_the_others_still_stop() {
    paused(async {
        let record = Record::default();
        let root = supervisor("root", tolerant())
            .child(noting("first", &record, false))
            .unwrap()
            .child(noting("stubborn", &record, true))
            .unwrap()
            .child(noting("last", &record, false))
            .unwrap();
        let tree = run(root);
        sleep(MS).await;
        let begun = Instant::now();
        assert!(matches!(tree.stop().await, Err(Exit::Killed)), "not a clean stop");
        assert!((200 * MS..210 * MS).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        assert_eq!(record.log()[3..], ["last stopped", "first stopped"]);
    });
}

#[test]
fn a_stop_while_a_child_backs_off_does_not_wait_for_it() {
    paused(async {
        let (spec, addr) = Probe::spec("frail", &Record::default());
        let tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        addr.do_send(Do::panic());
        sleep(MS).await;
        assert_eq!(tree.status("frail").state, State::BackingOff);
        let board = tree.board.clone();
        tree.stop().await.unwrap();
        assert_eq!(board.status()[1].state, State::Stopped);
        sleep(1000 * MS).await;
        assert_eq!(board.status()[1].restarts, 0);
    });
}

#[test]
fn a_panic_during_the_stop_is_noted_and_stops_nothing_else() {
    paused(async {
        let record = Record::default();
        let (spec, addr) = Probe::spec("frail", &Record::default());
        let root = supervisor("root", tolerant());
        let tree = run(root.child(noting("first", &record, false)).unwrap().child(spec).unwrap());
        sleep(MS).await;
        addr.do_send(Do::panic());
        let board = tree.board.clone();
        tree.stop().await.unwrap();
        assert_eq!(record.log(), ["first started", "first stopped"]);
        assert!(board.status()[2].last_error.is_some());
    });
}

#[test]
fn a_blocked_thread_is_left_behind() {
    real(async {
        let record = Record::default();
        let arbiter = Arbiter::new();
        let (spec, addr) =
            ChildSpec::worker("blocked", &arbiter.handle(), |_| Probe::new(&Record::default()));
        let root = supervisor("root", tolerant())
            .child(noting("first", &record, false))
            .unwrap()
            .child(spec.shutdown(50 * MS))
            .unwrap();
        let tree = run(root);
        assert_eq!(addr.send(Count).await, Ok(1));
        let (release, released) = mpsc::channel::<()>();
        let (blocking, blocked) = mpsc::channel();
        addr.do_send(Do::that(move |_, _| {
            blocking.send(()).unwrap();
            let _ = released.recv();
        }));
        blocked.recv().unwrap();
        assert!(matches!(tree.stop().await, Err(Exit::Killed)));
        assert_eq!(record.log(), ["first started", "first stopped"]);
        drop(release);
    });
}

#[test]
fn a_thread_that_was_left_behind_and_comes_back_starts_the_life_it_was_given_meanwhile() {
    real(async {
        let (arbiter, record) = (Arbiter::new(), Record::default());
        let noted = record.clone();
        let (blocked_spec, blocked) =
            ChildSpec::worker("blocked", &arbiter.handle(), move |_| Probe::new(&noted));
        let (frail_spec, frail) = Probe::spec("frail", &Record::default());
        let inner = supervisor("inner", never())
            .child(blocked_spec.shutdown(20 * MS))
            .unwrap()
            .child(frail_spec)
            .unwrap();
        let root = supervisor("root", tolerant());
        let tree = run(root.child(inner.into_spec().backoff(quick())).unwrap());
        assert_eq!(blocked.send(Count).await, Ok(1));
        let (release, released) = mpsc::channel::<()>();
        blocked.do_send(Later(60_000 * MS, false));
        blocked.do_send(Do::that(move |_, _| {
            let _ = released.recv();
        }));
        frail.do_send(Do::panic());
        // The inner supervisor gives up, leaves `blocked` behind, and is started again.
        until("it is started again", || tree.status("inner").restarts == 1).await;
        assert_eq!(frail.send(Count).await, Ok(1));

        drop(release);
        until("the new life begins", || record.lives() == 2).await;
        let reply = blocked.send(Count).timeout(10_000 * MS).await;
        assert_eq!(reply, Ok(1), "a new life");
        assert_eq!(blocked.send(Count).await, Ok(2));
        assert_eq!(record.lives(), 2);
        assert_eq!(tree.status("blocked").state, State::Running);
        assert_eq!(tree.status("blocked").restarts, 1);
        assert_eq!(tree.status("inner").restarts, 1, "and nothing else happened");
        tree.stop().await.unwrap();
    });
}

#[test]
fn a_worker_that_waits_for_ever_can_be_restarted() {
    paused(async {
        let (spec, addr) = Probe::spec("waiting", &Record::default());
        let root = supervisor("root", tolerant());
        let tree = run(root.child(spec.shutdown(200 * MS)).unwrap());
        let stuck = addr.send(Alone(Duration::MAX, false));
        let queued = addr.send(Count);
        sleep(60_000 * MS).await;
        // What its monitoring sees: messages wait, none is handled, and yet the thread is well.
        let status = tree.status("waiting");
        assert_eq!((status.queued, status.in_flight, status.handled), (1, 1, 1));
        assert!(tree.board.stalls(Duration::from_secs(1)).is_empty());

        tree.board.restart("waiting").unwrap();
        assert_eq!(stuck.await, Err(MailboxError::Closed));
        assert_eq!(queued.await, Ok(1));
    });
}
