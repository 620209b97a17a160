//! `herald users import`: all lines are checked before the first is sent.

use reqwest::Method;
use serde_json::json;

use super::publish::lines;
use super::remote::{Calls, read};
use super::{CommandError, ImportArgs, say};
use crate::domain::recipient::{parse_recipient_line, parse_recipients_csv};
use crate::domain::{FieldError, Recipient};

/// The most bad lines that are told.
const MOST_TOLD: usize = 50;

/// Makes or replaces recipients from CSV with a header, or NDJSON.
pub(super) async fn import(args: &ImportArgs, json: bool) -> Result<(), CommandError> {
    let calls = Calls::new(&args.remote)?;
    let bytes = read(&args.input)?;
    let text =
        String::from_utf8(bytes).map_err(|_| CommandError::Failed("the input is no UTF-8".to_owned()))?;
    let recipients = parse(&text)?;
    for recipient in &recipients {
        let body =
            serde_json::to_string(recipient).map_err(|error| CommandError::Failed(error.to_string()))?;
        calls.call(Method::PUT, &format!("/v1/users/{}", recipient.id), body).await?;
    }
    let count = recipients.len();
    say(&if json { json!({ "imported": count }).to_string() } else { format!("{count} imported") })
}

fn parse(text: &str) -> Result<Vec<Recipient>, CommandError> {
    let is_json = text.trim_start().starts_with('{');
    let checked: Vec<(usize, Result<Recipient, Vec<FieldError>>)> = if is_json {
        let numbered = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        numbered.map(|(index, line)| (index + 1, parse_recipient_line(line.as_bytes()))).collect()
    } else {
        parse_recipients_csv(text)
            .map_err(|errors| refused(&[format!("line 1: {}", lines(&errors))]))?
            .collect()
    };
    let mut recipients = Vec::with_capacity(checked.len());
    let mut bad = Vec::new();
    for (line, checked) in checked {
        match checked {
            Ok(recipient) => recipients.push(recipient),
            Err(errors) => bad.push(format!("line {line}: {}", lines(&errors).replace('\n', "; "))),
        }
    }
    if bad.is_empty() { Ok(recipients) } else { Err(refused(&bad)) }
}

fn refused(bad: &[String]) -> CommandError {
    let mut text: Vec<String> = bad.iter().take(MOST_TOLD).cloned().collect();
    if bad.len() > MOST_TOLD {
        text.push(format!("and {} more", bad.len() - MOST_TOLD));
    }
    CommandError::Failed(format!("{}\nnothing was imported", text.join("\n")))
}
