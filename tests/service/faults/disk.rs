//! The disk is full.

use std::{fs, io::Write, path::PathBuf, process::Command};

use super::bank::Bank;
use crate::harness::{Db, LATE, soak, wait_until};

/// Fills what is left, until it is dropped.
struct Ballast(PathBuf);

impl Ballast {
    fn new(path: PathBuf) -> Self {
        let mut file = fs::File::create(&path).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
        while file.write_all(&[7]).is_ok() {}
        Self(path)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

/// A small file system of a test's own.
struct Disk(PathBuf);

impl Disk {
    /// None where mounting is not allowed, as in most containers.
    fn mount(at: PathBuf) -> Option<Self> {
        let arguments = ["-t", "tmpfs", "-o", "size=24m", "none"];
        let mounted = Command::new("mount").args(arguments).arg(&at).output().ok()?;
        mounted.status.success().then_some(Self(at))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What is left behind is a directory in a temporary one.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Publishers are asked to come again for as long as it is full.
async fn turned_away(bank: &Bank) {
    let before = bank.tally().turned_away;
    wait_until(LATE, "publishers are asked to come again", async || {
        (bank.tally().turned_away >= before + 5).then_some(())
    })
    .await;
}

/// A limit on the size of files (RLIMIT_FSIZE), set on the running process and lifted again.
#[tokio::test]
async fn no_file_may_grow() {
    let mut bank = Bank::open(Db::Sqlite, &[]).await;
    bank.work().await;
    let pid = bank.heralds[0].pid().to_string();
    let limit = |fsize: &str| {
        let set = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={fsize}:")]).status();
        assert!(set.expect("prlimit, of Debian's util-linux").success());
    };
    let rounds = if soak() { 10 } else { 2 };
    for _ in 0..rounds {
        limit("4096");
        turned_away(&bank).await;
        limit("unlimited");
        bank.flows(60).await;
    }
    let seen = bank.check(&format!("RLIMIT_FSIZE reached, {rounds} times")).await;
    assert_eq!(seen.tally.unanswered, 0, "the process lived on: {seen}");
}

/// A file system without room, which gets some, and then Herald is started anew on it while it is full.
#[tokio::test]
async fn no_room_on_the_file_system() {
    let mut bank = Bank::open(Db::Sqlite, &[]).await;
    bank.heralds[0].stop().await;
    // The directory of the first start moves onto the small file system.
    let dir = bank.heralds[0].dir().to_owned();
    let kept: Vec<_> = fs::read_dir(&dir).unwrap().flatten().map(|entry| entry.path()).collect();
    let kept: Vec<_> = kept.into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
    let Some(_disk) = Disk::mount(dir.clone()) else {
        eprintln!("no file system may be mounted here: `no_file_may_grow` alone has shown a full disk");
        return;
    };
    for (content, path) in kept {
        fs::write(path, content).unwrap();
    }
    bank.restart(0).await;
    bank.work().await;
    let rounds = if soak() { 5 } else { 1 };
    for _ in 0..rounds {
        let ballast = Ballast::new(dir.join("ballast"));
        turned_away(&bank).await;
        bank.heralds[0].kill9().await;
        drop(ballast);
        bank.restart(0).await;
        bank.flows(60).await;
        let ballast = Ballast::new(dir.join("ballast"));
        turned_away(&bank).await;
        drop(ballast);
        bank.flows(60).await;
    }
    bank.check(&format!("no room on the file system, {} times", 2 * rounds)).await;
}
