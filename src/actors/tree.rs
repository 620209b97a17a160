//! The supervision tree.
//!
//! Children start in the order of their addition and stop in reverse, so those that others send to
//! come first. Actors that may fail together share a thread: each channel has one of its own, so a
//! provider that makes its sender panic or block touches no other channel.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::prelude::*;
use tokio::runtime::Runtime as IoRuntime;
use tokio::sync::broadcast;

use super::carrier::Carriers;
use super::dispatcher::Dispatcher;
use super::event_publisher::EventPublisher;
use super::event_writer::{EventWriter, Ingest};
use super::instance::Instance;
use super::janitor::Janitor;
use super::live_feed::LiveFeed;
use super::messages::{DeferredDue, NotificationsChanged, ReleaseHand, ReplayAsked, ServiceStops};
use super::notifier::Notifier;
use super::outcome_writer::OutcomeWriter;
use super::rate_limiter::{RateLimiter, RateLimiters};
use super::redis::{BusCounts, RedisSubscriber, Server as RedisServer};
use super::releaser::Releaser;
use super::replayer::{Replayer, Told};
use super::retry_timer::RetryTimer;
use super::rules::Rules;
use super::sender::{Equipment, Retries, Sender};
use super::systemd::{NotifySocket, SystemdNotifier};
use crate::domain::{Channel, NewEvent};
use crate::supervision::{Backoff, ChildSpec, Intensity, SpecError, Supervisor, Tree, new_arbiter};
use crate::templates::Templates;

/// How a channel is carried.
#[derive(Clone)]
pub struct ChannelSetup {
    /// The channel.
    pub channel: Channel,
    /// What carries it.
    pub carriers: Carriers,
}

/// What the actors are built from.
pub struct Setup {
    /// This process.
    pub instance: Arc<Instance>,
    /// What is decided by.
    pub rules: Arc<Rules>,
    /// What messages are rendered from.
    pub templates: Arc<Templates>,
    /// When deliveries are tried again.
    pub retries: Retries,
    /// The channels.
    pub channels: Vec<ChannelSetup>,
    /// How many changes a watcher may fall behind.
    pub backlog: usize,
    /// The Redis server, and how long an id known from there alone may wait for its publisher's row.
    pub redis: Option<(RedisServer, Duration)>,
    /// Where systemd waits to hear how the service is.
    pub systemd: Option<NotifySocket>,
}

/// The running actors, as the rest of the program sees them.
pub struct Runtime {
    /// The tree, to be run.
    pub tree: Tree,
    /// The door for events.
    pub ingest: Ingest,
    /// The channels' senders, to be told to let go.
    pub senders: Vec<Recipient<ReleaseHand>>,
    /// Takes up what was deferred.
    pub releaser: Recipient<DeferredDue>,
    /// Works replays off.
    pub replayer: Recipient<ReplayAsked>,
    /// Who is to hear first that the service stops.
    pub systemd: Option<Recipient<ServiceStops>>,
    /// Changes of notifications, for those who watch.
    pub changes: broadcast::Sender<NotificationsChanged>,
    /// What goes over Redis.
    pub bus_counts: Arc<BusCounts>,
    /// Events as they are stored.
    pub bus: broadcast::Sender<Arc<Vec<NewEvent>>>,
}

