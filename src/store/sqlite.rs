//! Connections to SQLite: one writer, some readers, in write-ahead mode.

use diesel::connection::SimpleConnection;
use diesel::sqlite::SqliteConnection;
use diesel::{Connection, ConnectionError, ConnectionResult};
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use futures_util::FutureExt;

use crate::store::error::StoreError;

/// SQLite behind diesel-async: each statement runs on the runtime's threads for blocking work.
///
/// A future that is dropped waits for its statement on the spot, and that needs a runtime with
/// several threads: on a current-thread runtime it panics.
pub(super) type Conn = SyncConnectionWrapper<SqliteConnection>;

/// The pools of one database file.
#[derive(Clone)]
pub(super) struct Sqlite {
    /// One connection. SQLite has one write lock: callers queue here, fairly and without
    /// polling, instead of colliding there. A pool also throws away a connection whose
    /// transaction was cut off, which rolls it back.
    pub writer: Pool<Conn>,
    /// Readers see the last commit and wait for nobody.
    pub readers: Pool<Conn>,
}

/// `FULL` syncs the log at every commit. `NORMAL` syncs it at checkpoints only: a power failure
/// would take back commits that were acknowledged (a crash of the process alone would not).
const WRITER: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                      PRAGMA foreign_keys = ON;";
/// SQLite's name for a database without a file (<https://sqlite.org/inmemorydb.html>).
pub(super) const IN_MEMORY: &str = ":memory:";
const READER: &str = "PRAGMA busy_timeout = 5000; PRAGMA query_only = ON;";

/// Makes the pools for a file; it is created at the first use.
///
/// # Errors
///
/// [`StoreError::Config`].
pub(super) fn open(path: &str, readers: usize) -> Result<Sqlite, StoreError> {
    Ok(Sqlite { writer: pool(path, WRITER, 1)?, readers: pool(path, READER, readers)? })
}

fn pool(path: &str, setup: &'static str, size: usize) -> Result<Pool<Conn>, StoreError> {
    let mut manager = ManagerConfig::default();
    manager.custom_setup = Box::new(move |path| {
        let path = path.to_owned();
        async move {
            let opened = tokio::task::spawn_blocking(move || connect(&path, setup)).await;
            opened.map_err(|error| ConnectionError::BadConnection(error.to_string()))?.map(Conn::new)
        }
        .boxed()
    });
    // There is no network: a connection cannot go away while it is idle.
    manager.recycling_method = RecyclingMethod::Fast;
    let manager = AsyncDieselConnectionManager::new_with_config(path, manager);
    let pool = Pool::builder(manager).max_size(size).build();
    pool.map_err(|error| StoreError::Config(error.to_string()))
}

/// Opens one connection for writing, for migrations.
pub(crate) fn connect_writer(path: &str) -> ConnectionResult<SqliteConnection> {
    connect(path, WRITER)
}

fn connect(path: &str, setup: &str) -> ConnectionResult<SqliteConnection> {
    make_private(path).map_err(|error| ConnectionError::BadConnection(format!("{path}: {error}")))?;
    let mut conn = SqliteConnection::establish(path)?;
    conn.batch_execute(setup).map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}

/// Makes a file that is not there, readable by its owner alone: SQLite itself would leave that to the
/// umask. Its log and its shared memory get the mode of the file (<https://www.sqlite.org/wal.html>, <https://www.sqlite.org/shortnames.html>).
fn make_private(path: &str) -> std::io::Result<()> {
    if path == IN_MEMORY {
        return Ok(());
    }
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
