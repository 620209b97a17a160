//! No panic of an actor ends more than one life of it.

use std::{
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    task::{Context as Poller, Poll},
    thread,
};

use crate::common::*;
use actix::{clock::sleep, prelude::*};
use herald::supervision::{ChildSpec, State, SupervisedContext};

/// Harms one of two siblings; checks that it lives on as a new value behind every old address, and
/// that nothing happened to the other.
fn survives(expected_error: &str, harm: impl AsyncFnOnce(&Addr<Probe>)) {
    paused(async {
        let record = Record::default();
        let (spec, addr) = Probe::spec("frail", &record);
        let (sibling_spec, sibling) = Probe::spec("sibling", &Record::default());
        let root = supervisor("root", tolerant());
        let tree = run(root.child(spec).unwrap().child(sibling_spec).unwrap());
        assert_eq!(addr.send(Count).await, Ok(1));
        assert_eq!(sibling.send(Count).await, Ok(1));
        let recipient: Recipient<Count> = addr.clone().recipient();
        let weak = addr.downgrade();
        let own = addr.send(OwnAddress).await.unwrap();

        harm(&addr).await;
        sleep(MS).await;
        assert_eq!(tree.status("frail").state, State::BackingOff);
        assert!(addr.connected());
        sleep(20 * MS).await;

        assert_eq!(tree.status("frail").state, State::Running);
        assert_eq!(tree.status("frail").restarts, 1);
        let error = tree.last_error("frail");
        assert!(error.contains(expected_error), "{error}");
        assert_eq!(record.lives(), 2);
        assert_eq!(addr.send(Count).await, Ok(1), "a new value");
        assert_eq!(recipient.send(Count).await, Ok(2));
        assert_eq!(weak.upgrade().unwrap().send(Count).await, Ok(3));
        assert_eq!(own.send(Count).await, Ok(4));
        assert_eq!(tree.status("sibling").restarts, 0);
        assert_eq!(sibling.send(Count).await, Ok(2));
        tree.stop().await.unwrap();
    });
}

#[test]
fn a_panic_in_a_handler() {
    survives("panicked: in the handler at tests/supervision/common.rs", async |addr| {
        assert_eq!(addr.send(Do::panic()).await, Err(MailboxError::Closed));
    });
}

#[test]
fn a_panic_in_a_spawned_future() {
    survives("in ctx.spawn", async |addr| {
        let spawn = Do::that(|probe, ctx| {
            ctx.spawn(async { panic!("in ctx.spawn") }.into_actor(probe));
        });
        assert_eq!(addr.send(spawn).await, Ok(()), "it had been answered before");
    });
}

#[test]
fn a_panic_in_a_timer() {
    survives("in run_later", async |addr| {
        addr.do_send(Do::that(|_, ctx| {
            ctx.run_later(MS, |_, _| panic!("in run_later"));
        }));
        sleep(MS).await;
    });
}

#[test]
fn a_panic_in_ctx_wait() {
    survives("in ctx.wait", async |addr| {
        addr.do_send(Do::that(|probe, ctx| {
            ctx.wait(async { panic!("in ctx.wait") }.into_actor(probe));
        }));
    });
}

#[test]
fn a_panic_in_a_stream_handler() {
    survives("in a stream handler", async |addr| {
        addr.do_send(Do::that(|_, ctx| {
            ctx.add_stream(stream_of([0, 1]));
        }));
    });
}

#[test]
fn a_panic_in_notify() {
    survives("in the handler", async |addr| {
        addr.do_send(Do::that(|_, ctx| ctx.notify(Do::panic())));
    });
}

#[test]
fn a_panic_in_a_response_act_future() {
    survives("in a ResponseActFuture", async |addr| {
        assert_eq!(addr.send(Later(MS, true)).await, Err(MailboxError::Closed));
    });
}

#[test]
fn a_panic_in_an_atomic_response() {
    survives("in an AtomicResponse", async |addr| {
        assert_eq!(addr.send(Alone(MS, true)).await, Err(MailboxError::Closed));
    });
}

#[test]
fn a_failure_that_the_actor_reports_itself() {
    survives("failed: no connection", async |addr| {
        addr.do_send(Do::that(|_, ctx| ctx.fail("no connection")));
    });
}

#[test]
fn a_panic_resumed_from_another_thread() {
    survives("not seen by the panic hook", async |addr| {
        let harmless = Do::that(|_, _| {
            std::panic::catch_unwind(|| panic!("and caught")).unwrap_err();
        });
        addr.send(harmless).await.unwrap();
        addr.do_send(Do::that(|_, _| {
            let payload = thread::spawn(|| panic!("elsewhere")).join().unwrap_err();
            std::panic::resume_unwind(payload);
        }));
    });
}