/// Why the tree could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A thread could not be started.
    #[error("a thread for actors could not be started")]
    Thread(#[from] std::io::Error),
    /// The tree is not sound.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

/// What one supervisor bears before it gives up: a child that cannot live is restarted about eight
/// times within a minute, by its backoff, before that is escalated.
const INTENSITY: Intensity = Intensity { max_restarts: 8, window: Duration::from_secs(60) };
const BACKOFF: Backoff = Backoff {
    initial: Duration::from_millis(50),
    max: Duration::from_secs(2),
    reset_after: Duration::from_secs(30),
};
/// Over how many actors the recipients' caps are spread.
const RATE_LIMITERS: usize = 4;
/// What the root bears: three supervisors' failures in five minutes.
const ROOT_INTENSITY: Intensity = Intensity { max_restarts: 3, window: Duration::from_secs(300) };

/// Builds the tree. To be called on the thread of the actix system, whose supervisors live there.
///
/// # Errors
///
/// [`BuildError`].
pub fn build(setup: Setup, io: &Arc<IoRuntime>) -> Result<Runtime, BuildError> {
    let Setup { instance, rules, templates, retries, channels, backlog, redis, systemd } = setup;
    let counts = Arc::new(BusCounts::default());
    let (changes, _) = broadcast::channel(backlog.max(1));
    let (bus, _) = broadcast::channel(backlog.max(1));
    let core = new_arbiter(io)?.handle();

    let watchers = changes.clone();
    let (feed_spec, feed) = ChildSpec::worker("live_feed", &core, move |_| LiveFeed::new(watchers.clone()));
    let (publisher_spec, publisher) = ChildSpec::worker("event_publisher", &core, {
        let (listeners, server, counts) =
            (bus.clone(), redis.clone().map(|(server, _)| server), Arc::clone(&counts));
        move |_| EventPublisher::new(listeners.clone(), server.clone(), Arc::clone(&counts))
    });
    let (outcomes_spec, outcomes) = ChildSpec::worker("outcome_writer", &core, {
        let (instance, publisher, feed) = (Arc::clone(&instance), publisher.clone(), feed.clone());
        move |_| OutcomeWriter::new(Arc::clone(&instance), publisher.clone(), feed.clone().recipient())
    });
    let records = supervisor("records")
        .child(feed_spec.backoff(BACKOFF))?
        .child(publisher_spec.backoff(BACKOFF))?
        .child(outcomes_spec.backoff(BACKOFF))?;

    let mut senders = supervisor("channels");
    let (mut hand_over, mut ring, mut release) = (HashMap::new(), HashMap::new(), Vec::new());
    for channel in channels {
        let Some(hand) = instance.hand(channel.channel).cloned() else { continue };
        let equipment = Equipment {
            instance: Arc::clone(&instance),
            hand,
            carriers: channel.carriers,
            templates: Arc::clone(&templates),
            rules: Arc::clone(&rules),
            retries: Arc::clone(&retries),
            outcomes: outcomes.clone(),
        };
        let arbiter = new_arbiter(io)?.handle();
        let name = format!("{}_sender", channel.channel);
        let (spec, sender) = ChildSpec::worker(&name, &arbiter, move |_| Sender::new(equipment.clone()));
        hand_over.insert(channel.channel, sender.clone().recipient());
        ring.insert(channel.channel, sender.clone().recipient());
        release.push(sender.recipient());
        senders = senders.child(spec.backoff(BACKOFF))?;
    }

    let limits_arbiter = new_arbiter(io)?.handle();
    let (mut limits, mut shards) = (supervisor("limits"), Vec::new());
    for shard in 0..RATE_LIMITERS {
        let name = format!("rate_limiter_{shard}");
        let (spec, limiter) = ChildSpec::worker(&name, &limits_arbiter, |_| RateLimiter::default());
        limits = limits.child(spec.backoff(BACKOFF))?;
        shards.push(limiter);
    }
    let limiters = RateLimiters(shards);

    let (releaser_spec, releaser) = ChildSpec::worker("releaser", &core, {
        let (instance, rules) = (Arc::clone(&instance), Arc::clone(&rules));
        let (ring, publisher, feed) = (ring.clone(), publisher.clone(), feed.clone());
        move |_| {
            Releaser::new(
                Arc::clone(&instance),
                Arc::clone(&rules),
                ring.clone(),
                publisher.clone(),
                feed.clone().recipient(),
            )
        }
    });
    let replays = new_arbiter(io)?.handle();
    let (replayer_spec, replayer) = ChildSpec::worker("replayer", &replays, {
        let (instance, rules, templates) =
            (Arc::clone(&instance), Arc::clone(&rules), Arc::clone(&templates));
        let (ring, releaser, feed) = (ring.clone(), releaser.clone(), feed.clone());
        move |_| {
            let (instance, rules, templates) =
                (Arc::clone(&instance), Arc::clone(&rules), Arc::clone(&templates));
            let (releaser, feed) = (releaser.clone().recipient(), feed.clone().recipient());
            Replayer::new(instance, rules, templates, Told { senders: ring.clone(), releaser, feed })
        }
    });
    let (notifier_spec, notifier) = ChildSpec::worker("notifier", &core, {
        let (instance, rules) = (Arc::clone(&instance), Arc::clone(&rules));
        move |_| {
            Notifier::new(
                Arc::clone(&instance),
                Arc::clone(&rules),
                limiters.clone(),
                hand_over.clone(),
                feed.clone().recipient(),
            )
        }
    });
    let (dispatcher_spec, dispatcher) = ChildSpec::worker("dispatcher", &core, {
        let (instance, routes) = (Arc::clone(&instance), Arc::clone(&rules.routes));
        move |_| Dispatcher::new(Arc::clone(&instance), notifier.clone(), Arc::clone(&routes))
    });
    let (timer_spec, _) = ChildSpec::worker("retry_timer", &core, {
        let instance = Arc::clone(&instance);
        move |_| RetryTimer::new(Arc::clone(&instance), ring.clone())
    });
    let handling = supervisor("handling")
        .child(notifier_spec.backoff(BACKOFF))?
        .child(dispatcher_spec.backoff(BACKOFF))?
        .child(timer_spec.backoff(BACKOFF))?
        .child(releaser_spec.backoff(BACKOFF))?
        .child(replayer_spec.backoff(BACKOFF))?;

    let ingress = new_arbiter(io)?.handle();
    let (janitor_spec, _) = ChildSpec::worker("janitor", &ingress, {
        let (instance, dispatcher) = (Arc::clone(&instance), dispatcher.clone());
        move |_| {
            let dispatcher = dispatcher.clone().recipient();
            Janitor::new(Arc::clone(&instance), outcomes.clone(), Arc::clone(&retries), dispatcher)
        }
    });
    let (writer_spec, writer) = ChildSpec::worker("event_writer", &ingress, {
        let (instance, dispatcher) = (Arc::clone(&instance), dispatcher.clone());
        move |_| EventWriter::new(Arc::clone(&instance), dispatcher.clone().recipient(), publisher.clone())
    });
    let mut intake =
        supervisor("intake").child(janitor_spec.backoff(BACKOFF))?.child(writer_spec.backoff(BACKOFF))?;
    if let Some((server, adopt_after)) = redis {
        let (subscriber_spec, _) = ChildSpec::worker("redis_subscriber", &ingress, {
            let (instance, counts) = (Arc::clone(&instance), Arc::clone(&counts));
            move |_| {
                let dispatcher = dispatcher.clone().recipient();
                RedisSubscriber::new(
                    Arc::clone(&instance),
                    server.clone(),
                    Arc::clone(&counts),
                    dispatcher,
                    adopt_after,
                )
            }
        });
        intake = intake.child(subscriber_spec.backoff(BACKOFF))?;
    }
    // Last, so that it speaks of all the others; it needs the board of the tree in which it stands.
    let board = Arc::new(OnceLock::new());
    let mut stops = None;
    if let Some(socket) = systemd.map(Arc::new) {
        let (spec, notifier) = ChildSpec::worker("systemd_notifier", &ingress, {
            let (instance, board) = (Arc::clone(&instance), Arc::clone(&board));
            move |_| SystemdNotifier::new(Arc::clone(&instance), Arc::clone(&socket), Arc::clone(&board))
        });
        stops = Some(notifier.recipient());
        intake = intake.child(spec.backoff(BACKOFF))?;
    }
    let root = Supervisor::new("herald", ROOT_INTENSITY)
        .child(records.into_spec())?
        .child(senders.into_spec())?
        .child(limits.into_spec())?
        .child(handling.into_spec())?
        .child(intake.into_spec())?;
    let tree = Tree::new(root)?;
    let _ = board.set(tree.board());
    Ok(Runtime {
        tree,
        ingest: Ingest::new(writer, instance.settings.writer_queue),
        senders: release,
        releaser: releaser.recipient(),
        replayer: replayer.recipient(),
        systemd: stops,
        changes,
        bus_counts: counts,
        bus,
    })
}

fn supervisor(name: &str) -> Supervisor {
    Supervisor::new(name, INTENSITY)
}
