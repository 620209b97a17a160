//! Keeps the house: the heartbeat, the share of the partitions, what operators have set, what other
//! instances left behind when they died, and what is past its time.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant as Tick;

use super::instance::Instance;
use super::messages::{EventsStored, RecordOutcome};
use super::outcome_writer::OutcomeWriter;
use super::retention::{Retention, forget_past_use};
use super::sender::{Retries, interrupted};
use crate::store::StoreError;
use crate::supervision::SupervisedContext;

/// How often what operators have set is read: every instance follows within this time.
const CONTROLS_EVERY: Duration = Duration::from_millis(500);
/// How often what is past its time is removed.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// How often what waits is counted, for the metrics.
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// How far it is counted.
const COUNTED: i64 = 100_000;
/// How often it is asked whether old events are to be deleted.
const FORGET_EVERY: Duration = Duration::from_secs(10);
/// How long the answer to an `Idempotency-Key` is remembered.
const REMEMBER_ANSWERS: Duration = Duration::from_secs(24 * 60 * 60);
/// How far back the sweep looks for events that no trigger queued.
const SWEEP_DEPTH: i64 = 10_000;
/// How many abandoned deliveries are taken back at a time.
const TAKE_BACK: i64 = 500;

/// The actor.
pub(super) struct Janitor {
    pub(super) instance: Arc<Instance>,
    pub(super) retention: Retention,
    outcomes: Addr<OutcomeWriter>,
    retries: Retries,
    dispatcher: Recipient<EventsStored>,
    beating: bool,
    taking_back: bool,
}

impl Janitor {
    /// A janitor for this instance.
    pub(super) fn new(
        instance: Arc<Instance>,
        outcomes: Addr<OutcomeWriter>,
        retries: Retries,
        dispatcher: Recipient<EventsStored>,
    ) -> Self {
        let retention = Retention::new(instance.settings.retention_days);
        Self { instance, retention, outcomes, retries, dispatcher, beating: false, taking_back: false }
    }

    fn beat(&mut self, ctx: &mut SupervisedContext<Self>) {
        if self.beating {
            return;
        }
        crate::breakpoint!("janitor");
        self.beating = true;
        let work = heartbeat(Arc::clone(&self.instance));
        ctx.spawn(work.into_actor(self).map(|result, janitor, ctx| {
            janitor.beating = false;
            match result {
                Ok(()) => {
                    janitor.share_work(ctx);
                    janitor.take_back(ctx);
                }
                Err(error) => {
                    janitor.instance.heart_has_missed();
                    tracing::warn!(%error, "the heartbeat could not be stored");
                    metrics::counter!("herald_heartbeats_missed_total").increment(1);
                }
            }
        }));
    }

    /// Gives up who has lost the lease, and takes up this instance's share of the partitions.
    fn share_work(&mut self, ctx: &mut SupervisedContext<Self>) {
        let instance = Arc::clone(&self.instance);
        let work = async move {
            if instance.may_fence() {
                let fenced = instance.store.fence(instance.epoch(), instance.settings.lease).await?;
                if !fenced.is_empty() {
                    tracing::warn!(epochs = ?fenced, "instances were silent past their lease and have been given up");
                }
            }
            instance.store.share_partitions(instance.epoch()).await
        };
        ctx.spawn(work.into_actor(self).map(|shared, _, _| {
            if let Err(error) = shared {
                tracing::warn!(%error, "the partitions could not be shared out; the next round tries again");
                metrics::counter!("herald_store_errors_total", "during" => "share").increment(1);
            }
        }));
    }

