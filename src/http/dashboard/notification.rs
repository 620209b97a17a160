//! The page of one notification: what became of it on each channel, and why. No personal data: the ledger
//! has none, and errors are as the store keeps them.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use chrono::{DateTime, Utc};

use super::overview::{When, name, words};
use super::page::{Refused, html, see};
use crate::domain::Scope;
use crate::http::Api;
use crate::http::api::{Decided, explain};
use crate::http::auth::Session;
use crate::policy::state_in_words;
use crate::store::{AttemptRecord, DeliveryRecord};

/// The page.
#[derive(Template)]
#[template(path = "notification.html")]
struct Page {
    csrf: String,
    operates: bool,
    id: String,
    event_type: String,
    status: String,
    user: i64,
    at: When,
    facts: Vec<(&'static str, String)>,
    /// About the whole.
    words: Vec<String>,
    deliveries: Vec<Delivery>,
    has_dead: bool,
    decisions: Vec<Decision>,
}

/// How it stands on one channel.
struct Delivery {
    channel: String,
    state: String,
    why: String,
    /// The page of the notification that tells it.
    told_in: Option<String>,
    attempts: Vec<Attempt>,
}

struct Attempt {
    at: When,
    words: String,
}

/// What was decided at one time.
struct Decision {
    at: When,
    occasion: String,
    rules: String,
    words: Vec<String>,
    steps: Vec<Rule>,
}

/// A rule that was asked.
struct Rule {
    about: String,
    rule: String,
    saw: String,
    answer: &'static str,
    class: &'static str,
}

/// `/notifications/{id}`.
pub(super) async fn page(
    api: web::Data<Api>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Refused> {
    let Some(session) = Session::of(&request, &api).await? else { return Ok(see("/login")) };
    session.needs(Scope::Read)?;
    let explained = explain(&api, &id).await?;
    let now = api.instance.now().utc();
    let one = explained.notification;
    let mut facts =
        vec![("Event", one.event_id), ("Priority", one.priority.to_string()), ("Template", one.template)];
    facts.extend(one.variant.map(|variant| ("Variant", variant)));
    facts.extend(one.correlation_id.map(|id| ("Correlation", id)));
    let about_whole = explained.words.len().saturating_sub(one.deliveries.len());
    let page = Page {
        csrf: session.form_token(),
        operates: session.allows(Scope::Operate),
        id: one.id,
        event_type: one.event_type,
        status: one.status.to_lowercase(),
        user: one.user_id,
        at: When::of(one.created_at, now),
        facts,
        words: explained.words.into_iter().take(about_whole).collect(),
        has_dead: one.deliveries.iter().any(|delivery| delivery.state == "dead"),
        deliveries: one.deliveries.into_iter().map(|delivery| Delivery::of(delivery, now)).collect(),
        decisions: explained.decisions.into_iter().map(|decided| Decision::of(decided, now)).collect(),
    };
    html(StatusCode::OK, &page)
}

/// A channel's name, or the word as it is.
pub(super) fn channel_name(channel: &str) -> String {
    channel.parse().map_or_else(|_| channel.to_owned(), |channel| name(channel).to_owned())
}

/// Where a delivery stands, as a sentence.
pub(super) fn sentence(delivery: &DeliveryRecord, now: DateTime<Utc>) -> String {
    let until = delivery.not_before.or(delivery.next_attempt_at);
    let until = until.map(|at| format!("{} UTC", When::of(at, now).short));
    // The one that tells it is linked beside.
    let words = state_in_words(&delivery.state, delivery.reason.as_deref(), until.as_deref(), None);
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

/// The page of the notification that tells a delivery.
pub(super) fn teller(delivery: &DeliveryRecord) -> Option<String> {
    let (notification, _) = delivery.told_in.as_deref()?.rsplit_once(':')?;
    Some(format!("/notifications/{notification}"))
}

impl Delivery {
    fn of(delivery: DeliveryRecord, now: DateTime<Utc>) -> Self {
        Self {
            why: sentence(&delivery, now),
            told_in: teller(&delivery),
            channel: channel_name(&delivery.channel),
            state: delivery.state,
            attempts: delivery.attempts.into_iter().map(|attempt| Attempt::of(attempt, now)).collect(),
        }
    }
}

impl Attempt {
    fn of(attempt: AttemptRecord, now: DateTime<Utc>) -> Self {
        let by = attempt.provider.map(|provider| format!(" by {provider}")).unwrap_or_default();
        let said = attempt.error.or(attempt.code).map(|said| format!(": {}", words(&said)));
        let said = said.unwrap_or_default();
        let words = format!("Attempt {}{by}: {}{said}", attempt.attempt, attempt.outcome);
        Self { at: When::of(attempt.at, now), words }
    }
}

impl Decision {
    fn of(decided: Decided, now: DateTime<Utc>) -> Self {
        let occasion = match decided.channel {
            None => "When the event was handled".to_owned(),
            Some(channel) => format!("Later, about {}", name(channel)),
        };
        let record = decided.record;
        let whole = record.steps.into_iter().map(|step| (String::new(), step));
        let each = record.verdicts.into_iter().flat_map(|verdict| {
            let channel = channel_name(&verdict.channel);
            verdict.steps.into_iter().map(move |step| (channel.clone(), step))
        });
        let steps = whole.chain(each).map(|(about, step)| {
            let (answer, class) = match step.answer.as_str() {
                "pass" => ("nothing against it", "pass"),
                "defer" => ("later", "open"),
                "suppress" => ("not at all", "failed"),
                "expire" => ("too late", "failed"),
                _ => ("unknown", "pass"),
            };
            Rule { about, rule: step.rule_in_words().to_owned(), saw: step.saw, answer, class }
        });
        Self {
            at: When::of(decided.at, now),
            occasion,
            rules: decided.rules,
            words: decided.words,
            steps: steps.collect(),
        }
    }
}
