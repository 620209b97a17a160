//! Takes events from applications that publish on Redis: those that stored the row first, those that
//! publish only, and both at once.
//!
//! A known id only rings the dispatcher. An unknown one may be on its way: its publisher's own
//! transaction may still be open. It is looked up again after `redis.adopt_after`, and only then
//! stored, outside the group commit, under the connection's lock time-out: so neither does one
//! stranger's transaction hold up everybody, nor does the publisher's own insert fail.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::StreamExt;
use redis::Msg;

use super::server::Server;
use super::{BusCounts, PREFIX};
use crate::actors::instance::Instance;
use crate::actors::messages::EventsStored;
use crate::domain::NewEvent;
use crate::domain::event::{BusMessage, parse_bus_message};
use crate::store::{Appended, StoreError};
use crate::supervision::SupervisedContext;

/// Events that wait to be looked up again. At the bound no more is read from Redis, whose own buffer
/// then fills; what it drops after that, it drops.
const MOST_WAITING: usize = 2_000;
/// Messages that are looked up in one query.
const BATCH: usize = 256;
/// The first and the longest wait before another try to connect.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often a silent connection is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(5);
/// The wait before an event that the database did not take is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The actor.
pub(in crate::actors) struct RedisSubscriber {
    instance: Arc<Instance>,
    server: Server,
    counts: Arc<BusCounts>,
    dispatcher: Recipient<EventsStored>,
    adopt_after: Duration,
    backoff: Duration,
    waiting: HashSet<String>,
}

impl RedisSubscriber {
    /// A subscriber to this server.
    pub(in crate::actors) fn new(
        instance: Arc<Instance>,
        server: Server,
        counts: Arc<BusCounts>,
        dispatcher: Recipient<EventsStored>,
        adopt_after: Duration,
    ) -> Self {
        Self {
            instance,
            server,
            counts,
            dispatcher,
            adopt_after,
            backoff: RECONNECT.0,
            waiting: HashSet::new(),
        }
    }

    fn subscribe(&mut self, ctx: &mut SupervisedContext<Self>) {
        let server = self.server.clone();
        let connect = async move { server.listen(&format!("{PREFIX}*")).await };
        ctx.spawn(connect.into_actor(self).map(|connected, subscriber, ctx| match connected {
            Ok(listener) => {
                tracing::info!("subscribed to Redis");
                subscriber.counts.set_subscribed(true);
                subscriber.backoff = RECONNECT.0;
                // What was published meanwhile and stored by its publisher is found in the table.
                subscriber.dispatcher.do_send(EventsStored);
                let (sink, stream) = listener.split();
                subscriber.read_next(sink, stream.ready_chunks(BATCH), ctx);
            }
            Err(error) => {
                tracing::warn!(%error, again_after = ?subscriber.backoff, "no subscription");
                subscriber.reconnect_later(ctx);
            }
        }));
    }

    fn reconnect_later(&mut self, ctx: &mut SupervisedContext<Self>) {
        self.counts.set_subscribed(false);
        ctx.run_later(self.backoff, Self::subscribe);
        self.backoff = (self.backoff * 2).min(RECONNECT.1);
    }

    /// Reads what has come, looks it up, and goes on. A connection that is silent is asked whether it
    /// lives: one that is half open would stay silent for ever.
    fn read_next<S>(
        &mut self,
        mut sink: redis::aio::PubSubSink,
        mut stream: S,
        ctx: &mut SupervisedContext<Self>,
    ) where
        S: futures_util::Stream<Item = Vec<Msg>> + Unpin + 'static,
    {
        let full = self.waiting.len() >= MOST_WAITING;
        let instance = Arc::clone(&self.instance);
        let counts = Arc::clone(&self.counts);
        let read = async move {
            if full {
                actix::clock::sleep(AGAIN_AFTER).await;
                return Ok((Vec::new(), sink, stream));
            }
            let messages = loop {
                match tokio::time::timeout(PING_EVERY, stream.next()).await {
                    Ok(Some(messages)) => break messages,
                    Ok(None) => return Err("the connection has ended"),
                    Err(_) => {
                        let pong = tokio::time::timeout(PING_EVERY, sink.ping::<redis::Value>()).await;
                        if !matches!(pong, Ok(Ok(_))) {
                            return Err("it does not answer");
                        }
                    }
                }
            };
            let events: Vec<NewEvent> =
                messages.iter().filter_map(|message| read(message, &counts)).collect();
            Ok((sort(&instance, events).await, sink, stream))
        };
        ctx.spawn(read.into_actor(self).map(|read, subscriber, ctx| match read {
            Ok((unknown, sink, stream)) => {
                if !unknown.is_empty() {
                    subscriber.adopt_later(unknown, ctx);
                }
                subscriber.dispatcher.do_send(EventsStored);
                subscriber.read_next(sink, stream, ctx);
            }
            Err(why) => {
                tracing::warn!(why, "the subscription to Redis was lost");
                metrics::counter!("herald_redis_lost_total").increment(1);
                subscriber.reconnect_later(ctx);
            }
        }));
    }

