//! `docs/decisions.md`, decided row by row.

use chrono_tz::Tz;
use herald::domain::{Channel, DeliveryState, Instant, parse_duration};
use herald::policy::{
    DIGEST, ESCALATION, EXPIRED, FLOOD_CAP, FREQUENCY_CAP, NO_CONTACT, OPTED_OUT, Plan, QUIET_HOURS,
    Question, Spent, Usage, Verdict, ask_again, decide, decide_again,
};

use crate::table::{Row, bank, before, customer, routes, rows, time};

const DOCUMENT: &str = include_str!("../../docs/decisions.md");

/// What a cell says of one channel.
fn expected(cell: &str, zone: Tz) -> Option<(DeliveryState, Option<&'static str>, Option<Instant>)> {
    use DeliveryState::{Deferred, Expired, Pending, Suppressed};
    let until = [
        ("quiet until ", QUIET_HOURS),
        ("full until ", FREQUENCY_CAP),
        ("digest at ", DIGEST),
        ("stand-by until ", ESCALATION),
    ];
    for (phrase, reason) in until {
        if let Some(at) = cell.strip_prefix(phrase) {
            return Some((Deferred, Some(reason), Some(time(at, zone))));
        }
    }
    Some(match cell {
        "" => return None,
        "sent" => (Pending, None, None),
        "no contact" => (Suppressed, Some(NO_CONTACT), None),
        "opted out" => (Suppressed, Some(OPTED_OUT), None),
        "quiet, not sent" => (Suppressed, Some(QUIET_HOURS), None),
        "full, not sent" => (Suppressed, Some(FREQUENCY_CAP), None),
        "flood, not sent" => (Suppressed, Some(FLOOD_CAP), None),
        "too late" => (Expired, Some(EXPIRED), None),
        other => panic!("a cell says {other}"),
    })
}

/// Decides a row; what differs from what it says.
fn differs(row: &Row, routes: &std::collections::HashMap<String, herald::policy::Route>) -> Option<String> {
    let [event, who, rules, sent, now, push, email, sms] = &*row.cells else {
        panic!("line {}: eight cells", row.line)
    };
    let (kind, age) = match event.strip_suffix(" old").and_then(|event| event.rsplit_once(' ')) {
        Some((kind, age)) => (kind, parse_duration(age).unwrap()),
        None => (event.as_str(), std::time::Duration::ZERO),
    };
    let route = routes.get(kind).unwrap_or_else(|| panic!("line {}: no route {kind}", row.line));
    let (customer, bank) = (customer(who), bank(rules));
    let now = time(now, customer.zone);
    let happened_at = now.minus(age);
    let question = Question {
        bank: &bank,
        event_type: kind,
        route,
        user: 7,
        reach: customer.reach,
        preferences: &customer.preferences,
        zone: customer.zone,
        expires_at: route.expires_at(happened_at, now),
        now,
    };
    let sent = before(sent, customer.zone, now);
    let mut spent = Spent::default();
    for cap in question.caps() {
        let mut grants: Vec<Instant> = sent.iter().filter_map(|one| one.counts_for(&cap, now)).collect();
        grants.sort_unstable_by(|a, b| b.cmp(a));
        grants.truncate(cap.limit as usize);
        spent.note(7, cap, Usage { grants, ..Usage::default() });
    }
    let verdicts: Vec<Verdict> = if row.heading.contains("is due") {
        route.channels.iter().map(|channel| decide_again(&question, *channel, &mut spent)).collect()
    } else if row.heading.contains("before a send") {
        route.channels.iter().map(|channel| ask_again(&question, *channel)).collect()
    } else {
        let Plan { verdicts, .. } = decide(&question, &mut spent);
        verdicts
    };
    let cells = [(Channel::Push, push), (Channel::Email, email), (Channel::Sms, sms)];
    let wrong = cells.into_iter().filter_map(|(channel, cell)| {
        let found = verdicts.iter().find(|verdict| verdict.channel == channel);
        let found = found.map(|verdict| (verdict.state, verdict.reason, verdict.not_before));
        let told = expected(cell, customer.zone);
        (found != told).then(|| format!("{channel}: {found:?}, and it says {told:?}"))
    });
    let wrong: Vec<String> = wrong.collect();
    (!wrong.is_empty()).then(|| format!("line {}: {}", row.line, wrong.join("; ")))
}

#[test]
fn every_row_of_the_document_is_what_is_decided() {
    let rows = rows(DOCUMENT);
    let routes = routes(&rows);
    let cases: Vec<&Row> = rows.iter().filter(|row| row.cells.len() == 8).collect();
    assert!(cases.len() >= 60, "{} decisions", cases.len());
    let headings: std::collections::BTreeSet<&str> = cases.iter().map(|row| &*row.heading).collect();
    assert_eq!(headings.len(), 12, "{headings:?}");
    let wrong: Vec<String> = cases.iter().filter_map(|row| differs(row, &routes)).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// The document's own list of phrases says what the test takes them for.
#[test]
fn the_phrases_mean_what_the_document_says() {
    let phrases: Vec<Row> =
        rows(DOCUMENT).into_iter().filter(|row| row.heading == "How to read it").collect();
    assert_eq!(phrases.len(), 12);
    for row in phrases {
        let said = row.cells[0].replace('…', "Wed 2026-11-25 12:00");
        let said = if said == "blank" { String::new() } else { said };
        let found = expected(&said, Tz::UTC);
        let state = found.map_or_else(|| "none".to_owned(), |found| format!("`{}`", found.0));
        let reason = found.and_then(|found| found.1).map(|r| format!("`{r}`")).unwrap_or_default();
        assert_eq!((row.cells[1].as_str(), row.cells[2].as_str()), (state.as_str(), reason.as_str()));
    }
}

/// A test that reads a document must notice a document that lies.
#[test]
fn a_row_that_is_not_true_is_found() {
    let rows = rows(DOCUMENT);
    let routes = routes(&rows);
    let mut found = 0;
    for row in rows.iter().filter(|row| row.cells.len() == 8) {
        let mut cells = row.cells.clone();
        let last = cells.len() - 1;
        cells[last] = if cells[last] == "no contact" { "sent".to_owned() } else { "no contact".to_owned() };
        let lie = Row { heading: row.heading.clone(), line: row.line, cells };
        assert!(differs(&lie, &routes).is_some(), "line {}", row.line);
        found += 1;
    }
    assert!(found >= 60);
}
