//! The JSON of one message.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use crate::providers::Outgoing;

/// FCM keeps nothing longer: four weeks.
const TIME_TO_LIVE_LIMIT: Duration = Duration::from_secs(2_419_200);

/// A message for one device.
///
/// FCM has no idempotency key. The delivery's id is in `data`, so that the app can drop a double, and a
/// double replaces the first on the screen: by `tag`, `apns-collapse-id` and `Topic`. Not by Android's
/// `collapse_key`: FCM keeps four of those for a device that is off, and drops what else waits.
pub(super) fn json(message: &Outgoing, token: &str, title: &str, body: &str, now: DateTime<Utc>) -> Vec<u8> {
    let notification = message.delivery.notification.to_string();
    let mut data = json!({
        "id": message.delivery.to_string(),
        "notification_id": &notification,
        "event_id": &message.event_id,
        "event_type": &message.event_type,
    });
    if let (Some(correlation), Some(data)) = (&message.correlation_id, data.as_object_mut()) {
        data.insert("correlation_id".into(), correlation.as_str().into());
    }
    let mut android: Map<String, Value> = Map::new();
    android.insert("priority".into(), if message.urgent { "HIGH" } else { "NORMAL" }.into());
    android.insert("notification".into(), json!({ "tag": &notification }));
    let mut apns = json!({
        "apns-priority": if message.urgent { "10" } else { "5" },
        "apns-collapse-id": at_most(&notification, 64),
    });
    let mut webpush = json!({
        "Urgency": if message.urgent { "high" } else { "normal" },
        // RFC 8030 §5.4: at most 32 characters of the URL-safe Base64 alphabet.
        "Topic": at_most(&notification.replace(|c: char| !c.is_ascii_alphanumeric(), ""), 32),
    });
    if let Some(time_to_live) = message.time_to_live {
        let seconds = time_to_live.min(TIME_TO_LIVE_LIMIT).as_secs();
        android.insert("ttl".into(), format!("{seconds}s").into());
        if let Some(headers) = apns.as_object_mut() {
            // 0 means one try; anything else is a moment.
            let expires = if seconds == 0 { 0 } else { now.timestamp().saturating_add_unsigned(seconds) };
            headers.insert("apns-expiration".into(), expires.to_string().into());
        }
        if let Some(headers) = webpush.as_object_mut() {
            headers.insert("TTL".into(), seconds.to_string().into());
        }
    }
    json!({ "message": {
        "token": token,
        "notification": { "title": title, "body": body },
        "data": data,
        "android": android,
        "apns": { "headers": apns },
        "webpush": { "headers": webpush },
    }})
    .to_string()
    .into_bytes()
}

/// The first characters of a text that is ASCII where it matters.
fn at_most(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}
