//! CloudEvents in their three modes.

use proptest::prelude::*;

use super::super::cloudevents::*;
use super::*;

fn cloud(change: impl FnOnce(&mut Value)) -> Value {
    let mut event = json!({
        "specversion": "1.0", "id": "c-1", "source": "/core/ledger", "type": "account.balance.low",
        "time": "2026-11-24T09:15:00Z", "subject": "ACC-1001", "datacontenttype": "application/json",
        "dataschema": "https://bank.example/low", "aggregatetype": "account", "userid": 42,
        "correlationid": "t-1", "causationid": "e-0", "partner": "x", "sampledrate": 3, "absent": null,
        "data": {"balance": 10.50},
    });
    change(&mut event);
    event
}

fn structured(event: &Value) -> Result<NewEvent, Vec<FieldError>> {
    parse_structured(event.to_string().as_bytes())
}

const HEADERS: [(&str, &str); 6] = [
    ("ce-specversion", "1.0"),
    ("Ce-Id", "c-1"),
    ("ce-source", "/core/ledger"),
    ("ce-type", "account.balance.low"),
    ("ce-subject", "ACC%2D1001"),
    ("user-agent", "\u{ff}"),
];

fn binary(change: impl FnOnce(&mut Vec<(&str, &str)>), body: &str) -> Result<NewEvent, Vec<FieldError>> {
    let mut headers = HEADERS.to_vec();
    change(&mut headers);
    let headers = headers.into_iter().map(|(name, value)| (name, value.as_bytes()));
    parse_binary(Some("application/json"), headers, body.as_bytes())
}

