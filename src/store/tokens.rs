//! API tokens, and logging in to the dashboard. Only hashes are kept.

use std::time::Duration;

use diesel::sql_types::{Bool, Nullable, Text};
use serde::Serialize;

use super::types::Moment;
use super::{Bind, Statement, Store, StoreError};
use crate::domain::Instant;

/// An API token, without its secret.
#[derive(Debug, Clone, Serialize)]
pub struct TokenRecord {
    /// The public part of the token.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// Its scopes, comma-separated.
    pub scopes: String,
    /// When it was made.
    pub created_at: Instant,
    /// From when on it is refused.
    pub expires_at: Option<Instant>,
    /// When it was revoked.
    pub revoked_at: Option<Instant>,
}

/// What a login secret is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// A link that works once.
    Link,
    /// A browser's session.
    Session,
}

impl Login {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Session => "session",
        }
    }
}

type TokenSql = (Text, Text, Text, Moment, Nullable<Moment>, Nullable<Moment>);
type TokenTuple = (String, String, String, Instant, Option<Instant>, Option<Instant>);

impl Store {
    /// Keeps a new token.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn create_token(
        &self,
        id: &str,
        name: &str,
        hash: &str,
        scopes: &str,
        lifetime: Option<Duration>,
    ) -> Result<(), StoreError> {
        let lifetime = lifetime.map(|lifetime| i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX / 4));
        let statement = Statement::new(
            "INSERT INTO tokens (id, name, hash, scopes, expires_at)
             VALUES (?, ?, ?, ?, clock_timestamp() + make_interval(secs => (?::bigint)::double precision))",
            "INSERT INTO tokens (id, name, hash, scopes, expires_at)
             VALUES (?, ?, ?, ?, strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', ? || ' seconds'))",
            vec![
                Bind::Text(id.to_owned()),
                Bind::Text(name.to_owned()),
                Bind::Text(hash.to_owned()),
                Bind::Text(scopes.to_owned()),
                Bind::OptBigInt(lifetime),
            ],
        );
        self.execute(statement).await.map(drop)
    }

    /// The hash and the scopes of a token that is neither expired nor revoked.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn valid_token(&self, id: &str) -> Result<Option<(String, String)>, StoreError> {
        let statement = Statement::<(Text, Text)>::new(
            "SELECT hash, scopes FROM tokens
             WHERE id = ? AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())",
            "SELECT hash, scopes FROM tokens
             WHERE id = ? AND revoked_at IS NULL
               AND (expires_at IS NULL OR expires_at > strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))",
            vec![Bind::Text(id.to_owned())],
        );
        Ok(self.read(statement).await?.into_iter().next())
    }

    /// All tokens, newest first.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        let statement = Statement::<TokenSql>::same(
            "SELECT id, name, scopes, created_at, expires_at, revoked_at FROM tokens ORDER BY created_at DESC, id",
            vec![],
        );
        let found: Vec<TokenTuple> = self.read(statement).await?;
        Ok(found
            .into_iter()
            .map(|(id, name, scopes, created_at, expires_at, revoked_at)| TokenRecord {
                id,
                name,
                scopes,
                created_at,
                expires_at,
                revoked_at,
            })
            .collect())
    }

    /// Revokes a token; false if there is none, or it was revoked before.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn revoke_token(&self, id: &str) -> Result<bool, StoreError> {
        let statement = Statement::new(
            "UPDATE tokens SET revoked_at = clock_timestamp() WHERE id = ? AND revoked_at IS NULL",
            "UPDATE tokens SET revoked_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now') WHERE id = ? AND revoked_at IS NULL",
            vec![Bind::Text(id.to_owned())],
        );
        Ok(self.execute(statement).await? > 0)
    }

    /// Keeps the hash of a secret that logs somebody in.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn create_login(
        &self,
        kind: Login,
        hash: &str,
        scopes: &str,
        lifetime: Duration,
    ) -> Result<(), StoreError> {
        let statement = Statement::new(
            "INSERT INTO logins (hash, kind, scopes, expires_at)
             VALUES (?, ?, ?, clock_timestamp() + make_interval(secs => ?))",
            "INSERT INTO logins (hash, kind, scopes, expires_at)
             VALUES (?, ?, ?, strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', ? || ' seconds'))",
            vec![
                Bind::Text(hash.to_owned()),
                Bind::Text(kind.as_str().to_owned()),
                Bind::Text(scopes.to_owned()),
                Bind::Double(lifetime.as_secs_f64()),
            ],
        );
        self.execute(statement).await.map(drop)
    }

    /// Uses a link up, or ends a session; gives its scopes if it was still good.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn use_up_login(&self, kind: Login, hash: &str) -> Result<Option<String>, StoreError> {
        let statement = Statement::<(Text, Bool)>::new(
            "DELETE FROM logins WHERE hash = ? AND kind = ? RETURNING scopes, expires_at > clock_timestamp()",
            "DELETE FROM logins WHERE hash = ? AND kind = ?
             RETURNING scopes, expires_at > strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')",
            vec![Bind::Text(hash.to_owned()), Bind::Text(kind.as_str().to_owned())],
        );
        let found: Vec<(String, bool)> = self.write(statement).await?;
        Ok(found.into_iter().find(|row| row.1).map(|row| row.0))
    }

    /// Forgets links, sessions and remembered answers that are past their time.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn forget_expired(&self, idempotency: Duration) -> Result<(), StoreError> {
        self.execute(Statement::new(
            "DELETE FROM logins WHERE expires_at < clock_timestamp()",
            "DELETE FROM logins WHERE expires_at < strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')",
            vec![],
        ))
        .await?;
        self.execute(Statement::new(
            "DELETE FROM idempotency_keys WHERE created_at < clock_timestamp() - make_interval(secs => ?)",
            "DELETE FROM idempotency_keys WHERE created_at < strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-' || ? || ' seconds')",
            vec![Bind::Double(idempotency.as_secs_f64())],
        ))
        .await
        .map(drop)
    }
}
