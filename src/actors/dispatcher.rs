//! Takes the open events of the partitions that this instance holds, in order, upper lanes first, and
//! has them handled.
//!
//! It holds nothing: what is open is in the database, and is read again for each batch. One batch is
//! under way at a time, so the events of an aggregate are handled in the order of their storing.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant as Tick;

use super::instance::Instance;
use super::messages::{EventsStored, HandleEvents};
use super::notifier::Notifier;
use crate::domain::{EventOutcome, Lane};
use crate::policy::Routes;
use crate::store::{HandledEvent, QueuedEvent, StoreError};
use crate::supervision::SupervisedContext;

/// How long the handling of a batch may take. The store's own deadlines are below it.
const HANDLED_WITHIN: Duration = Duration::from_secs(30);
/// What comes in meanwhile waits for the batch in hand, however urgent it is: one that takes longer than
/// this makes the next one smaller.
const LONG_BATCH: Duration = Duration::from_millis(250);
/// The smallest batch that is made so.
const SMALL_BATCH: usize = 64;
/// An event whose handling crashed this often is given up.
const MOST_CRASHES: i64 = 3;

/// The actor.
pub(super) struct Dispatcher {
    instance: Arc<Instance>,
    notifier: Addr<Notifier>,
    routes: Arc<Routes>,
    busy: bool,
    rung: bool,
    /// How many events the next batch may have.
    batch: usize,
    /// After a crash: how many events are handled one by one, to find the one that it is due to.
    one_by_one: usize,
}

/// What came of one round.
enum Round {
    /// Nothing is open.
    Empty,
    /// So many events were handled.
    Handled(usize),
    /// The handling of so many events crashed.
    Crashed(usize),
    /// The store failed; the next tick tries again.
    Failed,
}

impl Dispatcher {
    /// A dispatcher for events on these routes.
    pub(super) fn new(instance: Arc<Instance>, notifier: Addr<Notifier>, routes: Arc<Routes>) -> Self {
        let batch = instance.settings.dispatch_batch;
        Self { instance, notifier, routes, busy: false, rung: false, batch, one_by_one: 0 }
    }

    fn dispatch(&mut self, ctx: &mut SupervisedContext<Self>) {
        if self.busy || self.instance.is_held() {
            return;
        }
        crate::breakpoint!("dispatcher");
        self.busy = true;
        self.rung = false;
        let limit = if self.one_by_one > 0 { 1 } else { self.batch };
        let begun = Tick::now();
        let round = round(Arc::clone(&self.instance), self.notifier.clone(), Arc::clone(&self.routes), limit);
        ctx.spawn(round.into_actor(self).map(move |round, dispatcher, ctx| {
            dispatcher.busy = false;
            dispatcher.one_by_one = match round {
                Round::Crashed(count) => dispatcher.one_by_one.max(count),
                _ => dispatcher.one_by_one.saturating_sub(1),
            };
            // A few urgent ones say nothing of how long a whole batch takes.
            if matches!(round, Round::Handled(count) if count >= limit && limit > 1) {
                let most = dispatcher.instance.settings.dispatch_batch;
                dispatcher.batch = next_batch(dispatcher.batch, most, begun.elapsed());
            }
            let more = match round {
                Round::Empty => dispatcher.rung,
                Round::Handled(_) | Round::Crashed(_) => true,
                Round::Failed => false,
            };
            if more {
                dispatcher.dispatch(ctx);
            }
        }));
    }
}

/// How many events the next batch may have, after one that took so long.
fn next_batch(batch: usize, most: usize, took: Duration) -> usize {
    if took > LONG_BATCH {
        (batch / 2).max(SMALL_BATCH.min(most))
    } else if took < LONG_BATCH / 2 {
        batch.saturating_mul(2).min(most)
    } else {
        batch
    }
}