#[test]
fn a_structured_event_becomes_an_event() {
    let event = structured(&cloud(|_| ())).unwrap();
    assert_eq!((event.id.as_str(), event.kind.as_str()), ("c-1", "account.balance.low"));
    assert_eq!((event.aggregate_type.as_str(), event.aggregate_id.as_str()), ("account", "ACC-1001"));
    assert_eq!(event.timestamp.unwrap().to_rfc3339(), "2026-11-24T09:15:00.000000Z");
    assert_eq!((event.source.as_str(), event.user_id), ("/core/ledger", Some(42)));
    assert_eq!((event.correlation_id.as_deref(), event.causation_id.as_deref()), (Some("t-1"), Some("e-0")));
    assert_eq!(event.payload.as_str(), r#"{"balance":10.5}"#);
    let metadata: Value = serde_json::from_str(event.metadata.as_str()).unwrap();
    let expected = json!({
        "source": "/core/ledger", "userId": 42, "correlationId": "t-1", "causationId": "e-0",
        "dataschema": "https://bank.example/low", "partner": "x", "sampledrate": 3,
    });
    assert_eq!(metadata, expected);
    // It is an event like any other.
    assert!(parse_events(&serde_json::to_vec(&event).unwrap()).is_ok());
}

#[test]
fn the_optional_attributes_may_be_absent() {
    let event = structured(&json!({
        "specversion": "1.0", "id": "c", "source": "s", "type": "card.used", "subject": "1", "data": {},
        "time": null, "userid": "7",
    }))
    .unwrap();
    assert_eq!((event.aggregate_type.as_str(), event.timestamp, event.user_id), ("card", None, Some(7)));
    assert_eq!(event.metadata.as_str(), r#"{"source":"s","userId":7}"#);
}

#[test]
fn base64_may_hold_the_object() {
    let encoded = |text: &str| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(text);
        cloud(|event| {
            event.as_object_mut().unwrap().remove("data");
            event["data_base64"] = json!(text);
        })
    };
    assert_eq!(structured(&encoded(r#"{"a":1.10}"#)).unwrap().payload.as_str(), r#"{"a":1.10}"#);
    for (text, pointer) in
        [("[1]", "/data_base64"), ("x", "/data_base64"), (r#"{"a":"\u0000"}"#, "/data_base64/a")]
    {
        assert_eq!(pointers(structured(&encoded(text))), [pointer]);
    }
    let raw = cloud(|event| {
        event.as_object_mut().unwrap().remove("data");
        event["data_base64"] = json!("e30");
    });
    assert_eq!(pointers(structured(&raw)), ["/data_base64"]);
    let both = cloud(|event| event["data_base64"] = json!("e30="));
    assert_eq!(pointers(structured(&both)), ["/data_base64"]);
}

#[test]
fn what_the_specification_or_the_contract_forbids_is_refused() {
    for name in ["specversion", "id", "source", "type", "subject", "data"] {
        let without = cloud(|event| drop(event.as_object_mut().unwrap().remove(name)));
        assert_eq!(pointers(structured(&without)), [format!("/{name}")]);
        let empty = cloud(|event| event[name] = json!(""));
        assert_eq!(pointers(structured(&empty)), [format!("/{name}")]);
    }
    let bad = [
        ("specversion", json!("0.3")),
        ("specversion", json!(1.0)),
        ("id", json!("x".repeat(51))),
        ("id", json!(7)),
        ("id", json!("a\0")),
        ("source", json!("x".repeat(101))),
        ("subject", json!("x".repeat(101))),
        ("subject", json!("a\nb")),
        ("type", json!("notification.sent")),
        ("type", json!("com.example.Upper")),
        ("time", json!("yesterday")),
        ("aggregatetype", json!("x".repeat(51))),
        ("aggregatetype", json!("")),
        ("userid", json!("4x")),
        ("userid", json!("+4")),
        ("userid", json!("")),
        ("userid", json!(4.5)),
        ("userid", json!(true)),
        ("correlationid", json!("x".repeat(101))),
        ("causationid", json!(1)),
        ("datacontenttype", json!("application/xml")),
        ("datacontenttype", json!("json")),
        ("data", json!([1])),
        ("data", json!("{}")),
        ("data", json!(null)),
        ("partner", json!({"a": 1})),
        ("partner", json!([1])),
        ("aggregateType", json!("account")),
        ("my-extension", json!("x")),
        ("", json!("x")),
    ];
    for (name, value) in bad {
        let text = cloud(|event| event[name] = value.clone());
        assert_eq!(pointers(structured(&text)), [format!("/{name}")], "{value}");
    }
    for good in ["application/vnd.bank+json; charset=utf-8", "TEXT/JSON"] {
        assert!(structured(&cloud(|event| event["datacontenttype"] = json!(good))).is_ok(), "{good}");
    }
    let long = cloud(|event| {
        event["type"] = json!("x".repeat(51));
        event.as_object_mut().unwrap().remove("aggregatetype");
    });
    assert_eq!(pointers(structured(&long)), ["/aggregatetype"]);
    let large = cloud(|event| event["partner"] = json!("x".repeat(MOST_BYTES)));
    assert_eq!(pointers(structured(&large)), [""]);
}

#[test]
fn a_batch_is_an_array() {
    let batch = |events: &[Value]| parse_batch(Value::from(events).to_string().as_bytes());
    assert_eq!(batch(&[cloud(|_| ()), cloud(|_| ())]).unwrap().len(), 2);
    assert_eq!(batch(&[]).unwrap().len(), 0);
    let bad = cloud(|event| event["subject"] = json!(null));
    assert_eq!(pointers(batch(&[cloud(|_| ()), bad, json!(1)])), ["/1/subject", "/2"]);
    assert_eq!(pointers(batch(&vec![cloud(|_| ()); 1_001])), [""]);
    assert_eq!(pointers(parse_batch(cloud(|_| ()).to_string().as_bytes())), [""]);
}

#[test]
fn a_binary_event_is_the_same_as_a_structured_one() {
    let event = binary(
        |headers| {
            headers.extend([
                ("ce-userid", "42"),
                ("ce-partner", "%C3%A9%20x"),
                ("ce-time", "2026-11-24T09:15:00Z"),
            ])
        },
        r#" {"balance":10.50} "#,
    )
    .unwrap();
    let same = structured(&cloud(|event| {
        for name in ["dataschema", "correlationid", "causationid", "sampledrate"] {
            event.as_object_mut().unwrap().remove(name);
        }
        event["partner"] = json!("é x");
    }));
    assert!(same.unwrap().same_content(event.content()));
    assert_eq!(event.payload.as_str(), r#"{"balance":10.50}"#);
}

#[test]
fn a_binary_error_has_the_attribute_as_pointer_and_names_the_header() {
    let errors = wrong(binary(|headers| headers.retain(|(name, _)| *name != "ce-subject"), "{}"));
    assert_eq!(errors, [("/subject".to_owned(), "header `ce-subject` is required".to_owned())]);
    let bad = [
        (("ce-datacontenttype", "application/json"), "/datacontenttype"),
        (("ce-data", "x"), "/data"),
        (("ce-", "x"), "/"),
        (("ce-a-b", "x"), "/a-b"),
        (("ce-id", "again"), "/id"),
        (("ce-partner", "%C0%A0"), "/partner"),
        (("ce-partner", "%00"), "/partner"),
        (("ce-partner", "%zz"), "/partner"),
        (("ce-partner", "é"), "/partner"),
        (("ce-userid", "4x"), "/userid"),
        (("ce-time", "2026-11-24"), "/time"),
    ];
    for (header, pointer) in bad {
        let errors = wrong(binary(|headers| headers.push(header), "{}"));
        assert!(errors.len() == 1 && errors[0].0 == pointer, "{errors:?}");
        assert!(errors[0].1.contains(&format!("`{}`", header.0)), "{errors:?}");
    }
    for (body, pointer) in [("", "/data"), ("[]", "/data"), (r#"{"a":1,"a":2}"#, "/data/a")] {
        assert_eq!(pointers(binary(|_| (), body)), [pointer]);
    }
    // Each is within the bounds, and all of it together is not.
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(MOST_BYTES - 20));
    assert!(
        parse_binary(None, [], large.as_bytes())
            .is_err_and(|errors| errors.iter().all(|e| !e.pointer.is_empty()))
    );
    assert_eq!(pointers(binary(|_| (), &large)), [""]);
    let headers = || HEADERS.into_iter().map(|(name, value)| (name, value.as_bytes()));
    assert!(parse_binary(None, headers(), b"{}").is_ok());
    assert_eq!(pointers(parse_binary(Some("text/plain"), headers(), b"{}")), ["/data"]);
    assert_eq!(pointers(parse_binary(None, headers(), b"\xff")), ["/data"]);
}

#[test]
fn the_format_follows_the_content_type_and_the_headers() {
    let cases = [
        (Some("application/json"), None, Format::Native),
        (None, None, Format::Native),
        (None, Some("ce-unrelated"), Format::Native),
        (Some("application/json"), Some("CE-SpecVersion"), Format::Binary),
        (None, Some("ce-id"), Format::Binary),
        (Some("Application/CloudEvents+JSON; charset=UTF-8"), Some("ce-id"), Format::Structured),
        (Some("application/cloudevents-batch+json"), None, Format::Batched),
        (Some("application/cloudevents+avro"), None, Format::Unsupported),
    ];
    for (content_type, header, format) in cases {
        assert_eq!(Format::of(content_type, header), format, "{content_type:?} {header:?}");
        let headers = header.map(|name| (name, b"1.0".as_slice()));
        let read = parse_request(content_type, headers, event(|_| ()).to_string().as_bytes());
        assert_eq!(read.is_ok(), format == Format::Native);
    }
    let headers = HEADERS.map(|(name, value)| (name, value.as_bytes()));
    assert_eq!(parse_request(Some("application/json"), headers, b"{}").unwrap().len(), 1);
}

proptest! {
    #[test]
    fn no_headers_make_it_panic(
        headers in proptest::collection::vec(
            ("(ce-)?[a-zA-Z0-9é/~%-]{0,12}", proptest::collection::vec(any::<u8>(), 0..30)), 0..8),
        fixed in any::<bool>(),
        body in prop_oneof![Just("{}".to_owned()), "[{}\"a:,0\\\\]{0,12}"],
    ) {
        let more = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let all: Vec<(&str, &[u8])> = HEADERS.into_iter().filter(|_| fixed)
            .map(|(name, value)| (name, value.as_bytes())).chain(more).collect();
        match parse_request(Some("application/json"), all, body.as_bytes()) {
            Ok(events) => {
                let again = parse_events(&serde_json::to_vec(&events[0]).unwrap());
                prop_assert!(again.unwrap()[0].same_content(events[0].content()));
            }
            Err(errors) => prop_assert!(!errors.is_empty()),
        }
    }

    #[test]
    fn no_structured_text_makes_it_panic(at: prop::sample::Index, byte: u8) {
        let mut body = cloud(|_| ()).to_string().into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(event) = parse_structured(&body) {
            prop_assert!(parse_events(&serde_json::to_vec(&event).unwrap()).is_ok());
        }
    }
}
