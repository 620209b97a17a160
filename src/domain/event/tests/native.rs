//! Herald's own JSON, rule by rule.

use proptest::prelude::*;

use super::*;

fn parse(event: &Value) -> Result<Vec<NewEvent>, Vec<FieldError>> {
    parse_events(event.to_string().as_bytes())
}

#[test]
fn an_event_is_read_as_it_is() {
    let text = r#" {"id":"e-1","type":"a.b","timestamp":"2026-11-24T11:15:00.1234567+02:00","aggregateId":"A",
        "aggregateType":"t","payload":{"n":12345678901234567890.120},
        "metadata":{"source":"s","userId":-7,"extra":{"k":[1]}}}"#;
    let [event]: [NewEvent; 1] = parse_events(text.as_bytes()).unwrap().try_into().unwrap();
    assert_eq!((event.id.as_str(), event.kind.as_str(), event.source.as_str()), ("e-1", "a.b", "s"));
    assert_eq!((event.user_id, event.correlation_id.as_deref()), (Some(-7), None));
    assert_eq!(event.timestamp.unwrap().to_rfc3339(), "2026-11-24T09:15:00.123456Z");
    assert_eq!(event.payload.as_str(), r#"{"n":12345678901234567890.120}"#);
    assert_eq!(event.metadata.as_str(), r#"{"source":"s","userId":-7,"extra":{"k":[1]}}"#);
    let again = parse_events(&serde_json::to_vec(&event).unwrap()).unwrap();
    assert!(event.same_content(again[0].content()) && again[0].id == event.id);
    assert!(!format!("{event:?}").contains("123456789012345"));
}

/// Each row of the contract's table, at its limit and one beyond it.
#[test]
fn each_rule_holds_at_its_limit_and_not_beyond() {
    let kind = |length: usize| format!("a.{}", "b".repeat(length - 2));
    let texts: &[(&str, usize)] = &[
        ("/id", 50),
        ("/aggregateId", 100),
        ("/aggregateType", 50),
        ("/metadata/source", 100),
        ("/metadata/correlationId", 100),
        ("/metadata/causationId", 100),
    ];
    for (pointer, most) in texts {
        let set = |value: Value| event(|event| *event.pointer_mut(pointer).unwrap() = value);
        // Characters, not bytes.
        assert!(parse(&set(json!("é".repeat(*most)))).is_ok(), "{pointer}");
        let (place, detail) = wrong(parse(&set(json!("é".repeat(most + 1))))).remove(0);
        assert_eq!(&place, pointer);
        assert!(detail.contains(&format!("{} characters", most + 1)), "{detail}");
        for other in [json!(1), json!(null), json!(["a"]), json!({}), json!(true)] {
            assert_eq!(pointers(parse(&set(other))), [*pointer]);
        }
        assert_eq!(pointers(parse(&set(json!("a\0")))), [*pointer]);
        let may_be_empty = matches!(*pointer, "/metadata/correlationId" | "/metadata/causationId");
        assert_eq!(parse(&set(json!(""))).is_ok(), may_be_empty, "{pointer}");
        let plain = matches!(*pointer, "/id" | "/aggregateId" | "/aggregateType");
        for control in ["\n", "\u{1f}", "\u{7f}", "\u{80}", "\u{9f}"] {
            assert_eq!(parse(&set(json!(control))).is_err(), plain, "{pointer} {control:?}");
        }
    }
    for field in ["id", "type", "aggregateId", "aggregateType", "payload", "metadata"] {
        let without = event(|event| drop(event.as_object_mut().unwrap().remove(field)));
        assert_eq!(wrong(parse(&without)), [(format!("/{field}"), "is required".to_owned())]);
    }
    let set = |pointer: &'static str, value: Value| {
        parse(&event(|event| *event.pointer_mut(pointer).unwrap() = value))
    };
    for good in
        [kind(100), "a".into(), "account.balance.low".into(), "a1.2b.c_d".into(), "notifications.x".into()]
    {
        assert!(set("/type", json!(good)).is_ok(), "{good}");
    }
    for bad in [kind(101), "".into(), "A.b".into(), ".a".into(), "a.".into(), "a..b".into(), "1.a".into()] {
        assert_eq!(pointers(set("/type", json!(bad))), ["/type"], "{bad}");
    }
    for bad in ["a b", "a.b\n", "a/b", "é.a", "_a", "notification.sent", "notification.anything.else"] {
        assert_eq!(pointers(set("/type", json!(bad))), ["/type"], "{bad}");
    }
    for good in [
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
        "2026-11-24t09:15:00.5z",
        "2026-11-24T09:15:00-12:00",
    ] {
        assert!(set("/timestamp", json!(good)).is_ok(), "{good}");
    }
    let bad_times = [
        "2026-11-24T09:15:00",
        "2026-11-24",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "now",
        "",
        "0000-12-31T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "12026-01-01T00:00:00Z",
        "2016-12-31T23:59:60Z",
        "2026-11-24T24:00:00Z",
        "2026-11-24T09:15:00+25:00",
    ];
    for bad in bad_times.map(|text| json!(text)).into_iter().chain([json!(1_700_000_000), json!(null)]) {
        assert_eq!(pointers(set("/timestamp", bad.clone())), ["/timestamp"], "{bad}");
    }
    for good in [json!(0), json!(i64::MAX), json!(i64::MIN)] {
        assert!(set("/metadata/userId", good).is_ok());
    }
    for bad in [json!("42"), json!(42.0), json!(null), json!([42]), json!(9_223_372_036_854_775_808_u64)] {
        assert_eq!(pointers(set("/metadata/userId", bad)), ["/metadata/userId"]);
    }
    for bad in [json!([]), json!("{}"), json!(null), json!(1)] {
        assert_eq!(pointers(set("/payload", bad.clone())), ["/payload"]);
        assert_eq!(pointers(set("/metadata", bad)), ["/metadata"]);
    }
    assert!(set("/payload", json!({})).is_ok());
    assert_eq!(pointers(set("/metadata", json!({}))), ["/metadata/source"]);
}

