//! What a POST with an `Idempotency-Key` was answered.

use diesel::sql_types::{BigInt, Bool, Nullable, Text};

use super::{Bind, Statement, Store, StoreError};

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remembered {
    /// Nothing: the request is to be carried out, and its answer remembered.
    New,
    /// The first request with it is under way.
    InFlight,
    /// It was used for another request.
    OtherRequest,
    /// What the first request was answered.
    Answer(u16, String),
}

/// A first request that was never answered (its process died) is given up after this many seconds.
const GIVE_UP: i64 = 60;

impl Store {
    /// Takes a key for a request, or says what it was used for. `request` is a hash of what was asked.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn remember(&self, token: &str, key: &str, request: &str) -> Result<Remembered, StoreError> {
        let key = || vec![Bind::Text(token.to_owned()), Bind::Text(key.to_owned())];
        let mut binds = key();
        binds.push(Bind::Text(request.to_owned()));
        binds.push(Bind::BigInt(GIVE_UP));
        let taken = self
            .execute(Statement::new(
                "INSERT INTO idempotency_keys AS k (token_id, key, request) VALUES (?, ?, ?)
                 ON CONFLICT (token_id, key) DO UPDATE SET created_at = excluded.created_at
                 WHERE k.status IS NULL AND k.request = excluded.request
                   AND k.created_at < statement_timestamp() - make_interval(secs => (?::bigint)::double precision)",
                "INSERT INTO idempotency_keys AS k (token_id, key, request) VALUES (?, ?, ?)
                 ON CONFLICT (token_id, key) DO UPDATE SET created_at = excluded.created_at
                 WHERE k.status IS NULL AND k.request = excluded.request
                   AND k.created_at < strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-' || ? || ' seconds')",
                binds,
            ))
            .await?;
        if taken > 0 {
            return Ok(Remembered::New);
        }
        let mut binds = vec![Bind::Text(request.to_owned())];
        binds.extend(key());
        let statement = Statement::<(Bool, Nullable<BigInt>, Nullable<Text>)>::new(
            "SELECT request = ?, status::bigint, answer FROM idempotency_keys WHERE token_id = ? AND key = ?",
            "SELECT request = ?, status, answer FROM idempotency_keys WHERE token_id = ? AND key = ?",
            binds,
        );
        let found: Vec<(bool, Option<i64>, Option<String>)> = self.write(statement).await?;
        Ok(match found.into_iter().next() {
            // It was forgotten between the two statements: whoever asks again finds it new.
            None => Remembered::InFlight,
            Some((false, ..)) => Remembered::OtherRequest,
            Some((true, Some(status), Some(answer))) => {
                Remembered::Answer(u16::try_from(status).unwrap_or(200), answer)
            }
            Some((true, ..)) => Remembered::InFlight,
        })
    }

    /// Keeps the answer; without one, forgets the key, so that the request can be tried again.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn answer(
        &self,
        token: &str,
        key: &str,
        answer: Option<(u16, String)>,
    ) -> Result<(), StoreError> {
        let key = [Bind::Text(token.to_owned()), Bind::Text(key.to_owned())];
        let statement = match answer {
            Some((status, answer)) => Statement::same(
                "UPDATE idempotency_keys SET status = ?, answer = ? WHERE token_id = ? AND key = ?",
                [Bind::BigInt(status.into()), Bind::Text(answer)].into_iter().chain(key).collect(),
            ),
            None => Statement::same(
                "DELETE FROM idempotency_keys WHERE token_id = ? AND key = ?",
                key.into_iter().collect(),
            ),
        };
        self.execute(statement).await.map(drop)
    }
}
