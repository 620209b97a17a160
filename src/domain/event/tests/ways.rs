//! The bus, foreign rows, the shell, and what Herald makes itself.

use super::*;

#[test]
fn the_bus_counts_what_it_ignores() {
    let text = event(|event| {
        event["extra"] = json!(1);
        event["version"] = json!({"a": 1});
    });
    let message = parse_bus_message(text.to_string().as_bytes()).unwrap();
    assert!(matches!(message, BusMessage::Event { ignored_fields: 2, event } if event.id == "0190-1"));
    let plain = parse_bus_message(event(|_| ()).to_string().as_bytes()).unwrap();
    assert!(matches!(plain, BusMessage::Event { ignored_fields: 0, .. }));
    let own = event(|event| event["type"] = json!("notification.sent"));
    assert!(matches!(parse_bus_message(own.to_string().as_bytes()), Ok(BusMessage::Own)));
    let bad = event(|event| {
        event["id"] = json!(1);
        event["extra"] = json!(1);
    });
    assert_eq!(pointers(parse_bus_message(bad.to_string().as_bytes())), ["/id"]);
    assert_eq!(pointers(parse_bus_message(format!("[{}]", event(|_| ())).as_bytes())), [""]);
}

fn row() -> Row<'static> {
    Row {
        id: "e-1",
        kind: "account.created",
        aggregate_id: "ACC-1",
        aggregate_type: "account",
        payload: r#"{"userId": 42}"#,
        metadata: Some(r#"{"source": "branch", "userId": 7, "correlationId": "c"}"#),
        timestamp: Instant::parse("2026-11-24T09:15:00Z").unwrap(),
    }
}

