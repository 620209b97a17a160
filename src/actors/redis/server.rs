//! How Redis is reached.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client, TlsCertificates};

/// How long a connection, and each answer on it, may take.
const WITHIN: Duration = Duration::from_secs(3);

/// Redis cannot be used. The text names no password.
#[derive(Debug, Clone, thiserror::Error)]
#[error("Redis {what}: {cause}")]
pub struct RedisError {
    what: &'static str,
    cause: String,
}

impl RedisError {
    /// What was sent did not get through.
    pub(in crate::actors) fn sending(error: redis::RedisError) -> Self {
        Self::new("did not take what was sent")(error)
    }

    fn new(what: &'static str) -> impl Fn(redis::RedisError) -> Self {
        // The kind, and not the detail: a detail may quote what was sent.
        move |error| Self { what, cause: error.category().to_owned() }
    }
}

/// A Redis server.
#[derive(Clone)]
pub struct Server(Client);

impl Server {
    /// The server of a URL: `redis://user:password@host:port/database`, `rediss://…` for TLS. `ca_file`
    /// holds certificate authorities that are trusted beside the system's.
    ///
    /// # Errors
    ///
    /// The URL or the file cannot be used.
    pub fn new(url: &str, ca_file: Option<&Path>) -> Result<Self, RedisError> {
        let invalid = RedisError::new("is configured wrongly");
        let client = match ca_file {
            Some(path) if url.starts_with("rediss:") => {
                let own = std::fs::read(path).map_err(|error| RedisError {
                    what: "is configured wrongly",
                    cause: format!("tls.ca_file: {error}"),
                })?;
                let root_cert = Some([system_certificates(), own].concat());
                Client::build_with_tls(url, TlsCertificates { client_tls: None, root_cert })
            }
            _ => Client::open(url),
        };
        client.map(Self).map_err(invalid)
    }

    /// A connection for commands.
    ///
    /// # Errors
    ///
    /// It cannot be reached.
    pub(in crate::actors) async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(WITHIN))
            .set_response_timeout(Some(WITHIN));
        let connected = self.0.get_multiplexed_async_connection_with_config(&config).await;
        connected.map_err(RedisError::new("cannot be reached"))
    }

    /// A connection that listens.
    pub(super) async fn listen(&self, pattern: &str) -> Result<PubSub, RedisError> {
        let connected = tokio::time::timeout(WITHIN, async {
            let mut listener = self.0.get_async_pubsub().await?;
            listener.psubscribe(pattern).await?;
            Ok(listener)
        });
        match connected.await {
            Ok(listener) => listener.map_err(RedisError::new("cannot be reached")),
            Err(_) => Err(RedisError { what: "cannot be reached", cause: "no answer in time".to_owned() }),
        }
    }

    /// Asks it whether it is there.
    ///
    /// # Errors
    ///
    /// It is not.
    pub async fn ping(&self) -> Result<(), RedisError> {
        let mut connection = self.connect().await?;
        let answer: redis::RedisResult<String> = redis::cmd("PING").query_async(&mut connection).await;
        answer.map(drop).map_err(RedisError::new("does not answer"))
    }
}

/// The system's authorities as PEM: Redis' client takes either its own or the system's.
fn system_certificates() -> Vec<u8> {
    let mut pem = String::new();
    for certificate in rustls_native_certs::load_native_certs().certs {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        pem.push_str(&STANDARD.encode(&certificate));
        pem.push_str("\n-----END CERTIFICATE-----\n");
    }
    pem.into_bytes()
}
