//! `herald serve`: builds everything from the configuration, runs it, and stops it in order.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix::System;
use actix_web::web;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::runtime::Runtime as IoRuntime;

use super::channels::{channels, concurrency};
use super::error::CommandError;
use super::process;
use crate::actors::{
    Defaults, Hand, Instance, NotifySocket, RedisServer, ReleaseHand, Retries, Rules, Runtime, SandboxStore,
    ServiceStops, Settings, Setup, Subscriptions, build,
};
use crate::config::{Config, DatabaseUrl, without_effect};
use crate::domain::{Channel, Scope, Scopes};
use crate::http::{self, Api, Dashboard, login_secret};
use crate::policy::Bank;
use crate::providers::sandbox::{Behaviour, Sandbox};
use crate::store::{Location, Login, MigrationMode, PostgresConfig, Store};
use crate::supervision::{Observation, Stall, io_runtime, watch};
use crate::templates::Templates;

/// How long a login link is good for.
const LINK_LIFETIME: Duration = Duration::from_secs(15 * 60);
/// How long what is in hand may take to end when the process is told to stop.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// An actor that blocks its thread for this long ends the process: nothing else can help.
const STALLED_AFTER: Duration = Duration::from_secs(20);
/// How many of the sandbox's messages are kept.
const SANDBOX_KEEP: i64 = 100_000;

/// What runs beside the service until it is told to stop.
pub(super) type Beside = Box<dyn FnOnce(&Runtime, &Arc<Instance>, SocketAddr) -> BesideFuture>;
/// Its work.
pub(super) type BesideFuture = std::pin::Pin<Box<dyn Future<Output = ()>>>;

/// How the service differs from a plain one.
#[derive(Default)]
pub(super) struct Variant {
    /// Hold events from the start.
    pub(super) hold: bool,
    /// How the sandbox behaves on a channel.
    pub(super) behaviour: Option<fn(Channel) -> Behaviour>,
    /// What runs beside it.
    pub(super) beside: Option<Beside>,
}

/// Runs the service until it is told to stop.
pub(super) fn serve(config: &Config, variant: Variant) -> Result<(), CommandError> {
    let _lock = lock(config)?;
    let io = io_runtime(2)
        .map_err(|cause| CommandError::Io { what: "threads could not be started".into(), cause })?;
    // Outside `block_on`: a runtime must not be dropped inside another.
    System::new().block_on(run(config, variant, &io))
}

/// Where the configuration says that the database is.
pub(super) fn location(config: &Config) -> Location {
    match &config.database.url {
        DatabaseUrl::Sqlite(path) => Location::Sqlite(path.display().to_string()),
        DatabaseUrl::Postgres(url) => {
            let mut postgres = PostgresConfig::new(url.expose().to_string());
            postgres.schema.clone_from(&config.database.schema);
            postgres.ca_file.clone_from(&config.tls.ca_file);
            let below_lease = config.dispatch.lease.mul_f64(0.5);
            postgres.idle_in_transaction = postgres.idle_in_transaction.min(below_lease);
            Location::Postgres(postgres)
        }
    }
}

/// One process for a SQLite file.
fn lock(config: &Config) -> Result<Option<File>, CommandError> {
    let DatabaseUrl::Sqlite(path) = &config.database.url else { return Ok(None) };
    let mut name = path.clone().into_os_string();
    name.push(".lock");
    let mut options = File::options();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&name).map_err(|cause| CommandError::Io {
        what: format!("cannot open {}", Path::new(&name).display()),
        cause,
    })?;
    if file.try_lock().is_err() {
        return Err(CommandError::InUse(path.display().to_string()));
    }
    Ok(Some(file))
}

