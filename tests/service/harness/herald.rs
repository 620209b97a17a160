//! A running Herald.

use std::{net::TcpListener, path::Path, time::Duration};

use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    Api, Db, SOON,
    database::Database,
    process::{self, Ended, Environment, Output, Process},
    wait_until,
};

/// How many tests may have a Herald at once: more only take each other's time.
static ROOM: Semaphore = Semaphore::const_new(4);

/// A Herald on a database and a port of its own. Its process is killed when this is dropped.
pub(crate) struct Herald {
    // Dropped in this order: the process lets go of the database, the database of the directory.
    process: Option<Process>,
    pub(crate) database: Database,
    dir: TempDir,
    settings: Environment,
    held: bool,
    pub(crate) base: String,
    pub(crate) output: Output,
    /// None for a further one of the same test: tests that wait for each other's second place would
    /// wait for ever.
    _room: Option<SemaphorePermit<'static>>,
}

impl Herald {
    /// Starts one with these settings, and waits until it is ready.
    pub(crate) async fn start(db: Db, settings: &[(&str, &str)]) -> Self {
        Self::start_with(db, settings, "").await
    }

    /// The same with a configuration file as well.
    pub(crate) async fn start_with(db: Db, settings: &[(&str, &str)], file: &str) -> Self {
        let mut herald = Self::prepare(db, settings, file).await;
        herald.restart().await;
        herald
    }

    /// Everything but the process.
    pub(crate) async fn prepare(db: Db, settings: &[(&str, &str)], file: &str) -> Self {
        let room = ROOM.acquire().await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let database = Database::create(db, dir.path()).await;
        Self::on(database, dir, Some(room), settings, file)
    }

    /// The same on a database that is there already.
    pub(crate) async fn prepare_on(database: Database, settings: &[(&str, &str)], file: &str) -> Self {
        let room = ROOM.acquire().await.unwrap();
        Self::on(database, tempfile::tempdir().unwrap(), Some(room), settings, file)
    }

    /// Another instance over the database of this one, without its process.
    pub(crate) fn beside(&self, settings: &[(&str, &str)], file: &str) -> Self {
        Self::on(self.database.shared(), tempfile::tempdir().unwrap(), None, settings, file)
    }

    fn on(
        database: Database,
        dir: TempDir,
        room: Option<SemaphorePermit<'static>>,
        settings: &[(&str, &str)],
        file: &str,
    ) -> Self {
        let mut environment = database.settings();
        if !file.is_empty() {
            let path = dir.path().join("herald.toml");
            std::fs::write(&path, file).unwrap();
            environment.push(("HERALD_CONFIG".to_owned(), path.display().to_string()));
        }
        let mut herald = Self {
            process: None,
            database,
            dir,
            settings: environment,
            held: false,
            base: String::new(),
            output: Output::default(),
            _room: room,
        };
        herald.set(settings);
        herald
    }

    /// Changes settings, from the next start on.
    pub(crate) fn set(&mut self, settings: &[(&str, &str)]) {
        for (key, value) in settings {
            self.settings.retain(|(known, _)| known != key);
            self.settings.push(((*key).to_owned(), (*value).to_owned()));
        }
    }

    /// From the next start on it is started with `--hold`.
    pub(crate) fn hold_from_the_start(&mut self) {
        self.held = true;
    }

    /// Starts the process on the same database, where none runs; on another port.
    pub(crate) async fn restart(&mut self) {
        assert!(self.process.is_none(), "it is running");
        for _ in 0..5 {
            if let Some(process) = self.try_start().await {
                self.process = Some(process);
                return;
            }
        }
        panic!("found no free port:\n{}", self.output.text());
    }

    /// None where another process took the port first.
    async fn try_start(&mut self) -> Option<Process> {
        let bind = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        self.set(&[("HERALD__SERVER__BIND", &bind.to_string())]);
        self.base = format!("http://{bind}");
        let before = self.output.lines().len();
        let arguments = if self.held { &["serve", "--hold"][..] } else { &["serve"] };
        let mut process = Process::start(self.dir.path(), &self.settings, arguments, &self.output);
        let api = self.anonymous();
        let ready = wait_until(SOON, "/health/ready", async || {
            if process.ended().is_some() {
                return Some(false);
            }
            let answer = api.try_send(reqwest::Method::GET, "/health/ready", &[], String::new()).await;
            answer.is_ok_and(|answer| answer.status == 200).then_some(true)
        })
        .await;
        if ready {
            return Some(process);
        }
        let code = process.end(SOON).await;
        let said = self.output.lines()[before..].join("\n");
        let taken = said.to_lowercase().contains("in use");
        assert!(taken, "`herald serve` ended with {code:?} at its start:\n{said}");
        None
    }

    /// Sends the process a signal, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        self.process.as_ref().unwrap().signal(name);
    }

    /// The process's number.
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().pid()
    }

    /// Ends the process as a power failure would.
    pub(crate) async fn kill9(&mut self) {
        let process = self.process.take().unwrap();
        process.signal("KILL");
        process.end(SOON).await;
    }

    /// Waits for an end that nobody asked for; gives its code, and none where a signal was the cause.
    pub(crate) async fn ended(&mut self, limit: Duration) -> Option<i32> {
        self.process.take().unwrap().end(limit).await
    }

    /// Whether the process that was started last runs on.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// Asks the process to stop; it must end cleanly.
    pub(crate) async fn stop(&mut self) {
        let process = self.process.take().unwrap();
        process.signal("TERM");
        let code = process.end(SOON).await;
        assert_eq!(code, Some(0), "a clean stop ends with 0:\n{}", self.output.text());
    }

    /// Runs a command of the binary with the same configuration, and a caller's token.
    pub(crate) async fn run_as(&self, api: &Api, arguments: &[&str], stdin: &str) -> Ended {
        let mut settings = self.settings.clone();
        settings.push(("HERALD_URL".to_owned(), self.base.clone()));
        settings.extend(api.token.clone().map(|token| ("HERALD_TOKEN".to_owned(), token)));
        process::run(self.dir.path(), &settings, arguments, stdin).await
    }

    /// Runs a command of the binary with the same configuration.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        process::run(self.dir.path(), &self.settings, arguments, "").await
    }

    /// A caller with a new token for these scopes, separated by commas.
    pub(crate) async fn api(&self, scopes: &str) -> Api {
        let made =
            self.run(&["token", "create", "--name", "test", "--scope", scopes, "--json"]).await.code(0);
        self.with_token(made.json()["token"].as_str().unwrap())
    }

    /// A caller with this token.
    pub(crate) fn with_token(&self, token: &str) -> Api {
        Api::new(&self.base, Some(token.to_owned()))
    }

    /// A caller without a token.
    pub(crate) fn anonymous(&self) -> Api {
        Api::new(&self.base, None)
    }

    /// The directory in which it runs.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}
