//! What supervision cannot do. Kept as tests, so that nobody believes otherwise.

use crate::common::*;
use actix::{clock::sleep, prelude::*};

struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("in drop");
    }
}

/// Sends a message of which the futures, or the handler's own variables, panic when dropped.
fn panic_with_two_grenades() {
    paused(async {
        let (spec, addr) = Probe::spec("frail", &Record::default());
        let _tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        addr.do_send(Do::that(|probe, ctx| {
            for grenade in [Grenade, Grenade] {
                let hold = async move {
                    std::future::pending::<()>().await;
                    drop(grenade);
                };
                ctx.spawn(hold.into_actor(probe));
            }
        }));
        addr.do_send(Do::panic());
        sleep(100 * MS).await;
    });
}

#[cfg(unix)]
#[test]
fn two_panicking_destructors_at_once_abort_the_process() {
    use std::os::unix::process::ExitStatusExt;

    if is_own_process() {
        return panic_with_two_grenades();
    }
    let mut child = own_process("holes::two_panicking_destructors_at_once_abort_the_process");
    let status = child.status().unwrap();
    assert_eq!(status.signal(), Some(6), "Rust's rule: no third panic is waited for");
}

#[test]
fn a_detached_task_outlives_its_actor() {
    paused(async {
        let record = Record::default();
        let (spec, addr) = Probe::spec("frail", &record);
        let _tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        let noted = record.clone();
        addr.do_send(Do::that(move |_, _| {
            actix::spawn(async move {
                sleep(50 * MS).await;
                noted.note("still here");
            });
            panic!("after spawning");
        }));
        sleep(100 * MS).await;
        assert_eq!(record.lives(), 2);
        assert_eq!(record.log(), ["still here"]);
    });
}

#[test]
fn effects_of_the_lost_message_remain() {
    paused(async {
        let record = Record::default();
        let (spec, addr) = Probe::spec("frail", &record);
        let _tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        let half_done = Do::that(|probe, _| {
            probe.record.note("first half");
            panic!("before the second half");
        });
        // The sender cannot tell how far it came: `Closed` means "unknown", not "not done".
        assert_eq!(addr.send(half_done).await, Err(MailboxError::Closed));
        assert_eq!(record.log(), ["first half"]);
    });
}
