//! The unit for systemd, and the health check of the image.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::harness::{Db, Herald, SOON, wait_until};

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The unit with the program under test in the place of the installed one.
fn unit(dir: &Path) -> PathBuf {
    let text = file("dist/systemd/herald.service");
    let installed = "ExecStart=/usr/local/bin/herald ";
    assert!(text.contains(installed));
    let path = dir.join("herald.service");
    std::fs::write(&path, text.replace(installed, &format!("ExecStart={} ", env!("CARGO_BIN_EXE_herald"))))
        .unwrap();
    path
}

fn analyze(arguments: &[&str], unit: &Path) -> Output {
    let ended = Command::new("systemd-analyze").args(arguments).arg(unit).env("NO_COLOR", "1").output();
    ended.unwrap_or_else(|error| panic!("systemd-analyze ({error}): run as `bash tests/run`"))
}

#[test]
fn the_unit_is_valid_and_hardened() {
    let dir = tempfile::tempdir().unwrap();
    let unit = unit(dir.path());
    let verified = analyze(&["verify", "--man=no"], &unit);
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !said.contains("herald.service"), "{said}");

    // 0 is nothing exposed, 10 everything; a unit without any of it has 9.6.
    let rated = analyze(&["security", "--no-pager", "--offline=yes", "--threshold=15"], &unit);
    let said = String::from_utf8_lossy(&rated.stdout);
    let overall = said.lines().find(|line| line.contains("Overall exposure level"));
    eprintln!("{}", overall.unwrap_or("systemd-analyze does not rate units"));
    assert!(rated.status.success(), "{said}\n{}", String::from_utf8_lossy(&rated.stderr));
}

#[tokio::test]
async fn the_image_finds_out_whether_it_is_healthy() {
    let dockerfile = file("Dockerfile");
    let (_, check) = dockerfile.split_once("HEALTHCHECK").unwrap();
    let command = check.lines().find_map(|line| line.trim().strip_prefix("CMD ")).unwrap();
    let command: Vec<String> = serde_json::from_str(command).unwrap();
    let mut herald = Herald::start(Db::Sqlite, &[]).await;
    let port = herald.base.rsplit_once(':').unwrap().1.to_owned();
    let healthy = || {
        let arguments = command[1..].iter().map(|text| text.replace("8080", &port));
        Command::new(&command[0]).args(arguments).output().unwrap().status.success()
    };
    wait_until(SOON, "health", async || healthy().then_some(())).await;
    herald.stop().await;
    assert!(!healthy(), "nobody is there");
}
