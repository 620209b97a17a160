//! Makes stored events known to whoever listens. Best effort: the table is the truth.

use actix::prelude::*;

use super::messages::PublishEvents;
use crate::supervision::SupervisedContext;

/// The actor. Without Redis the bus is in the process.
pub struct EventPublisher {
    bus: tokio::sync::broadcast::Sender<std::sync::Arc<Vec<crate::domain::NewEvent>>>,
}

impl EventPublisher {
    /// A publisher on this bus.
    pub fn new(bus: tokio::sync::broadcast::Sender<std::sync::Arc<Vec<crate::domain::NewEvent>>>) -> Self {
        Self { bus }
    }
}

impl Actor for EventPublisher {
    type Context = SupervisedContext<Self>;
}

impl Handler<PublishEvents> for EventPublisher {
    type Result = ();

    fn handle(&mut self, message: PublishEvents, _: &mut Self::Context) {
        crate::breakpoint!("event_publisher");
        // An error says that nobody listens.
        let _ = self.bus.send(message.0);
    }
}