#[test]
fn a_destructor_that_panics_too() {
    struct Grenade;
    impl Drop for Grenade {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }
    survives("in the handler", async |addr| {
        addr.do_send(Do::that(|probe, ctx| {
            let grenade = Grenade;
            let hold = async move {
                std::future::pending::<()>().await;
                drop(grenade);
            };
            ctx.spawn(hold.into_actor(probe));
            ctx.spawn(async {}.into_actor(probe));
        }));
        sleep(MS).await;
        addr.do_send(Do::panic());
    });
}

// ---------------------------------------------------------------------------------------------

/// Fails in its first life only, at a chosen place.
struct FailsAt {
    place: &'static str,
    first: bool,
    log: Record,
}

impl Actor for FailsAt {
    type Context = SupervisedContext<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        assert!(!(self.first && self.place == "started"), "in started");
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        self.log.note("stopping");
        assert!(!(self.first && self.place == "stopping"), "in stopping");
        if self.place == "refuse" { Running::Continue } else { Running::Stop }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.log.note("stopped");
        assert!(!(self.first && self.place == "stopped"), "in stopped");
    }
}

impl Drop for FailsAt {
    fn drop(&mut self) {
        assert!(!(self.first && self.place == "drop"), "in the actor's drop");
    }
}

#[derive(Message)]
#[rtype(result = "bool")]
struct Then(&'static str);

impl Handler<Then> for FailsAt {
    type Result = bool;

    fn handle(&mut self, Then(what): Then, ctx: &mut Self::Context) -> bool {
        match what {
            "panic" => panic!("in the handler"),
            "spawn" => {
                ctx.spawn(async { panic!("in ctx.spawn") }.into_actor(self));
            }
            "stop" => ctx.stop(),
            "terminate" => ctx.terminate(),
            "cancel and terminate" => {
                let handle = ctx.spawn(std::future::pending().into_actor(self));
                ctx.wait(async {}.into_actor(self).map(move |(), _, ctx| {
                    ctx.cancel_future(handle);
                    ctx.terminate();
                }));
            }
            "fail" => ctx.fail("gave up"),
            _ => {}
        }
        self.first
    }
}

/// Starts an actor that fails at `place`, sends it `then`, and returns its last error and log.
fn fails_at(place: &'static str, then: &'static str) -> (String, Vec<String>) {
    paused(async {
        let log = Record::default();
        let lives = AtomicUsize::new(0);
        let noted = log.clone();
        let (spec, addr) = ChildSpec::worker("frail", &Arbiter::current(), move |_| {
            let first = lives.fetch_add(1, SeqCst) == 0;
            assert!(!(first && place == "factory"), "in the factory");
            FailsAt { place, first, log: noted.clone() }
        });
        let root = supervisor("root", tolerant());
        let tree = run(root.child(spec.backoff(quick()).shutdown(50 * MS)).unwrap());
        addr.do_send(Then(then));
        sleep(100 * MS).await;
        assert_eq!(addr.send(Then("")).await, Ok(false), "the second life answers");
        assert_eq!(tree.status("frail").restarts, 1);
        let error = tree.status("frail").last_error;
        (error.map(|error| error.to_string()).unwrap_or_default(), log.log())
    })
}

#[test]
fn a_panic_in_the_factory() {
    assert!(fails_at("factory", "").0.contains("in the factory"));
}

#[test]
fn a_panic_in_started() {
    assert!(fails_at("started", "").0.contains("in started"));
}

#[test]
fn a_panic_in_stopping() {
    assert!(fails_at("stopping", "stop").0.contains("in stopping"));
}

#[test]
fn a_panic_in_stopped() {
    assert!(fails_at("stopped", "stop").0.contains("in stopped"));
}

#[test]
fn a_panic_in_the_actors_drop() {
    assert!(fails_at("drop", "stop").0.contains("in the actor's drop"));
    // After a panic the first one is what is reported.
    assert!(fails_at("drop", "panic").0.contains("in the handler"));
}

#[test]
fn a_panicked_actor_is_not_told_to_stop() {
    // What makes plain actix abort the process: see actix_facts.
    let (error, log) = fails_at("stopped", "panic");
    assert!(error.contains("in the handler"), "{error}");
    assert!(log.is_empty(), "{log:?}");
    let (error, log) = fails_at("refuse", "spawn");
    assert!(error.contains("in ctx.spawn"), "{error}");
    assert!(log.is_empty(), "{log:?}");
}

#[test]
fn a_failure_cannot_be_vetoed_and_a_terminate_does_not_spin() {
    assert_eq!(fails_at("refuse", "fail").0, "failed: gave up");
    assert_eq!(fails_at("refuse", "terminate").0, "");
    assert_eq!(fails_at("", "cancel and terminate").0, "");
}

/// A stream of ready items.
fn stream_of<const N: usize>(items: [u8; N]) -> impl Stream<Item = u8> {
    struct Items(std::vec::IntoIter<u8>);
    impl Stream for Items {
        type Item = u8;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Poller<'_>) -> Poll<Option<u8>> {
            Poll::Ready(self.0.next())
        }
    }
    Items(Vec::from(items).into_iter())
}
