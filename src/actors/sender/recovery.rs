//! What a sender does about claims that nobody works on: those of its earlier lives, and those that a
//! lost hand-over or a lost answer left behind.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::{Sender, interrupted};
use crate::actors::messages::{DeliveriesDue, FlushOutcomes, RecordOutcome};
use crate::store::StoreError;
use crate::supervision::SupervisedContext;

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

    /// Takes up what the database says this life holds and it does not have in hand, if that was so at
    /// two looks in a row.
    pub(super) fn compare_with_database(&mut self, ctx: &mut SupervisedContext<Self>) {
        self.take_back_if_any(ctx);
        if !self.looks.begin() {
            return;
        }
        let (store, claim, channel) = (self.equipment.instance.store.clone(), self.claim(), self.channel());
        let look = async move { store.held_by(channel, claim).await };
        ctx.spawn(look.into_actor(self).map(move |held, sender, ctx| {
            let Ok(mut held) = held else { return sender.looks.failed() };
            let hand = &sender.equipment.hand;
            held.retain(|delivery| {
                let in_hand = sender.in_hand.get(&delivery.id) == Some(&delivery.attempt);
                !in_hand && !hand.has_started(&delivery.id, delivery.attempt)
            });
            let absent = held.iter().map(|delivery| (delivery.id.clone(), delivery.attempt)).collect();
            let lost = sender.looks.end(absent);
            for delivery in held {
                let key = (delivery.id.clone(), delivery.attempt);
                let Some(room) =
                    lost.contains(&key).then(|| sender.equipment.hand.room_of(delivery.lane)).flatten()
                else {
                    continue;
                };
                tracing::warn!(delivery = %delivery.id, "a claim that was lost on the way is taken up");
                sender.looks.take_up(key);
                sender.take(delivery, room);
            }
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
