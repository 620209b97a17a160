//! Why a child ended.

use std::sync::Arc;

use crate::supervision::{Intensity, PanicReport};

/// Why a child ended (OTP: exit reason).
#[derive(Debug, Clone, thiserror::Error)]
pub enum Exit {
    /// It stopped of its own will, or was asked to by its supervisor.
    #[error("stopped")]
    Normal,
    /// It gave up with [`SupervisedContext::fail`](crate::supervision::SupervisedContext::fail).
    #[error("failed: {0}")]
    Failed(Arc<str>),
    /// Its factory, a handler, a future in its context or a destructor panicked.
    #[error("panicked: {0}")]
    Panicked(PanicReport),
    /// It, or a child of it, was still running at the end of its shutdown time.
    #[error("killed: did not stop in time")]
    Killed,
    /// An operator asked for a restart. Never counted against the restart intensity.
    #[error("restart requested")]
    Requested,
    /// Its task is gone without a word: its arbiter was stopped. Nothing in this process can help.
    #[error("its thread is gone")]
    Lost,
    /// It is a supervisor that could not keep a child running.
    #[error(transparent)]
    Escalated(Box<Escalation>),
}

impl Exit {
    /// Whether the child meant to end.
    pub fn is_normal(&self) -> bool {
        matches!(self, Exit::Normal)
    }

    /// Whether no restart can help, on any level of the tree.
    pub(crate) fn is_fatal(&self) -> bool {
        match self {
            Exit::Lost => true,
            Exit::Escalated(escalation) => escalation.cause.is_fatal(),
            _ => false,
        }
    }
}

/// A supervisor's own failure.
#[derive(Debug, Clone, thiserror::Error)]
#[error("supervisor `{supervisor}` gave up on `{child}` ({intensity}): {cause}")]
pub struct Escalation {
    /// The supervisor that gave up.
    pub supervisor: Arc<str>,
    /// The child whose end was one too many.
    pub child: Arc<str>,
    /// What the supervisor bears.
    pub intensity: Intensity,
    /// Why that child ended.
    pub cause: Exit,
}
