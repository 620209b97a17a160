//! One attempt: render, send to each destination, conclude.

use std::time::{Duration, Instant as Tick};

use futures_util::future::join_all;

use super::Equipment;
use super::asking::ask;
use crate::actors::carrier::Carrier;
use crate::domain::{AttemptOutcome, Channel, Content, DeliveryState, Destination, Instant, Lane};
use crate::policy::{
    Answer, Conclusion, Digest, EXPIRED, NO_CONTACT, Past, Record, Retry, SHADOW, Sign, Step, Ticket, Try,
    Verdict, conclude,
};
use crate::providers::{Outgoing, Report};
use crate::store::{Attempted, ClaimedDelivery, DeliveryOutcome, Holdings, LedgerEntry};
use crate::templates::{Rendered, Variables};

/// What failed through a provider that is left alone waits so much longer than the pause: another delivery
/// goes first as the next probe, and one that no provider can take does not keep the others waiting.
const AFTER_THE_PROBE: Duration = Duration::from_secs(1);

/// From this attempt on a failure uses up a retry although the provider is left alone: an end has to
/// come, and attempts are counted in 16 bits. With a probe a minute it is a week away.
const NO_LONGER_FREE: i64 = 10_000;

/// Where it goes, and what it says.
struct Prepared {
    destinations: Vec<(Option<String>, Destination)>,
    rendered: Rendered,
}

/// Makes the attempt by this provider, notes what it showed of it, and says what becomes of the delivery.
pub(super) async fn make(
    equipment: &Equipment,
    carrier: &Carrier,
    ticket: Ticket,
    mut delivery: ClaimedDelivery,
) -> DeliveryOutcome {
    // To ask may have taken time, in which others may have taken it over, or an operator paused the channel.
    let asked = ask(equipment, &mut delivery).await.and_then(|()| still_ours(equipment, &delivery));
    let Prepared { destinations, rendered } = match asked.and_then(|()| prepare(equipment, &delivery)) {
        Ok(prepared) => prepared,
        Err(outcome) => {
            carrier.note(ticket, Sign::Nothing, None);
            return DeliveryOutcome { hurries: hurries(equipment, &delivery, &outcome), ..*outcome };
        }
    };
    let segments = match &rendered.content {
        Content::Sms { segments, .. } => Some(*segments),
        _ => None,
    };
    if delivery.shadow {
        carrier.note(ticket, Sign::Nothing, None);
        let version = Some(rendered.version);
        let shadowed = ended(&delivery, DeliveryState::Shadowed, SHADOW);
        return DeliveryOutcome { segments, template_version: version, ..shadowed };
    }
    let sends = destinations.into_iter().enumerate().map(|(nth, (device, to))| {
        send(equipment, carrier, nth, &delivery, rendered.content.clone(), device, to)
    });
    let made: Vec<(Attempted, Report)> = join_all(sends).await;
    let sign = Sign::of_all(made.iter().map(|(_, report)| report.sign));
    let asked = made.iter().filter(|(_, report)| report.sign == Sign::Fails);
    carrier.note(ticket, sign, asked.filter_map(|(_, report)| report.retry_after).max());
    let retry = (equipment.retries)(&delivery.event_type, delivery.id.channel);
    let pause = match sign {
        Sign::Fails if delivery.attempt < NO_LONGER_FREE => pause(equipment, carrier, &made, &retry),
        _ => None,
    };
    let mut outcome = concluded(equipment, carrier, &delivery, &made, &retry, pause);
    outcome.segments = segments;
    outcome.template_version = Some(rendered.version);
    outcome.hurries = hurries(equipment, &delivery, &outcome);
    if outcome.state == DeliveryState::Expired {
        outcome.ledger = Some(too_late_to_retry(equipment, &delivery));
    }
    note(&delivery, &outcome);
    outcome
}

fn still_ours(equipment: &Equipment, delivery: &ClaimedDelivery) -> Result<(), Box<DeliveryOutcome>> {
    let instance = &equipment.instance;
    let held = instance.holds_lease() && delivery.claim.epoch == instance.epoch();
    match held && !instance.is_paused(delivery.id.channel) {
        true => Ok(()),
        false => Err(Box::new(unchanged(delivery, DeliveryState::Pending))),
    }
}

