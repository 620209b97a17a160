//! What outlives a life: the mailbox and what is queued in it, but no future and no timer.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context as Poller, Poll},
    thread,
};

use crate::common::*;
use actix::{clock::sleep, prelude::*};
use herald::supervision::{ChildSpec, Intensity, State};

#[test]
fn queued_messages_survive_and_keep_their_order() {
    paused(async {
        let (spec, addr) = Probe::spec("frail", &Record::default());
        let tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        let fatal = addr.send(Do::panic());
        let queued: Vec<_> = (0..200).map(|_| addr.send(Count)).collect();
        assert_eq!(fatal.await, Err(MailboxError::Closed));
        sleep(MS).await;
        assert_eq!(tree.status("frail").queued, 200);
        let late = addr.send(Count);
        for (index, reply) in queued.into_iter().enumerate() {
            assert_eq!(reply.await, Ok(index + 1));
        }
        assert_eq!(late.await, Ok(201), "sent while no actor was there");
        assert_eq!(tree.status("frail").handled, 202);
    });
}

#[test]
fn messages_sent_before_the_start_are_handled() {
    paused(async {
        let (spec, addr) = Probe::spec("frail", &Record::default());
        let early = addr.send(Count);
        sleep(50 * MS).await;
        let _tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        assert_eq!(early.await, Ok(1));
    });
}

#[test]
fn a_message_whose_sender_gave_up_is_not_handled() {
    paused(async {
        let (spec, addr) = Probe::spec("worker", &Record::default());
        let _tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        drop(addr.send(Count));
        assert_eq!(addr.send(Count).await, Ok(1));
    });
}

/// Counts its polls, and says when it is dropped.
struct Polled(Arc<AtomicUsize>, Arc<AtomicBool>, Option<usize>);

impl Future for Polled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<()> {
        let polls = self.0.fetch_add(1, SeqCst) + 1;
        cx.waker().wake_by_ref();
        assert_ne!(Some(polls), self.2, "in poll");
        Poll::Pending
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        self.1.store(true, SeqCst);
    }
}

#[test]
fn no_future_of_a_panicked_life_is_polled_again() {
    paused(async {
        let (spec, addr) = Probe::spec("frail", &Record::default());
        let tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        let (fatal, innocent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (fatal_gone, innocent_gone) = (Arc::default(), Arc::default());
        let spawned = (
            Polled(Arc::clone(&fatal), Arc::clone(&fatal_gone), Some(3)),
            Polled(Arc::clone(&innocent), Arc::clone(&innocent_gone), None),
        );
        addr.do_send(Do::that(|probe, ctx| {
            ctx.spawn(spawned.1.into_actor(probe));
            ctx.spawn(spawned.0.into_actor(probe));
        }));
        // The innocent future is always ready to be polled: let both run for some turns.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(tree.status("frail").state, State::BackingOff);
        assert!(fatal_gone.load(SeqCst) && innocent_gone.load(SeqCst), "dropped at once");
        let polls = innocent.load(SeqCst);
        sleep(1000 * MS).await;
        assert_eq!(fatal.load(SeqCst), 3);
        assert_eq!(innocent.load(SeqCst), polls);
    });
}

#[test]
fn timers_are_armed_once_for_each_life() {
    paused(async {
        let record = Record::default();
        let (spec, addr) = Probe::spec("frail", &record);
        let _tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        for _ in 0..3 {
            // The cancel that is pending when the life ends must not hit the timer of the next.
            addr.do_send(Do::that(|probe, ctx| {
                ctx.cancel_future(probe.timer);
                panic!("with a cancel pending");
            }));
            sleep(100 * MS).await;
        }
        assert_eq!(record.lives(), 4);
        let before = record.ticks();
        sleep(10_000 * MS).await;
        assert_eq!(record.ticks() - before, 10, "one timer, once a second");
    });
}

#[test]
fn a_response_future_is_outside_supervision() {
    paused(async {
        let record = Record::default();
        let (spec, addr) = Probe::spec("frail", &record);
        let tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        assert_eq!(addr.send(Detached).await, Err(MailboxError::Closed));
        sleep(100 * MS).await;
        assert_eq!(record.lives(), 1);
        assert!(tree.status("frail").last_error.is_none(), "the supervisor never knew");
    });
}

#[test]
fn a_flood_does_not_starve_a_sibling_on_the_same_thread() {
    paused(async {
        let (spec, addr) = Probe::spec("flooded", &Record::default());
        let (sibling_spec, sibling) = Probe::spec("sibling", &Record::default());
        let root = supervisor("root", tolerant());
        let tree = run(root.child(spec).unwrap().child(sibling_spec).unwrap());
        for _ in 0..100_000 {
            addr.do_send(Count);
        }
        assert_eq!(sibling.send(Count).await, Ok(1));
        let handled = tree.status("flooded").handled;
        // The bound is loose: one turn of the thread's executor is 61 polls of 64 messages.
        assert!(handled < 10_000, "{handled}");
        for _ in 0..2 {
            sibling.send(Count).await.unwrap();
        }
        let status = tree.status("flooded");
        assert!(status.handled < 50_000, "{}", status.handled);
        assert_eq!(status.handled + status.queued as u64, 100_000, "all are counted by now");
    });
}

/// Many senders on several threads, an actor that keeps panicking: each message is either answered or
/// was the one that panicked, and each sender gets its answer.
#[test]
fn under_load_only_the_fatal_messages_are_lost() {
    const SENDERS: usize = 4;
    const MESSAGES: usize = 500;
    const EVERY: usize = 25;
    real(async {
        let arbiter = Arbiter::new();
        let record = Record::default();
        let noted = record.clone();
        let (spec, addr) = ChildSpec::worker("frail", &arbiter.handle(), move |_| Probe::new(&noted));
        let mut backoff = quick();
        (backoff.initial, backoff.max) = (MS, MS);
        let intensity = Intensity { max_restarts: 1000, window: 60_000 * MS };
        let root = supervisor("root", intensity);
        let tree = run(root.child(spec.backoff(backoff)).unwrap());
        let (answered, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let (addr, answered, lost) = (addr.clone(), Arc::clone(&answered), Arc::clone(&lost));
                thread::spawn(move || {
                    System::new().block_on(async move {
                        let replies: Vec<_> = (1..=MESSAGES)
                            .map(|n| {
                                let fatal = n % EVERY == 0;
                                addr.send(Do::that(move |_, _| assert!(!fatal, "under load")))
                            })
                            .collect();
                        for reply in replies {
                            let counter = if reply.await.is_ok() { &answered } else { &lost };
                            counter.fetch_add(1, SeqCst);
                        }
                    });
                })
            })
            .collect();
        until("all are answered", || senders.iter().all(|sender| sender.is_finished())).await;
        let fatal = SENDERS * MESSAGES / EVERY;
        assert_eq!(lost.load(SeqCst), fatal);
        assert_eq!(answered.load(SeqCst), SENDERS * MESSAGES - fatal);
        tree.stop().await.unwrap();
        assert!((fatal..=fatal + 1).contains(&record.lives()));
    });
}
