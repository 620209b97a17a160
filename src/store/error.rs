//! The store's errors, by what a caller can do about them.

use std::sync::Arc;
use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::pooled_connection::PoolError;

type Source = Arc<dyn std::error::Error + Send + Sync>;

/// Why a call to the store failed.
///
/// It can be cloned, because one failed batch answers many callers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No connection, or it was lost. Whether a write took effect is not known. Transient.
    #[error("the database cannot be reached")]
    Unavailable(#[source] Source),

    /// A lock, a deadlock or a serialization failure; nothing was written. Transient.
    #[error("the database is busy")]
    Busy(#[source] Source),

    /// No answer in time. Whether a write took effect is not known. Transient.
    #[error("the database did not answer within {0:?}")]
    Deadline(Duration),

    /// A value that cannot be stored, found before the database was asked. Permanent.
    #[error("{field} is invalid: {reason}")]
    Invalid {
        /// The name of the value.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },

    /// The database refused the data: a constraint. Permanent.
    #[error("the database refused the data")]
    Refused(#[source] Source),

    /// Any other error of the database. Counted as transient, see [`StoreError::is_transient`].
    #[error("the database reported an error")]
    Database(#[source] Source),

    /// The configuration of the database cannot be used. Permanent.
    #[error("the database's configuration: {0}")]
    Config(String),

    /// Groups of events that conflict with stored ones, by index: how a transaction is left that must
    /// not be committed. Answered by the store itself, so no caller sees it.
    #[error("events conflict with stored ones")]
    Conflicts(Vec<(usize, super::Conflict)>),

    /// What was written belongs to another instance by now: this one lost its lease.
    #[error("this instance has lost its lease")]
    Fenced,

    /// What is to be changed has changed meanwhile. Permanent: read it again.
    #[error("it has changed meanwhile")]
    Stale,

    /// A migration failed. Permanent.
    #[error("migration failed")]
    Migration(#[source] Source),
}

impl StoreError {
    /// A statement that always gives a row gave none.
    pub(super) fn no_row() -> Self {
        Self::Database(Arc::new(std::io::Error::other("a row is missing from the answer")))
    }

    /// Whether the same call may succeed later.
    ///
    /// An error that is not recognised counts as transient: a wrong retry is bounded and seen, a
    /// wrong "permanent" would discard an event.
    pub fn is_transient(&self) -> bool {
        use StoreError::{
            Busy, Config, Conflicts, Database, Deadline, Fenced, Invalid, Migration, Refused, Stale,
            Unavailable,
        };
        match self {
            Unavailable(_) | Busy(_) | Deadline(_) | Database(_) => true,
            Invalid { .. } | Refused(_) | Config(_) | Migration(_) | Conflicts(_) | Fenced | Stale => false,
        }
    }

    /// Whether the database as a whole failed, so that trying the parts one by one is pointless.
    pub fn is_outage(&self) -> bool {
        matches!(self, StoreError::Unavailable(_) | StoreError::Deadline(_))
    }
}

/// Messages of errors that pass by themselves. diesel-async keeps no SQLSTATE, so the text is all
/// there is. With a server that speaks another language they fall to [`StoreError::Database`],
/// which is retried as well: the texts only make the answer more exact.
const BUSY: [&str; 5] = [
    "canceling statement due to lock timeout",
    "canceling statement due to statement timeout",
    "deadlock detected",
    "database is locked",
    "database table is locked",
];
const GONE: [&str; 3] = ["terminating connection", "the database system is", "connection closed"];

impl From<DieselError> for StoreError {
    fn from(error: DieselError) -> Self {
        use DatabaseErrorKind as Kind;
        // A COMMIT failed, and the ROLLBACK after it as well, as when the server has gone away.
        let error = match error {
            DieselError::RollbackErrorOnCommit { commit_error, .. } => *commit_error,
            error => error,
        };
        let (kind, message) = match &error {
            DieselError::DatabaseError(kind, info) => (kind, info.message().to_owned()),
            DieselError::BrokenTransactionManager => return Self::Unavailable(Arc::new(error)),
            // The rest are errors of this program: a value that does not fit its column, say.
            _ => return Self::Refused(Arc::new(error)),
        };
        let starts = |texts: &[&str]| texts.iter().any(|text| message.starts_with(text));
        match kind {
            Kind::UnableToSendCommand | Kind::ClosedConnection => Self::Unavailable(Arc::new(error)),
            // After a failover the old primary is read-only: the next connection finds the new one.
            Kind::ReadOnlyTransaction => Self::Unavailable(Arc::new(error)),
            Kind::SerializationFailure => Self::Busy(Arc::new(error)),
            Kind::UniqueViolation
            | Kind::ForeignKeyViolation
            | Kind::NotNullViolation
            | Kind::CheckViolation
            | Kind::RestrictViolation
            | Kind::ExclusionViolation => Self::Refused(Arc::new(error)),
            _ if starts(&GONE) => Self::Unavailable(Arc::new(error)),
            _ if starts(&BUSY) => Self::Busy(Arc::new(error)),
            _ => Self::Database(Arc::new(error)),
        }
    }
}

impl From<deadpool::managed::PoolError<PoolError>> for StoreError {
    fn from(error: deadpool::managed::PoolError<PoolError>) -> Self {
        Self::Unavailable(Arc::new(error))
    }
}
