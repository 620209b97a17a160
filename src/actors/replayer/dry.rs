//! A step of a dry run: each event is decided on by the clock of its own day. The caps count what the replay
//! itself has granted, and nothing is written but the report.

use std::time::Duration;

use super::facts::{Facts, Stepped, was};
use crate::actors::instance::Instance;
use crate::actors::rules::Rules;
use crate::domain::{Channel, Content, EventOutcome, Instant, NewEvent};
use crate::policy::{Cap, Compared, Plan, ReplayReport, Route, Spent, Usage, Was, Would, decide};
use crate::store::{Contacts, QueuedEvent, ReplayGrant, StoreError};
use crate::templates::{Templates, Variables};

/// Makes the step. None: it is void.
pub(super) async fn step(
    instance: &Instance,
    rules: &Rules,
    templates: &Templates,
    facts: Facts,
    mut report: ReplayReport,
) -> Result<Option<Stepped>, StoreError> {
    let mut spent = spent(instance, rules, &facts).await?;
    let mut grants = Vec::new();
    for (queued, event, was_outcome) in facts.decidable(&mut report) {
        let was: Vec<Was> = facts.made_of(event).iter().map(was).collect();
        let (would_outcome, would) = match facts.routed(rules, event) {
            Err(outcome) => (outcome, Vec::new()),
            Ok(routed) => {
                let (route, user, now) = (routed.route, routed.user, queued.created_at);
                let question = facts.question(rules, (queued, event), (route, user), now);
                let plan = decide(&question, &mut spent);
                let would: Vec<Would> =
                    plan.verdicts.iter().map(|verdict| Would::of(verdict, route.mode)).collect();
                grants.extend(granted(route, user, event, now, &plan));
                if would.iter().any(|would| would.channel == Channel::Sms && would.goes()) {
                    let contacts = facts.known.contacts.get(&user);
                    match segments(rules, templates, contacts, queued, (route, user)) {
                        Some(segments) => report.sms_segments.would += segments,
                        None => report.unrendered += 1,
                    }
                }
                (EventOutcome::Notified, would)
            }
        };
        let (id, kind) = (event.id.as_str(), event.kind.as_str());
        report.note(Compared { id, kind, was_outcome, would_outcome, was: &was, would: &would });
    }
    let (events, finished) = (facts.events.len(), facts.step.finished);
    let report = serde_json::to_string(&report)
        .map_err(|error| StoreError::Invalid { field: "report", reason: error.to_string() })?;
    let noted = instance.store.note_replay(instance.epoch(), facts.step, report, grants).await?;
    Ok(noted.then(|| Stepped { events, finished, ..Stepped::default() }))
}

/// What the recipients of a step have spent of their caps in this replay.
async fn spent(instance: &Instance, rules: &Rules, facts: &Facts) -> Result<Spent, StoreError> {
    let mut spent = Spent::default();
    let asked = facts.known.caps(rules, &facts.events);
    let longest = asked.iter().map(|(_, cap)| cap.window).max();
    let first = facts.events.iter().map(|(event, _)| event.created_at).min();
    let (Some(longest), Some(first)) = (longest, first) else { return Ok(spent) };
    let mut users: Vec<i64> = asked.iter().map(|(user, _)| *user).collect();
    users.sort_unstable();
    users.dedup();
    let since = chrono::TimeDelta::from_std(longest + Duration::from_secs(1)).unwrap_or_default();
    let since = Instant::from(first.utc() - since);
    let mut grants = instance.store.replay_grants(&facts.replay.id, &users, since).await?;
    grants.sort_unstable_by_key(|grant| std::cmp::Reverse(grant.at));
    for (user, cap) in asked {
        let grants = grants.iter().filter(|grant| grant.user_id == user && counts(&cap, grant));
        let usage = Usage { grants: grants.map(|grant| grant.at).collect(), ..Usage::default() };
        spent.note(user, cap, usage);
    }
    Ok(spent)
}

fn counts(cap: &Cap, grant: &ReplayGrant) -> bool {
    cap.flood == grant.flood
        && cap.channel.is_none_or(|channel| grant.channel == Some(channel))
        && cap.category.as_deref().is_none_or(|category| category == grant.category)
        && (cap.shadow || !grant.shadow)
}

fn granted(route: &Route, user_id: i64, event: &NewEvent, at: Instant, plan: &Plan) -> Vec<ReplayGrant> {
    let grant = |channel, flood| ReplayGrant {
        user_id,
        channel,
        category: route.category.clone(),
        flood,
        shadow: route.mode == crate::policy::Mode::Shadow,
        at,
    };
    let each = plan.verdicts.iter().filter(|verdict| verdict.granted);
    let mut grants: Vec<ReplayGrant> = each.map(|verdict| grant(Some(verdict.channel), None)).collect();
    if plan.flood_granted {
        grants.push(grant(None, Some(event.kind.clone())));
    }
    grants
}

/// How many segments the SMS takes by today's templates, if they can render it.
fn segments(
    rules: &Rules,
    templates: &Templates,
    contacts: Option<&Contacts>,
    queued: &QueuedEvent,
    (route, user): (&Route, i64),
) -> Option<u64> {
    let own = |choose: fn(&Contacts) -> &Option<String>, default: &str| {
        let own = contacts.and_then(|contacts| choose(contacts).clone());
        Some(own.unwrap_or_else(|| default.to_owned()))
    };
    let variables = Variables {
        event_id: queued.id.clone(),
        event_type: queued.kind.clone(),
        occurred_at: queued.timestamp,
        aggregate_id: queued.aggregate_id.clone(),
        aggregate_type: queued.aggregate_type.clone(),
        payload: queued.payload.clone(),
        name: contacts.and_then(|contacts| contacts.name.clone()),
        locale: own(|contacts| &contacts.locale, &rules.defaults.locale),
        time_zone: own(|contacts| &contacts.time_zone, &rules.defaults.time_zone),
        digest: None,
    };
    let (template, _) = route.told_by(&queued.kind, user);
    match templates.render(template, Channel::Sms, &variables).ok()?.content {
        Content::Sms { segments, .. } => Some(u64::from(segments)),
        _ => None,
    }
}
