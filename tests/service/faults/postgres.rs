//! A PostgreSQL of a test's own: one that it may kill, stop and start.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::harness::{Database, SOON, wait_until};

/// A server with durability on, killed when this is dropped.
pub(super) struct Postgres {
    dir: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Postgres {
    pub(super) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The server refuses to run as root; its own account does it then, and must reach its directory.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        if is_root() {
            assert!(Command::new("chown").arg("postgres").arg(&data).status().unwrap().success());
        }
        // What the initial cluster is made of needs no sync: no test cuts the power.
        let arguments = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"];
        let made = program("initdb", &data).args(arguments).arg(&data).output();
        let made = made.unwrap_or_else(|error| panic!("initdb: {error}; run as `bash tests/run`"));
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut postgres = Self { dir, port, process: None };
        postgres.up().await;
        postgres
    }

    /// Its one database.
    pub(super) fn database(&self) -> Database {
        Database::at(&format!("postgres://postgres@127.0.0.1:{}/postgres", self.port))
    }

    /// Starts the server, and waits until it answers.
    pub(super) async fn up(&mut self) {
        assert!(self.process.is_none(), "it is running");
        let data = self.dir.path().join("data");
        let mut command = program("postgres", &data);
        command.arg("-D").arg(&data).args(["-p", &self.port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "shared_buffers=16MB"] {
            command.args(["-c", setting]);
        }
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        let spawned = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        self.process = Some(spawned.unwrap());
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", self.port);
        wait_until(SOON, "PostgreSQL", async || {
            let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.ok()?;
            tokio::spawn(connection);
            client.simple_query("SELECT 1").await.ok().map(drop)
        })
        .await;
    }

    /// Ends the server and all its processes as a power failure would.
    pub(super) fn kill9(&mut self) {
        let mut process = self.process.take().unwrap();
        let all = family(process.id());
        signal("KILL", &all);
        process.wait().unwrap();
    }

    /// Stops all its processes where they are, until [`Postgres::go_on`].
    pub(super) fn hang(&self) {
        signal("STOP", &family(self.process.as_ref().unwrap().id()));
    }

    pub(super) fn go_on(&self) {
        signal("CONT", &family(self.process.as_ref().unwrap().id()));
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill9();
        }
    }
}

/// A program of the server, as its account, and gone when the test's thread is.
fn program(name: &str, dir: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.arg("--pdeathsig=KILL").arg(binaries().join(name)).current_dir(dir);
    command
}

/// Where the server's programs are: beside the newest one that is installed, or on the path.
fn binaries() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest =
        installed.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    newest.max().unwrap_or_default()
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}

/// A process and its children.
fn family(parent: u32) -> Vec<u32> {
    let children = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("PPid:\t") == Some(&parent.to_string()))
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let all = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    std::iter::once(parent).chain(all.filter(|pid| children(*pid))).collect()
}

/// Sends a signal; a process that has gone meanwhile needs none.
fn signal(name: &str, processes: &[u32]) {
    let list: Vec<_> = processes.iter().map(u32::to_string).collect();
    let line = format!("kill -{name} {} 2>/dev/null", list.join(" "));
    let _ = Command::new("sh").args(["-c", &line]).status().unwrap();
}
