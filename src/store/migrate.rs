//! Migrations: built into the binary, run at the start, by one instance while the others wait.

use std::path::Path;
use std::sync::Arc;

use diesel::migration::{Migration, MigrationSource};
use diesel::{Connection, RunQueryDsl};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::store::error::StoreError;
use crate::store::postgres::{Config, Connector};
use crate::store::sqlite::{IN_MEMORY, connect_writer};

const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// An arbitrary number that every instance shares.
const LOCK: i64 = 0x4865_7261_6c64;

/// What to do with the pending migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Run them, all or none.
    Run,
    /// Only name them. The database is left as it was.
    Check,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Migrates PostgreSQL and returns the names of the migrations that were pending.
///
/// One transaction holds the lock and all the migrations, so it also ends with them: whatever
/// happens, no lock is left behind. (`CREATE INDEX CONCURRENTLY` cannot be part of it.)
///
/// # Errors
///
/// [`StoreError::Unavailable`] if there is no connection, else [`StoreError::Migration`].
pub(super) async fn postgres(config: &Config, mode: Mode) -> Result<Vec<String>, StoreError> {
    let schema = config.schema.clone();
    let connected = Connector::new(config)?.connect().await;
    let conn = connected.map_err(|error| StoreError::Unavailable(Arc::new(error)))?;
    blocking(move || {
        // diesel's harness is synchronous. The wrapper drives the asynchronous connection from
        // this thread, so libpq is not needed.
        let mut conn = AsyncConnectionWrapper::<AsyncPgConnection>::from(conn);
        // The limits are for serving; a migration may take its time, and so may the wait for it.
        diesel::sql_query("SET statement_timeout = 0").execute(&mut conn)?;
        diesel::sql_query("SET lock_timeout = 0").execute(&mut conn)?;
        diesel::sql_query("SET idle_in_transaction_session_timeout = 0").execute(&mut conn)?;
        let mut names = Vec::new();
        let result = conn.transaction::<_, BoxError, _>(|conn| {
            diesel::sql_query(format!("SELECT pg_advisory_xact_lock({LOCK})")).execute(conn)?;
            // `CREATE SCHEMA IF NOT EXISTS` asks for the right to create one even where it exists.
            diesel::sql_query(format!(
                "DO $$ BEGIN IF to_regnamespace('\"{schema}\"') IS NULL THEN CREATE SCHEMA \"{schema}\"; END IF; END $$"
            ))
            .execute(conn)?;
            apply(conn, POSTGRES, mode, &mut names)
        });
        finish(result, names)
    })
    .await
}

/// Migrates a SQLite file and returns the names of the migrations that were pending. To check one that
/// is not there does not make it: all are pending.
///
/// # Errors
///
/// [`StoreError::Migration`].
pub(super) async fn sqlite(path: &str, mode: Mode) -> Result<Vec<String>, StoreError> {
    let missing = mode == Mode::Check && !Path::new(path).exists();
    let path = if missing { IN_MEMORY } else { path }.to_owned();
    blocking(move || {
        let mut conn = connect_writer(&path)?;
        let mut names = Vec::new();
        // The write lock is taken first, so `busy_timeout` makes the others wait.
        let result =
            conn.immediate_transaction::<_, BoxError, _>(|conn| apply(conn, SQLITE, mode, &mut names));
        finish(result, names)
    })
    .await
}

/// Rolls a check back: even asking creates diesel's table of applied migrations.
#[derive(Debug, thiserror::Error)]
#[error("checked")]
struct Checked;

fn apply<DB, C>(
    conn: &mut C,
    source: EmbeddedMigrations,
    mode: Mode,
    names: &mut Vec<String>,
) -> Result<(), BoxError>
where
    DB: diesel::backend::Backend,
    C: MigrationHarness<DB>,
    EmbeddedMigrations: MigrationSource<DB>,
{
    let pending = conn.pending_migrations(source)?;
    names.extend(pending.iter().map(|migration| migration.name().to_string()));
    if mode == Mode::Check {
        return Err(Box::new(Checked));
    }
    conn.run_migrations(&pending)?;
    Ok(())
}

fn finish(result: Result<(), BoxError>, names: Vec<String>) -> Result<Vec<String>, BoxError> {
    match result {
        Err(error) if !error.is::<Checked>() => Err(error),
        _ => Ok(names),
    }
}

async fn blocking<F>(work: F) -> Result<Vec<String>, StoreError>
where
    F: FnOnce() -> Result<Vec<String>, BoxError> + Send + 'static,
{
    let joined = tokio::task::spawn_blocking(work).await;
    let result = joined.map_err(|error| StoreError::Migration(Arc::new(error)))?;
    result.map_err(|error| StoreError::Migration(Arc::from(error)))
}
