//! The page of shadow mode: what the system that Herald replaces has sent, beside what Herald would have.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use chrono::TimeDelta;

use super::overview::{Figures, When, grouped, name, words};
use super::page::{Refused, html, see};
use crate::domain::{Instant, Scope, SendMatch};
use crate::http::Api;
use crate::http::auth::Session;
use crate::store::{ComparedChannel, SendFilter, SendTotals, VariantTotals};

/// How many events that differ are shown.
const LATEST: i64 = 50;
/// How many unknown events are named.
const UNKNOWN: i64 = 5;
/// How far back the variants of templates are counted.
const VARIANT_DAYS: i64 = 30;

/// The page.
#[derive(Template)]
#[template(path = "shadow.html")]
struct Shadow {
    csrf: String,
    lines: Vec<Line>,
    complete: bool,
    differing: Vec<Difference>,
    unknown: i64,
    unknown_ids: String,
    variants: Vec<VariantLine>,
}

/// A variant of a template on a channel.
struct VariantLine {
    kind: String,
    variant: String,
    channel: String,
    figures: Figures,
}

/// A type on a channel.
struct Line {
    kind: String,
    channel: &'static str,
    both: String,
    only_old: String,
    only_herald: String,
    neither: String,
    open: String,
    agree: String,
}

/// An event on a channel of which the two made something different.
struct Difference {
    at: When,
    kind: String,
    event_id: String,
    channel: &'static str,
    what: String,
}

/// `/shadow`.
pub(super) async fn page(api: web::Data<Api>, request: HttpRequest) -> Result<HttpResponse, Refused> {
    let Some(session) = Session::of(&request, &api).await? else { return Ok(see("/login")) };
    session.needs(Scope::Read)?;
    let store = &api.instance.store;
    let filter = SendFilter { differ: true, ..SendFilter::default() };
    let now = api.instance.now();
    let month = Instant::from(now.utc() - TimeDelta::days(VARIANT_DAYS));
    let (comparison, found, (unknown, ids), variants) = tokio::try_join!(
        store.compare_totals(&filter),
        store.compare_sends(filter.clone(), None, LATEST),
        store.sends_of_unknown_events(UNKNOWN),
        store.variant_totals(month, now),
    )?;
    let now = now.utc();
    let lines =
        comparison.totals.into_iter().map(|((kind, channel), totals)| Line::of(kind, name(channel), &totals));
    let differing = found.items.into_iter().flat_map(|event| {
        let (at, kind, event_id) = (event.stored_at, event.kind, event.event_id);
        let differing = event.channels.into_iter().filter(|channel| channel.matches.differs());
        let difference = move |channel: ComparedChannel| Difference {
            at: When::of(at, now),
            kind: kind.clone(),
            event_id: event_id.clone(),
            channel: name(channel.channel),
            what: in_words(&channel),
        };
        differing.map(difference).collect::<Vec<_>>()
    });
    let page = Shadow {
        csrf: session.form_token(),
        lines: lines.collect(),
        complete: comparison.complete,
        differing: differing.collect(),
        unknown,
        unknown_ids: ids.join(", "),
        variants: variants.into_iter().map(VariantLine::of).collect(),
    };
    html(StatusCode::OK, &page)
}

impl VariantLine {
    fn of(found: VariantTotals) -> Self {
        let channel = found.channel.parse().map(name).map_or(found.channel, str::to_owned);
        let figures = Figures::of(&found.totals);
        Self { kind: found.event_type, variant: found.variant, channel, figures }
    }
}

impl Line {
    fn of(kind: String, channel: &'static str, totals: &SendTotals) -> Self {
        let written = |n: u64| grouped(i64::try_from(n).unwrap_or(i64::MAX));
        let agree = totals.both + totals.neither;
        let judged = agree + totals.only_old + totals.only_herald;
        // All is said of no difference alone.
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let share = match judged {
            0 => "–".to_owned(),
            _ if agree == judged => "100%".to_owned(),
            _ => format!("{:.1}%", (agree as f64 / judged as f64 * 1_000.0).floor() / 10.0),
        };
        Self {
            kind,
            channel,
            both: written(totals.both),
            only_old: written(totals.only_old),
            only_herald: written(totals.only_herald),
            neither: written(totals.neither),
            open: written(totals.open),
            agree: share,
        }
    }
}

fn in_words(channel: &ComparedChannel) -> String {
    let herald = match &channel.herald {
        None => "Herald has made nothing of it".to_owned(),
        Some(herald) => match &herald.reason {
            Some(reason) => format!("Herald: {}, {}", herald.state, words(reason)),
            None => format!("Herald: {}", herald.state),
        },
    };
    match (channel.matches, &channel.old) {
        (SendMatch::OnlyOld, _) => format!("The old system sent it. {herald}."),
        (_, None) => format!("The old system reported nothing. {herald}."),
        _ => format!("The old system did not send it. {herald}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_is_whole_only_where_nothing_differs() {
        let agree = |both, only_old| {
            Line::of(String::new(), "SMS", &SendTotals { both, only_old, ..SendTotals::default() }).agree
        };
        assert_eq!(agree(0, 0), "–");
        assert_eq!(agree(5, 0), "100%");
        assert_eq!(agree(99_999, 1), "99.9%");
        assert_eq!(agree(0, 1), "0.0%");
    }
}
