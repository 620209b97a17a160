//! What an operator asks for: a new life of one child, whatever it is doing.

use crate::common::*;
use actix::{clock::sleep, prelude::*};
use herald::supervision::{Backoff, Restart, State};

#[test]
fn restarts_on_request_do_not_count() {
    paused(async {
        let (spec, addr) = Probe::spec("worker", &Record::default());
        let inner = supervisor("inner", never()).child(spec).unwrap();
        let tree = run(supervisor("root", never()).child(inner.into_spec()).unwrap());
        for restarts in 1..=5 {
            assert_eq!(addr.send(Count).await, Ok(1));
            let queued = addr.send(Count);
            tree.board.restart("worker").unwrap();
            assert_eq!(queued.await, Ok(2), "it drains first");
            sleep(MS).await;
            assert_eq!(tree.status("worker").restarts, restarts);
        }
        tree.board.restart("inner").unwrap();
        sleep(MS).await;
        assert_eq!(tree.status("inner").restarts, 1);
        tree.board.restart("root").unwrap();
        assert_eq!(addr.send(Count).await, Ok(1));
        assert!(tree.board.status().iter().all(|child| child.last_error.is_none()));
        let unknown = tree.board.restart("nobody").unwrap_err();
        assert_eq!(unknown.to_string(), "no child is named `nobody`");
        tree.stop().await.unwrap();
    });
}

#[test]
fn a_child_that_backs_off_is_started_at_once() {
    paused(async {
        let (spec, addr) = Probe::spec("frail", &Record::default());
        let slow = Backoff { initial: 1000 * MS, max: 4000 * MS, ..quick() };
        let tree = run(supervisor("root", tolerant()).child(spec.backoff(slow)).unwrap());
        addr.do_send(Do::panic());
        sleep(MS).await;
        assert_eq!(tree.status("frail").state, State::BackingOff);
        tree.board.restart("frail").unwrap();
        sleep(MS).await;
        assert_eq!(tree.status("frail").state, State::Running);
        assert_eq!(tree.status("frail").restarts, 1);
        // The start that was due is not made a second time.
        sleep(5000 * MS).await;
        assert_eq!(addr.send(Count).await, Ok(1));
        assert_eq!(tree.status("frail").restarts, 1);
        // The failure is not forgotten: the next wait is the longer one.
        addr.do_send(Do::panic());
        sleep(1500 * MS).await;
        assert_eq!(tree.status("frail").state, State::BackingOff, "for 2000 ms");
    });
}

#[test]
fn a_transient_child_that_ended_is_started() {
    paused(async {
        let (spec, addr) = Probe::spec("worker", &Record::default());
        let tree = run(supervisor("root", never()).child(spec.restart(Restart::Transient)).unwrap());
        addr.send(Do::that(|_, ctx| ctx.stop())).await.unwrap();
        sleep(MS).await;
        let queued = addr.send(Count);
        assert_eq!(tree.status("worker").state, State::Stopped);
        tree.board.restart("worker").unwrap();
        assert_eq!(queued.await, Ok(1));
        assert_eq!(tree.status("worker").restarts, 1);
        tree.stop().await.unwrap();
    });
}

#[test]
fn a_child_whose_supervisor_is_down_is_started_with_it() {
    paused(async {
        let (spec, addr) = Probe::spec("worker", &Record::default());
        let inner = supervisor("inner", never()).child(spec).unwrap().into_spec();
        let slow = Backoff { initial: 3000 * MS, max: 3000 * MS, ..quick() };
        let tree = run(supervisor("root", tolerant()).child(inner.backoff(slow)).unwrap());
        addr.do_send(Do::panic());
        sleep(MS).await;
        assert_eq!(tree.status("inner").state, State::BackingOff);
        tree.board.restart("worker").unwrap();
        sleep(MS).await;
        assert_eq!(tree.status("inner").restarts, 1);
        assert_eq!(addr.send(Count).await, Ok(1));
        tree.stop().await.unwrap();
    });
}
