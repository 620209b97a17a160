//! Deletes what is older than the bank keeps it: a part of the Janitor's work.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use chrono::TimeDelta;
use tokio::time::Instant as Tick;

use super::instance::Instance;
use super::janitor::Janitor;
use crate::domain::Instant;
use crate::store::{Forgotten, StoreError};
use crate::supervision::SupervisedContext;

/// How long after a whole walk the next one begins.
const WALK_EVERY: Duration = Duration::from_secs(60 * 60);
/// The shortest pause between two steps; it is as long as the step took where that was longer, so
/// that deleting never takes more than half of one connection's time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

/// How far the deleting is.
pub(super) struct Retention {
    /// In days; 0: everything is kept.
    days: u32,
    walking: bool,
    walked: Option<Tick>,
}

impl Retention {
    pub(super) fn new(days: u32) -> Self {
        Self { days, walking: false, walked: None }
    }

    fn is_due(&self) -> bool {
        self.days > 0 && !self.walking && self.walked.is_none_or(|at| at.elapsed() >= WALK_EVERY)
    }
}

/// What was stored before this goes. None where that would be before all time.
fn cutoff(now: Instant, days: u32) -> Option<Instant> {
    now.utc().checked_sub_signed(TimeDelta::days(i64::from(days))).map(Instant::from)
}

/// Deletes rows of the rules that are past their use and go with no event; bounded, so that a backlog of
/// them goes in several rounds.
pub(super) async fn forget_past_use(instance: &Instance) -> Result<(), StoreError> {
    let days = instance.settings.retention_days;
    let may_delete = days > 0 && !instance.is_held();
    let before = may_delete.then(|| cutoff(instance.now(), days)).flatten();
    let gone = instance.store.forget_past_use(before).await?;
    for (table, rows) in [
        ("cap_grants", gone.cap_grants),
        ("replay_grants", gone.replay_grants),
        ("replays", gone.replays),
        ("external_sends", gone.external_sends),
    ] {
        metrics::counter!("herald_retention_deleted_total", "table" => table).increment(rows as u64);
    }
    Ok(())
}

/// One step, unless this instance is not to delete at the moment.
async fn step(instance: Arc<Instance>, days: u32, after: i64) -> Result<Option<Forgotten>, StoreError> {
    // While everything is held, such as after a restore, somebody looks at what is there.
    if instance.is_held() {
        return Ok(None);
    }
    match cutoff(instance.now(), days) {
        Some(before) => instance.store.forget_older(instance.epoch(), before, after).await,
        None => Ok(None),
    }
}

impl Janitor {
    /// Begins to delete, where it is time.
    pub(super) fn forget_old(&mut self, ctx: &mut SupervisedContext<Self>) {
        if self.retention.is_due() {
            self.retention.walking = true;
            self.forget_step(Forgotten::default(), ctx);
        }
    }

    fn forget_step(&mut self, so_far: Forgotten, ctx: &mut SupervisedContext<Self>) {
        let begun = Tick::now();
        let work = step(Arc::clone(&self.instance), self.retention.days, so_far.next.unwrap_or_default());
        ctx.spawn(work.into_actor(self).map(move |result, janitor, ctx| {
            let mut so_far = so_far;
            match result {
                Ok(Some(step)) => {
                    count(step);
                    so_far += step;
                    if step.next.is_some() {
                        let pause = begun.elapsed().max(SHORTEST_PAUSE);
                        ctx.run_later(pause, move |janitor, ctx| janitor.forget_step(so_far, ctx));
                        return;
                    }
                    janitor.retention.walked = Some(Tick::now());
                }
                // Another instance's task, or held.
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "what is past its retention could not all be deleted; the next round tries again");
                    metrics::counter!("herald_store_errors_total", "during" => "retention").increment(1);
                }
            }
            janitor.retention.walking = false;
            tell(so_far);
        }));
    }
}

fn count(step: Forgotten) {
    for (table, rows) in [
        ("domain_events", step.events),
        ("notifications", step.notifications),
        ("deliveries", step.deliveries),
        ("notification_history", step.attempts),
        ("work_items", step.work_items),
        ("decisions", step.decisions),
        ("external_sends", step.external_sends),
    ] {
        metrics::counter!("herald_retention_deleted_total", "table" => table).increment(rows as u64);
    }
}

/// One line for each walk that had something to do.
fn tell(walk: Forgotten) {
    let Forgotten { events, notifications, deliveries, attempts, work_items, left_open, left_dead, .. } =
        walk;
    if events + left_open + left_dead > 0 {
        tracing::info!(
            events,
            notifications,
            deliveries,
            attempts,
            work_items,
            left_open,
            left_dead,
            "what is past its retention was deleted; left is what is open, and dead letters that nobody dealt with"
        );
    }
    #[expect(clippy::cast_precision_loss, reason = "a count for people")]
    metrics::gauge!("herald_retention_left_dead_letters").set(left_dead as f64);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_cutoff_is_whole_days_ago() {
        let now = Instant::parse("2026-11-25T12:00:00Z").unwrap();
        assert_eq!(cutoff(now, 90).unwrap().to_rfc3339(), "2026-08-27T12:00:00.000000Z");
        assert_eq!(cutoff(now, u32::MAX), None, "before all time: nothing is that old");
    }
}
