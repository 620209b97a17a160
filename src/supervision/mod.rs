//! Supervision in the manner of Erlang/OTP for actors of the `actix` crate.
//!
//! Each child of a [`Supervisor`] is an actor, or another supervisor, described by a [`ChildSpec`].
//! When a child ends, its supervisor starts it again according to its [`Restart`] type, after a
//! [`Backoff`]; more restarts than its [`Intensity`] allows end the supervisor itself, and so
//! escalate to its parent. The end of the root is the end of the process.
//!
//! A restarted actor is a *new value in a new context behind the old mailbox*: every `Addr` and
//! `Recipient` ever handed out stays valid, and queued messages survive. Only the message that was
//! being handled is lost; its sender gets `MailboxError::Closed` while `addr.connected()` stays true.
//!
//! How the modules build on each other, from the inside out:
//!
//! | module | idea |
//! | --- | --- |
//! | `panics` | catch a panic; say which actor, which message, where |
//! | `context` | the context of a supervised actor |
//! | `inbox` | the mailbox that outlives its actors |
//! | `life` | one actor from factory to burial |
//! | `worker` | the task that runs life after life on the supervisor's orders |
//! | `child` | child spec, and the line between child and supervisor |
//! | `restart` | restart type, backoff, intensity |
//! | `supervisor` | the decisions |
//! | `tree` | the root: start, stop, exit status |
//! | `status` | what an operator sees of one child |
//! | `board` | all children at one glance, restart on request |
//! | `observation` | what happens, told to the application's metrics |
//! | `watchdog` | noticing what cannot be restarted |
//! | `placement` | threads |

mod board;
mod child;
mod context;
mod exit;
mod inbox;
mod life;
mod observation;
mod panics;
mod placement;
mod restart;
mod status;
mod supervisor;
mod tree;
mod unwind_only;
mod watchdog;
mod worker;

pub use board::{Board, UnknownChild};
pub use child::ChildSpec;
pub use context::SupervisedContext;
pub use exit::{Escalation, Exit};
pub use observation::Observation;
pub use panics::{PanicReport, PanicText, attributed, install_hook};
pub use placement::{io_runtime, new_arbiter};
pub use restart::{Backoff, Intensity, Restart};
pub use status::{ChildStatus, Kind, State};
pub use supervisor::Supervisor;
pub use tree::{SpecError, Tree, exit_code};
pub use watchdog::{Stall, watch};
