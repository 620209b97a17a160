//! Tells systemd when the service is ready, that it makes progress, and that it stops.
//!
//! systemd ends a service that does not say `WATCHDOG=1` in time. So it is said only while the actors
//! and the supervisors' thread answer: a process that hangs must not look alive.

mod socket;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant as Tick;

pub use self::socket::{NotifyError, NotifySocket};
use super::health::readiness;
use super::instance::Instance;
use super::messages::ServiceStops;
use crate::supervision::{Board, ChildStatus, Kind, State, SupervisedContext};

/// How soon systemd hears that the service is ready, or stops.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often a service that was ready is asked again whether it is.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// A worker's heartbeat comes four times in this: below it nobody can be called blocked.
const LEAST_SILENCE: Duration = Duration::from_secs(1);

/// The actor.
pub(super) struct SystemdNotifier {
    instance: Arc<Instance>,
    socket: Arc<NotifySocket>,
    /// Set once the tree is built, of which this actor is a part.
    board: Arc<OnceLock<Board>>,
    ready: bool,
    stopping: bool,
    asking: bool,
    asked: Option<Tick>,
    hindered: bool,
    status: String,
}

impl SystemdNotifier {
    /// A notifier for this process.
    pub(super) fn new(
        instance: Arc<Instance>,
        socket: Arc<NotifySocket>,
        board: Arc<OnceLock<Board>>,
    ) -> Self {
        Self {
            instance,
            socket,
            board,
            ready: false,
            stopping: false,
            asking: false,
            asked: None,
            hindered: false,
            status: String::new(),
        }
    }

    fn tell(&self, message: &str) {
        if let Err(error) = self.socket.tell(message) {
            tracing::warn!(%error, "systemd could not be told how the service is");
            metrics::counter!("herald_systemd_messages_failed_total").increment(1);
        }
    }

    /// Shows `status` in `systemctl status`, where it is news.
    fn show(&mut self, status: String) {
        if self.status != status {
            self.tell(&format!("STATUS={}", status.replace('\n', " ")));
            self.status = status;
        }
    }

    fn look(&mut self, ctx: &mut SupervisedContext<Self>) {
        let due = !self.ready || self.asked.is_none_or(|asked| asked.elapsed() >= ASK_AGAIN);
        let Some(board) = self.board.get().cloned().filter(|_| due && !self.asking && !self.stopping) else {
            return;
        };
        self.asking = true;
        self.asked = Some(Tick::now());
        let instance = Arc::clone(&self.instance);
        let work = async move { readiness(&instance, &board).await };
        ctx.spawn(work.into_actor(self).map(|found, notifier, _| {
            notifier.asking = false;
            match found {
                _ if notifier.stopping => {}
                Err(reason) => notifier.show(format!("not ready: {reason}")),
                Ok(()) => {
                    if !notifier.ready {
                        notifier.ready = true;
                        notifier.tell("READY=1");
                    }
                    if !notifier.hindered {
                        let held = notifier.instance.controls().held;
                        notifier.show(
                            if held { "ready, but held: nothing is handled or sent" } else { "ready" }
                                .to_owned(),
                        );
                    }
                }
            }
        }));
    }

    /// Says that the process makes progress, if it does.
    fn pet(&mut self, every: Duration, ctx: &mut SupervisedContext<Self>) {
        let work = supervisors_answer(every / 2);
        ctx.spawn(work.into_actor(self).map(move |answered, notifier, _| {
            let hindrance = match notifier.board.get() {
                _ if !answered => Some("the supervisors".to_owned()),
                // Work that waits for the database stands still as long as that is away, rightly.
                Some(board) => {
                    hindrance(&board.status(), every.max(LEAST_SILENCE), notifier.instance.may_fence())
                }
                None => None,
            };
            match hindrance {
                None => {
                    notifier.hindered = false;
                    notifier.tell("WATCHDOG=1");
                }
                Some(who) => {
                    if !notifier.hindered {
                        tracing::error!(actor = %who, "no progress: systemd is not told that all is well");
                    }
                    notifier.hindered = true;
                    metrics::counter!("herald_watchdog_withheld_total").increment(1);
                    notifier.show(format!("no progress: {who}"));
                }
            }
        }));
    }
}

impl Handler<ServiceStops> for SystemdNotifier {
    type Result = ();

    fn handle(&mut self, _: ServiceStops, _: &mut Self::Context) {
        self.stopping = true;
        self.tell("STOPPING=1\nSTATUS=stopping: what is in hand is finished or given back");
    }
}

/// Which workers keep the process from being called alive: those that have blocked their thread for
/// longer than `limit`, and, where the database answers, those that are stalled.
fn hindrance(children: &[ChildStatus], limit: Duration, database_answers: bool) -> Option<String> {
    let hinders = |child: &&ChildStatus| {
        child.kind == Kind::Worker
            && matches!(child.state, State::Running | State::Stopping)
            && (child.silent_for > limit || (child.stalled && database_answers))
    };
    let names: Vec<&str> = children.iter().filter(hinders).map(|child| &*child.name).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// Whether the main thread, on which the supervisors live, does what it is asked.
async fn supervisors_answer(within: Duration) -> bool {
    let (answer, answered) = tokio::sync::oneshot::channel();
    // False where the system has ended; then so has this process.
    let asked = System::current().arbiter().spawn(async move {
        let _ = answer.send(());
    });
    asked && matches!(tokio::time::timeout(within, answered).await, Ok(Ok(())))
}

impl Actor for SystemdNotifier {
    type Context = SupervisedContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(LOOK_EVERY, Self::look);
        self.look(ctx);
        if let Some(watchdog) = self.socket.watchdog {
            let every = watchdog / 2;
            ctx.run_interval(every, move |notifier, ctx| notifier.pet(every, ctx));
            self.pet(every, ctx);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn child(name: &str) -> ChildStatus {
        ChildStatus {
            name: name.into(),
            supervisor: None,
            kind: Kind::Worker,
            state: State::Running,
            since: SystemTime::UNIX_EPOCH,
            restarts: 0,
            last_error: None,
            last_error_at: None,
            queued: 0,
            in_flight: 0,
            handled: 0,
            silent_for: Duration::ZERO,
            busy: false,
            no_progress_for: Duration::ZERO,
            stalled: false,
        }
    }

    #[test]
    fn who_hinders() {
        let limit = Duration::from_secs(5);
        let blocked = ChildStatus { silent_for: Duration::from_secs(6), ..child("notifier") };
        let stalled = ChildStatus { stalled: true, ..child("outcome_writer") };
        let all = [child("janitor"), blocked.clone(), stalled.clone()];
        assert_eq!(hindrance(&all[..1], limit, true), None);
        assert_eq!(hindrance(&all, limit, true).as_deref(), Some("notifier, outcome_writer"));
        assert_eq!(hindrance(&all, limit, false).as_deref(), Some("notifier"), "the database is away");
        // One that does not run says nothing, and is its supervisor's business.
        let gone = ChildStatus { state: State::BackingOff, ..blocked };
        assert_eq!(hindrance(&[gone], limit, true), None);
    }
}
