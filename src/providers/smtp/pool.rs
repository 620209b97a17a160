//! The connections: a bound on how many are open, and the idle ones.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use super::connection::Connection;

/// An idle connection is closed after this. Servers wait for minutes, firewalls forget sooner.
const IDLE: Duration = Duration::from_secs(60);

/// All connections to one server.
pub(super) struct Pool {
    seats: Semaphore,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// The one used last is at the end, and is used first: the others may grow old.
    connections: Vec<(Connection, Instant)>,
    /// Whether a reaper is under way.
    reaped: bool,
}

/// The right to one connection.
pub(super) struct Seat<'a> {
    pool: &'a Arc<Pool>,
    _permit: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) fn new(connections: usize) -> Arc<Self> {
        let seats = Semaphore::new(connections.min(Semaphore::MAX_PERMITS));
        Arc::new(Self { seats, idle: Mutex::default() })
    }

    /// Waits until fewer than the bound are in use.
    pub(super) async fn seat(self: &Arc<Self>) -> Option<Seat<'_>> {
        let permit = self.seats.acquire().await.ok()?;
        Some(Seat { pool: self, _permit: permit })
    }

    /// Nothing that runs under the lock panics half-way, so a poisoned one is still whole.
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out what lay idle too long; says when to look again, unless nothing is left.
    fn expire(&self) -> (Vec<Connection>, Option<Instant>) {
        let mut idle = self.idle();
        let now = Instant::now();
        let young = idle.connections.iter().position(|(_, since)| now - *since < IDLE);
        let expired = young.unwrap_or(idle.connections.len());
        let expired = idle.connections.drain(..expired).map(|(connection, _)| connection).collect();
        let next = idle.connections.first().map(|(_, since)| *since + IDLE);
        idle.reaped = next.is_some();
        (expired, next)
    }
}

/// Closes idle connections as they expire; ends when none is left, or the pool is gone.
struct Reaper {
    pool: Weak<Pool>,
    /// When the oldest idle connection expires.
    at: Instant,
    ended: bool,
}

impl Reaper {
    async fn run(mut self) {
        loop {
            tokio::time::sleep_until(self.at).await;
            let Some(pool) = self.pool.upgrade() else { return };
            let (expired, next) = pool.expire();
            drop(pool);
            self.ended = next.is_none();
            for connection in expired {
                connection.leave().await;
            }
            match next {
                Some(next) => self.at = next,
                None => return,
            }
        }
    }
}

/// The runtime that it ran on may end before it: the next connection starts another.
impl Drop for Reaper {
    fn drop(&mut self) {
        if let (false, Some(pool)) = (self.ended, self.pool.upgrade()) {
            pool.idle().reaped = false;
        }
    }
}

impl Seat<'_> {
    /// An idle connection that has not expired.
    pub(super) fn idle(&self) -> Option<Connection> {
        let (connection, since) = self.pool.idle().connections.pop()?;
        // The others are older still, and the reaper's.
        (since.elapsed() < IDLE).then_some(connection)
    }

    /// Gives back a connection that is between two commands.
    pub(super) fn put(self, connection: Connection) {
        let start_reaper = {
            let mut idle = self.pool.idle();
            idle.connections.push((connection, Instant::now()));
            !std::mem::replace(&mut idle.reaped, true)
        };
        if start_reaper {
            let reaper = Reaper { pool: Arc::downgrade(self.pool), at: Instant::now() + IDLE, ended: false };
            #[expect(
                clippy::disallowed_methods,
                reason = "closes sockets and holds no work; ends with the pool"
            )]
            tokio::spawn(reaper.run());
        }
    }
}