async fn round(
    instance: Arc<Instance>,
    notifier: Addr<Notifier>,
    routes: Arc<Routes>,
    limit: usize,
) -> Round {
    let events = match open_events(&instance, &routes, limit).await {
        Ok(events) if events.is_empty() => return Round::Empty,
        // An urgent event brings the earlier ones of its aggregate; the first is handled by itself.
        Ok(events) if limit == 1 => events.into_iter().take(1).collect(),
        Ok(events) => events,
        Err(error) => return failed(&error),
    };
    let suspect = events.first().filter(|_| events.len() == 1).cloned();
    let count = events.len();
    match notifier.send(HandleEvents(events)).timeout(HANDLED_WITHIN).await {
        Ok(Ok(_)) => Round::Handled(count),
        Ok(Err(error)) if error.is_transient() || matches!(error, StoreError::Fenced) => failed(&error),
        // Something about one of the events: find out which, by itself.
        Ok(Err(error)) => match suspect {
            Some(event) => give_up(&instance, &event, format!("its handling failed: {error}")).await,
            None => Round::Crashed(count),
        },
        Err(MailboxError::Timeout) => Round::Failed,
        Err(MailboxError::Closed) => {
            metrics::counter!("herald_handling_crashes_total").increment(1);
            match suspect {
                None => Round::Crashed(count),
                Some(event) => match instance.store.note_crash(event.position).await {
                    Ok(crashes) if crashes >= MOST_CRASHES => {
                        give_up(&instance, &event, format!("its handling crashed {crashes} times")).await
                    }
                    Ok(_) => Round::Crashed(1),
                    Err(error) => failed(&error),
                },
            }
        }
    }
}

async fn open_events(
    instance: &Instance,
    routes: &Routes,
    limit: usize,
) -> Result<Vec<QueuedEvent>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    for lane in [Lane::Critical, Lane::High] {
        let types = routes.types_of(lane);
        if !types.is_empty() {
            let events = instance.store.open_events_of(instance.epoch(), types, limit).await?;
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }
    instance.store.open_events(instance.epoch(), limit).await
}

/// Ends an event whose handling cannot succeed, so that it does not hold up its aggregate for ever.
async fn give_up(instance: &Instance, event: &QueuedEvent, reason: String) -> Round {
    tracing::error!(event_id = event.id, reason, "an event cannot be handled");
    let failed_event = HandledEvent {
        ledger: None,
        position: event.position,
        id: event.id.clone(),
        partition: event.partition,
        outcome: EventOutcome::Failed,
        reason: Some(reason),
        notifications: Vec::new(),
        concerns: Vec::new(),
        owners: Vec::new(),
        introduces: None,
    };
    match instance.store.handle(instance.epoch(), instance.now(), vec![failed_event]).await {
        Ok(_) => Round::Handled(1),
        Err(error) => failed(&error),
    }
}

fn failed(error: &StoreError) -> Round {
    tracing::warn!(%error, "events could not be handled yet");
    metrics::counter!("herald_store_errors_total", "during" => "dispatch").increment(1);
    Round::Failed
}

impl Actor for Dispatcher {
    type Context = SupervisedContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.instance.settings.poll_interval, Self::dispatch);
        self.dispatch(ctx);
    }
}

impl Handler<EventsStored> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: EventsStored, ctx: &mut Self::Context) {
        self.rung = true;
        self.dispatch(ctx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_as_large_as_what_is_urgent_can_wait_for() {
        let next = |batch, most, ms| next_batch(batch, most, Duration::from_millis(ms));
        assert_eq!(next(256, 256, 500), 128, "it took long");
        assert_eq!(next(70, 256, 500), 64, "and there is an end to that");
        assert_eq!(next(256, 256, 10), 256);
        assert_eq!(next(64, 256, 10), 128, "it is fast again");
        assert_eq!(next(64, 256, 150), 64);
        assert_eq!((next(4, 4, 500), next(4, 4, 10)), (4, 4), "what is configured is the bound");
    }
}
