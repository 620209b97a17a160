//! Threads and I/O: why the arbiters share one runtime.

use std::{
    io::Write,
    net::{TcpListener, TcpStream as Peer},
    sync::mpsc,
    time::Duration,
};

use crate::common::*;
use actix::prelude::*;
use herald::supervision::{ChildSpec, io_runtime, new_arbiter};
use tokio::{io::AsyncReadExt, net::TcpStream, sync::oneshot, time::timeout};

/// Opens a connection on one arbiter, blocks that arbiter, and reads from the connection on another,
/// as actors with a common connection pool do. Tells whether the read gets through.
async fn reads_while_opener_is_blocked(opener: &Arbiter, reader: &Arbiter, patience: Duration) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (hand_over, connection) = oneshot::channel();
    opener.spawn(async move {
        let stream = TcpStream::connect(address).await.unwrap();
        hand_over.send(stream).unwrap();
    });
    let mut connection = connection.await.unwrap();
    let (mut peer, _): (Peer, _) = listener.accept().unwrap();

    let (release, released) = mpsc::channel::<()>();
    let (blocking, blocked) = oneshot::channel();
    opener.spawn_fn(move || {
        blocking.send(()).unwrap();
        let _ = released.recv();
    });
    blocked.await.unwrap();

    let (report, result) = oneshot::channel();
    reader.spawn(async move {
        let read = timeout(patience, connection.read_u8()).await;
        report.send(read.is_ok()).unwrap();
    });
    peer.write_all(&[1]).unwrap();
    let got_through = result.await.unwrap();
    drop(release);
    got_through
}

#[test]
fn a_blocked_arbiter_with_its_own_runtime_takes_other_actors_connections_along() {
    real(async {
        assert!(!reads_while_opener_is_blocked(&Arbiter::new(), &Arbiter::new(), 300 * MS).await);
    });
}

#[test]
fn a_blocked_arbiter_on_the_shared_runtime_does_not() {
    let io = io_runtime(1).unwrap();
    real(async {
        let (opener, reader) = (new_arbiter(&io).unwrap(), new_arbiter(&io).unwrap());
        assert!(reads_while_opener_is_blocked(&opener, &reader, 10_000 * MS).await);
    });
}

#[test]
fn a_tree_works_on_the_shared_runtime() {
    let io = io_runtime(1).unwrap();
    real(async {
        let arbiter = new_arbiter(&io).unwrap();
        let (spec, addr) = ChildSpec::worker("frail", &arbiter.handle(), |_| Probe::new(&Record::default()));
        let root = supervisor("root", tolerant());
        let tree = run(root.child(spec.backoff(quick())).unwrap());
        assert_eq!(addr.send(Later(10 * MS, false)).await, Ok(1));
        assert_eq!(addr.send(Do::panic()).await, Err(MailboxError::Closed));
        assert_eq!(addr.send(Count).await, Ok(1));
        tree.stop().await.unwrap();
    });
}
