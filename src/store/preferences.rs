//! What recipients wish.

use diesel::sql_types::{BigInt, Nullable, Text};
use diesel_async::RunQueryDsl;

use super::{Bind, Statement, Store, StoreError, rows, transaction};
use crate::domain::Preferences;

/// Preferences as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPreferences {
    /// What they are.
    pub preferences: Preferences,
    /// Grows with each change; 0: never set.
    pub version: i64,
}

/// Which version a change is based on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Whichever there is.
    Any,
    /// One of these; another is a conflict.
    OneOf(Vec<i64>),
}

/// Reads a row's document.
pub(super) fn read(user: i64, document: Option<&str>) -> Result<Preferences, StoreError> {
    document.map_or_else(
        || Ok(Preferences::default()),
        |text| {
            Preferences::from_stored(text).map_err(|error| StoreError::Invalid {
                field: "preferences",
                reason: format!("of user {user} cannot be read: {error}"),
            })
        },
    )
}

type RowSql = (Nullable<Text>, BigInt);

fn select(user: i64) -> Statement<RowSql> {
    Statement::new(
        "SELECT preferences, preferences_version FROM users WHERE id = ? FOR UPDATE",
        "SELECT preferences, preferences_version FROM users WHERE id = ?",
        vec![Bind::BigInt(user)],
    )
}

impl Store {
    /// What a recipient wishes; none if there is no such recipient.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn preferences(&self, user: i64) -> Result<Option<StoredPreferences>, StoreError> {
        let statement = Statement::<RowSql>::same(
            "SELECT preferences, preferences_version FROM users WHERE id = ?",
            vec![Bind::BigInt(user)],
        );
        let found: Vec<(Option<String>, i64)> = self.read(statement).await?;
        let stored = |(document, version): (Option<String>, i64)| {
            Ok(StoredPreferences { preferences: read(user, document.as_deref())?, version })
        };
        found.into_iter().next().map(stored).transpose()
    }

    /// Changes what a recipient wishes, if the version is the expected one: `change` is given what is
    /// stored, and its error is given back. What waits for the recipient's quiet hours or limits is due at
    /// once, to be asked about again. Gives what is stored now; none if there is no such recipient.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`] if the version is another one; transient ones.
    pub async fn change_preferences<E: Send + 'static>(
        &self,
        user: i64,
        expected: Expected,
        change: impl FnOnce(&Preferences) -> Result<Preferences, E> + Send + 'static,
    ) -> Result<Option<Result<StoredPreferences, E>>, StoreError> {
        transaction!(self, |conn| {
            let found: Vec<(Option<String>, i64)> = select(user).load(conn).await?;
            let Some((document, version)) = found.into_iter().next() else { return Ok(None) };
            if matches!(&expected, Expected::OneOf(versions) if !versions.contains(&version)) {
                return Err(StoreError::Stale);
            }
            let preferences = match change(&read(user, document.as_deref())?) {
                Ok(preferences) => preferences,
                Err(error) => return Ok(Some(Err(error))),
            };
            let version = version + 1;
            let write = Statement::<()>::same(
                "UPDATE users SET preferences = ?, preferences_version = ? WHERE id = ?",
                vec![Bind::Text(preferences.to_json()), Bind::BigInt(version), Bind::BigInt(user)],
            );
            write.execute(conn).await?;
            super::hurry::due_at_once(rows(&[user])?).execute(conn).await?;
            Ok(Some(Ok(StoredPreferences { preferences, version })))
        })
    }
}
