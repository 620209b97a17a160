//! Mailboxes and pools: what bounds nothing, and what is not replaced.

use std::{
    future::{self, Future},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use actix::{clock::sleep, prelude::*};

use super::{Count, PanicInHandler, Probe};
use crate::common::{paused, real};

struct Slow(Arc<AtomicUsize>);

impl Actor for Slow {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Tick;

impl Handler<Tick> for Slow {
    type Result = ();

    fn handle(&mut self, _: Tick, _: &mut Self::Context) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn slow_with_capacity(capacity: usize) -> (Addr<Slow>, Arc<AtomicUsize>) {
    let handled = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&handled);
    let addr = Slow::create(|ctx| {
        ctx.set_mailbox_capacity(capacity);
        Slow(counter)
    });
    (addr, handled)
}

#[test]
fn capacity_binds_only_try_send_through_one_and_the_same_address() {
    paused(async {
        let (addr, handled) = slow_with_capacity(1);
        // Nothing below lets the actor run before the last line.
        for _ in 0..1000 {
            addr.do_send(Tick);
        }
        assert!(addr.try_send(Tick).is_ok(), "each clone owns one free slot");
        assert!(addr.try_send(Tick).is_err(), "now this clone is parked");
        for _ in 0..1000 {
            assert!(addr.clone().try_send(Tick).is_ok(), "a fresh clone is not");
        }
        let mut sends: Vec<_> = (0..1000).map(|_| Box::pin(addr.send(Tick))).collect();
        for send in &mut sends {
            let first = future::poll_fn(|cx| std::task::Poll::Ready(send.as_mut().poll(cx)));
            assert!(first.await.is_pending());
        }
        sleep(Duration::from_millis(50)).await;
        // do_send, the fresh clones and every `send` polled once were queued: 3,001 in a mailbox of 1.
        assert_eq!(handled.load(SeqCst), 3001);
    });
}

#[test]
fn a_flood_is_handled_in_one_poll() {
    paused(async {
        let (addr, handled) = slow_with_capacity(16);
        let sibling = Probe::default().start();
        for _ in 0..100_000 {
            addr.do_send(Tick);
        }
        assert_eq!(sibling.send(Count).await, Ok(1));
        // The sibling, on the same thread, had to wait for all of it.
        assert_eq!(handled.load(SeqCst), 100_000);
    });
}

#[test]
fn do_send_to_a_dead_actor_is_silent() {
    paused(async {
        let addr = Probe::default().start();
        let _ = addr.send(PanicInHandler).await;
        addr.do_send(Count);
        assert!(addr.try_send(Count).is_err(), "try_send does tell");
    });
}

#[test]
fn a_send_whose_caller_gave_up_is_never_handled() {
    paused(async {
        let (addr, handled) = slow_with_capacity(16);
        drop(addr.send(Tick));
        addr.send(Tick).await.unwrap();
        assert_eq!(handled.load(SeqCst), 1);
    });
}

// ---------------------------------------------------------------------------------------------
// Threads

struct Pooled;

impl Actor for Pooled {
    type Context = SyncContext<Self>;
}

impl Handler<PanicInHandler> for Pooled {
    type Result = ();

    fn handle(&mut self, _: PanicInHandler, _: &mut Self::Context) {
        panic!("in a pool thread");
    }
}

#[test]
fn sync_arbiter_does_not_replace_a_thread_that_panicked() {
    real(async {
        let addr = SyncArbiter::start(1, || Pooled);
        let deadline = Instant::now() + Duration::from_secs(10);
        // The pool is gone with its only thread. It notices when it hands over the next message.
        while addr.connected() {
            assert!(Instant::now() < deadline, "the pool lives on");
            assert_eq!(addr.send(PanicInHandler).await, Err(MailboxError::Closed));
            sleep(Duration::from_millis(1)).await;
        }
    });
}
