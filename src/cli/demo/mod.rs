//! `herald demo`: the embedded default with made-up recipients and a steady, varied flow of events.

mod bank;

use std::io::{IsTerminal, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::bank::Bank;
use super::serve::{Variant, serve};
use super::{CommandError, DemoArgs};
use crate::actors::{Ingest, Instance, Runtime};
use crate::config::{Config, DatabaseUrl, EmailProvider, PushProvider, SmsProvider};
use crate::domain::Channel;
use crate::policy::Retry;
use crate::providers::sandbox::Behaviour;
use crate::store::Totals;

/// How often the simulated bank sends what has fallen due.
const TICK: Duration = Duration::from_millis(100);

/// Runs the demo until it is told to stop. Everything it keeps is in a temporary file.
pub(super) fn demo(config: &Config, args: DemoArgs) -> Result<(), CommandError> {
    let mut config = config.clone();
    let path = std::env::temp_dir().join(format!("herald-demo-{}.db", std::process::id()));
    config.database.url = DatabaseUrl::Sqlite(path.clone());
    config.redis.url = None;
    config.push.provider = PushProvider::Sandbox;
    config.email.provider = EmailProvider::Sandbox;
    config.sms.provider = SmsProvider::Sandbox;
    // Short, so that one sees a delivery fail, wait and succeed.
    let retry = Retry { base: Duration::from_secs(2), max: Duration::from_secs(20), ..config.retry };
    config.retry = retry;
    config.push.retry = Some(Retry { floor: Duration::ZERO, ..retry });
    config.email.retry = Some(retry);
    config.sms.retry = Some(retry);

    let variant = Variant {
        hold: false,
        behaviour: Some(behaviour),
        beside: Some(Box::new(move |runtime: &Runtime, instance: &Arc<Instance>, address| {
            let (ingest, instance) = (runtime.ingest.clone(), Arc::clone(instance));
            Box::pin(async move { simulate(args, &ingest, &instance, address).await })
        })),
    };
    let result = serve(&config, variant);
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let mut name = path.clone().into_os_string();
        name.push(suffix);
        // What is not there need not be removed.
        let _ = std::fs::remove_file(name);
    }
    result
}

/// Some deliveries fail and are retried, a few fail for good.
fn behaviour(channel: Channel) -> Behaviour {
    let (seed, transient, permanent) = match channel {
        Channel::Push => (1, 0.06, 0.01),
        Channel::Email => (2, 0.04, 0.005),
        Channel::Sms => (3, 0.08, 0.015),
    };
    Behaviour {
        transient,
        permanent,
        slow: 0.03,
        slow_for: Duration::from_millis(800),
        ..Behaviour::seeded(seed)
    }
}

async fn simulate(args: DemoArgs, ingest: &Ingest, instance: &Instance, address: SocketAddr) {
    let mut bank = Bank::new(args.users);
    for people in bank.recipients().chunks(500) {
        if let Err(error) = instance.store.put_recipients(people.to_vec()).await {
            tracing::error!(%error, "the demo's recipients could not be stored");
            return;
        }
    }
    tell(&format!("{} made-up customers, {} events a second; stop with Ctrl-C\n", args.users, args.rate));
    let begun = Instant::now();
    let (mut sent, mut refused) = (0_u64, 0_u64);
    let mut shown = Instant::now();
    loop {
        actix::clock::sleep(TICK).await;
        let due = (begun.elapsed().as_secs_f64() * args.rate).floor();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and below 1,000"
        )]
        let count = (due - (sent + refused) as f64).clamp(0.0, 1_000.0) as usize;
        if count > 0 {
            let events = bank.events(count, instance.now());
            let count = events.len() as u64;
            match ingest.store(events).await {
                Ok(_) => sent += count,
                Err(error) => {
                    tracing::warn!(%error, "events were not accepted");
                    refused += count;
                }
            }
        }
        if shown.elapsed() >= Duration::from_secs(1) {
            shown = Instant::now();
            progress(sent, instance, address).await;
        }
    }
}

async fn progress(events: u64, instance: &Instance, address: SocketAddr) {
    let day = Duration::from_secs(24 * 60 * 60);
    let from = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now() - day).into();
    let Ok(channels) = instance.store.totals(from).await else { return };
    let sum = |of: fn(&Totals) -> i64| channels.iter().map(|channel| of(&channel.totals)).sum::<i64>();
    let waiting = instance.store.backlog(1_000).await.unwrap_or_default();
    let line = format!(
        "events {events} ({waiting} waiting)   deliveries: {} sent, {} open, {} failed, {} not sent   http://{address}/",
        sum(|totals| totals.sent),
        sum(|totals| totals.open),
        sum(|totals| totals.failed),
        sum(|totals| totals.not_sent),
    );
    // On a terminal the line stays where it is.
    if std::io::stdout().is_terminal() {
        tell(&format!("\r\x1b[2K{line}"))
    } else {
        tell(&format!("{line}\n"))
    }
}

/// Prints; that nobody reads is no reason to stop.
fn tell(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
