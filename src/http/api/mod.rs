//! The API, as the contract lists it: a file a resource.

mod controls;
mod dead_letters;
mod events;
mod external_sends;
mod flow;
mod health;
mod mask;
mod notifications;
mod preferences;
mod replays;
mod runtime;
mod sandbox;
mod stats;
mod tokens;
mod users;

use actix_web::{HttpResponse, web};
use serde::Serialize;

pub(super) use self::flow::{Decided, explain};
use super::Problem;
use crate::store::Found;

/// All routes of the API.
pub fn routes(app: &mut web::ServiceConfig) {
    app.service(
        web::scope("/v1")
            .service(at("/events").route(web::post().to(events::publish)).route(web::get().to(events::list)))
            .service(at("/events/{id}").route(web::get().to(events::one)))
            .service(at("/events/{id}/flow").route(web::get().to(flow::of_event)))
            .service(at("/notifications").route(web::get().to(notifications::list)))
            .service(at("/notifications/{id}").route(web::get().to(notifications::one)))
            .service(at("/notifications/{id}/explain").route(web::get().to(flow::of_notification)))
            .service(at("/notifications/{id}/retry").route(web::post().to(notifications::retry)))
            .service(at("/dead-letters").route(web::get().to(dead_letters::list)))
            .service(at("/dead-letters/retry").route(web::post().to(dead_letters::retry)))
            .service(at("/dead-letters/discard").route(web::post().to(dead_letters::discard)))
            .service(
                at("/users/{id}")
                    .route(web::put().to(users::put))
                    .route(web::get().to(users::get))
                    .route(web::delete().to(users::delete)),
            )
            .service(
                at("/users/{id}/preferences")
                    .route(web::get().to(preferences::get))
                    .route(web::put().to(preferences::put))
                    .route(web::patch().to(preferences::patch)),
            )
            .service(
                at("/external-sends")
                    .route(web::post().to(external_sends::report))
                    .route(web::get().to(external_sends::compare)),
            )
            .service(at("/replays").route(web::post().to(replays::create)))
            .service(at("/replays/{id}").route(web::get().to(replays::one)))
            .service(at("/stats").route(web::get().to(stats::read)))
            .service(at("/runtime").route(web::get().to(runtime::tree)))
            .service(at("/runtime/{actor}/restart").route(web::post().to(runtime::restart)))
            .service(at("/channels/{channel}/pause").route(web::post().to(controls::pause)))
            .service(at("/channels/{channel}/resume").route(web::post().to(controls::resume)))
            .service(at("/dispatch/hold").route(web::post().to(controls::hold)))
            .service(at("/dispatch/resume").route(web::post().to(controls::release)))
            .service(
                at("/sandbox/messages")
                    .route(web::get().to(sandbox::list))
                    .route(web::delete().to(sandbox::clear)),
            )
            .service(at("/tokens").route(web::get().to(tokens::list))),
    )
    .service(at("/health/live").route(web::get().to(health::live)))
    .service(at("/health/ready").route(web::get().to(health::ready)))
    .service(at("/metrics").route(web::get().to(health::metrics)));
}

fn at(path: &str) -> actix_web::Resource {
    web::resource(path).default_service(web::to(async || Err::<String, _>(Problem::method_not_allowed())))
}

/// A page of a list.
#[derive(Serialize)]
struct Page<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page of `found`, which was asked for one more than `limit`: if that one is there, so is a
    /// next page, which begins behind the last item of this one.
    fn of(mut found: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Self {
        let more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = found.last().filter(|_| more).map(cursor);
        Self { items: found, next_cursor }
    }

    /// A page of what a search found: where that ran out of time, the next page begins there.
    fn of_search(
        found: Found<T>,
        limit: usize,
        cursor: impl Fn(&T) -> String,
        at: impl Fn(i64) -> String,
    ) -> Self {
        let mut page = Self::of(found.items, limit, cursor);
        page.next_cursor = page.next_cursor.or_else(|| found.next.map(at));
        page
    }

    fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(change).collect(), next_cursor: self.next_cursor }
    }
}

/// One more than the page holds: whether it comes tells whether there is a next page.
fn one_more(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX - 1) + 1
}

fn json(body: &impl Serialize) -> Result<HttpResponse, Problem> {
    let body = serde_json::to_string(body).map_err(|_| Problem::internal())?;
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}
