//! The context of a supervised actor.

use std::{any::type_name, fmt, rc::Rc, sync::Arc};

use actix::{
    dev::{
        AsyncContextParts, ContextParts, Envelope, EnvelopeProxy, MessageResponse, OneshotSender, ToEnvelope,
    },
    fut::ActorFutureExt,
    prelude::*,
};

use crate::supervision::{Exit, panics};

/// What a supervised actor names as its `Context` instead of `actix::Context`.
///
/// It offers the same through [`AsyncContext`]. What it lacks is deliberate: `Actor::start` and its
/// like accept `actix::Context` only, so an actor of this context cannot be started unsupervised.
pub struct SupervisedContext<A: Actor<Context = Self>> {
    parts: ContextParts<A>,
    name: Arc<str>,
    verdict: Option<Exit>,
    in_flight: Rc<()>,
    replying: bool,
}

impl<A: Actor<Context = Self>> SupervisedContext<A> {
    pub(crate) fn new(parts: ContextParts<A>, name: Arc<str>) -> Self {
        SupervisedContext { parts, name, verdict: None, in_flight: Rc::new(()), replying: false }
    }

    /// The child's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Ends this life as a failure: the supervisor starts the next one. The way out of an actor
    /// that finds it cannot go on; `stopping` cannot veto it.
    ///
    /// The text is logged and shown to operators: no payload, no personal data.
    pub fn fail(&mut self, error: impl fmt::Display) {
        self.verdict = Some(Exit::Failed(error.to_string().into()));
        self.parts.stop();
    }

    pub(crate) fn take_verdict(&mut self) -> Option<Exit> {
        self.verdict.take()
    }

    /// Messages whose handler has returned a future that is not ready yet.
    pub(crate) fn in_flight(&self) -> usize {
        Rc::strong_count(&self.in_flight) - 1
    }

    fn counted<F>(&self, future: F) -> impl ActorFuture<A, Output = ()> + use<A, F>
    where
        F: ActorFuture<A, Output = ()>,
    {
        let ticket = Rc::clone(&self.in_flight);
        future.map(move |(), _, _| drop(ticket))
    }
}

impl<A: Actor<Context = Self>> ActorContext for SupervisedContext<A> {
    fn stop(&mut self) {
        self.parts.stop();
    }

    /// Like `stop`, but `stopping` cannot veto it. actix's own `terminate` is not used: after
    /// `cancel_future` it makes `ContextFut` loop for ever.
    fn terminate(&mut self) {
        self.verdict.get_or_insert(Exit::Normal);
        self.parts.stop();
    }

    fn state(&self) -> ActorState {
        self.parts.state()
    }
}

impl<A: Actor<Context = Self>> AsyncContext<A> for SupervisedContext<A> {
    fn address(&self) -> Addr<A> {
        self.parts.address()
    }

    fn spawn<F>(&mut self, future: F) -> SpawnHandle
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        // Timers and streams never end, so only the futures of replies count as work in flight.
        if self.replying { self.parts.spawn(self.counted(future)) } else { self.parts.spawn(future) }
    }

    fn wait<F>(&mut self, future: F)
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        self.parts.wait(self.counted(future));
    }

    fn waiting(&self) -> bool {
        self.parts.waiting()
    }

    fn cancel_future(&mut self, handle: SpawnHandle) -> bool {
        self.parts.cancel_future(handle)
    }
}

impl<A: Actor<Context = Self>> AsyncContextParts<A> for SupervisedContext<A> {
    fn parts(&mut self) -> &mut ContextParts<A> {
        &mut self.parts
    }
}

impl<A, M> ToEnvelope<A, M> for SupervisedContext<A>
where
    A: Actor<Context = Self> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn pack(message: M, reply: Option<OneshotSender<M::Result>>) -> Envelope<A> {
        Envelope::with_proxy(Box::new(Letter { message: Some(message), reply }))
    }
}

/// A message on its way, which knows its type's name and how to tell the context of its reply.
struct Letter<M: Message> {
    message: Option<M>,
    reply: Option<OneshotSender<M::Result>>,
}

impl<A, M> EnvelopeProxy<A> for Letter<M>
where
    A: Actor<Context = SupervisedContext<A>> + Handler<M>,
    M: Message,
{
    fn handle(&mut self, actor: &mut A, ctx: &mut SupervisedContext<A>) {
        let reply = self.reply.take();
        // As in actix: a message is not handled when nobody waits for its reply any more.
        if reply.as_ref().is_some_and(OneshotSender::is_closed) {
            return;
        }
        let Some(message) = self.message.take() else {
            return;
        };
        let _handling = panics::handling(type_name::<M>());
        let response = actor.handle(message, ctx);
        ctx.replying = true;
        response.handle(ctx, reply);
        ctx.replying = false;
    }
}
