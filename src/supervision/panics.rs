//! Panics: catching them, and saying whose they were.
//!
//! The hook runs before the stack unwinds, so it still sees which actor was being polled and which
//! message it was handling; `catch_unwind` alone would know neither, nor the location.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::{Future, poll_fn},
    panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind},
    pin::pin,
    sync::Arc,
};

thread_local! {
    static ACTOR: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
    static HANDLING: Cell<Option<&'static str>> = const { Cell::new(None) };
    static LAST: RefCell<Option<PanicReport>> = const { RefCell::new(None) };
}

/// What may be kept of a panic's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PanicText {
    /// Text fixed at compile time only. A formatted text may quote the data that caused the panic
    /// (`unwrap` does), and personal data must not reach logs or the status page.
    Literal,
    /// All of it: for development.
    Full,
}

/// One panic, without any message payload.
#[derive(Debug, Clone)]
pub struct PanicReport {
    /// The panic's text, as far as [`PanicText`] permits.
    pub text: Arc<str>,
    /// `file:line:column`.
    pub location: Arc<str>,
    /// The actor that was being polled.
    pub actor: Option<Arc<str>>,
    /// The type of the message that was being handled; none in `started` and in spawned futures.
    pub handling: Option<&'static str>,
}

impl PanicReport {
    fn new(info: &PanicHookInfo<'_>, policy: PanicText) -> Self {
        let text = match (info.payload().downcast_ref::<&'static str>(), policy) {
            (Some(literal), _) => literal,
            (None, PanicText::Full) => info.payload_as_str().unwrap_or("(not a text)"),
            (None, PanicText::Literal) => "(formatted text withheld)",
        };
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        PanicReport {
            text: text.into(),
            location: location.into(),
            actor: ACTOR.with_borrow(Clone::clone),
            handling: HANDLING.get(),
        }
    }

    /// For a panic that never reached the hook: it was resumed from another thread, or no hook is set.
    fn unseen() -> Self {
        PanicReport {
            text: "(not seen by the panic hook)".into(),
            location: "unknown".into(),
            actor: ACTOR.with_borrow(Clone::clone),
            handling: None,
        }
    }
}

impl fmt::Display for PanicReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.text, self.location)?;
        match self.handling {
            Some(message) => write!(f, " while handling {message}"),
            None => Ok(()),
        }
    }
}

/// Replaces the process's panic hook by one that logs through `tracing`. Call it first in `main`.
pub fn install_hook(policy: PanicText) {
    panic::set_hook(Box::new(move |info| {
        let report = PanicReport::new(info, policy);
        // Logged here and not where it is caught: a second panic on the way there aborts the process.
        tracing::error!(
            actor = report.actor.as_deref().unwrap_or("-"),
            handling = report.handling.unwrap_or("-"),
            location = &*report.location,
            "panic: {}",
            report.text,
        );
        LAST.set(Some(report));
    }));
}

/// Runs `work` in the name of `actor`, and turns a panic into a report.
///
/// The caller must drop whatever `work` had in its hands when it panicked: only then is
/// `AssertUnwindSafe` true.
pub(crate) fn catch<T>(actor: &Arc<str>, work: impl FnOnce() -> T) -> Result<T, PanicReport> {
    let _scope = enter(actor);
    LAST.take();
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| LAST.take().unwrap_or_else(PanicReport::unseen))
}

/// Runs a future in the name of `actor`, for the rare task that must live outside the actor's context.
/// Its panic is logged under that name, but ends only the task.
pub async fn attributed<F: Future>(actor: Arc<str>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let _scope = enter(&actor);
        future.as_mut().poll(cx)
    })
    .await
}

fn enter(actor: &Arc<str>) -> impl Drop + use<> {
    let outer = ACTOR.replace(Some(Arc::clone(actor)));
    OnDrop(Some(move || ACTOR.set(outer)))
}

/// Names the message type being handled, until the guard is dropped.
pub(crate) fn handling(message: &'static str) -> impl Drop {
    let outer = HANDLING.replace(Some(message));
    OnDrop(Some(move || HANDLING.set(outer)))
}

struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(action) = self.0.take() {
            action();
        }
    }
}