async fn run(config: &Config, variant: Variant, io: &Arc<IoRuntime>) -> Result<(), CommandError> {
    outlive_a_full_file();
    for setting in without_effect(config) {
        tracing::warn!(%setting, "this setting has no effect yet");
    }
    let templates = Arc::new(Templates::load(config.templates.dir.as_deref())?);
    let location = location(config);
    let handle = io.handle().clone();
    let migrated = {
        let location = location.clone();
        handle.spawn(async move { Store::migrate(&location, MigrationMode::Run).await })
    };
    let applied = migrated.await.map_err(|error| CommandError::Failed(error.to_string()))??;
    if !applied.is_empty() {
        tracing::info!(migrations = applied.len(), "the database was brought up to date");
    }
    let store = Store::open(&location, handle)?;
    let instance = register(config, &store).await?;
    if variant.hold {
        store.hold_dispatch(true).await?;
    }
    instance.set_controls(store.controls().await?);

    let sandbox = |channel: Channel| {
        Sandbox::new(
            Arc::new(SandboxStore(store.clone())),
            variant.behaviour.map(|behaviour| behaviour(channel)),
        )
    };
    let channels = channels(config, &sandbox)?;
    let carriers = channels.iter().flat_map(|channel| channel.carriers.all().cloned()).collect();
    let metrics = install_metrics()?;
    let rules = Arc::new(rules(config));
    store.keep_rules(&rules.set.version, &rules.set.document).await?;
    let setup = Setup {
        instance: Arc::clone(&instance),
        rules: Arc::clone(&rules),
        templates,
        retries: retries(config),
        channels,
        backlog: config.limits.live_feed.backlog,
        redis: redis(config)?.map(|server| (server, config.redis.adopt_after)),
        systemd: systemd(),
    };
    let mut runtime = build(setup, io)?;
    runtime.tree = runtime.tree.observed_by(note);
    let board = runtime.tree.board();
    watch(board.clone(), STALLED_AFTER, leave)
        .map_err(|cause| CommandError::Io { what: "the watchdog could not be started".into(), cause })?;

    let api = web::Data::new(Api {
        instance: Arc::clone(&instance),
        ingest: runtime.ingest.clone(),
        rules,
        releaser: runtime.releaser.clone(),
        replayer: runtime.replayer.clone(),
        board,
        carriers,
        max_body: config.server.max_body.0,
        metrics,
        serves_metrics: config.metrics.bind.is_none(),
        changes: runtime.changes.clone(),
        redis: config.redis.url.is_some().then(|| Arc::clone(&runtime.bus_counts)),
        tokens: Default::default(),
        dashboard: Dashboard::new(
            config.server.public_url.as_ref().map(|url| url.origin().ascii_serialization()),
            config.limits.live_feed.clients,
        ),
    });
    let listening = |bind| move |cause| CommandError::Io { what: format!("cannot listen on {bind}"), cause };
    let bind = config.server.bind;
    let (server, addresses) = http::serve(bind, api.clone()).map_err(listening(bind))?;
    let metrics_server = match config.metrics.bind {
        Some(bind) => Some(http::serve_metrics(bind, api).map_err(listening(bind))?),
        None => None,
    };
    let address = addresses.first().copied().unwrap_or(bind);
    welcome(config, &store, address).await?;

    let handle = server.handle();
    #[expect(clippy::disallowed_methods, reason = "actix-web's server supervises its own workers")]
    actix_rt::spawn(server);
    if let Some(server) = metrics_server {
        #[expect(clippy::disallowed_methods, reason = "as above")]
        actix_rt::spawn(server);
    }
    let senders = runtime.senders.clone();
    let beside = variant.beside.map(|beside| beside(&runtime, &instance, address));
    let (stopping, systemd) = (Arc::clone(&instance), runtime.systemd.clone());
    let shutdown = async move {
        match beside {
            Some(beside) => tokio::select! { () = termination() => {}, () = beside => {} },
            None => termination().await,
        }
        tracing::info!("stopping: nothing new is taken, what is in hand is finished or given back");
        if let Some(systemd) = &systemd {
            systemd.do_send(ServiceStops);
        }
        stopping.stop_taking();
        handle.stop(true).await;
        for sender in &senders {
            sender.do_send(ReleaseHand);
        }
        let empty = async {
            while stopping.hands().iter().any(|hand| hand.held() > 0) {
                actix::clock::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(STOP_WITHIN, empty).await.is_err() {
            tracing::warn!("not all that was in hand ended in time; it will be taken back as unknown");
        }
    };
    let outcome = runtime.tree.run_until(shutdown).await;
    // What this instance held is free for the others at once, and not only when its lease is over.
    if let Err(error) = store.end(instance.epoch()).await {
        tracing::warn!(%error, "the end of this instance could not be noted; its lease will run out");
    }
    outcome?;
    tracing::info!("stopped");
    Ok(())
}

/// What is decided by.
fn rules(config: &Config) -> Rules {
    let bank = Bank { caps: config.caps.clone(), quiet_hours: config.quiet_hours.clone() };
    let defaults = Defaults {
        locale: config.defaults.locale.clone(),
        time_zone: config.defaults.time_zone.name().to_owned(),
    };
    Rules::new(config.routes.clone(), bank, defaults, Subscriptions::default())
}

async fn register(config: &Config, store: &Store) -> Result<Arc<Instance>, CommandError> {
    let name = process::name();
    for (epoch, other) in store.living().await? {
        // One process has the embedded file for itself, so whoever is registered there is gone.
        if store.is_embedded() || process::is_dead(&other) {
            tracing::info!(epoch, name = other, "an instance that has died has left what it held");
            store.end(epoch).await?;
        }
    }
    let epoch = store.register(&name).await?;
    let live = store.live_instances().await?;
    let now = store.now().await?;
    store.share_partitions(epoch).await?;
    let hands =
        Channel::ALL.iter().map(|channel| Hand::new(*channel, concurrency(config, *channel))).collect();
    let settings = Settings {
        poll_interval: config.dispatch.poll_interval,
        lease: config.dispatch.lease,
        writer_queue: config.limits.event_writer.queue,
        writer_batch: config.limits.event_writer.batch,
        dispatch_batch: config.limits.dispatch.batch,
        outcome_batch: config.limits.outcome_writer.batch,
        retention_days: config.retention.days,
        sandbox_keep: SANDBOX_KEEP,
    };
    let instance = Instance::new(store.clone(), settings, name, epoch, now, hands);
    instance.has_joined(live);
    Ok(Arc::new(instance))
}

/// The Redis server, if one is configured.
pub(super) fn redis(config: &Config) -> Result<Option<RedisServer>, CommandError> {
    let server = |url: &crate::config::SecretUrl| {
        RedisServer::new(url.expose().as_str(), config.tls.ca_file.as_deref())
    };
    Ok(config.redis.url.as_ref().map(server).transpose()?)
}

/// Where systemd waits to hear how the service is. Without it the service does its work all the same.
fn systemd() -> Option<NotifySocket> {
    NotifySocket::from_environment().unwrap_or_else(|error| {
        tracing::warn!(%error, "systemd will not hear how the service is");
        None
    })
}

fn retries(config: &Config) -> Retries {
    let config = config.clone();
    Arc::new(move |event_type, channel| config.retry_for(config.routes.get(event_type), channel))
}

fn install_metrics() -> Result<PrometheusHandle, CommandError> {
    PrometheusBuilder::new()
        .install_recorder()
        .map_err(|error| CommandError::Failed(format!("the metrics could not be set up: {error}")))
}

/// Counts what the supervisors do.
fn note(observation: Observation<'_>) {
    match observation {
        Observation::Restarted { child } => {
            metrics::counter!("herald_actor_restarts_total", "actor" => child.to_owned()).increment(1);
        }
        Observation::Ended { child, exit } => {
            if matches!(exit, crate::supervision::Exit::Panicked(_)) {
                metrics::counter!("herald_actor_panics_total", "actor" => child.to_owned()).increment(1);
            }
        }
    }
}

/// Says where the service is and, on the embedded database and a loopback address, how to look in.
async fn welcome(config: &Config, store: &Store, address: SocketAddr) -> Result<(), CommandError> {
    let mut out = std::io::stdout();
    let base = match &config.server.public_url {
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None => format!("http://{address}"),
    };
    let mut text = String::new();
    if store.is_embedded() && address.ip().is_loopback() {
        let (secret, hash) =
            login_secret().map_err(|_| CommandError::Failed("the system gives no random numbers".into()))?;
        let scopes: Scopes = [Scope::ReadPersonal, Scope::Operate].into_iter().collect();
        store.create_login(Login::Link, &hash, &scopes.to_string(), LINK_LIFETIME).await?;
        text.push_str(&format!(
            "Dashboard: http://{address}/login/{secret}\n           (this link works once, for 15 minutes)\n"
        ));
    }
    text.push_str(&format!("Herald is ready at {base}\n"));
    // Nobody may be reading; the service does not depend on it.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    tracing::info!(%address, "ready");
    Ok(())
}

/// A blocked thread cannot be helped from inside: end, and let the process manager start anew.
fn leave(stall: &Stall) {
    if stall.culprit {
        let Stall { worker, silent_for, .. } = stall;
        tracing::error!(actor = %worker, ?silent_for, "an actor blocks its thread");
        let _ = writeln!(std::io::stderr(), "fatal: `{worker}` has blocked its thread for {silent_for:?}");
        std::process::exit(1);
    }
}

/// At a limit on the size of files (RLIMIT_FSIZE) the kernel ends a process, unless it handles SIGXFSZ:
/// then the write fails (setrlimit(2)), and callers are asked to come again.
fn outlive_a_full_file() {
    use actix_rt::signal::unix::{SignalKind, signal};

    const SIGXFSZ: i32 = 25;
    // The handler stays when the stream is dropped.
    if let Err(error) = signal(SignalKind::from_raw(SIGXFSZ)) {
        tracing::warn!(%error, "no handler for SIGXFSZ: a limit on the size of files would end the process");
    }
}

/// Ready on SIGTERM or SIGINT.
async fn termination() {
    use actix_rt::signal::unix::{SignalKind, signal};

    let wait = async |kind| match signal(kind) {
        Ok(mut stream) => {
            stream.recv().await;
        }
        Err(error) => {
            tracing::error!(%error, "no handler for a termination signal");
            std::future::pending().await
        }
    };
    tokio::select! {
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::interrupt()) => {}
    }
}
