//! Makes stored events known to whoever listens: in the process, and on Redis where one is
//! configured. Best effort: the table is the truth.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use redis::aio::MultiplexedConnection;
use tokio::sync::broadcast;

use super::messages::PublishEvents;
use super::redis::{BusCounts, PREFIX, RedisError, Server};
use crate::domain::NewEvent;
use crate::supervision::SupervisedContext;

/// Events that wait for Redis. At the bound the oldest are dropped, and counted.
const MOST_WAITING: usize = 10_000;
/// Events that go out in one round trip.
const BATCH: usize = 256;
/// The first and the longest wait before another try to connect.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The actor.
pub(super) struct EventPublisher {
    bus: broadcast::Sender<Arc<Vec<NewEvent>>>,
    server: Option<Server>,
    counts: Arc<BusCounts>,
    connection: Option<MultiplexedConnection>,
    queue: VecDeque<(String, String)>,
    sending: bool,
    backoff: Duration,
}

impl EventPublisher {
    /// A publisher on the bus of the process, and on a Redis server if there is one.
    pub(super) fn new(
        bus: broadcast::Sender<Arc<Vec<NewEvent>>>,
        server: Option<Server>,
        counts: Arc<BusCounts>,
    ) -> Self {
        let backoff = RECONNECT.0;
        Self { bus, server, counts, connection: None, queue: VecDeque::new(), sending: false, backoff }
    }

    fn send_what_waits(&mut self, ctx: &mut SupervisedContext<Self>) {
        if self.sending || self.queue.is_empty() {
            return;
        }
        let Some(server) = self.server.clone() else { return };
        self.sending = true;
        let count = self.queue.len().min(BATCH);
        let batch: Vec<_> = self.queue.drain(..count).collect();
        let connection = self.connection.take();
        let send = async move {
            let sent = publish(&server, connection, &batch).await;
            (sent, batch)
        };
        ctx.spawn(send.into_actor(self).map(|(sent, batch), publisher, ctx| {
            publisher.sending = false;
            match sent {
                Ok(connection) => {
                    publisher.connection = Some(connection);
                    publisher.backoff = RECONNECT.0;
                    publisher.counts.published(batch.len() as u64);
                    publisher.send_what_waits(ctx);
                }
                Err(error) => {
                    tracing::warn!(%error, waiting = publisher.queue.len() + batch.len(), "events are not published yet");
                    for entry in batch.into_iter().rev() {
                        publisher.queue.push_front(entry);
                    }
                    publisher.drop_the_oldest();
                    ctx.run_later(publisher.backoff, Self::send_what_waits);
                    publisher.backoff = (publisher.backoff * 2).min(RECONNECT.1);
                }
            }
        }));
    }

    fn drop_the_oldest(&mut self) {
        let surplus = self.queue.len().saturating_sub(MOST_WAITING);
        if surplus > 0 {
            self.queue.drain(..surplus);
            self.counts.unpublished(surplus as u64);
        }
    }
}

async fn publish(
    server: &Server,
    connection: Option<MultiplexedConnection>,
    batch: &[(String, String)],
) -> Result<MultiplexedConnection, RedisError> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => server.connect().await?,
    };
    let mut pipeline = redis::pipe();
    for (channel, event) in batch {
        pipeline.cmd("PUBLISH").arg(channel).arg(event).ignore();
    }
    pipeline.exec_async(&mut connection).await.map_err(RedisError::sending)?;
    Ok(connection)
}

impl Actor for EventPublisher {
    type Context = SupervisedContext<Self>;
}

impl Handler<PublishEvents> for EventPublisher {
    type Result = ();

    fn handle(&mut self, message: PublishEvents, ctx: &mut Self::Context) {
        crate::breakpoint!("event_publisher");
        if self.server.is_some() {
            for event in message.0.iter() {
                match serde_json::to_string(event) {
                    Ok(text) => self.queue.push_back((format!("{PREFIX}{}", event.aggregate_type), text)),
                    Err(error) => {
                        tracing::error!(%error, event_id = event.id, "an event cannot be written as JSON")
                    }
                }
            }
            self.drop_the_oldest();
            self.send_what_waits(ctx);
        }
        // An error says that nobody listens.
        let _ = self.bus.send(message.0);
    }
}
