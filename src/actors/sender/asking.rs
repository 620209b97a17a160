//! The rules are asked again right before a send: what was decided may be minutes, or a night, old.

use std::time::Duration;

use super::Equipment;
use super::attempt::unchanged;
use crate::actors::rules::Times;
use crate::domain::DeliveryState;
use crate::policy::{Record, Verdict, ask_again};
use crate::store::{ClaimedDelivery, DeliveryOutcome};

/// A recipient as read so long ago is read again: who opted out before that is not sent to any more.
const FRESH_FOR: Duration = Duration::from_millis(500);

/// Asks; what does not go now comes back as what becomes of it. Without the database nobody can be asked,
/// and it waits.
pub(super) async fn ask(
    equipment: &Equipment,
    delivery: &mut ClaimedDelivery,
) -> Result<(), Box<DeliveryOutcome>> {
    if delivery.read_at.elapsed() > FRESH_FOR {
        let user = delivery.user_id;
        match equipment.instance.store.contacts(vec![user]).await {
            Ok(mut contacts) => delivery.contacts = contacts.remove(&user),
            Err(error) => {
                tracing::warn!(%error, delivery = %delivery.id, "a recipient could not be read before a send");
                metrics::counter!("herald_store_errors_total", "during" => "ask").increment(1);
                return Err(Box::new(unchanged(delivery, DeliveryState::Pending)));
            }
        }
    }
    let rules = &equipment.rules;
    // A type that has lost its route meanwhile goes as it was decided.
    let Some(route) = rules.routes.get(&delivery.event_type) else { return Ok(()) };
    let now = equipment.instance.now();
    let times = Times { expires_at: delivery.expires_at, now };
    let contacts = delivery.contacts.as_ref();
    let question = rules.question(&delivery.event_type, route, delivery.user_id, contacts, times);
    let verdict = ask_again(&question, delivery.id.channel);
    if verdict.state == DeliveryState::Pending {
        return Ok(());
    }
    crate::actors::decided::note("send", verdict.state, verdict.reason);
    Err(Box::new(refused(equipment, delivery, verdict)))
}

fn refused(equipment: &Equipment, delivery: &ClaimedDelivery, verdict: Verdict) -> DeliveryOutcome {
    let now = equipment.instance.now();
    let record = Record { outcome: None, steps: &[], verdicts: std::slice::from_ref(&verdict) };
    let ledger = equipment.rules.ledger(Some(delivery.user_id), &record);
    // Some of its devices have it: what the others miss is not worth a second verdict.
    let state = if delivery.accepted { DeliveryState::Sent } else { verdict.state };
    let reason = verdict.reason.filter(|_| !delivery.accepted).map(str::to_owned);
    DeliveryOutcome {
        reason,
        wait: verdict.not_before.map(|until| until.since(now)),
        not_before: verdict.not_before,
        ledger: Some(ledger),
        ..unchanged(delivery, state)
    }
}
