//! The page of what policy held back: by state, each with its reason.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use chrono::{DateTime, Utc};

use super::notification::{channel_name, sentence, teller};
use super::overview::When;
use super::page::{Refused, html, see};
use crate::domain::{DeliveryState, Scope};
use crate::http::Api;
use crate::http::auth::Session;
use crate::http::query::Query;
use crate::store::{NotificationFilter, NotificationRecord};

/// How many notifications are shown.
const LATEST: i64 = 50;

/// The states that are told apart, and what they mean.
const STATES: [(DeliveryState, &str); 5] = [
    (DeliveryState::Deferred, "held back until later"),
    (DeliveryState::Suppressed, "not to be sent"),
    (DeliveryState::Digested, "told within another message"),
    (DeliveryState::Expired, "too late to be of use"),
    (DeliveryState::Shadowed, "all done but the send, in shadow mode"),
];

/// The page.
#[derive(Template)]
#[template(path = "not_sent.html")]
struct Page {
    csrf: String,
    state: DeliveryState,
    meaning: &'static str,
    /// The states, and whether it is the one that is shown.
    tabs: Vec<(DeliveryState, bool)>,
    lines: Vec<Line>,
    /// Whether there was no time to look at all of them.
    is_partial: bool,
}

/// A delivery.
struct Line {
    at: When,
    page: String,
    event_type: String,
    user: i64,
    channel: String,
    why: String,
    told_in: Option<String>,
}

/// `/not-sent?state=`.
pub(super) async fn page(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, Refused> {
    let Some(session) = Session::of(&request, &api).await? else { return Ok(see("/login")) };
    session.needs(Scope::Read)?;
    let mut query = Query::of(&request, &["state"])?;
    let state = query.word::<DeliveryState>("state");
    query.finish()?;
    let asked = state.and_then(|state| STATES.into_iter().find(|(known, _)| *known == state));
    let (state, meaning) = asked.unwrap_or(STATES[0]);
    let filter = NotificationFilter { state: Some(state), ..NotificationFilter::default() };
    let found = api.instance.store.notifications(filter, None, LATEST).await?;
    let now = api.instance.now().utc();
    let page = Page {
        csrf: session.form_token(),
        state,
        meaning,
        tabs: STATES.iter().map(|(known, _)| (*known, *known == state)).collect(),
        is_partial: found.next.is_some(),
        lines: found.items.into_iter().flat_map(|one| lines(one, state, now)).collect(),
    };
    html(StatusCode::OK, &page)
}

fn lines(one: NotificationRecord, state: DeliveryState, now: DateTime<Utc>) -> Vec<Line> {
    let held = one.deliveries.iter().filter(|delivery| delivery.state == state.as_str());
    held.map(|delivery| Line {
        at: When::of(delivery.updated_at, now),
        page: format!("/notifications/{}", one.id),
        event_type: one.event_type.clone(),
        user: one.user_id,
        channel: channel_name(&delivery.channel),
        why: sentence(delivery, now),
        told_in: teller(delivery),
    })
    .collect()
}
