//! Brings back what is due: it looks when the next waiting delivery of each channel is due, and rings
//! that channel's sender then. It holds nothing but the time of its next look.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::instance::Instance;
use super::messages::DeliveriesDue;
use crate::domain::{Channel, Instant};
use crate::supervision::SupervisedContext;

/// The actor.
pub(super) struct RetryTimer {
    instance: Arc<Instance>,
    senders: HashMap<Channel, Recipient<DeliveriesDue>>,
}

impl RetryTimer {
    /// A timer for these senders.
    pub(super) fn new(instance: Arc<Instance>, senders: HashMap<Channel, Recipient<DeliveriesDue>>) -> Self {
        Self { instance, senders }
    }

    fn look(&mut self, ctx: &mut SupervisedContext<Self>) {
        crate::breakpoint!("retry_timer");
        let store = self.instance.store.clone();
        ctx.spawn(async move { store.next_due().await }.into_actor(self).map(|found, timer, ctx| {
            let poll = timer.instance.settings.poll_interval;
            let wait = match found {
                Ok(due) => timer.ring(due).min(poll),
                Err(error) => {
                    tracing::warn!(%error, "what is due could not be read yet");
                    metrics::counter!("herald_store_errors_total", "during" => "retry").increment(1);
                    poll
                }
            };
            ctx.run_later(wait, Self::look);
        }));
    }

    /// Rings the senders for which something is due, and gives the time until the next is.
    fn ring(&self, due: Vec<(Channel, Instant)>) -> Duration {
        let now = self.instance.now();
        let mut wait = Duration::MAX;
        for (channel, at) in due {
            if at <= now {
                if let Some(sender) = self.senders.get(&channel) {
                    sender.do_send(DeliveriesDue);
                }
            } else {
                // A little later than due, so that the claim's own look at the clock agrees.
                wait = wait.min(at.since(now) + Duration::from_millis(2));
            }
        }
        wait
    }
}

impl Actor for RetryTimer {
    type Context = SupervisedContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}
