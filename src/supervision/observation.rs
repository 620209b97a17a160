//! What happens in a tree, told as it happens: for the application's metrics.

use std::sync::Arc;

use crate::supervision::Exit;

/// One thing that happened to one child.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Observation<'a> {
    /// A life ended, whether it was meant to or not.
    Ended {
        /// The child's name.
        child: &'a str,
        /// Why it ended.
        exit: &'a Exit,
    },
    /// It was started again.
    Restarted {
        /// The child's name.
        child: &'a str,
    },
}

/// Runs on the supervisors' thread.
pub(crate) type Observer = Arc<dyn Fn(Observation<'_>) + Send + Sync>;
