//! What systemd hears, on a socket of the test's own: sd_notify(3).

use std::{
    os::{linux::net::SocketAddrExt, unix::net},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{net::UnixDatagram, task::JoinHandle};

use crate::harness::{Db, Event, Herald, SOON, ingest, user, wait_until};

/// The messages that came, each with its time.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<(Instant, String)>>>);

impl Heard {
    fn listen(&self, socket: net::UnixDatagram) -> JoinHandle<()> {
        socket.set_nonblocking(true).unwrap();
        let socket = UnixDatagram::from_std(socket).unwrap();
        let heard = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            while let Ok(length) = socket.recv(&mut buffer).await {
                let message = std::str::from_utf8(&buffer[..length]).unwrap().to_owned();
                heard.lock().unwrap().push((Instant::now(), message));
            }
        })
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(_, message)| message.clone()).collect()
    }

    /// When a line came for the first time.
    fn first(&self, line: &str) -> Option<Instant> {
        let heard = self.0.lock().unwrap();
        heard.iter().find(|(_, message)| message.lines().any(|said| said == line)).map(|(at, _)| *at)
    }

    async fn until(&self, line: &str) -> Instant {
        wait_until(SOON, line, async || self.first(line)).await
    }

    fn pets(&self) -> Vec<Instant> {
        let heard = self.0.lock().unwrap();
        heard.iter().filter(|(_, message)| message == "WATCHDOG=1").map(|(at, _)| *at).collect()
    }
}

#[tokio::test]
async fn ready_watchdog_and_stop() {
    let mut herald = Herald::prepare(Db::Sqlite, &[], "").await;
    let path = herald.dir().join("notify");
    let heard = Heard::default();
    let listener = heard.listen(net::UnixDatagram::bind(&path).unwrap());
    herald.set(&[
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("WATCHDOG_USEC", "1000000"),
        // Its backoff keeps the janitor away for a second and a half.
        (
            "HERALD_BREAKPOINTS",
            "janitor=panic@1,janitor=panic@2,janitor=panic@3,janitor=panic@4,janitor=panic@5",
        ),
    ]);
    herald.restart().await;
    let ready = heard.until("READY=1").await;
    let not_ready = heard.first("STATUS=not ready: not running: janitor");
    assert!(not_ready.is_some_and(|at| at < ready), "{:#?}", heard.all());
    herald.anonymous().get("/health/ready").await.expect(200);
    heard.until("STATUS=ready").await;
    assert_eq!(heard.all().iter().filter(|message| message.contains("READY=1")).count(), 1);

    let pets = wait_until(SOON, "signs of life", async || {
        let pets = heard.pets();
        (pets.len() >= 6).then_some(pets)
    })
    .await;
    let longest = pets.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(longest < Duration::from_secs(1), "systemd would have ended it: {longest:?}");
    assert!(heard.first("STOPPING=1").is_none());
    herald.stop().await;
    heard.until("STOPPING=1").await;
    listener.abort();
}

#[tokio::test]
async fn a_blocked_process_does_not_look_alive() {
    let mut herald = Herald::prepare(Db::Sqlite, &[], "").await;
    let name = format!("herald-test-{}", uuid::Uuid::new_v4());
    let abstract_name = net::SocketAddr::from_abstract_name(&name).unwrap();
    let heard = Heard::default();
    let listener = heard.listen(net::UnixDatagram::bind_addr(&abstract_name).unwrap());
    herald.set(&[
        ("NOTIFY_SOCKET", &format!("@{name}")),
        ("WATCHDOG_USEC", "1000000"),
        ("HERALD_BREAKPOINTS", "notifier=block@1"),
    ]);
    herald.restart().await;
    heard.until("READY=1").await;
    let api = herald.api("admin").await;
    user(&api, 42).await;
    assert!(!heard.pets().is_empty());
    ingest(&api, &Event::new("e-1").to(42)).await;
    let blocked = wait_until(SOON, "the block", async || {
        let heard = heard.0.lock().unwrap();
        let told =
            |message: &String| message.starts_with("STATUS=no progress: ") && message.contains("notifier");
        heard.iter().find(|(_, message)| told(message)).map(|(at, _)| *at)
    })
    .await;
    // Much longer than systemd waits. The socket's thread is not the one that is blocked.
    wait_until(SOON, "three seconds", async || (blocked.elapsed() > Duration::from_secs(3)).then_some(()))
        .await;
    assert!(heard.pets().into_iter().all(|at| at < blocked), "{:#?}", heard.all());
    listener.abort();
}

#[tokio::test]
async fn a_watchdog_that_is_meant_for_another_process() {
    let mut herald = Herald::prepare(Db::Sqlite, &[], "").await;
    let path = herald.dir().join("notify");
    let heard = Heard::default();
    let listener = heard.listen(net::UnixDatagram::bind(&path).unwrap());
    herald.set(&[
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("WATCHDOG_USEC", "100000"),
        ("WATCHDOG_PID", "1"),
    ]);
    herald.restart().await;
    heard.until("STATUS=ready").await;
    herald.stop().await;
    heard.until("STOPPING=1").await;
    assert!(heard.pets().is_empty());
    listener.abort();
}
