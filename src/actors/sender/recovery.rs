//! What a sender does about claims that nobody works on: those of its earlier lives, and those that a
//! lost hand-over or a lost answer left behind.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::{Sender, interrupted};
use crate::actors::messages::{DeliveriesDue, FlushOutcomes, RecordOutcome};
use crate::store::StoreError;
use crate::supervision::SupervisedContext;

/// How many adopted claims are remembered.
const MOST_ADOPTED: usize = 1_000;

impl Sender {
    /// Takes back what earlier lives held: first their outcomes that are on the way are recorded, then
    /// what is left was cut off. What had been started may have been sent.
    pub(super) fn take_back_from_earlier_lives(&mut self, ctx: &mut SupervisedContext<Self>) {
        let equipment = self.equipment.clone();
        let life = self.life;
        let work = async move {
            let _ = equipment.outcomes.send(FlushOutcomes).timeout(Duration::from_secs(10)).await;
            let instance = &equipment.instance;
            let held = instance
                .store
                .held_by_earlier_lives(equipment.hand.channel(), instance.epoch(), life)
                .await?;
            for delivery in held {
                let started = equipment.hand.has_started(&delivery.id, delivery.attempt);
                let retry = (equipment.retries)(&delivery.event_type, delivery.id.channel);
                let outcome = interrupted(&delivery, started, &retry, instance.now(), rand::random());
                let recorded =
                    equipment.outcomes.send(RecordOutcome(outcome)).timeout(Duration::from_secs(10)).await;
                if matches!(recorded, Ok(Ok(_))) {
                    equipment.hand.finish(&delivery.id, delivery.attempt);
                }
                equipment.hand.leave_waiting();
            }
            Ok::<_, StoreError>(())
        };
        ctx.spawn(work.into_actor(self).map(|result, _, ctx| {
            if let Err(error) = result {
                tracing::warn!(%error, "what an earlier life held could not be taken back yet");
                ctx.run_later(Duration::from_millis(500), Self::take_back_from_earlier_lives);
            }
            ctx.address().do_send(DeliveriesDue);
        }));
    }

    /// Adopts what the database says this life holds and it does not have in hand, if that was so at
    /// two looks in a row. (One look may be older than an outcome that was recorded meanwhile. The second
    /// one begins when the first has been heard, so it is not: with a slow database two that overlap would
    /// both be, and what has been sent and recorded would be sent again.)
    pub(super) fn compare_with_database(&mut self, ctx: &mut SupervisedContext<Self>) {
        if self.comparing {
            return;
        }
        self.comparing = true;
        self.take_back_if_any(ctx);
        let (store, claim, channel) = (self.equipment.instance.store.clone(), self.claim(), self.channel());
        let look = async move { store.held_by(channel, claim).await };
        ctx.spawn(look.into_actor(self).map(move |held, sender, ctx| {
            sender.comparing = false;
            let Ok(held) = held else { return };
            let mut missed = HashSet::new();
            for delivery in held {
                let in_hand = sender.in_hand.get(&delivery.id) == Some(&delivery.attempt);
                if in_hand || sender.equipment.hand.has_started(&delivery.id, delivery.attempt) {
                    continue;
                }
                let key = (delivery.id.clone(), delivery.attempt);
                if let Some(room) =
                    sender.missed.contains(&key).then(|| sender.equipment.hand.room()).flatten()
                {
                    tracing::warn!(delivery = %delivery.id, "a claim that was lost on the way is taken up");
                    sender.take(delivery, room);
                    sender.adopted.push_back(key);
                    if sender.adopted.len() > MOST_ADOPTED {
                        sender.adopted.pop_front();
                    }
                    continue;
                }
                missed.insert(key);
            }
            sender.missed = missed;
            sender.send_what_waits(ctx);
        }));
    }

    /// A batch that was being written when this life began may have been born for the last one.
    fn take_back_if_any(&mut self, ctx: &mut SupervisedContext<Self>) {
        if self.life == 1 {
            return;
        }
        let instance = Arc::clone(&self.equipment.instance);
        let (channel, life) = (self.channel(), self.life);
        let look = async move { instance.store.held_by_earlier_lives(channel, instance.epoch(), life).await };
        ctx.spawn(look.into_actor(self).map(|held, sender, ctx| {
            if held.is_ok_and(|held| !held.is_empty()) {
                sender.take_back_from_earlier_lives(ctx);
            }
        }));
    }
}
