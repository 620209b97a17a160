//! What the tests share: a tree on one thread under a clock that only moves when nothing else does.

use std::{
    env,
    future::Future,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use actix::{clock::sleep, prelude::*};
use herald::supervision::{
    Backoff, Board, ChildSpec, ChildStatus, Exit, Intensity, PanicText, SupervisedContext, Supervisor, Tree,
    install_hook,
};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

pub(crate) const MS: Duration = Duration::from_millis(1);

/// Failed assertions are panics like any other: without a subscriber nobody would see them.
fn log_panics() {
    let _ = tracing_subscriber::fmt().with_test_writer().try_init();
    install_hook(PanicText::Full);
}

/// Runs a test on one thread with paused time: sleeps take no real time and are exact.
pub(crate) fn paused<T>(test: impl Future<Output = T>) -> T {
    log_panics();
    System::new().block_on(async {
        tokio::time::pause();
        test.await
    })
}

/// Runs a test with the real clock.
pub(crate) fn real<T>(test: impl Future<Output = T>) -> T {
    log_panics();
    System::new().block_on(test)
}

/// A supervisor whose backoff is not varied, so that its delays are exact.
pub(crate) fn supervisor(name: &str, intensity: Intensity) -> Supervisor {
    Supervisor::new(name, intensity).random(|| 0.5)
}

/// Waits until `holds`, and fails the test when that takes more than ten seconds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(MS).await;
    }
}

/// This test alone, in a process of its own that [`is_own_process`] recognizes: for what would end
/// the others too, or change what they share.
pub(crate) fn own_process(test: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(OWN_PROCESS, "1");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

pub(crate) fn is_own_process() -> bool {
    env::var_os(OWN_PROCESS).is_some()
}

const OWN_PROCESS: &str = "HERALD_TEST_OWN_PROCESS";

/// Ten restarts in a minute.
pub(crate) fn tolerant() -> Intensity {
    Intensity { max_restarts: 10, window: 60_000 * MS }
}

/// Gives up on the first failure.
pub(crate) fn never() -> Intensity {
    Intensity { max_restarts: 0, window: 1000 * MS }
}

/// 10 ms, 20 ms, 40 ms, … 1 s.
pub(crate) fn quick() -> Backoff {
    Backoff { initial: 10 * MS, max: 1000 * MS, reset_after: 60_000 * MS }
}

/// A tree that runs.
pub(crate) struct Rig {
    pub(crate) board: Board,
    stop: oneshot::Sender<()>,
    outcome: JoinHandle<Result<(), Exit>>,
}

pub(crate) fn run(root: Supervisor) -> Rig {
    run_tree(Tree::new(root).unwrap())
}

pub(crate) fn run_tree(tree: Tree) -> Rig {
    let board = tree.board();
    let (stop, stopped) = oneshot::channel();
    let outcome = actix::spawn(tree.run_until(async {
        stopped.await.unwrap();
    }));
    Rig { board, stop, outcome }
}

impl Rig {
    pub(crate) fn status(&self, name: &str) -> ChildStatus {
        let mut all = self.board.status().into_iter();
        all.find(|child| &*child.name == name).unwrap()
    }

    pub(crate) fn last_error(&self, name: &str) -> String {
        self.status(name).last_error.unwrap().to_string()
    }

    pub(crate) async fn stop(self) -> Result<(), Exit> {
        self.stop.send(()).unwrap();
        timeout(30_000 * MS, self.outcome).await.unwrap().unwrap()
    }

    /// Waits for the tree to end by itself.
    pub(crate) async fn outcome(self) -> Result<(), Exit> {
        timeout(30_000 * MS, self.outcome).await.unwrap().unwrap()
    }
}

/// What a [`Probe`] does outside its handlers, over all its lives.
#[derive(Clone, Default)]
pub(crate) struct Record(Arc<RecordInner>);

#[derive(Default)]
struct RecordInner {
    lives: AtomicUsize,
    ticks: AtomicUsize,
    log: Mutex<Vec<String>>,
}

impl Record {
    pub(crate) fn lives(&self) -> usize {
        self.0.lives.load(SeqCst)
    }

    pub(crate) fn ticks(&self) -> usize {
        self.0.ticks.load(SeqCst)
    }

    pub(crate) fn note(&self, what: impl Into<String>) {
        self.0.log.lock().unwrap().push(what.into());
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.0.log.lock().unwrap().clone()
    }
}

/// An actor that counts, ticks every second, and fails in every way that it is asked to.
pub(crate) struct Probe {
    pub(crate) record: Record,
    pub(crate) life: usize,
    pub(crate) count: usize,
    pub(crate) timer: SpawnHandle,
}

impl Probe {
    pub(crate) fn new(record: &Record) -> Self {
        Probe {
            record: record.clone(),
            life: record.0.lives.fetch_add(1, SeqCst) + 1,
            count: 0,
            timer: SpawnHandle::default(),
        }
    }

    pub(crate) fn spec(name: &str, record: &Record) -> (ChildSpec, Addr<Self>) {
        let record = record.clone();
        let (spec, addr) = ChildSpec::worker(name, &Arbiter::current(), move |_| Probe::new(&record));
        (spec.backoff(quick()), addr)
    }
}

impl Actor for Probe {
    type Context = SupervisedContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.timer = ctx.run_interval(1000 * MS, |probe, _| {
            probe.record.0.ticks.fetch_add(1, SeqCst);
        });
    }
}

