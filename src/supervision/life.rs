//! One life of an actor: from its factory to its burial.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};

use actix::{
    dev::{AsyncContextParts, ContextFut, Mailbox},
    prelude::*,
};

use crate::supervision::{
    Exit, PanicReport, SupervisedContext,
    inbox::{Pump, SharedInbox},
    panics,
    status::StatusCell,
};

pub(crate) struct Life<A: Actor<Context = SupervisedContext<A>>> {
    future: ContextFut<A, SupervisedContext<A>>,
    inbox: SharedInbox<A>,
    status: Arc<StatusCell>,
    draining: bool,
}

impl<A: Actor<Context = SupervisedContext<A>>> Life<A> {
    /// Builds a new actor in a new context. The context's own mailbox is an empty dummy.
    pub(crate) fn begin(
        factory: &impl Fn(&mut SupervisedContext<A>) -> A,
        inbox: &SharedInbox<A>,
        status: &Arc<StatusCell>,
    ) -> Result<Self, Exit> {
        let mut ctx = inbox.borrow().context();
        ctx.spawn(Pump(Rc::clone(inbox)));
        let actor = attend(status, || factory(&mut ctx)).map_err(Exit::Panicked)?;
        Ok(Life {
            future: ContextFut::new(ctx, actor, Mailbox::default()),
            inbox: Rc::clone(inbox),
            status: Arc::clone(status),
            draining: false,
        })
    }

    /// From now on: handle what is queued, wait for the replies in flight, then stop.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    /// Lives on until it has to wait. Once it has returned an exit it must be buried, not polled.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Exit> {
        self.inbox.borrow_mut().fill(cx);
        loop {
            let polled = attend(&self.status, || Pin::new(&mut self.future).poll(cx));
            let ctx = self.future.ctx();
            self.status.in_flight.store(ctx.in_flight(), Relaxed);
            match (polled, ctx.take_verdict()) {
                (Err(report), _) => return Poll::Ready(Exit::Panicked(report)),
                (Ok(_), Some(exit)) => return Poll::Ready(exit),
                (Ok(Poll::Ready(())), None) => return Poll::Ready(Exit::Normal),
                (Ok(Poll::Pending), None) => {}
            }
            if !(self.draining && ctx.in_flight() == 0 && self.inbox.borrow().is_empty()) {
                return Poll::Pending;
            }
            self.draining = false;
            ctx.stop();
        }
    }

    /// Drops the actor and all its futures without polling any of them again.
    pub(crate) fn bury(self, exit: Exit) -> Exit {
        let status = Arc::clone(&self.status);
        status.in_flight.store(0, Relaxed);
        match attend(&status, move || drop(self)) {
            Err(report) if exit.is_normal() => Exit::Panicked(report),
            _ => exit,
        }
    }
}

/// Runs code of the actor: a panic becomes a report, and a thread that it blocks has a culprit.
fn attend<T>(status: &StatusCell, work: impl FnOnce() -> T) -> Result<T, PanicReport> {
    status.busy.store(true, Relaxed);
    let outcome = panics::catch(&status.name, work);
    status.busy.store(false, Relaxed);
    outcome
}

impl<A: Actor<Context = SupervisedContext<A>>> Drop for Life<A> {
    fn drop(&mut self) {
        // The destructor of a `ContextFut` that is still alive calls `stopping` and polls it, poisoned
        // futures included. Marked as terminated it does nothing.
        self.future.ctx().parts().terminate();
    }
}
