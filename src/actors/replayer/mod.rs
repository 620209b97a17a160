//! Works replays off, step by step. It holds nothing: how far a replay has come, and what it has found,
//! stands in its row.

mod dry;
mod facts;
mod send;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use self::facts::{Facts, Stepped};
use super::instance::Instance;
use super::messages::{DeferredDue, DeliveriesDue, NotificationsChanged, ReplayAsked};
use super::rules::Rules;
use crate::domain::{Channel, parse_replay};
use crate::store::StoreError;
use crate::supervision::SupervisedContext;
use crate::templates::Templates;

/// Events that one step looks at.
const BATCH: i64 = 500;

/// Who is told when a step has put something to work.
pub(super) struct Told {
    pub(super) senders: HashMap<Channel, Recipient<DeliveriesDue>>,
    pub(super) releaser: Recipient<DeferredDue>,
    pub(super) feed: Recipient<NotificationsChanged>,
}

/// The actor.
pub(super) struct Replayer {
    instance: Arc<Instance>,
    rules: Arc<Rules>,
    templates: Arc<Templates>,
    told: Told,
    working: bool,
    again: bool,
    next_step: Option<SpawnHandle>,
}

impl Replayer {
    /// A replayer that decides by these rules and renders with these templates.
    pub(super) fn new(
        instance: Arc<Instance>,
        rules: Arc<Rules>,
        templates: Arc<Templates>,
        told: Told,
    ) -> Self {
        Self { instance, rules, templates, told, working: false, again: false, next_step: None }
    }

    fn work(&mut self, ctx: &mut SupervisedContext<Self>) {
        crate::breakpoint!("replayer");
        if self.working {
            self.again = true;
            return;
        }
        if let Some(planned) = self.next_step.take() {
            ctx.cancel_future(planned);
        }
        self.working = true;
        let work = step(Arc::clone(&self.instance), Arc::clone(&self.rules), Arc::clone(&self.templates));
        ctx.spawn(work.into_actor(self).map(|result, replayer, ctx| {
            replayer.working = false;
            let poll = replayer.instance.settings.poll_interval;
            let wait = match result {
                Ok(Some(stepped)) => {
                    replayer.announce(&stepped);
                    Duration::ZERO
                }
                Ok(None) => poll,
                Err(error) => {
                    tracing::warn!(%error, "a step of a replay could not be made yet");
                    metrics::counter!("herald_store_errors_total", "during" => "replay").increment(1);
                    poll
                }
            };
            let wait = if std::mem::take(&mut replayer.again) { Duration::ZERO } else { wait };
            // One step is planned at a time: whoever rings starts no second row of them.
            if let Some(planned) = replayer.next_step.replace(ctx.run_later(wait, Self::work)) {
                ctx.cancel_future(planned);
            }
        }));
    }

    fn announce(&self, stepped: &Stepped) {
        metrics::counter!("herald_replay_events_total").increment(stepped.events as u64);
        if stepped.resent == 0 {
            return;
        }
        metrics::counter!("herald_replay_deliveries_total").increment(stepped.resent as u64);
        for channel in &stepped.channels {
            if let Some(hand) = self.instance.hand(*channel) {
                hand.leave_waiting();
            }
            if let Some(sender) = self.told.senders.get(channel) {
                sender.do_send(DeliveriesDue);
            }
        }
        self.told.releaser.do_send(DeferredDue);
        self.told.feed.do_send(NotificationsChanged { ended: Vec::new() });
    }
}

impl Actor for Replayer {
    type Context = SupervisedContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.work(ctx);
    }
}

impl Handler<ReplayAsked> for Replayer {
    type Result = ();

    fn handle(&mut self, _: ReplayAsked, ctx: &mut Self::Context) {
        self.work(ctx);
    }
}

/// Makes the next step of the oldest replay; none: there is nothing to do for this instance now.
async fn step(
    instance: Arc<Instance>,
    rules: Arc<Rules>,
    templates: Arc<Templates>,
) -> Result<Option<Stepped>, StoreError> {
    if !instance.holds_lease() {
        return Ok(None);
    }
    let Some(replay) = instance.store.next_replay(instance.epoch()).await? else { return Ok(None) };
    if replay.send && instance.is_held() {
        return Ok(None);
    }
    let id = replay.id.clone();
    if replay.cursor == replay.begins {
        let (send, reason) = (replay.send, replay.reason.as_deref());
        tracing::info!(replay = id, send, reason, "a replay begins");
    }
    let request = parse_replay(replay.request.as_bytes()).ok();
    let report = serde_json::from_str(&replay.report).ok();
    let Some((request, report)) = request.zip(report) else {
        let error = "what is stored of it cannot be read: another version wrote it";
        tracing::error!(replay = id, error, "a replay cannot go on");
        instance.store.fail_replay(&id, error).await?;
        return Ok(Some(Stepped::default()));
    };
    let facts = Facts::load(&instance, &rules, replay, &request.filter, BATCH).await;
    let stepped = match facts {
        Ok(facts) if request.send => send::step(&instance, rules, facts, report).await,
        Ok(facts) => dry::step(&instance, &rules, &templates, facts, report).await,
        Err(error) => Err(error),
    };
    match stepped {
        // The same would come of every further try.
        Err(error) if !error.is_transient() && !matches!(error, StoreError::Fenced) => {
            tracing::error!(replay = id, %error, "a replay cannot go on");
            instance.store.fail_replay(&id, &error.to_string()).await?;
            Ok(Some(Stepped::default()))
        }
        Ok(Some(stepped)) => {
            if stepped.finished {
                tracing::info!(replay = id, "a replay is done");
            }
            Ok(Some(stepped))
        }
        other => other,
    }
}
