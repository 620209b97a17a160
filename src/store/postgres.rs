//! Connections to PostgreSQL: TLS by rustls, pooled, with limits on the server's side.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use diesel::{ConnectionError, ConnectionResult};
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::FutureExt;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::store::error::StoreError;

/// How to reach PostgreSQL.
#[derive(Debug, Clone)]
pub struct Config {
    /// `postgres://user:password@host/database?sslmode=require`. `require` here means what libpq
    /// calls `verify-full`: rustls always checks the certificate and the host's name.
    pub url: String,
    /// The schema of Herald's tables; it is made at the first migration.
    pub schema: String,
    /// A PEM file of certificate authorities, in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// The most connections of this process.
    pub pool_size: usize,
    /// The server ends a statement after this time. Keep it below the store's deadline, so that
    /// normally the server gives up first and the connection stays usable.
    pub statement_timeout: Duration,
    /// The server stops waiting for a lock after this time. Short: a stranger's open transaction
    /// on one event id must not hold up a group of others.
    pub lock_timeout: Duration,
    /// The server ends a transaction that stays idle for this long: below the lease, so that an
    /// instance which hangs in the middle of one cannot hold its partitions for ever.
    pub idle_in_transaction: Duration,
}

impl Config {
    /// The defaults for a URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: "public".to_owned(),
            ca_file: None,
            pool_size: 16,
            statement_timeout: Duration::from_secs(4),
            lock_timeout: Duration::from_millis(250),
            idle_in_transaction: Duration::from_secs(5),
        }
    }
}

/// Every statement of the store goes by an index from a few rows that it is given, whose number the
/// planner cannot know: it takes a JSON array for 100 rows. On a table without statistics it would
/// rather read the whole table, and a prepared statement keeps that plan until somebody analyses the
/// table, however large it has grown meanwhile (tests/store/plans.rs). What has no index is read
/// through all the same; then JIT, which looks at the estimated cost, would only delay it.
///
/// The statements do their part: lists of keys are `= ANY(ARRAY(…))`, look-ups are `LATERAL … LIMIT
/// 1`, and where an UPDATE takes its rows from JSON, a condition that is always true (`x = x + 0`)
/// makes the planner expect one row, so that it begins with those and not with the table.
const BY_INDEX: &str =
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off";

/// Makes a pool; it connects at the first use.
///
/// # Errors
///
/// [`StoreError::Config`] for a URL or a CA file that cannot be used.
pub(super) fn pool(config: &Config) -> Result<Pool<AsyncPgConnection>, StoreError> {
    let connector = Connector::new(config)?;
    let mut manager = ManagerConfig::default();
    manager.custom_setup = Box::new(move |_| {
        let connector = connector.clone();
        async move { connector.connect().await }.boxed()
    });
    // `Fast` asks the server nothing: a closed socket is seen by the connection's own task, a
    // silent one by the TCP timeouts. `Verified` would add a round trip to every call.
    manager.recycling_method = RecyclingMethod::Fast;
    let manager = AsyncDieselConnectionManager::new_with_config(&config.url, manager);
    let pool = Pool::builder(manager).max_size(config.pool_size).build();
    pool.map_err(|error| StoreError::Config(error.to_string()))
}

/// With `off`, set for a server, a database or a role, a commit that was acknowledged could be lost
/// (<https://www.postgresql.org/docs/current/wal-async-commit.html>). The other values keep it, and say
/// how far the standbys are waited for: that is the server's to say.
const ACKNOWLEDGED_IS_DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false) \
                                       WHERE current_setting('synchronous_commit') = 'off'";

/// Opens single connections.
#[derive(Clone)]
pub(super) struct Connector {
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    session: String,
}

impl Connector {
    /// Reads the URL and the certificates.
    ///
    /// # Errors
    ///
    /// [`StoreError::Config`].
    pub(super) fn new(config: &Config) -> Result<Self, StoreError> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if config.schema.is_empty() || config.schema.len() > 63 || !config.schema.bytes().all(word) {
            let rule = "`schema` must be 1 to 63 letters, digits and `_`";
            return Err(StoreError::Config(rule.to_owned()));
        }
        // The cause alone: tokio-postgres names the bad part of the URL, never the password.
        let invalid = |error: tokio_postgres::Error| StoreError::Config(chain(&error));
        let mut parsed: tokio_postgres::Config = config.url.parse().map_err(invalid)?;
        // Without these a host that lost power looks alive for hours.
        parsed
            .connect_timeout(Duration::from_secs(3))
            .keepalives_idle(Duration::from_secs(30))
            .tcp_user_timeout(Duration::from_secs(10))
            .application_name("herald");
        let session = format!(
            "SET statement_timeout = {}; SET lock_timeout = {}; \
             SET idle_in_transaction_session_timeout = {}; SET search_path = \"{}\"; SET timezone = 'UTC'; \
             {BY_INDEX}; {ACKNOWLEDGED_IS_DURABLE}",
            config.statement_timeout.as_millis(),
            config.lock_timeout.as_millis(),
            config.idle_in_transaction.as_millis(),
            config.schema,
        );
        let tls = tls(config).map_err(|error| StoreError::Config(format!("TLS: {error}")))?;
        Ok(Self { config: parsed, tls, session })
    }

    /// Connects and sets the session up.
    ///
    /// # Errors
    ///
    /// Diesel's error, as its pool manager expects it.
    pub(super) async fn connect(&self) -> ConnectionResult<AsyncPgConnection> {
        let connected = self.config.connect(self.tls.clone()).await;
        let (client, connection) =
            connected.map_err(|error| ConnectionError::BadConnection(chain(&error)))?;
        let mut conn = AsyncPgConnection::try_from_client_and_connection(client, connection).await?;
        let session = conn.batch_execute(&self.session).await;
        session.map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(conn)
    }
}

fn tls(config: &Config) -> Result<MakeRustlsConnect, Box<dyn std::error::Error>> {
    let mut roots = rustls::RootCertStore::empty();
    // A system without certificates is fine until TLS is asked for.
    let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &config.ca_file {
        for certificate in CertificateDer::pem_file_iter(path)? {
            roots.add(certificate?)?;
        }
    }
    // The provider is named: with two in the build, rustls would panic for want of a default.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(client))
}

/// An error with its causes in one line; tokio-postgres alone says just "error connecting".
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
