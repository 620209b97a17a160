//! `herald replay`.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::remote::Calls;
use super::{CommandError, ReplayArgs, say};

/// How often it is asked how far it has come.
const EVERY: Duration = Duration::from_millis(300);

/// Has stored events decided anew, waits for the end, and prints what was found.
pub(super) async fn replay(args: &ReplayArgs, json: bool) -> Result<(), CommandError> {
    let calls = Calls::new(&args.remote)?;
    let body = json!({
        "types": args.types,
        "from": args.from,
        "to": args.to,
        "aggregate": args.aggregate,
        "send": args.send,
        "reason": args.reason,
    });
    let mut replay = calls.call(Method::POST, "/v1/replays", body.to_string()).await?;
    let id = text(&replay, "/id").to_owned();
    let shows = std::io::stderr().is_terminal();
    while !["done", "failed"].contains(&text(&replay, "/state")) {
        tokio::time::sleep(EVERY).await;
        replay = calls.call(Method::GET, &format!("/v1/replays/{id}"), String::new()).await?;
        if shows {
            let share = replay.pointer("/progress").and_then(Value::as_f64).unwrap_or_default();
            // Only to pass the time with.
            let _ = write!(std::io::stderr(), "\r{:>5.1}%\r", share * 100.0);
        }
    }
    say(&if json { replay.to_string() } else { table(&replay) })?;
    match text(&replay, "/error") {
        "" => Ok(()),
        error => Err(CommandError::Failed(format!("the replay {id} could not go on: {error}"))),
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

/// The report for people.
fn table(replay: &Value) -> String {
    let what = if replay["send"] == true { "sent" } else { "dry run" };
    let mut lines = vec![format!("Replay {} ({what}, {})", text(replay, "/id"), text(replay, "/state"))];
    let Some(report) = replay.get("report") else { return lines.join("\n") };
    lines.push(format!("{} events", number(report, "/events")));
    for (outcome, n) in report["left"].as_object().into_iter().flatten() {
        lines.push(format!("  of these left alone, {outcome}: {n}"));
    }
    lines.push(format!("\n{:<44}{:>12}{:>12}", "", "today", "really"));
    section(&mut lines, "Messages sent, by channel", &report["channels"]);
    section(&mut lines, "by type", &report["types"]);
    section(&mut lines, "Messages held back, by rule", &report["rules"]);
    section(&mut lines, "Events by outcome", &report["outcomes"]);
    row(&mut lines, "SMS segments", &report["sms_segments"]);
    let unrendered = number(report, "/unrendered");
    if unrendered > 0 {
        lines.push(format!("SMS that today's templates cannot render: {unrendered}"));
    }
    lines.push(format!("\n{} events differ", number(report, "/differing")));
    let named: Vec<&str> =
        report["differs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !named.is_empty() {
        lines.push(format!("  the first: {}", named.iter().take(10).copied().collect::<Vec<_>>().join(", ")));
    }
    if let Some(sent) = report.get("sent") {
        lines.push(format!(
            "\nPut to work: {} deliveries reopened, {} of new notifications; {} held back by today's rules",
            number(sent, "/reopened"),
            number(sent, "/first"),
            number(sent, "/held_back")
        ));
        let others = number(sent, "/other_recipient");
        if others > 0 {
            lines.push(format!("{others} events left alone: they were told to somebody else"));
        }
    }
    lines.join("\n")
}

fn section(lines: &mut Vec<String>, title: &str, rows: &Value) {
    let Some(rows) = rows.as_object().filter(|rows| !rows.is_empty()) else { return };
    lines.push(title.to_owned());
    for (name, numbers) in rows {
        row(lines, &format!("  {name}"), numbers);
    }
}

fn row(lines: &mut Vec<String>, name: &str, numbers: &Value) {
    let (would, was) = (number(numbers, "/would"), number(numbers, "/was"));
    lines.push(format!("{name:<44}{would:>12}{was:>12}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_as_a_table() {
        let replay = json!({
            "id": "r-1", "state": "done", "send": false,
            "report": {
                "events": 3, "left": {"failed": 1},
                "channels": {"sms": {"would": 2, "was": 1}}, "types": {}, "rules": {}, "outcomes": {},
                "sms_segments": {"would": 4, "was": 2}, "unrendered": 0, "differing": 1, "differs": ["e-1"],
            },
        });
        let text = table(&replay);
        for line in [
            "Replay r-1 (dry run, done)",
            "3 events",
            "  of these left alone, failed: 1",
            "  sms                                                  2           1",
            "SMS segments                                           4           2",
            "1 events differ",
            "  the first: e-1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("Put to work"));
    }
}
