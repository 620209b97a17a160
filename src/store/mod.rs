//! One store over two databases: SQLite for an embedded start, PostgreSQL for production.
//!
//! The rules that keep it one store:
//!
//! * A statement that the two dialects spell differently is a pair of texts with the same binds and
//!   the same row ([`statement`]); the function around it is written once. Sets of rows travel as one
//!   JSON bind, so a statement's text does not depend on the batch and is prepared once.
//! * [`Store`] is a struct, not a trait: tests use a real database, so nothing is to be faked.
//! * Every call is a task on the shared I/O runtime, awaited through its handle: a caller that goes
//!   away, or crashes, never cuts a call in the middle.
//! * A file a concern; each holds its statements, its flows and the rows that it gives.

mod append;
mod attention;
mod caps;
mod checkout;
mod claim;
mod closing;
mod controls;
mod dead_letters;
mod decisions;
mod deferred;
mod devices;
mod due;
mod ends;
mod error;
mod events;
mod external_sends;
mod handle;
mod hurry;
mod idempotency;
mod instances;
mod migrate;
mod notification_filter;
mod notifications;
mod past_use;
mod postgres;
mod preferences;
mod queue;
mod recipients;
mod reconcile;
mod record;
mod replay_events;
mod replays;
mod resend;
mod retention;
mod sandbox;
mod search;
mod sessions;
mod shift;
mod sqlite;
mod statement;
mod stats;
mod tokens;
mod types;
mod work_items;

use std::sync::Arc;
use std::time::Duration;

use diesel_async::methods::LoadQuery;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::Serialize;
use tokio::runtime::Handle;

use crate::domain::{Instant, UnknownWord};

use self::checkout::Checkout;
use self::sqlite::Sqlite;
use self::statement::{Bind, Statement};

pub use append::{Appended, Conflict};
pub use caps::{CapQuestion, Granted};
pub use claim::{Claim, ClaimedDelivery};
pub use controls::Controls;
pub use dead_letters::{DeadLetter, DeadLetterFilter};
pub use decisions::{Decision, LedgerEntry};
pub use deferred::{Release, Released};
pub use due::{DeferredDelivery, Sibling};
pub use ends::EventEnds;
pub use error::StoreError;
pub use events::{EventFilter, EventRecord};
pub use external_sends::{
    ComparedChannel, ComparedEvent, HeraldSend, OldSend, SendComparison, SendFilter, SendTotals,
};
pub use handle::{HandledEvent, NewDelivery, NewNotification};
pub use idempotency::Remembered;
pub use instances::{Heartbeat, Holdings};
pub use migrate::Mode as MigrationMode;
pub use notification_filter::NotificationFilter;
pub use notifications::{AttemptRecord, DeliveryRecord, NotificationRecord};
pub use past_use::PastUse;
pub use postgres::Config as PostgresConfig;
pub use preferences::{Expected, StoredPreferences};
pub use queue::QueuedEvent;
pub use recipients::Contacts;
pub use reconcile::Discrepancy;
pub use record::{Attempted, DeliveryOutcome, Recorded};
pub use replay_events::MadeDelivery;
pub use replays::{ReplayGrant, ReplayRecord, ReplayStep};
pub use resend::{ReopenedNotification, Reopening, Resending, ResentDeliveries};
pub use retention::Forgotten;
pub use sandbox::SandboxMessage;
pub use search::Found;
pub use shift::Ended;
pub use stats::{ChannelTotals, Totals, VariantTotals};
pub use tokens::{Login, TokenRecord};
pub use work_items::{ClaimedWork, WorkOutcome, WorkRecord};

/// Herald's database. Clones share it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    database: Database,
    deadline: Duration,
    io: Handle,
}

enum Database {
    Postgres(Pool<AsyncPgConnection>),
    Sqlite(Sqlite),
}

/// Where the database is.
#[derive(Clone)]
pub enum Location {
    /// A server.
    Postgres(PostgresConfig),
    /// The path of a file.
    Sqlite(String),
}

impl Location {
    /// Whether this is a file that is yet to be made. A server is asked by [`Store::ping`].
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Sqlite(path) if !std::path::Path::new(path).exists())
    }
}

/// Runs `$body` with a connection of one pool.
macro_rules! on {
    ($pool:expr, |$conn:ident| $body:expr) => {{
        let mut checkout = $crate::store::Checkout::new($pool).await?;
        let $conn = checkout.conn()?;
        let result = $body;
        checkout.done();
        result.map_err($crate::store::StoreError::from)
    }};
}

/// Runs `$body` in a transaction, as a task. SQLite takes its write lock first (`BEGIN IMMEDIATE`): a
/// transaction that reads before it writes could not get the lock later.
///
/// The body is written once and compiled for each database. It may run once only: what it uses is
/// moved into it.
macro_rules! transaction {
    ($store:expr, |$conn:ident| $body:block) => {{
        let inner = ::std::sync::Arc::clone(&$store.0);
        $store
            .task(async move {
                match &inner.database {
                    $crate::store::Database::Postgres(pool) => {
                        $crate::store::on!(pool, |conn| {
                            ::diesel_async::AsyncConnection::transaction::<_, $crate::store::StoreError, _>(
                                conn,
                                async |$conn| $body,
                            )
                            .await
                        })
                    }
                    $crate::store::Database::Sqlite(pools) => {
                        $crate::store::on!(&pools.writer, |conn| {
                            conn.immediate_transaction::<_, $crate::store::StoreError, _>(async |$conn| $body)
                                .await
                        })
                    }
                }
            })
            .await
    }};
}
use {on, transaction};