#[test]
fn a_foreign_row_keeps_the_same_rules() {
    let event = check_row(row()).unwrap();
    assert_eq!((event.source.as_str(), event.user_id), ("branch", Some(7)));
    assert_eq!(event.timestamp, Some(row().timestamp));

    let null = wrong(check_row(Row { metadata: None, ..row() }));
    assert!(null.len() == 1 && null[0].0 == "/metadata" && null[0].1.contains("NULL"));
    let long = "x".repeat(101);
    let cases = [
        (Row { kind: "notification.sent", ..row() }, "/type"),
        (Row { kind: "Account", ..row() }, "/type"),
        (Row { id: "", ..row() }, "/id"),
        (Row { id: "a\nb", ..row() }, "/id"),
        (Row { aggregate_id: &long, ..row() }, "/aggregateId"),
        (Row { aggregate_type: &long, ..row() }, "/aggregateType"),
        (Row { payload: "[1]", ..row() }, "/payload"),
        (Row { payload: "null", ..row() }, "/payload"),
        (Row { payload: "{", ..row() }, "/payload"),
        (Row { payload: r#"{"a":"\u0000"}"#, ..row() }, "/payload/a"),
        (Row { metadata: Some("{}"), ..row() }, "/metadata/source"),
        (Row { metadata: Some("7"), ..row() }, "/metadata"),
        (Row { metadata: Some(r#"{"source":"s","userId":"7"}"#), ..row() }, "/metadata/userId"),
    ];
    for (row, pointer) in cases {
        assert_eq!(pointers(check_row(row)), [pointer]);
    }
    let all = Row {
        id: "",
        kind: "X",
        aggregate_id: "",
        aggregate_type: "",
        payload: "1",
        metadata: None,
        ..row()
    };
    assert_eq!(pointers(check_row(all)).len(), 6);
}

#[test]
fn a_row_is_as_large_and_deep_as_an_event_may_be() {
    // JSONB gives its own blanks back; they are nobody's content.
    let ones = vec!["1"; (MOST_BYTES - 1_000) / 2].join(", ");
    let payload = format!("{{\"x\": [{ones}]}}");
    assert!(payload.len() > MOST_BYTES && check_row(Row { payload: &payload, ..row() }).is_ok());
    let payload = format!("{{\"x\": \"{}\"}}", "y".repeat(MOST_BYTES));
    assert_eq!(pointers(check_row(Row { payload: &payload, ..row() })), [""]);
    for (levels, fits) in [(63, true), (64, false)] {
        let payload = format!("{{\"x\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert_eq!(check_row(Row { payload: &payload, ..row() }).is_ok(), fits, "{levels}");
    }
}

#[test]
fn a_file_is_lines_or_json() {
    let one = event(|_| ()).to_string();
    let pretty = serde_json::to_string_pretty(&event(|_| ())).unwrap();
    let many = format!("[{}]", vec![one.as_str(); 1_001].join(","));
    let files = [
        (one.clone(), 1),
        (pretty.clone(), 1),
        (format!("\u{feff}{one}\r\n\r\n{one}\n"), 2),
        (format!("[{pretty},{one}]"), 2),
        (many, 1_001),
        ("[]".to_owned(), 0),
    ];
    for (file, count) in files {
        assert_eq!(parse_ndjson(file.as_bytes()).unwrap().len(), count);
    }
    let broken = format!("{one}\n\n{{\"id\":1}}\n{{\"id\"\n{one}");
    let errors = wrong(parse_ndjson(broken.as_bytes()));
    assert!(errors.iter().any(|(pointer, detail)| pointer == "/id" && detail.starts_with("line 3: ")));
    assert!(errors.iter().any(|(pointer, detail)| pointer.is_empty() && detail.starts_with("line 4: ")));
    assert!(errors.iter().all(|(_, detail)| !detail.contains("line 5") && !detail.contains("line 1:")));
    assert_eq!(wrong(parse_ndjson(b"\n \n"))[0].1, "holds no event");
    let cut = &pretty[..pretty.len() - 1];
    let errors = wrong(parse_ndjson(cut.as_bytes()));
    assert!(errors.len() == 1 && errors[0].1.contains("not JSON"), "{errors:?}");
}

#[test]
fn a_duplicate_is_the_same_but_for_spelling() {
    let stored = check_row(row()).unwrap();
    let same = |row: Row<'_>| check_row(row).unwrap().same_content(stored.content());
    assert!(same(row()));
    assert!(same(Row { id: "another", ..row() }));
    assert!(same(Row { payload: r#"{ "userId":4.2e1 }"#, ..row() }));
    assert!(same(Row { metadata: Some(r#"{"correlationId":"c","userId":7,"source":"branch"}"#), ..row() }));
    assert!(!same(Row { kind: "account.frozen", ..row() }));
    assert!(!same(Row { aggregate_id: "ACC-2", ..row() }));
    assert!(!same(Row { aggregate_type: "card", ..row() }));
    assert!(!same(Row { payload: r#"{"userId":"42"}"#, ..row() }));
    assert!(!same(Row { metadata: Some(r#"{"source":"branch"}"#), ..row() }));
    let later = Instant::parse("2026-11-24T09:15:00.000001Z").unwrap();
    assert!(!same(Row { timestamp: later, ..row() }));
    let mut untimed = check_row(Row { timestamp: later, ..row() }).unwrap();
    untimed.timestamp = None;
    assert!(untimed.same_content(stored.content()));
}

#[test]
fn what_herald_makes_names_its_cause() {
    let at = Instant::parse("2026-11-24T09:15:00Z").unwrap();
    let cause = Cause { event_id: "e-1", correlation_id: Some("c \"1\"") };
    let made = |cause| MadeEvent {
        id: "m-1".to_owned(),
        kind: "alert.triggered",
        aggregate_type: "account",
        aggregate_id: "ACC-1",
        payload: Document::parse(r#"{"limit":"10.00"}"#).unwrap(),
        user_id: Some(42),
        cause,
        at,
    };
    let event = made(Some(cause)).into_event().unwrap();
    assert_eq!((event.source.as_str(), event.causation_id.as_deref()), ("herald", Some("e-1")));
    assert_eq!(event.correlation_id.as_deref(), Some("c \"1\""));
    let published = serde_json::to_vec(&event).unwrap();
    let [read]: [NewEvent; 1] = parse_events(&published).unwrap().try_into().unwrap();
    assert!(read.same_content(event.content()) && read.timestamp == Some(at));
    assert_eq!((read.user_id, read.causation_id), (Some(42), Some("e-1".to_owned())));
    let alone = made(None).into_event().unwrap();
    assert_eq!(alone.metadata.as_str(), r#"{"source":"herald","userId":42}"#);
}