    /// Takes back what instances that have ended still claim. For all that is known each of it may
    /// have been sent.
    fn take_back(&mut self, ctx: &mut SupervisedContext<Self>) {
        if self.taking_back {
            return;
        }
        self.taking_back = true;
        let (instance, outcomes, retries) =
            (Arc::clone(&self.instance), self.outcomes.clone(), Arc::clone(&self.retries));
        let work = async move {
            let abandoned = instance.store.abandoned(TAKE_BACK).await?;
            let count = abandoned.len();
            let records = abandoned.iter().map(|held| {
                let retry = retries(&held.event_type, held.id.channel);
                let outcome = interrupted(held, true, &retry, instance.now(), rand::random());
                outcomes.send(RecordOutcome(outcome)).timeout(Duration::from_secs(30))
            });
            futures_util::future::join_all(records).await;
            instance.store.release_abandoned_work(Duration::ZERO).await?;
            Ok::<_, StoreError>(count)
        };
        ctx.spawn(work.into_actor(self).map(|result, janitor, ctx| {
            janitor.taking_back = false;
            match result {
                Ok(0) => {}
                Ok(count) => {
                    tracing::warn!(
                        count,
                        "deliveries of instances that have ended were taken back as unknown"
                    );
                    metrics::counter!("herald_deliveries_taken_back_total").increment(count as u64);
                    janitor.take_back(ctx);
                }
                Err(error) => tracing::warn!(%error, "abandoned deliveries could not be taken back yet"),
            }
        }));
    }

    fn read_controls(&mut self, ctx: &mut SupervisedContext<Self>) {
        let store = self.instance.store.clone();
        ctx.spawn(async move { store.controls().await }.into_actor(self).map(|controls, janitor, _| {
            if let Ok(controls) = controls {
                let was_held = janitor.instance.is_held();
                janitor.instance.set_controls(controls);
                if was_held && !janitor.instance.is_held() {
                    janitor.dispatcher.do_send(EventsStored);
                }
            }
        }));
    }

    fn count(&mut self, ctx: &mut SupervisedContext<Self>) {
        let store = self.instance.store.clone();
        let work = async move { store.count_deferred(COUNTED).await };
        ctx.spawn(work.into_actor(self).map(|deferred, _, _| match deferred {
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            Ok(deferred) => metrics::gauge!("herald_deliveries_deferred").set(deferred as f64),
            Err(error) => {
                tracing::debug!(%error, "what waits could not be counted; the next round tries again")
            }
        }));
    }

    fn tidy(&mut self, ctx: &mut SupervisedContext<Self>) {
        let instance = Arc::clone(&self.instance);
        let work = async move {
            let swept = instance.store.sweep(SWEEP_DEPTH).await?;
            if swept > 0 {
                tracing::warn!(swept, "events were found that no trigger had queued");
            }
            instance.store.forget_expired(REMEMBER_ANSWERS).await?;
            forget_past_use(&instance).await?;
            instance.store.trim_sandbox(instance.settings.sandbox_keep).await
        };
        ctx.spawn(work.into_actor(self).map(|result, _, _| {
            if let Err(error) = result {
                tracing::warn!(%error, "tidying up failed; the next round tries again");
                metrics::counter!("herald_store_errors_total", "during" => "tidy").increment(1);
            }
        }));
    }
}

/// Renews the lease.
async fn heartbeat(instance: Arc<Instance>) -> Result<(), StoreError> {
    let begun = Tick::now();
    match instance.store.heartbeat(instance.epoch()).await? {
        Some(beat) => {
            instance.has_counted(beat.live);
            instance.heart_has_beaten(begun, beat.at);
        }
        None => {
            // The others have given this instance up, and taken over what it held. It starts anew.
            let begun = Tick::now();
            let epoch = instance.store.register(&instance.name).await?;
            instance.has_joined(instance.store.live_instances().await?);
            let now = instance.store.now().await?;
            tracing::error!(epoch, "this instance was silent past its lease and has lost what it held");
            metrics::counter!("herald_leases_lost_total").increment(1);
            instance.begin_epoch(epoch);
            instance.heart_has_beaten(begun, now);
        }
    }
    Ok(())
}

impl Actor for Janitor {
    type Context = SupervisedContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.instance.settings.lease / 5, Self::beat);
        ctx.run_interval(CONTROLS_EVERY, Self::read_controls);
        ctx.run_interval(TIDY_EVERY, Self::tidy);
        ctx.run_interval(COUNT_EVERY, Self::count);
        ctx.run_interval(FORGET_EVERY, Self::forget_old);
        self.beat(ctx);
        self.read_controls(ctx);
        self.count(ctx);
    }
}
