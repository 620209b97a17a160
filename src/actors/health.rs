//! Whether the process can do its work.

use super::instance::Instance;
use crate::store::StoreError;
use crate::supervision::{Board, Kind, State};

/// Why the process cannot do its work at the moment.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// It is about to end.
    #[error("the process is stopping")]
    Stopping,
    /// The database does not answer.
    #[error(transparent)]
    Database(#[from] StoreError),
    /// These actors do not run.
    #[error("not running: {0}")]
    Down(String),
}

/// Whether the process can do its work: the database answers, and every actor runs.
///
/// # Errors
///
/// [`NotReady`].
pub async fn readiness(instance: &Instance, board: &Board) -> Result<(), NotReady> {
    if instance.is_stopping() {
        return Err(NotReady::Stopping);
    }
    instance.store.ping().await?;
    let down: Vec<_> = board
        .status()
        .iter()
        .filter(|child| child.kind == Kind::Worker && child.state != State::Running)
        .map(|child| child.name.to_string())
        .collect();
    if down.is_empty() { Ok(()) } else { Err(NotReady::Down(down.join(", "))) }
}
