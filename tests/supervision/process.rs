//! The whole process: exit status and last line. Each test runs itself in a process of its own, as
//! the `main` of a small application.
#![cfg(unix)]

use std::{
    future::pending,
    io::{self, BufRead, BufReader},
    process::{self, Command, ExitCode, Output, Stdio},
    thread,
    time::Duration,
};

use actix::prelude::*;
use actix_rt::signal::unix::{SignalKind, signal};
use herald::supervision::{
    Backoff, ChildSpec, Intensity, PanicText, Stall, SupervisedContext, Supervisor, Tree, exit_code,
    install_hook, io_runtime, new_arbiter, watch,
};

use crate::common::{MS, is_own_process, own_process};

#[derive(Clone, Copy)]
enum Scenario {
    Steady,
    CrashLoop,
    Stall,
}

/// "Sends" on one channel; fails in the way that it was told to.
struct Channel(Scenario);

impl Actor for Channel {
    type Context = SupervisedContext<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Deliver;

impl Handler<Deliver> for Channel {
    type Result = ();

    fn handle(&mut self, _: Deliver, ctx: &mut Self::Context) {
        match self.0 {
            Scenario::Steady => tracing::info!(actor = &**ctx.name(), "delivered"),
            Scenario::CrashLoop => panic!("the provider's answer makes no sense"),
            Scenario::Stall => thread::sleep(Duration::from_secs(3600)),
        }
    }
}

/// Makes the channel deliver something every 50 ms.
struct Clock(Addr<Channel>);

impl Actor for Clock {
    type Context = SupervisedContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(50 * MS, |clock, _| clock.0.do_send(Deliver));
    }
}

/// The application.
fn main_of(scenario: Scenario) -> ! {
    // Should it hang, then it must not hang the test.
    thread::spawn(|| {
        thread::sleep(Duration::from_secs(60));
        process::exit(3);
    });
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    install_hook(PanicText::Literal);
    let io = io_runtime(1).unwrap();
    // Outside `block_on`: a runtime must not be dropped inside another.
    let outcome = System::new().block_on(async {
        let (channels_arbiter, core_arbiter) = (new_arbiter(&io).unwrap(), new_arbiter(&io).unwrap());
        let tree = tree(scenario, &channels_arbiter, &core_arbiter);
        watch(tree.board(), Duration::from_secs(1), leave).unwrap();
        tree.run_until(terminated()).await
    });
    let clean = outcome.is_ok();
    assert_eq!(exit_code(outcome) == ExitCode::SUCCESS, clean);
    process::exit(if clean { 0 } else { 1 });
}

fn tree(scenario: Scenario, channels: &Arbiter, core: &Arbiter) -> Tree {
    let intensity = Intensity { max_restarts: 2, window: Duration::from_secs(30) };
    let backoff = Backoff { max: Duration::from_secs(1), ..Backoff::default() };
    let (email, channel) = ChildSpec::worker("email", &channels.handle(), move |_| Channel(scenario));
    let (clock, _) = ChildSpec::worker("clock", &core.handle(), move |_| Clock(channel.clone()));
    let channels = Supervisor::new("channels", intensity).child(email.backoff(backoff)).unwrap();
    let root = Supervisor::new("root", intensity).child(channels.into_spec().backoff(backoff)).unwrap();
    Tree::new(root.child(clock).unwrap()).unwrap()
}

/// A blocked thread cannot be helped from inside: end, and let the process manager start anew.
fn leave(stall: &Stall) {
    if stall.culprit {
        eprintln!("fatal: `{}` has blocked its thread for {:?}", stall.worker, stall.silent_for);
        process::exit(1);
    }
}

async fn terminated() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => drop(terminate.recv().await),
        Err(_) => pending().await,
    }
}

fn last_line(output: &Output) -> &str {
    let stderr = str::from_utf8(&output.stderr).unwrap();
    stderr.lines().last().unwrap()
}

#[test]
fn a_termination_signal_is_a_clean_stop() {
    if is_own_process() {
        main_of(Scenario::Steady);
    }
    let mut command = own_process("process::a_termination_signal_is_a_clean_stop");
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    assert!(lines.any(|line| line.contains("delivered")), "it runs");
    let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    assert!(lines.all(|line| !line.contains("fatal")));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_root_that_gives_up_ends_the_process() {
    if is_own_process() {
        main_of(Scenario::CrashLoop);
    }
    let mut command = own_process("process::the_root_that_gives_up_ends_the_process");
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let line = last_line(&output);
    assert!(line.starts_with("fatal: supervisor `root` gave up on `channels`"), "{line}");
    let cause = "panicked: the provider's answer makes no sense at tests/supervision/process.rs:";
    assert!(line.contains(cause), "{line}");
}

#[test]
fn a_blocked_thread_ends_the_process() {
    if is_own_process() {
        main_of(Scenario::Stall);
    }
    let mut command = own_process("process::a_blocked_thread_ends_the_process");
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let line = last_line(&output);
    assert!(line.starts_with("fatal: `email` has blocked its thread for "), "{line}");
}
