//! Threads: one arbiter for each group of actors that may fail together, and one runtime for all I/O.

use std::{io, sync::Arc};

use actix::prelude::*;
use tokio::runtime::{Builder, Runtime};

/// The runtime that drives the sockets and timers of all arbiters.
///
/// An arbiter's own runtime drives what was opened on its thread, and stops doing so while that
/// thread is blocked. A connection from a shared pool would then hang in whichever actor uses it.
///
/// # Errors
/// The threads or the I/O driver could not be set up.
pub fn io_runtime(threads: usize) -> io::Result<Arc<Runtime>> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads).thread_name("io").enable_all();
    builder.build().map(Arc::new)
}

/// A thread for actors, whose sockets and timers `io` drives.
///
/// # Errors
/// The thread could not be started.
pub fn new_arbiter(io: &Arc<Runtime>) -> io::Result<Arbiter> {
    let io = Arc::clone(io);
    Arbiter::try_with_tokio_rt(move || Ok(io))
}
