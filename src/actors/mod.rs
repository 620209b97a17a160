//! The actors: one file or folder each. They orchestrate; what they decide is computed in `policy`
//! and `domain`, and what they keep is in the store.

mod carrier;
mod decided;
mod dispatcher;
mod event_publisher;
mod event_writer;
mod hand;
mod health;
mod instance;
mod janitor;
mod live_feed;
mod messages;
mod notifier;
mod outcome_writer;
mod pace;
mod rate_limiter;
mod redis;
mod releaser;
mod replayer;
mod retention;
mod retry_timer;
mod rules;
mod sandbox;
mod sender;
mod systemd;
mod tree;

pub use carrier::{Carrier, CarrierSetup, CarrierView, Carriers};
pub use event_writer::{Ingest, IngestError};
pub use hand::Hand;
pub use health::{NotReady, readiness};
pub use instance::{Instance, Settings};
pub use messages::{AppendError, DeferredDue, NotificationsChanged, ReplayAsked};
pub use messages::{ReleaseHand, ServiceStops};
pub use redis::{BusCounts, BusSnapshot, RedisError, Server as RedisServer};
pub use rules::{Defaults, Rules, Subscriptions};
pub use sandbox::SandboxStore;
pub use sender::Retries;
pub use systemd::{NotifyError, NotifySocket};
pub use tree::{BuildError, ChannelSetup, Runtime, Setup, build};
