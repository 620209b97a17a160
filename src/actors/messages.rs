//! What the actors say to each other. A message is named after what happened, or what is asked.

use std::sync::Arc;

use actix::Message;
use tokio::sync::OwnedSemaphorePermit;

use super::hand::Room;
use crate::domain::NewEvent;
use crate::store::{Appended, ClaimedDelivery, Conflict, DeliveryOutcome, Ended, QueuedEvent, StoreError};

/// Store these events, all or none.
#[derive(Message)]
#[rtype(result = "Result<Vec<Appended>, AppendError>")]
pub(super) struct StoreEvents {
    /// The events of one caller.
    pub events: Vec<NewEvent>,
    /// Their place in the queue.
    pub room: OwnedSemaphorePermit,
}

/// Why events were not stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// An event with this id exists, with other content.
    #[error("an event with this id exists, with other content")]
    Conflict(Conflict),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Events may be waiting.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct EventsStored;

/// Handle these events; the answer is how many were still open.
#[derive(Message)]
#[rtype(result = "Result<usize, StoreError>")]
pub(super) struct HandleEvents(pub Vec<QueuedEvent>);

/// Send what this sender's hand holds now.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct SendDeliveries(pub Vec<(ClaimedDelivery, Room)>);

/// Deliveries of this sender's channel may be due.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct DeliveriesDue;

/// Deferred deliveries may be due.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DeferredDue;

/// A replay may be waiting.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ReplayAsked;

/// The service has been told to stop.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ServiceStops;

/// Give back what is in hand and has not been started.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ReleaseHand;

/// Record what came of a claimed delivery; the answer is whether it was taken.
#[derive(Message)]
#[rtype(result = "Result<bool, StoreError>")]
pub(super) struct RecordOutcome(pub DeliveryOutcome);

/// Answer when all outcomes that came before this are recorded.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct FlushOutcomes;

/// Make these events known to whoever listens. They are stored already.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct PublishEvents(pub Arc<Vec<NewEvent>>);

/// Notifications were made or changed.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct NotificationsChanged {
    /// Those that ended, if any did.
    pub ended: Vec<Ended>,
}
