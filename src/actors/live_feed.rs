//! Tells those who watch that something changed. It keeps nothing: a watcher that falls behind its
//! backlog is told to read again.

use actix::prelude::*;
use tokio::sync::broadcast;

use super::messages::NotificationsChanged;
use crate::supervision::SupervisedContext;

/// The actor.
pub(super) struct LiveFeed {
    watchers: broadcast::Sender<NotificationsChanged>,
}

impl LiveFeed {
    /// A feed to whoever subscribes to this channel, whose capacity is each watcher's backlog.
    pub(super) fn new(watchers: broadcast::Sender<NotificationsChanged>) -> Self {
        Self { watchers }
    }
}

impl Actor for LiveFeed {
    type Context = SupervisedContext<Self>;
}

impl Handler<NotificationsChanged> for LiveFeed {
    type Result = ();

    fn handle(&mut self, message: NotificationsChanged, _: &mut Self::Context) {
        crate::breakpoint!("live_feed");
        // An error says that nobody watches.
        let _ = self.watchers.send(message);
    }
}
