//! Sessions of the dashboard. One that was begun with a token ends with the token.

use std::time::Duration;

use diesel::sql_types::Text;

use super::{Bind, Statement, Store, StoreError};

impl Store {
    /// Begins a session with these scopes; `hash` is that of the browser's secret, `token` the id of
    /// the token that was shown, if it was one.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn begin_session(
        &self,
        hash: &str,
        scopes: &str,
        lifetime: Duration,
        token: Option<&str>,
    ) -> Result<(), StoreError> {
        let statement = Statement::new(
            "INSERT INTO logins (hash, kind, scopes, token_id, expires_at)
             VALUES (?, 'session', ?, ?, clock_timestamp() + make_interval(secs => ?))",
            "INSERT INTO logins (hash, kind, scopes, token_id, expires_at)
             VALUES (?, 'session', ?, ?, strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', ? || ' seconds'))",
            vec![
                Bind::Text(hash.to_owned()),
                Bind::Text(scopes.to_owned()),
                Bind::OptText(token.map(str::to_owned)),
                Bind::Double(lifetime.as_secs_f64()),
            ],
        );
        self.execute(statement).await.map(drop)
    }

    /// The scopes of a session that goes on: neither it nor the token that began it has expired or
    /// been revoked.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn session(&self, hash: &str) -> Result<Option<String>, StoreError> {
        let text = |now: &str| {
            format!(
                "SELECT l.scopes FROM logins l LEFT JOIN tokens t ON t.id = l.token_id
                 WHERE l.hash = ? AND l.kind = 'session' AND l.expires_at > {now}
                   AND (l.token_id IS NULL
                        OR t.id IS NOT NULL AND t.revoked_at IS NULL
                           AND (t.expires_at IS NULL OR t.expires_at > {now}))"
            )
        };
        let statement = Statement::<(Text,)>::new(
            text("clock_timestamp()"),
            text("strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')"),
            vec![Bind::Text(hash.to_owned())],
        );
        let found: Vec<(String,)> = self.read(statement).await?;
        Ok(found.into_iter().next().map(|row| row.0))
    }
}
