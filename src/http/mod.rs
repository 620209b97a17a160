//! The outside: the API, the dashboard, health and metrics. No actor lives here.

pub mod api;
mod auth;
mod body;
mod dashboard;
mod idempotency;
mod problem;
mod query;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::{App, HttpServer, web};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::broadcast;

use crate::actors::{
    BusCounts, Carrier, DeferredDue, Ingest, Instance, NotificationsChanged, ReplayAsked, Rules,
};
use crate::supervision::Board;

pub use auth::{Caller, login_secret};
pub use dashboard::Dashboard;
pub use problem::Problem;

/// What the handlers work with.
pub struct Api {
    /// This process.
    pub instance: Arc<Instance>,
    /// The door for events.
    pub ingest: Ingest,
    /// What is decided by.
    pub rules: Arc<Rules>,
    /// Tells that deferred deliveries may be due.
    pub releaser: actix::Recipient<DeferredDue>,
    /// Works replays off.
    pub replayer: actix::Recipient<ReplayAsked>,
    /// The supervision tree.
    pub board: Board,
    /// What carries the channels.
    pub carriers: Vec<Arc<Carrier>>,
    /// The largest request body, in bytes.
    pub max_body: usize,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
    /// Whether `/metrics` is served here.
    pub serves_metrics: bool,
    /// Changes of notifications, for those who watch.
    pub changes: broadcast::Sender<NotificationsChanged>,
    /// What goes over Redis, where one is configured.
    pub redis: Option<Arc<BusCounts>>,
    /// Tokens that were looked up a moment ago.
    pub tokens: auth::TokenCache,
    /// What the dashboard's pages share.
    pub dashboard: Dashboard,
}

/// How long an idle connection is kept. Longer than the 60 s after which the usual proxies and clients give
/// theirs up, so that it is they who close it: else a request can meet the server's close on its way.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Starts the server. It runs until it is stopped by its handle; in-flight requests are finished.
///
/// # Errors
///
/// The address cannot be bound.
pub fn serve(bind: SocketAddr, api: web::Data<Api>) -> std::io::Result<(Server, Vec<SocketAddr>)> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(api.clone())
            .configure(api::routes)
            .configure(dashboard::routes)
            .default_service(web::to(async || Err::<String, _>(Problem::not_found("path"))))
    })
    .workers(2)
    .keep_alive(KEEP_ALIVE)
    .disable_signals()
    .shutdown_timeout(10)
    .bind(bind)?;
    let addresses = server.addrs();
    Ok((server.run(), addresses))
}

/// Starts a server for the metrics alone, at an address of their own.
///
/// # Errors
///
/// The address cannot be bound.
pub fn serve_metrics(bind: SocketAddr, api: web::Data<Api>) -> std::io::Result<Server> {
    let app = move || {
        let text = async |api: web::Data<Api>| api.render_metrics();
        App::new().app_data(api.clone()).route("/metrics", web::get().to(text))
    };
    Ok(HttpServer::new(app).workers(1).disable_signals().shutdown_timeout(1).bind(bind)?.run())
}

impl Api {
    /// Whether nobody can opt out of a type.
    fn is_mandatory(&self, kind: &str) -> bool {
        self.rules.routes.get(kind).is_some_and(|route| route.mandatory)
    }

    /// Tells that deferred deliveries may be due.
    fn deferred_due(&self) {
        self.releaser.do_send(DeferredDue);
    }

    /// Reads what operators have set at once, and not only at the janitor's next look.
    async fn follow_controls(&self) -> Result<(), Problem> {
        let controls = self.instance.store.controls().await?;
        self.instance.set_controls(controls);
        Ok(())
    }

    /// The metrics as text, the gauges among them as they stand now.
    fn render_metrics(&self) -> String {
        for child in self.board.status() {
            let name = child.name.to_string();
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            metrics::gauge!("herald_actor_mailbox", "actor" => name.clone()).set(child.queued as f64);
            let running = child.state == crate::supervision::State::Running;
            metrics::gauge!("herald_actor_running", "actor" => name).set(if running { 1.0 } else { 0.0 });
        }
        for hand in self.instance.hands() {
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            metrics::gauge!("herald_deliveries_in_hand", "channel" => hand.channel().as_str())
                .set(hand.held() as f64);
        }
        for carrier in &self.carriers {
            let view = carrier.view(self.instance.now());
            let state = match view.breaker {
                "closed" => 0.0,
                "half_open" => 1.0,
                _ => 2.0,
            };
            let labels = [("channel", view.channel.as_str()), ("provider", view.provider)];
            metrics::gauge!("herald_breaker_state", &labels).set(state);
        }
        self.metrics.render()
    }
}