/// What the ledger keeps of a delivery that failed for now, and of which the next attempt would come too
/// late.
fn too_late_to_retry(equipment: &Equipment, delivery: &ClaimedDelivery) -> LedgerEntry {
    let until = delivery.expires_at.map(Instant::to_rfc3339).unwrap_or_default();
    let saw = format!("of use until {until}; the attempt failed, and the next one would come later").into();
    let verdict = Verdict {
        channel: delivery.id.channel,
        state: DeliveryState::Expired,
        reason: Some(EXPIRED),
        not_before: None,
        granted: false,
        steps: vec![Step { rule: "expiry", saw, answer: Answer::Expire }],
    };
    let record = Record { outcome: None, steps: &[], verdicts: std::slice::from_ref(&verdict) };
    equipment.rules.ledger(Some(delivery.user_id), &record)
}

/// Whether another channel waits for how this one ends.
fn hurries(equipment: &Equipment, delivery: &ClaimedDelivery, outcome: &DeliveryOutcome) -> bool {
    let route = equipment.rules.routes.get(&delivery.event_type);
    !outcome.state.is_open() && route.is_some_and(|route| !route.escalate.is_empty())
}

/// Where the provider is left alone now: how long the delivery waits. Not for the pause, where the other
/// provider can take it.
fn pause(
    equipment: &Equipment,
    carrier: &Carrier,
    made: &[(Attempted, Report)],
    retry: &Retry,
) -> Option<Duration> {
    let left = carrier.pause_left()?;
    let may_go = made.iter().all(|(attempted, _)| attempted.outcome != AttemptOutcome::Unknown);
    if may_go && !carrier.is_fallback() && equipment.carriers.has_usable_fallback() {
        return Some(Duration::ZERO);
    }
    Some((left + AFTER_THE_PROBE).max(retry.floor))
}

/// All that comes before the send; else what becomes of the delivery without one.
fn prepare(equipment: &Equipment, delivery: &ClaimedDelivery) -> Result<Prepared, Box<DeliveryOutcome>> {
    let destinations = destinations(delivery);
    if destinations.is_empty() {
        // Its devices may all be gone, or have accepted it in an earlier attempt.
        return Err(Box::new(match delivery.accepted {
            true => unchanged(delivery, DeliveryState::Sent),
            false => ended(delivery, DeliveryState::Suppressed, NO_CONTACT),
        }));
    }
    let variables = Variables {
        event_id: delivery.event_id.clone(),
        event_type: delivery.event_type.clone(),
        occurred_at: delivery.occurred_at,
        aggregate_id: delivery.aggregate_id.clone(),
        aggregate_type: delivery.aggregate_type.clone(),
        payload: delivery.payload.clone(),
        name: delivery.name.clone(),
        locale: delivery.locale.clone(),
        time_zone: delivery.time_zone.clone(),
        digest: delivery.digest.as_deref().and_then(Digest::from_json),
    };
    match equipment.templates.render(&delivery.template, delivery.id.channel, &variables) {
        Ok(rendered) => Ok(Prepared { destinations, rendered }),
        Err(error) => {
            tracing::error!(
                delivery = %delivery.id,
                correlation_id = delivery.correlation_id,
                %error,
                "a template cannot be rendered"
            );
            metrics::counter!("herald_template_errors_total").increment(1);
            Err(Box::new(template_failed(delivery, error.to_string())))
        }
    }
}