    fn adopt_later(&mut self, events: Vec<NewEvent>, ctx: &mut SupervisedContext<Self>) {
        for event in events {
            if !self.waiting.insert(event.id.clone()) {
                continue;
            }
            let (instance, counts, wait) =
                (Arc::clone(&self.instance), Arc::clone(&self.counts), self.adopt_after);
            let id = event.id.clone();
            let adopt = async move {
                actix::clock::sleep(wait).await;
                adopt(&instance, &counts, event).await;
            };
            ctx.spawn(adopt.into_actor(self).map(move |(), subscriber, _| {
                subscriber.waiting.remove(&id);
                subscriber.dispatcher.do_send(EventsStored);
            }));
        }
    }
}

/// Reads a message. Its content is never logged.
fn read(message: &Msg, counts: &BusCounts) -> Option<NewEvent> {
    counts.count("received");
    match parse_bus_message(message.get_payload_bytes()) {
        Ok(BusMessage::Event { event, ignored_fields }) => {
            counts.ignored(ignored_fields as u64);
            Some(*event)
        }
        Ok(BusMessage::Own) => {
            counts.count("own");
            None
        }
        Err(errors) => {
            counts.count("nonsense");
            let fields =
                errors.iter().map(|error| error.pointer.as_str()).take(5).collect::<Vec<_>>().join(" ");
            tracing::warn!(
                bytes = message.get_payload_bytes().len(),
                fields,
                "a message on Redis is no event"
            );
            None
        }
    }
}

/// The events whose ids are not stored yet. If that cannot be found out, all of them are taken for
/// unknown: they are looked up again later.
async fn sort(instance: &Instance, events: Vec<NewEvent>) -> Vec<NewEvent> {
    let ids = events.iter().map(|event| event.id.clone()).collect();
    let known = instance.store.known_events(ids).await.unwrap_or_default();
    events.into_iter().filter(|event| !known.contains(&event.id)).collect()
}

/// Stores an event that nobody else has stored, trying until the database takes it.
async fn adopt(instance: &Instance, counts: &BusCounts, event: NewEvent) {
    loop {
        match instance.store.append(vec![vec![event.clone()]]).await {
            Ok(answers) => {
                match answers.first() {
                    Some(Ok(appended)) if matches!(appended.first(), Some(Appended::Stored(_))) => {
                        counts.count("adopted")
                    }
                    Some(Err(_)) => {
                        counts.count("conflict");
                        tracing::warn!(event_id = event.id, "an event on Redis has the id of another one");
                    }
                    _ => {}
                }
                return;
            }
            Err(error) if error.is_transient() => {
                // Its publisher's transaction may still be open.
                if !matches!(error, StoreError::Busy(_)) {
                    tracing::warn!(%error, event_id = event.id, "an event from Redis could not be stored yet");
                }
                actix::clock::sleep(AGAIN_AFTER).await;
            }
            Err(error) => {
                tracing::error!(%error, event_id = event.id, "an event from Redis cannot be stored");
                counts.count("nonsense");
                return;
            }
        }
    }
}

impl Actor for RedisSubscriber {
    type Context = SupervisedContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.subscribe(ctx);
    }
}
