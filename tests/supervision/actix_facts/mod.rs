//! What actix 0.13.5 does by itself. The supervision design rests on these facts, so they are tests:
//! an upgrade of actix that changes one of them fails here first.

mod mailbox;
mod traps;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::prelude::*;

use crate::common::{paused, real, until};

type Log = Arc<Mutex<Vec<&'static str>>>;

// ---------------------------------------------------------------------------------------------
// An actor that writes down what happens to it, and fails on request.

#[derive(Default)]
struct Probe {
    log: Log,
    panic_in_started: bool,
    handled: usize,
}

impl Probe {
    fn note(&self, what: &'static str) {
        self.log.lock().unwrap().push(what);
    }
}

impl Actor for Probe {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.note("started");
        assert!(!self.panic_in_started, "in started");
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        self.note("stopping");
        Running::Stop
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.note("stopped");
    }
}

impl Supervised for Probe {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.note("restarting");
    }
}

#[derive(Message)]
#[rtype(result = "usize")]
struct Count;

impl Handler<Count> for Probe {
    type Result = usize;

    fn handle(&mut self, _: Count, _: &mut Self::Context) -> usize {
        self.handled += 1;
        self.handled
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Stop;

impl Handler<Stop> for Probe {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct PanicInHandler;

impl Handler<PanicInHandler> for Probe {
    type Result = ();

    fn handle(&mut self, _: PanicInHandler, _: &mut Self::Context) {
        panic!("in handler");
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct PanicInSpawn;

impl Handler<PanicInSpawn> for Probe {
    type Result = ();

    fn handle(&mut self, _: PanicInSpawn, ctx: &mut Self::Context) {
        ctx.spawn(async { panic!("in ctx.spawn") }.into_actor(self));
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct PanicInTimer;

impl Handler<PanicInTimer> for Probe {
    type Result = ();

    fn handle(&mut self, _: PanicInTimer, ctx: &mut Self::Context) {
        ctx.run_later(Duration::ZERO, |_, _| panic!("in run_later"));
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct PanicInResponseFuture;

impl Handler<PanicInResponseFuture> for Probe {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: PanicInResponseFuture, _: &mut Self::Context) -> Self::Result {
        Box::pin(async { panic!("in ResponseFuture") })
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct PanicInActFuture;

impl Handler<PanicInActFuture> for Probe {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: PanicInActFuture, _: &mut Self::Context) -> Self::Result {
        Box::pin(async { panic!("in ResponseActFuture") }.into_actor(self))
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct PanicInAtomic;

impl Handler<PanicInAtomic> for Probe {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, _: PanicInAtomic, _: &mut Self::Context) -> Self::Result {
        AtomicResponse::new(Box::pin(async { panic!("in AtomicResponse") }.into_actor(self)))
    }
}

// ---------------------------------------------------------------------------------------------
// actix's Supervisor and `ctx.stop()`

#[test]
fn supervisor_restarts_the_same_value_on_stop_and_keeps_the_queue() {
    paused(async {
        let log = Log::default();
        let probe = Probe { log: Arc::clone(&log), ..Probe::default() };
        let addr = Supervisor::start(|_| probe);
        assert_eq!(addr.send(Count).await, Ok(1));
        let stop = addr.send(Stop);
        let queued = addr.send(Count);
        assert_eq!(stop.await, Ok(()));
        // The count goes on: it is the old value, not a new actor.
        assert_eq!(queued.await, Ok(2));
        assert_eq!(*log.lock().unwrap(), ["started", "stopping", "stopped", "restarting", "started"]);
    });
}

struct StopsInStarted(Arc<AtomicUsize>);

impl Actor for StopsInStarted {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.0.fetch_add(1, SeqCst) < 100_000 {
            ctx.stop();
        }
    }
}

impl Supervised for StopsInStarted {}

#[test]
fn supervisor_restarts_without_delay_limit_or_yielding() {
    paused(async {
        let starts = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&starts);
        let ticks = Arc::new(AtomicUsize::new(0));
        let ticker = Arc::clone(&ticks);
        let _addr = Supervisor::start(|_| StopsInStarted(counter));
        actix::spawn(async move {
            loop {
                ticker.fetch_add(1, SeqCst);
                tokio::task::yield_now().await;
            }
        });
        tokio::task::yield_now().await;
        // 100,000 restarts went by inside one poll: nothing else on the thread ran in between.
        assert_eq!(starts.load(SeqCst), 100_001);
        assert!(ticks.load(SeqCst) <= 1);
    });
}

// ---------------------------------------------------------------------------------------------
// Panics: what dies, and what the caller gets

/// Sends a message that makes a supervised probe panic; checks that the actor is gone although it
/// was supervised, that a queued caller gets `Closed`, and that the thread and a sibling live on.
fn dies_of(harm: impl FnOnce(&Addr<Probe>)) {
    paused(async {
        let sibling = Probe::default().start();
        let log = Log::default();
        let probe = Probe { log: Arc::clone(&log), ..Probe::default() };
        let addr = Supervisor::start(|_| probe);
        assert_eq!(addr.send(Count).await, Ok(1));

        harm(&addr);
        until("the mailbox is closed", || !addr.connected()).await;

        assert_eq!(addr.send(Count).await, Err(MailboxError::Closed));
        assert!(!log.lock().unwrap().contains(&"restarting"));
        assert_eq!(sibling.send(Count).await, Ok(1), "same thread, untouched");
    });
}

#[test]
fn panic_in_handler_kills_the_supervised_actor() {
    dies_of(|addr| addr.do_send(PanicInHandler));
}

#[test]
fn panic_in_spawned_future_kills_the_supervised_actor() {
    dies_of(|addr| addr.do_send(PanicInSpawn));
}

#[test]
fn panic_in_timer_kills_the_supervised_actor() {
    dies_of(|addr| addr.do_send(PanicInTimer));
}

#[test]
fn panic_in_response_act_future_kills_the_supervised_actor() {
    dies_of(|addr| addr.do_send(PanicInActFuture));
}

#[test]
fn panic_in_atomic_response_kills_the_supervised_actor() {
    dies_of(|addr| addr.do_send(PanicInAtomic));
}

#[test]
fn callers_get_closed_whether_handled_or_queued() {
    paused(async {
        let addr = Supervisor::start(|_| Probe::default());
        let fatal = addr.send(PanicInHandler);
        let queued = addr.send(Count);
        assert_eq!(fatal.await, Err(MailboxError::Closed));
        assert_eq!(queued.await, Err(MailboxError::Closed), "lost with the mailbox");

        let addr = Supervisor::start(|_| Probe::default());
        assert_eq!(addr.send(PanicInActFuture).await, Err(MailboxError::Closed));
        let addr = Supervisor::start(|_| Probe::default());
        assert_eq!(addr.send(PanicInAtomic).await, Err(MailboxError::Closed));
        // The reply was sent before the spawned future was polled: this caller is told of a success.
        let addr = Supervisor::start(|_| Probe::default());
        assert_eq!(addr.send(PanicInSpawn).await, Ok(()));
    });
}

#[test]
fn panic_in_started_kills_the_supervised_actor() {
    paused(async {
        let addr = Supervisor::start(|_| Probe { panic_in_started: true, ..Probe::default() });
        assert_eq!(addr.send(Count).await, Err(MailboxError::Closed));
        assert!(!addr.connected());
    });
}

#[test]
fn panic_in_response_future_kills_only_that_task() {
    paused(async {
        let log = Log::default();
        let probe = Probe { log: Arc::clone(&log), ..Probe::default() };
        let addr = Supervisor::start(|_| probe);
        assert_eq!(addr.send(Count).await, Ok(1));
        assert_eq!(addr.send(PanicInResponseFuture).await, Err(MailboxError::Closed));
        assert_eq!(addr.send(Count).await, Ok(2), "the actor never noticed");
        assert_eq!(*log.lock().unwrap(), ["started"]);
    });
}

#[test]
fn panic_leaves_the_arbiter_thread_alive() {
    real(async {
        let arbiter = Arbiter::new();
        let addr = Supervisor::start_in_arbiter(&arbiter.handle(), |_| Probe::default());
        assert_eq!(addr.send(PanicInHandler).await, Err(MailboxError::Closed));
        assert!(arbiter.alive());
        let addr = Supervisor::start_in_arbiter(&arbiter.handle(), |_| Probe::default());
        assert_eq!(addr.send(Count).await, Ok(1));
        // A panic in the closure that builds the actor is also only a dead address.
        let addr: Addr<Probe> = Supervisor::start_in_arbiter(&arbiter.handle(), |_| panic!("in the factory"));
        assert_eq!(addr.send(Count).await, Err(MailboxError::Closed));
        assert!(arbiter.alive());
    });
}
