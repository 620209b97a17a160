//! One process of the binary under test.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use super::wait_until;

/// The environment that a process is given, beside `PATH`: nothing of the test's own leaks in.
pub(crate) type Environment = Vec<(String, String)>;

fn command(dir: &Path, environment: &Environment, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herald"));
    command.args(arguments).current_dir(dir).env_clear();
    for kept in ["PATH", "HOME", "TMPDIR"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command.envs(environment.iter().map(|(key, value)| (key, value)));
    command
}

/// What a command of the binary came to.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Fails unless it ended with this code.
    #[track_caller]
    pub(crate) fn code(self, expected: i32) -> Self {
        let Self { code, stdout, stderr } = &self;
        assert_eq!(*code, Some(expected), "exit code; stdout:\n{stdout}\nstderr:\n{stderr}");
        self
    }

    /// What it printed with `--json`.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in: {}", self.stdout))
    }
}

/// Runs a command of the binary to its end.
pub(crate) async fn run(dir: &Path, environment: &Environment, arguments: &[&str], stdin: &str) -> Ended {
    let mut command = command(dir, environment, arguments);
    let stdin = stdin.to_owned();
    let what = arguments.join(" ");
    let ended = tokio::task::spawn_blocking(move || {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        // A command that does not read its input closes it, which is its right.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    });
    let output = tokio::time::timeout(Duration::from_secs(60), ended)
        .await
        .unwrap_or_else(|_| panic!("`herald {what}` did not end"))
        .unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A process that runs on. It is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    output: Output,
    readers: Vec<JoinHandle<()>>,
}

/// The lines that the processes of one test printed, on stdout and stderr.
#[derive(Clone, Default)]
pub(crate) struct Output(Arc<Mutex<Vec<String>>>);

impl Output {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn text(&self) -> String {
        self.lines().join("\n")
    }

    fn collect(&self, from: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = Arc::clone(&self.0);
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        })
    }
}

impl Process {
    pub(crate) fn start(dir: &Path, environment: &Environment, arguments: &[&str], output: &Output) -> Self {
        let mut command = command(dir, environment, arguments);
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let stdout = output.collect(child.stdout.take().unwrap());
        let stderr = output.collect(child.stderr.take().unwrap());
        Self { child, output: output.clone(), readers: vec![stdout, stderr] }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub(crate) async fn end(mut self, limit: Duration) -> Option<i32> {
        let status = wait_until(limit, "the end of the process", async || self.ended()).await;
        self.read_to_the_end();
        status.code()
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        // The shell's own `kill`: a bare Debian has no program of that name.
        let line = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success(), "{line}");
    }
}

impl Process {
    /// Takes in what an ended process had still written.
    fn read_to_the_end(&mut self) {
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        self.read_to_the_end();
        if std::thread::panicking() {
            let lines = self.output.lines();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("-- the last lines of Herald ({killed:?}):\n{tail}");
        }
    }
}
