//! Records what came of attempts: the group commit of the senders.
//!
//! Its queue is bounded by the senders' hands: a delivery keeps its room until it is recorded.
//! While the database is away outcomes wait here; if they are lost with a crash, their senders,
//! which still hold the claims, send them again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use super::event_publisher::EventPublisher;
use super::instance::Instance;
use super::messages::{FlushOutcomes, NotificationsChanged, PublishEvents, RecordOutcome};
use crate::store::{DeliveryOutcome, StoreError};
use crate::supervision::SupervisedContext;

/// Batches that are committed at the same time.
const BATCHES_AT_ONCE: usize = 2;
/// The wait before a batch that the database did not take is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

type Answer = Result<bool, StoreError>;

/// The actor.
pub(super) struct OutcomeWriter {
    instance: Arc<Instance>,
    publisher: Addr<EventPublisher>,
    feed: Recipient<NotificationsChanged>,
    queue: VecDeque<(DeliveryOutcome, oneshot::Sender<Answer>)>,
    batches: usize,
    flushes: Vec<oneshot::Sender<()>>,
    /// After a batch that the database refused: how many are recorded one by one, so that only the
    /// one that it is due to is refused.
    one_by_one: usize,
}

impl OutcomeWriter {
    /// A writer with an empty queue.
    pub(super) fn new(
        instance: Arc<Instance>,
        publisher: Addr<EventPublisher>,
        feed: Recipient<NotificationsChanged>,
    ) -> Self {
        Self {
            instance,
            publisher,
            feed,
            queue: VecDeque::new(),
            batches: 0,
            flushes: Vec::new(),
            one_by_one: 0,
        }
    }

    fn record_what_waits(&mut self, ctx: &mut SupervisedContext<Self>) {
        while self.batches < BATCHES_AT_ONCE && !self.queue.is_empty() {
            let most = if self.one_by_one > 0 { 1 } else { self.instance.settings.outcome_batch };
            let count = self.queue.len().min(most);
            self.one_by_one = self.one_by_one.saturating_sub(1);
            let batch: Vec<_> = self.queue.drain(..count).collect();
            self.batches += 1;
            let instance = Arc::clone(&self.instance);
            let record = async move {
                let outcomes = batch.iter().map(|(outcome, _)| outcome.clone()).collect();
                (instance.store.record(instance.epoch(), instance.now(), outcomes).await, batch)
            };
            ctx.spawn(record.into_actor(self).map(|(result, batch), writer, ctx| {
                crate::breakpoint!("outcome_writer_committed");
                writer.batches -= 1;
                match result {
                    Ok(recorded) => {
                        for ((outcome, answer), taken) in batch.into_iter().zip(recorded.taken) {
                            note(&outcome, taken);
                            // A sender that has died is told nothing: its next life reads its claims.
                            let _ = answer.send(Ok(taken));
                        }
                        writer.feed.do_send(NotificationsChanged { ended: recorded.ended });
                        if !recorded.events.is_empty() {
                            writer.publisher.do_send(PublishEvents(Arc::new(recorded.events)));
                        }
                    }
                    Err(error) if error.is_transient() => {
                        tracing::warn!(%error, outcomes = batch.len(), "outcomes could not be recorded yet");
                        metrics::counter!("herald_store_errors_total", "during" => "record").increment(1);
                        // To the front: a flush that came after them must still wait for them.
                        for entry in batch.into_iter().rev() {
                            writer.queue.push_front(entry);
                        }
                        ctx.run_later(AGAIN_AFTER, Self::record_what_waits);
                        return;
                    }
                    Err(_) if batch.len() > 1 => {
                        writer.one_by_one = writer.one_by_one.max(batch.len());
                        for entry in batch.into_iter().rev() {
                            writer.queue.push_front(entry);
                        }
                    }
                    Err(error) => {
                        tracing::error!(%error, outcomes = batch.len(), "outcomes cannot be recorded");
                        metrics::counter!("herald_store_errors_total", "during" => "record").increment(1);
                        for (_, answer) in batch {
                            let _ = answer.send(Err(error.clone()));
                        }
                    }
                }
                writer.record_what_waits(ctx);
            }));
        }
        if self.batches == 0 && self.queue.is_empty() {
            for flush in self.flushes.drain(..) {
                let _ = flush.send(());
            }
        }
    }
}

fn note(outcome: &DeliveryOutcome, taken: bool) {
    if taken {
        let labels = [
            ("channel", outcome.id.channel.as_str().to_owned()),
            ("state", outcome.state.as_str().to_owned()),
        ];
        metrics::counter!("herald_deliveries_total", &labels).increment(1);
    } else {
        metrics::counter!("herald_stale_outcomes_total").increment(1);
        tracing::warn!(delivery = %outcome.id, "a stale outcome was refused: the delivery is in other hands");
    }
}

impl Actor for OutcomeWriter {
    type Context = SupervisedContext<Self>;
}

impl Handler<RecordOutcome> for OutcomeWriter {
    type Result = ResponseActFuture<Self, Answer>;

    fn handle(&mut self, message: RecordOutcome, ctx: &mut Self::Context) -> Self::Result {
        crate::breakpoint!("outcome_writer");
        let (answer, answered) = oneshot::channel();
        self.queue.push_back((message.0, answer));
        self.record_what_waits(ctx);
        let lost = || StoreError::Unavailable(Arc::new(std::io::Error::other("the outcome writer stopped")));
        Box::pin(answered.into_actor(self).map(move |answer, _, _| answer.unwrap_or_else(|_| Err(lost()))))
    }
}

impl Handler<FlushOutcomes> for OutcomeWriter {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: FlushOutcomes, ctx: &mut Self::Context) -> Self::Result {
        let (done, flushed) = oneshot::channel();
        self.flushes.push(done);
        self.record_what_waits(ctx);
        Box::pin(flushed.into_actor(self).map(|_, _, _| ()))
    }
}
