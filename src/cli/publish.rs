//! `herald publish`.

use reqwest::Method;
use serde_json::{Value, json};

use super::remote::{Calls, read};
use super::{CommandError, PublishArgs, say};
use crate::domain::FieldError;
use crate::domain::event::{MOST_EVENTS, parse_ndjson};

/// The most bytes of events in one call: well below what a server takes by default.
const MOST_BYTES: usize = 4 << 20;

/// Sends the events of a file. A large file goes in several calls, each all or nothing; where one
/// fails, the file can be sent again as a whole, since what was stored counts as a duplicate.
pub(super) async fn publish(args: &PublishArgs, json: bool) -> Result<(), CommandError> {
    let calls = Calls::new(&args.remote)?;
    let events = parse_ndjson(&read(&args.input)?).map_err(|errors| CommandError::Failed(lines(&errors)))?;
    let mut texts = Vec::with_capacity(events.len());
    for event in &events {
        texts.push(serde_json::to_string(event).map_err(|error| CommandError::Failed(error.to_string()))?);
    }
    let mut answers = Vec::new();
    let mut rest = texts.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |text: &&String| {
            bytes += text.len() + 1;
            bytes <= MOST_BYTES
        };
        let count = rest.iter().take(MOST_EVENTS).take_while(fits).count().max(1);
        let (now, later) = rest.split_at(count);
        let answer = calls.call(Method::POST, "/v1/events", format!("[{}]", now.join(","))).await?;
        answers.extend(answer.get("events").and_then(Value::as_array).cloned().unwrap_or_default());
        rest = later;
    }
    if json {
        return say(&json!({ "events": answers }).to_string());
    }
    let count = |word: &str| {
        answers.iter().filter(|answer| answer.get("status").is_some_and(|is| is == word)).count()
    };
    say(&format!("{} stored, {} duplicate", count("stored"), count("duplicate")))
}

/// Errors as lines.
pub(super) fn lines(errors: &[FieldError]) -> String {
    let each = errors.iter().map(|error| match error.pointer.as_str() {
        "" => error.detail.clone(),
        pointer => format!("{pointer}: {}", error.detail),
    });
    each.collect::<Vec<_>>().join("\n")
}
