//! Starts the real binary, on a database and a port of its own, and talks to it from outside.

mod database;
mod event;
mod herald;
mod http;
pub(crate) mod oracle;
mod process;
pub(crate) mod redis;

use std::time::{Duration, Instant};

pub(crate) use database::{Database, Db, given};
pub(crate) use event::{Event, ingest, settle, settle_within, user};
pub(crate) use herald::Herald;
pub(crate) use http::{Answer, Api, JSON};

/// How long a test waits for what should come at once: far above it, as the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The same for what takes its time.
pub(crate) const LATE: Duration = Duration::from_secs(180);

/// Asks until there is an answer; fails when the time is up.
pub(crate) async fn wait_until<T>(limit: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs each case on both databases.
macro_rules! on_both {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                super::$case(crate::harness::Db::Sqlite).await;
            })+
        }
        mod postgres {
            $(#[tokio::test]
            async fn $case() {
                super::$case(crate::harness::Db::Postgres).await;
            })+
        }
    };
}
pub(crate) use on_both;

/// Whether the run was asked for larger numbers (`bash tests/run --soak`).
pub(crate) fn soak() -> bool {
    std::env::var_os("HERALD_TEST_SOAK").is_some()
}