#[test]
fn size_depth_and_numbers_are_bounded() {
    let sized = |bytes: usize| {
        let base = event(|event| event["payload"] = json!({"x": ""})).to_string().len();
        event(|event| event["payload"] = json!({"x": "y".repeat(bytes - base)}))
    };
    assert_eq!(MOST_BYTES, 262_144);
    assert_eq!(sized(MOST_BYTES).to_string().len(), MOST_BYTES);
    assert!(parse(&sized(MOST_BYTES)).is_ok());
    let (pointer, detail) = wrong(parse(&sized(MOST_BYTES + 1))).remove(0);
    assert!(pointer.is_empty() && detail.contains("262145"), "{detail}");

    let payload = |text: &str| {
        let event = event(|event| event["payload"] = json!("HERE")).to_string();
        parse_events(event.replace("\"HERE\"", text).as_bytes())
    };
    // The event is a level, and so is the payload.
    let nested = |levels: usize| format!("{{\"x\":{}1{}}}", "[".repeat(levels - 2), "]".repeat(levels - 2));
    assert!(payload(&nested(64)).is_ok());
    for levels in [65, 66, 10_000] {
        let errors = wrong(payload(&nested(levels)));
        assert_eq!(errors, [(String::new(), "is nested deeper than 64 levels".to_owned())]);
    }
    // Two numbers of 130,001 digits are more than an event, though they are few bytes.
    assert!(payload(r#"{"x":1e129000}"#).is_ok());
    assert_eq!(pointers(payload(r#"{"x":[1e129000,1e129000,1e129000]}"#)), [""]);
    assert_eq!(pointers(payload(r#"{"x":[1,1e140000]}"#)), ["/payload/x/1"]);
    assert_eq!(pointers(payload(r#"{"x":"\u0000"}"#)), ["/payload/x"]);
    assert_eq!(pointers(payload(r#"{"x":{"a":1,"a":1}}"#)), ["/payload/x/a"]);
}

#[test]
fn all_errors_are_told_at_once() {
    let text = r#"[{"id":"a","type":"a.b","aggregateId":"A","aggregateType":"t","payload":{},"metadata":{"source":"s"}},
        {"id":"","type":"X","timestamp":"t","aggregateId":7,"payload":[],"metadata":{"userId":"1","causationId":2},
         "user_id":1,"id":"b"}, 5]"#;
    let expected = [
        "/1/aggregateId",
        "/1/aggregateType",
        "/1/id",
        "/1/metadata/causationId",
        "/1/metadata/source",
        "/1/metadata/userId",
        "/1/payload",
        "/1/timestamp",
        "/1/type",
        "/1/user_id",
        "/2",
    ];
    assert_eq!(pointers(parse_events(text.as_bytes())), expected);
    // An unknown field alone is an error too, which names it.
    let unknown = event(|event| event["userId"] = json!(1));
    let (pointer, detail) = wrong(parse(&unknown)).remove(0);
    assert!(pointer == "/userId" && detail.contains("no field of an event"), "{detail}");
    let twice = event(|_| ()).to_string().replacen('{', "{\"id\":\"x\",", 1);
    assert_eq!(
        wrong(parse_events(twice.as_bytes())),
        [("/id".to_owned(), "comes more than once".to_owned())]
    );
}

#[test]
fn an_array_holds_1_to_1000_events() {
    let array = |count: usize| parse(&Value::Array((0..count).map(|_| event(|_| ())).collect()));
    assert_eq!(array(1).unwrap().len(), 1);
    assert_eq!(array(1_000).unwrap().len(), 1_000);
    for count in [0, 1_001] {
        let (pointer, detail) = wrong(array(count)).remove(0);
        assert!(pointer.is_empty() && (count == 0 || detail.contains("at most 1000")), "{detail}");
    }
    let bad = Value::Array(vec![json!({}); 1_000]);
    assert_eq!(wrong(parse(&bad)).len(), crate::domain::MOST_ERRORS);
}

#[test]
fn other_texts_are_one_error() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "not JSON"),
        (b"{\"id\":\"secret\",,}", "line 1 column 16"),
        (b"{\"id\":\"\xff\"}", "not UTF-8 at byte 7"),
        (b"\"secret\"", "must be an object"),
        (b"null", "must be an object"),
        (b"{} {}", "not JSON"),
    ];
    for (body, word) in cases {
        let errors = wrong(parse_events(body));
        assert!(errors.len() == 1 && errors[0].0.is_empty() && errors[0].1.contains(word), "{errors:?}");
        assert!(!errors[0].1.contains("secret"));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse_events(&body);
        let _ = parse_ndjson(&body);
        let _ = parse_bus_message(&body);
    }

    /// Changed bytes of a valid event: what is accepted is within the rules, what is not says where.
    #[test]
    fn a_damaged_event_is_refused_or_valid(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut body = event(|_| ()).to_string().into_bytes();
        for (at, byte) in &changes {
            let at = at.index(body.len());
            body[at] = *byte;
        }
        match parse_events(&body) {
            Ok(events) => {
                let event = &events[0];
                prop_assert!((1..=50).contains(&event.id.chars().count()));
                prop_assert!(!event.id.chars().any(char::is_control));
                let again = parse_events(&serde_json::to_vec(event).unwrap()).unwrap();
                prop_assert!(event.same_content(again[0].content()));
            }
            Err(errors) => prop_assert!(!errors.is_empty()),
        }
    }

    #[test]
    fn an_error_never_quotes_a_value(secret in "[A-Z]{12}") {
        let values = [json!(secret), json!([secret]), json!({"k": secret})];
        let fields = ["id", "type", "timestamp", "aggregateId", "aggregateType", "payload", "metadata", "unknown"];
        for field in fields {
            for value in &values {
                let text = event(|event| event[field] = value.clone());
                for (pointer, detail) in parse(&text).err().into_iter().flatten().map(|e| (e.pointer, e.detail)) {
                    prop_assert!(!pointer.contains(&secret) && !detail.contains(&secret), "{}: {}", pointer, detail);
                }
            }
        }
    }
}
