//! The dashboard: pages for people, rendered here and behind a login.

mod assets;
mod forms;
mod login;
mod not_sent;
mod notification;
mod overview;
mod page;
mod retry;
mod shadow;
mod stream;
mod throttle;
mod troubles;

use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant as Tick;

use self::overview::Overview;
use self::throttle::Throttle;
use super::{Api, Problem};

/// How old the overview may be that is shown: many browsers cost the database as much as one.
const FRESH_FOR: Duration = Duration::from_millis(250);

/// What the pages share.
pub struct Dashboard {
    /// How the outside reaches Herald, where that was configured: scheme, host and port.
    origin: Option<String>,
    /// Room for browsers that watch.
    watchers: Arc<Semaphore>,
    attempts: Throttle,
    latest: Mutex<Option<(Tick, Arc<Overview>)>>,
}

impl Dashboard {
    /// A dashboard that the outside reaches at `origin` (such as `https://herald.bank.example`), if
    /// that is known, and that so many browsers may watch at once.
    pub fn new(origin: Option<String>, watchers: usize) -> Self {
        let watchers = Arc::new(Semaphore::new(watchers.min(Semaphore::MAX_PERMITS)));
        Self { origin, watchers, attempts: Throttle::default(), latest: Mutex::new(None) }
    }

    /// Whether browsers come by TLS, so that a cookie is to go that way alone.
    fn by_tls(&self) -> bool {
        self.origin.as_deref().is_some_and(|origin| origin.starts_with("https:"))
    }
}

impl Api {
    /// How things stand; read at most every [`FRESH_FOR`].
    async fn overview(&self) -> Result<Arc<Overview>, Problem> {
        let mut latest = self.dashboard.latest.lock().await;
        if let Some((_, view)) = latest.as_ref().filter(|(read, _)| read.elapsed() < FRESH_FOR) {
            return Ok(Arc::clone(view));
        }
        let read = Tick::now();
        let view = Arc::new(Overview::read(self).await?);
        *latest = Some((read, Arc::clone(&view)));
        Ok(view)
    }

    /// What was read is out of date.
    async fn forget_overview(&self) {
        *self.dashboard.latest.lock().await = None;
    }
}

/// All routes of the dashboard.
pub(super) fn routes(app: &mut web::ServiceConfig) {
    app.service(at("/").route(web::get().to(page::root)))
        .service(at("/login").route(web::get().to(login::form)).route(web::post().to(login::with_token)))
        .service(at("/login/{secret}").route(web::get().to(login::with_link)))
        .service(at("/logout").route(web::post().to(login::leave)))
        .service(at("/notifications").route(web::get().to(page::notifications)))
        .service(at("/notifications/fragment").route(web::get().to(page::fragment)))
        .service(at("/notifications/stream").route(web::get().to(stream::stream)))
        .service(at("/notifications/retry").route(web::post().to(retry::any)))
        .service(at("/notifications/{id}").route(web::get().to(notification::page)))
        .service(at("/notifications/{id}/retry").route(web::post().to(retry::of_notification)))
        .service(at("/not-sent").route(web::get().to(not_sent::page)))
        .service(at("/shadow").route(web::get().to(shadow::page)))
        .service(at("/assets/dashboard.css").route(web::get().to(assets::css)))
        .service(at("/assets/dashboard.js").route(web::get().to(assets::js)));
}

fn at(path: &str) -> actix_web::Resource {
    let refused = async || Err::<String, _>(page::Refused::from(Problem::method_not_allowed()));
    web::resource(path).default_service(web::to(refused))
}
