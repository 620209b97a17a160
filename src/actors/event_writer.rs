//! Stores events: the group commit of concurrent publishers.
//!
//! While groups are being committed the next one gathers; an idle writer commits a single event at
//! once, and nothing ever sleeps to wait for company. Callers queue at the door ([`Ingest`]): what has
//! no room there is turned away, so the queue in here is bounded by what was let in.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::event_publisher::EventPublisher;
use super::instance::Instance;
use super::messages::{AppendError, EventsStored, PublishEvents, StoreEvents};
use crate::domain::NewEvent;
use crate::store::{Appended, StoreError};
use crate::supervision::SupervisedContext;

/// Groups that are committed at the same time. With one, an event that waits for a stranger's
/// transaction would hold up all the others.
const GROUPS_AT_ONCE: usize = 2;
/// Arrays of a failed group that are tried alone at the same time.
const ALONE_AT_ONCE: usize = 8;
/// How long a caller waits for its answer. The store's own deadline is below it.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

type Answer = Result<Vec<Appended>, AppendError>;

struct Waiting {
    events: Vec<NewEvent>,
    answer: oneshot::Sender<Answer>,
    room: OwnedSemaphorePermit,
}

/// The actor.
pub(super) struct EventWriter {
    instance: Arc<Instance>,
    dispatcher: Recipient<EventsStored>,
    publisher: Addr<EventPublisher>,
    queue: VecDeque<Waiting>,
    groups: usize,
}

impl EventWriter {
    /// A writer with an empty queue.
    pub(super) fn new(
        instance: Arc<Instance>,
        dispatcher: Recipient<EventsStored>,
        publisher: Addr<EventPublisher>,
    ) -> Self {
        Self { instance, dispatcher, publisher, queue: VecDeque::new(), groups: 0 }
    }

    fn commit_what_waits(&mut self, ctx: &mut SupervisedContext<Self>) {
        while self.groups < GROUPS_AT_ONCE && !self.queue.is_empty() {
            let mut group = Vec::new();
            let mut count = 0;
            while let Some(next) = self.queue.front() {
                if count > 0 && count + next.events.len() > self.instance.settings.writer_batch {
                    break;
                }
                count += next.events.len();
                group.extend(self.queue.pop_front());
            }
            self.groups += 1;
            let store = self.instance.store.clone();
            let commit = async move {
                let events = group.iter().map(|waiting| waiting.events.clone()).collect();
                (store.append(events).await, group)
            };
            ctx.spawn(commit.into_actor(self).map(|(result, group), writer, ctx| {
                crate::breakpoint!("event_writer_committed");
                writer.groups -= 1;
                match result {
                    Ok(answers) => {
                        for (waiting, answer) in group.into_iter().zip(answers) {
                            writer.answer(waiting, answer.map_err(AppendError::Conflict));
                        }
                    }
                    // One of them waits for a stranger's open transaction; the others need not.
                    Err(StoreError::Busy(_)) if group.len() > 1 => writer.commit_alone(group, ctx),
                    Err(error) => {
                        tracing::warn!(%error, arrays = group.len(), "events could not be stored");
                        for waiting in group {
                            writer.answer(waiting, Err(error.clone().into()));
                        }
                    }
                }
                writer.commit_what_waits(ctx);
            }));
        }
    }

    fn commit_alone(&mut self, group: Vec<Waiting>, ctx: &mut SupervisedContext<Self>) {
        let store = self.instance.store.clone();
        let all = async move {
            let each = futures_util::stream::iter(group.into_iter().map(|waiting| {
                let store = store.clone();
                async move {
                    let result = store.append(vec![waiting.events.clone()]).await;
                    let answer = match result {
                        Ok(answers) => match answers.into_iter().next() {
                            Some(answer) => answer.map_err(AppendError::Conflict),
                            None => Ok(Vec::new()),
                        },
                        Err(error) => Err(error.into()),
                    };
                    (waiting, answer)
                }
            }));
            each.buffer_unordered(ALONE_AT_ONCE).collect::<Vec<_>>().await
        };
        ctx.spawn(all.into_actor(self).map(|answers, writer, _| {
            for (waiting, answer) in answers {
                writer.answer(waiting, answer);
            }
        }));
    }

    fn answer(&self, waiting: Waiting, answer: Answer) {
        if let Ok(appended) = &answer {
            let is_new = |appended: &Appended| matches!(appended, Appended::Stored(_));
            let stored = appended.iter().filter(|appended| is_new(appended)).count();
            metrics::counter!("herald_events_stored_total").increment(stored as u64);
            metrics::counter!("herald_events_duplicate_total").increment((appended.len() - stored) as u64);
            if stored > 0 {
                self.dispatcher.do_send(EventsStored);
                let new = waiting.events.into_iter().zip(appended).filter(|(_, appended)| is_new(appended));
                self.publisher.do_send(PublishEvents(Arc::new(new.map(|(event, _)| event).collect())));
            }
        }
        drop(waiting.room);
        // A caller that has gone away needs no answer: what it sent is stored.
        let _ = waiting.answer.send(answer);
    }
}

impl Actor for EventWriter {
    type Context = SupervisedContext<Self>;
}

impl Handler<StoreEvents> for EventWriter {
    type Result = ResponseActFuture<Self, Answer>;

    fn handle(&mut self, message: StoreEvents, ctx: &mut Self::Context) -> Self::Result {
        crate::breakpoint!("event_writer");
        let (answer, answered) = oneshot::channel();
        self.queue.push_back(Waiting { events: message.events, answer, room: message.room });
        self.commit_what_waits(ctx);
        let lost = || {
            AppendError::Store(StoreError::Unavailable(Arc::new(std::io::Error::other("the writer stopped"))))
        };
        Box::pin(answered.into_actor(self).map(move |answer, _, _| answer.unwrap_or_else(|_| Err(lost()))))
    }
}

/// The door to the writer. Clones share its bound.
#[derive(Clone)]
pub struct Ingest {
    writer: Addr<EventWriter>,
    room: Arc<Semaphore>,
    size: usize,
}

/// Why events were not accepted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IngestError {
    /// Too many events wait already: try again in a moment.
    #[error("too many events are waiting to be stored")]
    Full,
    /// The writer crashed or did not answer: whether they are stored is not known. Send them again;
    /// what was stored counts as a duplicate.
    #[error("the event writer did not answer; send the same events again")]
    NoAnswer,
    /// The writer said why.
    #[error(transparent)]
    Refused(#[from] AppendError),
}

impl Ingest {
    /// A door that lets `size` events wait.
    pub(super) fn new(writer: Addr<EventWriter>, size: usize) -> Self {
        Self { writer, room: Arc::new(Semaphore::new(size)), size }
    }

    /// Stores events, all or none. `Ok` means: committed.
    ///
    /// # Errors
    ///
    /// [`IngestError`].
    pub async fn store(&self, events: Vec<NewEvent>) -> Result<Vec<Appended>, IngestError> {
        // An array larger than the whole queue must be able to pass.
        let places = u32::try_from(events.len().min(self.size)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(places).map_err(|_| {
            metrics::counter!("herald_events_turned_away_total").increment(events.len() as u64);
            IngestError::Full
        })?;
        match self.writer.send(StoreEvents { events, room }).timeout(ANSWER_WITHIN).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(IngestError::NoAnswer),
        }
    }

    /// How many events wait.
    pub fn waiting(&self) -> usize {
        self.size - self.room.available_permits()
    }
}
