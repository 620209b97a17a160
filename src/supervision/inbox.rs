//! The mailbox that outlives its actors.
//!
//! actix closes a mailbox when its `ContextFut` is dropped, and offers no way to take it out. So the
//! channel's receiver stays here, with the task, and each life only borrows it: its [`Pump`] is an
//! ordinary future of the context that takes messages from the inbox and hands them to the actor.

use std::{
    cell::RefCell,
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};

use actix::{
    dev::{ContextParts, Envelope, EnvelopeProxy, channel::AddressReceiver},
    prelude::*,
};

use crate::supervision::{SupervisedContext, status::StatusCell};

/// Messages handled before the thread's other tasks get their turn.
const BATCH: usize = 64;

/// Messages counted before the same: many more, so that the depth shown catches up with a flood.
const FILL: usize = 1024;

pub(crate) type SharedInbox<A> = Rc<RefCell<Inbox<A>>>;

pub(crate) struct Inbox<A: Actor> {
    receiver: AddressReceiver<A>,
    /// The channel cannot say how long it is; this queue can. See [`Inbox::fill`].
    queue: VecDeque<Envelope<A>>,
    status: Arc<StatusCell>,
}

impl<A: Actor<Context = SupervisedContext<A>>> Inbox<A> {
    pub(crate) fn shared(receiver: AddressReceiver<A>, status: Arc<StatusCell>) -> SharedInbox<A> {
        Rc::new(RefCell::new(Inbox { receiver, queue: VecDeque::new(), status }))
    }

    /// A context whose `address()` leads to this inbox and not to anything that dies with the life.
    pub(crate) fn context(&self) -> SupervisedContext<A> {
        let parts = ContextParts::new(self.receiver.sender_producer());
        SupervisedContext::new(parts, Arc::clone(&self.status.name))
    }

    /// Whether nothing waits, here or in the channel: a `fill` that left something there left more
    /// in the queue than one batch takes out.
    pub(crate) fn is_empty(&self) -> bool {
        const { assert!(FILL > BATCH) };
        self.queue.is_empty()
    }

    /// Moves what has arrived into the queue, and sees to it that the task is woken for more.
    ///
    /// Called on every poll, also while no life runs, so the depth shown is right whenever the
    /// thread is. It does not weaken a bound: actix's mailbox capacity is none (`do_send` and
    /// `send` pass it), so admission control has to read the depth.
    pub(crate) fn fill(&mut self, cx: &mut Context<'_>) {
        for _ in 0..FILL {
            match Pin::new(&mut self.receiver).poll_next(cx) {
                Poll::Ready(Some(envelope)) => self.queue.push_back(envelope),
                // `Ready(None)` cannot be: only the receiver closes this channel, on its drop.
                Poll::Ready(None) | Poll::Pending => return self.show_depth(),
            }
        }
        cx.waker().wake_by_ref();
        self.show_depth();
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Option<Envelope<A>> {
        if self.queue.is_empty() {
            self.fill(cx);
        }
        let envelope = self.queue.pop_front()?;
        self.show_depth();
        self.status.handled.fetch_add(1, Relaxed);
        Some(envelope)
    }

    fn show_depth(&self) {
        self.status.queued.store(self.queue.len(), Relaxed);
    }
}

/// Carries messages from the inbox to the actor, for as long as one life lasts.
pub(crate) struct Pump<A: Actor>(pub(crate) SharedInbox<A>);

impl<A: Actor<Context = SupervisedContext<A>>> ActorFuture<A> for Pump<A> {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut SupervisedContext<A>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        for _ in 0..BATCH {
            // Stopping, or inside an `AtomicResponse`: the queue has to wait.
            if ctx.waiting() {
                return Poll::Pending;
            }
            // The borrow ends here: nothing is borrowed while the handler, which may panic, runs.
            let Some(mut envelope) = self.0.borrow_mut().next(cx) else {
                return Poll::Pending;
            };
            envelope.handle(actor, ctx);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
