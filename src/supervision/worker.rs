//! The task behind one supervised actor: it runs one life after another, as its supervisor orders.

use std::{
    future::{pending, poll_fn},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use actix::{dev::channel::AddressReceiver, prelude::*};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use crate::supervision::{
    Exit, State, SupervisedContext,
    child::Order,
    inbox::{Inbox, SharedInbox},
    life::Life,
    status::StatusCell,
};

/// How often a worker shows that its thread is alive.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(250);

type Orders = UnboundedReceiver<Order>;

pub(crate) async fn run<A, F>(
    factory: F,
    receiver: AddressReceiver<A>,
    status: Arc<StatusCell>,
    mut orders: Orders,
) where
    A: Actor<Context = SupervisedContext<A>>,
    F: Fn(&mut SupervisedContext<A>) -> A,
{
    let inbox = Inbox::shared(receiver, Arc::clone(&status));
    while let Some(order) = idle(&inbox, &mut orders).await {
        // The other orders are for a child that runs.
        if let Order::Start(link) = order {
            status.beat();
            status.enter(State::Running);
            let exit = match Life::begin(&factory, &inbox, &status) {
                Ok(life) => live(life, &status, &mut orders, link.shutdown).await,
                Err(exit) => exit,
            };
            link.report(exit);
        }
    }
}

/// Between two lives: messages go on being counted.
async fn idle<A>(inbox: &SharedInbox<A>, orders: &mut Orders) -> Option<Order>
where
    A: Actor<Context = SupervisedContext<A>>,
{
    let count = poll_fn(|cx| {
        inbox.borrow_mut().fill(cx);
        Poll::Pending
    });
    tokio::select! {
        order = orders.recv() => order,
        () = count => None,
    }
}

async fn live<A>(mut life: Life<A>, status: &StatusCell, orders: &mut Orders, shutdown: Duration) -> Exit
where
    A: Actor<Context = SupervisedContext<A>>,
{
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut deadline = None;
    let mut requested = false;
    let exit = loop {
        tokio::select! {
            biased;
            exit = poll_fn(|cx| life.poll(cx)) => break exit,
            // Only one: the next may be for the next life.
            order = orders.recv(), if deadline.is_none() => {
                requested = matches!(order, Some(Order::Restart));
                deadline = Some(Instant::now() + shutdown);
                life.drain();
                status.enter(State::Stopping);
            }
            _ = heartbeat.tick() => status.beat(),
            () = at(deadline) => break Exit::Killed,
        }
    };
    match life.bury(exit) {
        Exit::Normal if requested => Exit::Requested,
        exit => exit,
    }
}

/// Sleeps until `instant`, or for ever.
pub(crate) async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
