//! Two panics at once, and cancelling: where plain actix ends the process or hangs the thread.

use std::{
    future,
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use actix::{clock::sleep, prelude::*};

use super::{Log, PanicInHandler, PanicInSpawn, Probe};
use crate::common::{MS, is_own_process, own_process, paused};

/// Runs one of these tests in a process of its own and tells how that ended: `None` when it was still
/// running after `patience`.
fn in_own_process(test: &str, patience: Duration) -> Option<ExitStatus> {
    let test = format!("actix_facts::traps::{test}");
    let mut child = own_process(&test).spawn().unwrap();
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

#[cfg(unix)]
fn was_aborted(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(6)
}

// ---------------------------------------------------------------------------------------------
// The destructor of `ContextFut` polls it once more, while the thread unwinds

#[test]
fn stopping_and_stopped_run_on_the_panicked_actor() {
    paused(async {
        let log = Log::default();
        let probe = Probe { log: Arc::clone(&log), ..Probe::default() };
        let addr = Supervisor::start(|_| probe);
        let _ = addr.send(PanicInHandler).await;
        assert_eq!(*log.lock().unwrap(), ["started", "stopping", "stopped"]);
    });
}

struct PanicsInStopped;

impl Actor for PanicsInStopped {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        panic!("in stopped");
    }
}

impl Handler<PanicInHandler> for PanicsInStopped {
    type Result = ();

    fn handle(&mut self, _: PanicInHandler, _: &mut Self::Context) {
        panic!("in handler");
    }
}

#[cfg(unix)]
#[test]
fn second_panic_in_stopped_aborts_the_process() {
    if is_own_process() {
        paused(async {
            let _ = PanicsInStopped.start().send(PanicInHandler).await;
        });
        return;
    }
    let status = in_own_process("second_panic_in_stopped_aborts_the_process", 30_000 * MS).unwrap();
    assert!(was_aborted(status), "{status}");
}

struct RefusesToStop;

impl Actor for RefusesToStop {
    type Context = Context<Self>;

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        Running::Continue
    }
}

impl Handler<PanicInSpawn> for RefusesToStop {
    type Result = ();

    fn handle(&mut self, _: PanicInSpawn, ctx: &mut Self::Context) {
        ctx.spawn(async { panic!("in ctx.spawn") }.into_actor(self));
    }
}

#[cfg(unix)]
#[test]
fn running_continue_polls_the_poisoned_future_again_and_aborts() {
    if is_own_process() {
        paused(async {
            let addr = RefusesToStop.start();
            let _ = addr.send(PanicInSpawn).await;
            sleep(Duration::from_millis(50)).await;
        });
        return;
    }
    let status =
        in_own_process("running_continue_polls_the_poisoned_future_again_and_aborts", 30_000 * MS).unwrap();
    assert!(was_aborted(status), "{status}");
}

// ---------------------------------------------------------------------------------------------
// Two traps in cancelling

#[derive(Default)]
struct Cancels {
    timer: SpawnHandle,
    fired: Arc<AtomicUsize>,
}

impl Actor for Cancels {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.timer = ctx.run_interval(Duration::from_millis(5), |actor, _| {
            actor.fired.fetch_add(1, SeqCst);
        });
    }
}

impl Supervised for Cancels {}

#[derive(Message)]
#[rtype(result = "()")]
struct CancelAndStop;

impl Handler<CancelAndStop> for Cancels {
    type Result = ();

    fn handle(&mut self, _: CancelAndStop, ctx: &mut Self::Context) {
        ctx.cancel_future(self.timer);
        ctx.stop();
    }
}

#[test]
fn restart_lets_a_stale_cancel_kill_a_timer_of_the_next_life() {
    paused(async {
        let fired = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&fired);
        let addr = Supervisor::start(|_| Cancels { fired: counter, ..Cancels::default() });
        sleep(Duration::from_millis(40)).await;
        assert!(fired.load(SeqCst) > 0);

        addr.send(CancelAndStop).await.unwrap();
        fired.store(0, SeqCst);
        sleep(Duration::from_millis(60)).await;
        // `started` ran again and armed the timer again; the old cancel hit the new one.
        assert_eq!(fired.load(SeqCst), 0);
    });
}

#[derive(Message)]
#[rtype(result = "()")]
struct Terminate {
    cancel: bool,
}

impl Handler<Terminate> for Cancels {
    type Result = ();

    fn handle(&mut self, Terminate { cancel }: Terminate, ctx: &mut Self::Context) {
        let handle = ctx.spawn(future::pending().into_actor(self));
        if cancel {
            ctx.cancel_future(handle);
        }
        ctx.terminate();
    }
}

#[test]
fn cancel_then_terminate_spins_the_thread_for_ever() {
    if is_own_process() {
        paused(async {
            let addr = Cancels::default().start();
            let _ = addr.send(Terminate { cancel: true }).await;
            sleep(Duration::from_millis(50)).await;
        });
        return;
    }
    paused(async {
        let addr = Cancels::default().start();
        assert_eq!(addr.send(Terminate { cancel: false }).await, Ok(()));
        sleep(Duration::from_millis(50)).await;
        assert!(!addr.connected(), "without a cancel it ends as it should");
    });
    assert!(in_own_process("cancel_then_terminate_spins_the_thread_for_ever", 2000 * MS).is_none());
}