/// Where this attempt goes: for push, each device that has neither accepted nor refused it for good.
fn destinations(delivery: &ClaimedDelivery) -> Vec<(Option<String>, Destination)> {
    let Some(contacts) = &delivery.contacts else { return Vec::new() };
    let mailbox =
        |address: &String| Destination::Mailbox { address: address.clone(), name: contacts.name.clone() };
    match delivery.id.channel {
        Channel::Push => contacts
            .devices
            .iter()
            .filter(|(id, _)| !delivery.done_devices.contains(id))
            .map(|(id, device)| {
                (
                    Some(id.clone()),
                    Destination::Device { token: device.token.clone(), platform: device.platform },
                )
            })
            .collect(),
        Channel::Email => contacts.email.iter().map(|address| (None, mailbox(address))).collect(),
        Channel::Sms => contacts
            .phone
            .iter()
            .map(|number| (None, Destination::Phone { number: number.clone() }))
            .collect(),
    }
}

/// Sends to the `nth` destination. The turn of the first one has been taken.
async fn send(
    equipment: &Equipment,
    carrier: &Carrier,
    nth: usize,
    delivery: &ClaimedDelivery,
    content: Content,
    device: Option<String>,
    to: Destination,
) -> (Attempted, Report) {
    let instance = &equipment.instance;
    if nth > 0 {
        while let Err(wait) = carrier.take_turn(instance) {
            actix::clock::sleep(wait).await;
        }
    }
    let message = Outgoing {
        delivery: delivery.id.clone(),
        event_id: delivery.event_id.clone(),
        event_type: delivery.event_type.clone(),
        correlation_id: delivery.correlation_id.clone(),
        to,
        content,
        time_to_live: delivery.expires_at.map(|at| at.since(instance.now())),
        urgent: delivery.lane <= Lane::High,
    };
    let begun = Tick::now();
    let report = match nth == 0 || instance.holds_lease() {
        true => carrier.provider().send(&message).await,
        false => Report::failed(AttemptOutcome::Transient, "lease", "the lease ran out before the send")
            .and_sign(Sign::Nothing),
    };
    let latency = begun.elapsed();
    let labels = [("channel", delivery.id.channel.as_str()), ("outcome", report.outcome.as_str())];
    metrics::counter!("herald_attempts_total", &labels).increment(1);
    metrics::histogram!("herald_attempt_seconds", "channel" => delivery.id.channel.as_str()).record(latency);
    if report.misconfigured {
        tracing::error!(
            provider = carrier.name(),
            code = report.code,
            error = report.error,
            "the provider refuses Herald itself: its configuration or account there needs an operator"
        );
        metrics::counter!("herald_provider_misconfigured_total", "provider" => carrier.name()).increment(1);
    }
    let attempted = Attempted {
        device,
        outcome: report.outcome,
        provider: Some(carrier.name()),
        code: report.code.as_deref().map(plain),
        error: report.error.as_deref().map(plain),
        reference: report.reference.as_deref().map(plain),
        latency_ms: i64::try_from(latency.as_millis()).ok(),
    };
    (attempted, report)
}

/// What a provider said, as it can be stored and shown: one line, of a length that is read.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}

/// Says what did not go well. The provider's words may quote an address: its code alone is logged.
fn note(delivery: &ClaimedDelivery, outcome: &DeliveryOutcome) {
    let failed = outcome.attempts.iter().find(|attempted| attempted.outcome != AttemptOutcome::Accepted);
    let code = failed.and_then(|attempted| attempted.code.as_deref());
    let (event_id, correlation_id) = (&delivery.event_id, delivery.correlation_id.as_deref());
    match outcome.state {
        DeliveryState::Retry => {
            tracing::info!(delivery = %delivery.id, event_id, correlation_id, code, wait = ?outcome.wait, "a delivery is retried");
        }
        DeliveryState::Dead => {
            tracing::warn!(delivery = %delivery.id, event_id, correlation_id, code, "a delivery is dead");
        }
        _ => {}
    }
}