/// Counts in this life.
#[derive(Message)]
#[rtype(result = "usize")]
pub(crate) struct Count;

impl Handler<Count> for Probe {
    type Result = usize;

    fn handle(&mut self, _: Count, _: &mut Self::Context) -> usize {
        self.count += 1;
        self.count
    }
}

/// Asks for the address that the actor itself would hand out.
#[derive(Message)]
#[rtype(result = "Addr<Probe>")]
pub(crate) struct OwnAddress;

impl Handler<OwnAddress> for Probe {
    type Result = Addr<Probe>;

    fn handle(&mut self, _: OwnAddress, ctx: &mut Self::Context) -> Addr<Probe> {
        ctx.address()
    }
}

type Work = dyn FnOnce(&mut Probe, &mut SupervisedContext<Probe>) + Send;

/// Runs a closure as the handler.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Do(pub Box<Work>);

impl Do {
    pub(crate) fn that(
        work: impl FnOnce(&mut Probe, &mut SupervisedContext<Probe>) + Send + 'static,
    ) -> Self {
        Do(Box::new(work))
    }

    pub(crate) fn panic() -> Self {
        Do::that(|_, _| panic!("in the handler"))
    }
}

impl Handler<Do> for Probe {
    type Result = ();

    fn handle(&mut self, Do(work): Do, ctx: &mut Self::Context) {
        work(self, ctx);
    }
}

/// Replies after a while, or panics then; other messages are handled meanwhile.
#[derive(Message)]
#[rtype(result = "usize")]
pub(crate) struct Later(pub Duration, pub bool);

impl Handler<Later> for Probe {
    type Result = ResponseActFuture<Self, usize>;

    fn handle(&mut self, Later(after, fatal): Later, _: &mut Self::Context) -> Self::Result {
        Box::pin(sleep(after).into_actor(self).map(move |(), probe, _| {
            assert!(!fatal, "in a ResponseActFuture");
            probe.record.note("later");
            probe.life
        }))
    }
}

/// Replies after a while, or panics then; no other message is handled meanwhile.
#[derive(Message)]
#[rtype(result = "usize")]
pub(crate) struct Alone(pub Duration, pub bool);

impl Handler<Alone> for Probe {
    type Result = AtomicResponse<Self, usize>;

    fn handle(&mut self, Alone(after, fatal): Alone, _: &mut Self::Context) -> Self::Result {
        AtomicResponse::new(Box::pin(sleep(after).into_actor(self).map(move |(), probe, _| {
            assert!(!fatal, "in an AtomicResponse");
            probe.record.note("alone");
            probe.life
        })))
    }
}

/// Panics in a task that is not the actor's.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Detached;

impl Handler<Detached> for Probe {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Detached, _: &mut Self::Context) -> Self::Result {
        Box::pin(async { panic!("in a ResponseFuture") })
    }
}

impl StreamHandler<u8> for Probe {
    fn handle(&mut self, item: u8, _: &mut Self::Context) {
        assert_eq!(item, 0, "in a stream handler");
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}
