//! Who this process is, so that one that is started later on the same machine can tell that it is dead:
//! by the kernel's word, and not only when its lease is over.
//!
//! A process is named by what the kernel never gives twice: its number and the time of its start
//! (proc_pid_stat(5)), within one PID namespace of one boot (random(4), pid_namespaces(7)). Who looks must
//! be of the same account, since /proc may hide the processes of others (`hidepid`, proc(5)). Where any
//! of this cannot be read nobody is taken for dead, and leases decide.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use sha2::{Digest, Sha256};

/// The name of this process: `host:number`, and behind it, where the kernel tells, its start and the
/// place where that means something.
pub(super) fn name() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "herald".to_owned());
    let number = std::process::id();
    match (start(number), place()) {
        (Ok(Some(start)), Some(place)) => format!("{host}:{number}:{start}@{place}"),
        _ => format!("{host}:{number}"),
    }
}

/// Whether the process of this name ran here and runs no more.
pub(super) fn is_dead(name: &str) -> bool {
    place().is_some_and(|here| is_dead_at(name, &here))
}

fn is_dead_at(name: &str, here: &str) -> bool {
    let Some((process, place)) = name.rsplit_once('@') else { return false };
    let mut parts = process.rsplit(':');
    let (then, number) = (parts.next(), parts.next().and_then(|number| number.parse().ok()));
    let (Some(then), Some(number)) = (then, number) else { return false };
    place == here && start(number).is_ok_and(|now| now.as_deref() != Some(then))
}

/// When the process of this number was started, in clock ticks since the boot; none if there is none.
fn start(number: u32) -> Result<Option<String>, std::io::Error> {
    let stat = match fs::read_to_string(format!("/proc/{number}/stat")) {
        Ok(stat) => stat,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // The second field is the program's name in parentheses, and may hold any character; the start is the
    // 22nd field, the 20th behind it.
    let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
    let start = behind.split_ascii_whitespace().nth(19);
    start.map(|start| Some(start.to_owned())).ok_or_else(|| std::io::Error::other("no start in stat"))
}

/// The boot, the PID namespace and the account, as one word.
fn place() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    let account = fs::metadata("/proc/self").ok()?.uid();
    let place = format!("{} {} {account}", boot.trim(), namespace.display());
    let digest = Sha256::digest(place.as_bytes());
    Some(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_who_ran_here_and_is_gone_is_dead() {
        let here = place().unwrap();
        let (number, now) = (std::process::id(), start(std::process::id()).unwrap().unwrap());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = format!("{}:{}", child.id(), start(child.id()).unwrap().unwrap());
        child.wait().unwrap();
        let dead = |name: String| is_dead_at(&name, &here);
        assert!(!dead(name()), "this very process");
        assert!(dead(format!("host:{gone}@{here}")), "ended");
        assert!(dead(format!("a:host:{number}:1@{here}")), "another one has its number");
        assert!(!dead(format!("host:{number}:{now}@{here}")));
        for elsewhere in ["another", ""] {
            assert!(!dead(format!("host:{gone}@{elsewhere}")), "nothing is known of other places");
        }
        for unreadable in ["", "host", "host:12", "host:x:7@", "@", ":@", "host:12:7"] {
            assert!(!dead(unreadable.to_owned()), "{unreadable}");
        }
        assert!(!dead(format!("host:x:7@{here}")) && !dead(format!("7@{here}")));
    }
}