fn concluded(
    equipment: &Equipment,
    carrier: &Carrier,
    delivery: &ClaimedDelivery,
    made: &[(Attempted, Report)],
    retry: &Retry,
    pause: Option<Duration>,
) -> DeliveryOutcome {
    let tries: Vec<Try<'_>> = made
        .iter()
        .map(|(attempted, report)| Try {
            outcome: report.outcome,
            retry_after: report.retry_after,
            error: attempted.error.as_deref().or(attempted.code.as_deref()),
        })
        .collect();
    let past = Past {
        retries: u32::try_from(delivery.retries).unwrap_or(u32::MAX),
        accepted: delivery.accepted,
        expires_at: delivery.expires_at,
        pause,
    };
    let conclusion = conclude(&tries, past, retry, equipment.instance.now(), rand::random());
    let mut outcome = unchanged(delivery, conclusion.state);
    apply(&mut outcome, conclusion);
    outcome.provider = Some(carrier.name());
    outcome.reference = made.iter().find_map(|(attempted, _)| attempted.reference.clone());
    outcome.gone_devices = made
        .iter()
        .filter(|(_, report)| report.gone)
        .filter_map(|(attempted, _)| attempted.device.clone())
        .collect();
    outcome.attempts = made.iter().map(|(attempted, _)| attempted.clone()).collect();
    outcome
}

fn apply(outcome: &mut DeliveryOutcome, conclusion: Conclusion) {
    outcome.state = conclusion.state;
    outcome.reason = conclusion.reason;
    outcome.wait = conclusion.wait;
    outcome.retries = i64::from(conclusion.retries);
}

/// The delivery in another state, without an attempt.
pub(super) fn unchanged(delivery: &ClaimedDelivery, state: DeliveryState) -> DeliveryOutcome {
    let ClaimedDelivery { claim, attempt, cycle, retries, .. } = *delivery;
    DeliveryOutcome::of(delivery.id.clone(), claim, attempt, cycle, retries, state)
}

fn ended(delivery: &ClaimedDelivery, state: DeliveryState, reason: &str) -> DeliveryOutcome {
    DeliveryOutcome { reason: Some(reason.to_owned()), ..unchanged(delivery, state) }
}

/// The same delivery, dead, with nothing in its record that a database could refuse.
pub(super) fn unrecordable(outcome: DeliveryOutcome) -> DeliveryOutcome {
    let error = "what came of it could not be recorded: it may have been sent";
    DeliveryOutcome {
        state: DeliveryState::Dead,
        reason: Some(error.to_owned()),
        wait: None,
        reference: None,
        template_version: None,
        attempts: vec![Attempted { error: Some(error.to_owned()), ..Attempted::of(AttemptOutcome::Unknown) }],
        gone_devices: Vec::new(),
        ..outcome
    }
}

/// A template that cannot be rendered fails the same way every time: permanent, on this delivery alone.
fn template_failed(delivery: &ClaimedDelivery, error: String) -> DeliveryOutcome {
    let attempted = Attempted {
        code: Some("template".to_owned()),
        error: Some(error.clone()),
        ..Attempted::of(AttemptOutcome::Permanent)
    };
    DeliveryOutcome { attempts: vec![attempted], ..ended(delivery, DeliveryState::Dead, &error) }
}

/// What becomes of a delivery whose sender was cut off. `started`: it may have been sent, so the
/// attempt is `unknown`, and it is retried as a transient one is. Else it just waits again.
pub(in crate::actors) fn interrupted(
    held: &Holdings,
    started: bool,
    retry: &Retry,
    now: Instant,
    random: f64,
) -> DeliveryOutcome {
    let Holdings { claim, attempt, cycle, retries, .. } = *held;
    let mut outcome =
        DeliveryOutcome::of(held.id.clone(), claim, attempt, cycle, retries, DeliveryState::Pending);
    if started {
        let error = "the sender was cut off: it may have been sent";
        outcome
            .attempts
            .push(Attempted { error: Some(error.to_owned()), ..Attempted::of(AttemptOutcome::Unknown) });
        let tries = [Try { outcome: AttemptOutcome::Unknown, retry_after: None, error: Some(error) }];
        let past = Past {
            retries: u32::try_from(held.retries).unwrap_or(u32::MAX),
            accepted: held.accepted,
            expires_at: held.expires_at,
            pause: None,
        };
        apply(&mut outcome, conclude(&tries, past, retry, now, random));
        // Whether another channel waits for it is not known here; to ask one too many does no harm.
        outcome.hurries = !outcome.state.is_open();
    }
    outcome
}