impl Store {
    /// The longest that a call may take. The databases' own limits are below it.
    pub const DEADLINE: Duration = Duration::from_secs(6);

    /// Opens the database; `io` runs its calls. It connects at the first use, and does not migrate.
    ///
    /// # Errors
    ///
    /// [`StoreError::Config`].
    pub fn open(location: &Location, io: Handle) -> Result<Self, StoreError> {
        let database = match location {
            Location::Postgres(config) => Database::Postgres(postgres::pool(config)?),
            Location::Sqlite(path) => Database::Sqlite(sqlite::open(path, 4)?),
        };
        Ok(Self(Arc::new(Inner { database, deadline: Self::DEADLINE, io })))
    }

    /// Runs what migrations are pending, or only names them, and returns their names. Of several
    /// instances one migrates, and the others wait.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if there is no connection, else [`StoreError::Migration`].
    pub async fn migrate(location: &Location, mode: MigrationMode) -> Result<Vec<String>, StoreError> {
        match location {
            Location::Postgres(config) => migrate::postgres(config, mode).await,
            Location::Sqlite(path) => migrate::sqlite(path, mode).await,
        }
    }

    /// Whether this is the embedded database, which one process has for itself.
    pub fn is_embedded(&self) -> bool {
        matches!(self.0.database, Database::Sqlite(_))
    }

    /// Asks the database whether it is there.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read::<_, (i64,)>(Statement::<(diesel::sql_types::BigInt,)>::same(
            "SELECT CAST(1 AS BIGINT)",
            vec![],
        ))
        .await?;
        Ok(())
    }

    /// The database's clock.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn now(&self) -> Result<Instant, StoreError> {
        let rows: Vec<(Instant,)> = self.read(clock()).await?;
        rows.into_iter().next().map(|(now,)| now).ok_or_else(StoreError::no_row)
    }

    /// Runs a call as a task, within the deadline.
    async fn task<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let deadline = self.0.deadline;
        let bounded = async move {
            tokio::time::timeout(deadline, call).await.unwrap_or(Err(StoreError::Deadline(deadline)))
        };
        match self.0.io.spawn(bounded).await {
            Ok(result) => result,
            Err(error) => Err(StoreError::Unavailable(Arc::new(error))),
        }
    }

    /// Runs a statement that only reads.
    async fn read<Row, T>(&self, statement: Statement<Row>) -> Result<Vec<T>, StoreError>
    where
        Statement<Row>: LoadQuery<'static, AsyncPgConnection, T> + LoadQuery<'static, sqlite::Conn, T>,
        Row: Send + 'static,
        T: Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        self.task(async move {
            match &inner.database {
                Database::Postgres(pool) => on!(pool, |conn| statement.load(conn).await),
                Database::Sqlite(pools) => on!(&pools.readers, |conn| statement.load(conn).await),
            }
        })
        .await
    }

    /// Runs a statement that writes, a transaction of its own, and gives the rows that it returns.
    async fn write<Row, T>(&self, statement: Statement<Row>) -> Result<Vec<T>, StoreError>
    where
        Statement<Row>: LoadQuery<'static, AsyncPgConnection, T> + LoadQuery<'static, sqlite::Conn, T>,
        Row: Send + 'static,
        T: Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        self.task(async move {
            match &inner.database {
                Database::Postgres(pool) => on!(pool, |conn| statement.load(conn).await),
                Database::Sqlite(pools) => on!(&pools.writer, |conn| statement.load(conn).await),
            }
        })
        .await
    }

    /// Runs a statement that writes and returns no rows; gives the number of rows that it changed.
    async fn execute(&self, statement: Statement) -> Result<usize, StoreError> {
        let inner = Arc::clone(&self.0);
        self.task(async move {
            match &inner.database {
                Database::Postgres(pool) => on!(pool, |conn| statement.execute(conn).await),
                Database::Sqlite(pools) => on!(&pools.writer, |conn| statement.execute(conn).await),
            }
        })
        .await
    }
}

/// The database's clock, as it stands when the statement runs.
fn clock() -> Statement<(types::Moment,)> {
    Statement::new("SELECT clock_timestamp()", "SELECT strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')", vec![])
}

/// Rows as the JSON array that a [`Statement`] binds.
fn rows(rows: &(impl Serialize + ?Sized)) -> Result<Bind, StoreError> {
    serde_json::to_string(rows)
        .map(Bind::Text)
        .map_err(|error| StoreError::Invalid { field: "row", reason: error.to_string() })
}

/// Reads one of the contract's words from a row. A word that this version does not know is left to
/// the newer one that wrote it.
fn word<W: std::str::FromStr<Err = UnknownWord>>(text: &str) -> Result<W, StoreError> {
    text.parse()
        .map_err(|error: UnknownWord| StoreError::Invalid { field: "word", reason: error.to_string() })
}
