#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::event::{Row, check_row};
use crate::domain::{FieldError, Instant};

fn parse(body: &Value) -> Result<Recipient, Vec<FieldError>> {
    parse_recipient(42, body.to_string().as_bytes())
}

fn pointers<T: std::fmt::Debug>(result: Result<T, Vec<FieldError>>) -> Vec<String> {
    let errors = result.expect_err("it should be refused");
    let mut pointers: Vec<String> = errors.into_iter().map(|error| error.pointer).collect();
    pointers.sort();
    pointers
}

#[test]
fn a_recipient_is_read_in_its_usual_spelling() {
    let recipient = parse(&json!({
        "name": "Chikondi Banda", "email": "c.banda@example.mw", "phone": "+265991234567", "locale": "EN-latn-gb",
        "time_zone": "Africa/Blantyre", "devices": [{"token": "t:1_a", "platform": "ios"}],
    }))
    .unwrap();
    assert_eq!(recipient.locale.as_deref(), Some("en-Latn-GB"));
    assert_eq!(recipient.devices, [Device { token: "t:1_a".into(), platform: Platform::Ios }]);
    let shown = format!("{recipient:?}");
    for personal in ["Chikondi", "example", "+265", "t:1_a"] {
        assert!(!shown.contains(personal), "{shown}");
    }
    // What is told back can be sent again.
    assert_eq!(parse(&serde_json::to_value(&recipient).unwrap()).unwrap(), recipient);
    assert_eq!(parse(&json!({})).unwrap(), Recipient::new(42));
    let nulls = json!({"name": null, "email": null, "phone": null, "locale": null, "time_zone": null, "devices": null});
    assert_eq!(parse(&nulls).unwrap(), Recipient::new(42));
}

#[test]
fn each_field_keeps_its_rule_at_the_limit_and_beyond() {
    // 64 + 1 + 189 characters: a domain's labels have at most 63.
    let domain = format!("{}.{}.{}", "d".repeat(63), "d".repeat(63), "d".repeat(61));
    let longest = format!("{}@{domain}", "l".repeat(64));
    assert_eq!(longest.len(), 254);
    let good = [
        ("name", "x".repeat(200)),
        ("name", "Ó Súilleabháin, 陈".into()),
        ("email", longest.clone()),
        ("email", "a+b@xn--mnchen-3ya.example".into()),
        ("email", "a@münchen.example".into()),
        ("phone", "+265991234567".into()),
        ("locale", "ny".into()),
        ("locale", "es-419".into()),
        ("locale", "zh-hant-TW".into()),
        ("time_zone", "Africa/Blantyre".into()),
        ("time_zone", "UTC".into()),
    ];
    for (field, text) in good {
        assert!(parse(&json!({field: text})).is_ok(), "{field} {text}");
    }
    let bad = [
        ("name", "x".repeat(201)),
        ("name", String::new()),
        ("name", "a\r\nBcc: b@example.com".into()),
        ("name", "a\u{85}b".into()),
        ("name", "a\0".into()),
        ("email", longest.replacen('l', "ll", 1)),
        ("email", "Banda <a@example.com>".into()),
        ("email", "<a@example.com>".into()),
        ("email", "a@[127.0.0.1]".into()),
        ("email", "a@127.0.0.1".into()),
        ("email", "a@[IPv6:::1]".into()),
        ("email", "a@".into()),
        ("email", "example.com".into()),
        ("email", "a b@example.com".into()),
        ("email", "a@example.com\r\n".into()),
        ("email", "\"a\r\nb\"@example.com".into()),
        ("email", "a@example.com, b@example.com".into()),
        ("email", String::new()),
        ("phone", "0991234567".into()),
        ("phone", "+999123456789".into()),
        ("locale", "en_US".into()),
        ("locale", "english".into()),
        ("locale", "en-".into()),
        ("locale", "en-US-x-private".into()),
        ("locale", "e".into()),
        ("locale", "en-41".into()),
        ("locale", "én".into()),
        ("locale", "../..".into()),
        ("time_zone", "africa/blantyre".into()),
        ("time_zone", "+02:00".into()),
        ("time_zone", String::new()),
    ];
    for (field, text) in bad {
        assert_eq!(pointers(parse(&json!({field: text}))), [format!("/{field}")], "{text:?}");
    }
    for field in ["name", "email", "phone", "locale", "time_zone"] {
        for other in [json!(1), json!([]), json!({}), json!(false)] {
            assert_eq!(pointers(parse(&json!({field: other}))), [format!("/{field}")]);
        }
    }
}

#[test]
fn devices_are_bounded_and_different() {
    let device = |token: &str| json!({"token": token, "platform": "android"});
    let devices =
        |count: usize| json!({"devices": (0..count).map(|at| device(&at.to_string())).collect::<Value>()});
    assert_eq!(parse(&devices(50)).unwrap().devices.len(), 50);
    assert_eq!(pointers(parse(&devices(51))), ["/devices"]);
    assert!(parse(&json!({"devices": [device(&"t".repeat(4_096))]})).is_ok());
    for token in ["t".repeat(4_097), String::new(), "a b".into(), "é".into(), "a\n".into()] {
        assert_eq!(pointers(parse(&json!({"devices": [device(&token)]}))), ["/devices/0/token"], "{token}");
    }
    let bad = json!({"devices": [
        device("a"), device("a"), {"token": "b", "platform": "nokia"}, {"token": 1}, 7,
        {"token": "c", "platform": "web", "model": "x"},
    ]});
    let expected = [
        "/devices/1/token",
        "/devices/2/platform",
        "/devices/3/platform",
        "/devices/3/token",
        "/devices/4",
        "/devices/5/model",
    ];
    assert_eq!(pointers(parse(&bad)), expected);
    for other in [json!({}), json!("a"), json!(1)] {
        assert_eq!(pointers(parse(&json!({"devices": other}))), ["/devices"]);
    }
}

#[test]
fn the_id_is_positive_and_one() {
    assert_eq!(pointers(parse_recipient(0, b"{}")), ["/id"]);
    assert_eq!(pointers(parse_recipient(-1, b"{}")), ["/id"]);
    assert!(parse(&json!({"id": 42})).is_ok());
    for id in [json!(43), json!("42"), json!(42.0)] {
        assert_eq!(pointers(parse(&json!({"id": id}))), ["/id"]);
    }
    assert_eq!(parse_recipient_line(br#"{"id":9223372036854775807}"#).unwrap().id, i64::MAX);
    for line in [r#"{}"#, r#"{"id":0}"#, r#"{"id":"1"}"#, r#"{"id":null}"#, r#"{"id":9223372036854775808}"#] {
        assert_eq!(pointers(parse_recipient_line(line.as_bytes())), ["/id"], "{line}");
    }
}

#[test]
fn all_errors_are_told_at_once_and_quote_nothing() {
    let body = json!({"name": "a\nSECRET", "email": "SECRET", "phone": "SECRET", "nick_name": "SECRET", "timeZone": "SECRET"});
    let errors = parse(&body).unwrap_err();
    assert!(errors.iter().all(|error| !error.to_string().contains("SECRET")), "{errors:?}");
    assert_eq!(pointers(parse(&body)), ["/email", "/name", "/nick_name", "/phone", "/timeZone"]);
    assert_eq!(pointers(parse_recipient(1, br#"{"name":"a","name":"b"}"#)), ["/name"]);
    for body in [b"[]".as_slice(), b"", b"\xff", b"null"] {
        assert_eq!(pointers(parse_recipient(1, body)), [""]);
    }
}

fn csv(text: &str) -> Vec<(usize, Result<Recipient, Vec<String>>)> {
    let records = parse_recipients_csv(text).unwrap_or_else(|errors| panic!("{errors:?}"));
    records.map(|(line, result)| (line, result.map_err(|errors| pointers(Err::<(), _>(errors))))).collect()
}

#[test]
fn a_csv_file_is_read_as_rfc_4180_says() {
    let text = "\u{feff}phone,id,name\r\n+265991234567,1,\"Banda, \"\"Chiko\"\"\"\r\n\r\n,2,\n\"\",3,x";
    let records = csv(text);
    let named = |id, name: Option<&str>, phone: Option<&str>| {
        Ok(Recipient { name: name.map(str::to_owned), phone: phone.map(str::to_owned), ..Recipient::new(id) })
    };
    let expected = [
        (2, named(1, Some("Banda, \"Chiko\""), Some("+265991234567"))),
        (4, named(2, None, None)),
        (5, named(3, Some("x"), None)),
    ];
    assert_eq!(records, expected);
}

#[test]
fn devices_stand_in_one_cell() {
    let text = "devices,id\n\"[{\"\"token\"\":\"\"t,1\"\",\"\"platform\"\":\"\"web\"\"},\n {\"\"token\"\":\"\"u\"\",\"\"platform\"\":\"\"ios\"\"}]\",1\n\
                ,2\n[],3\n\"[{\"\"token\"\":\"\"SECRET\"\"},7]\",4\n[SECRET,5\n{},6\n";
    let with = |devices: &[(&str, Platform)]| {
        let devices =
            devices.iter().map(|(token, platform)| Device { token: (*token).into(), platform: *platform });
        devices.collect::<Vec<_>>()
    };
    let expected = [
        (
            2,
            Ok(Recipient {
                devices: with(&[("t,1", Platform::Web), ("u", Platform::Ios)]),
                ..Recipient::new(1)
            }),
        ),
        (4, Ok(Recipient::new(2))),
        (5, Ok(Recipient::new(3))),
        (6, Err(vec!["/devices/0/platform".to_owned(), "/devices/1".to_owned()])),
        (7, Err(vec!["/devices".to_owned()])),
        (8, Err(vec!["/devices".to_owned()])),
    ];
    assert_eq!(csv(text), expected);
    for (_, result) in parse_recipients_csv(text).unwrap() {
        assert!(
            result
                .err()
                .is_none_or(|errors| errors.iter().all(|error| !error.to_string().contains("SECRET")))
        );
    }
}

#[test]
fn a_broken_record_does_not_hide_the_others() {
    let text = "id,name\n0,a\n1\n2,a,b\n3,a\"b\n4,\"a\"b\n5,\"a\nb\"\n+6,x\n7,good\n8,\"open\n";
    let bad = |pointer: &str| Err(vec![pointer.to_owned()]);
    let expected = [
        (2, bad("/id")),
        (3, bad("")),
        (4, bad("")),
        (5, bad("")),
        (6, bad("")),
        (7, bad("/name")), // a line break is a control character
        (9, bad("/id")),
        (10, Ok(Recipient { name: Some("good".into()), ..Recipient::new(7) })),
        (11, bad("")),
    ];
    assert_eq!(csv(text), expected);
}

#[test]
fn a_csv_header_names_known_columns_once() {
    for text in ["", "\n\n", "name\n", "id,id\n", "id,Phone\n", "id,\"na\n", "42,Chikondi\n"] {
        let errors = parse_recipients_csv(text).err().expect(text);
        assert!(errors.iter().all(|error| !error.detail.contains("Chikondi")), "{errors:?}");
    }
    assert_eq!(csv("id").len(), 0);
}

#[test]
fn a_registration_leaves_out_what_is_not_valid() {
    let row = |payload| Row {
        id: "e",
        kind: "user.registered",
        aggregate_id: "7",
        aggregate_type: "user",
        payload,
        metadata: Some(r#"{"source":"s"}"#),
        timestamp: Instant::parse("2026-11-24T09:15:00Z").unwrap(),
    };
    let register = |row| recipient_of_registration(&check_row(row).unwrap());
    let payload = r#"{"userId":42,"name":"C","email":"nobody","phone":"+265991234567","locale":"en-mw","timeZone":7,
        "balance":1}"#;
    let Registration { recipient, left_out } = register(row(payload)).unwrap();
    assert_eq!((recipient.id, recipient.name.as_deref(), recipient.email), (42, Some("C"), None));
    assert_eq!(
        (recipient.phone.as_deref(), recipient.locale.as_deref()),
        (Some("+265991234567"), Some("en-MW"))
    );
    assert_eq!(left_out, ["email", "timeZone"]);
    assert_eq!(register(row(r#"{"userId":0,"name":null}"#)).unwrap().recipient, Recipient::new(7));
    assert_eq!(register(Row { kind: "user.login", ..row("{}") }), None);
    assert_eq!(register(Row { aggregate_type: "account", ..row("{}") }), None);
    for id in ["-1", "+7", "0", "x"] {
        assert_eq!(register(Row { aggregate_id: id, ..row("{}") }), None, "{id}");
    }
}

proptest! {
    #[test]
    fn what_is_written_as_csv_reads_back(names in proptest::collection::vec("[ -~é陈]{1,20}", 1..6)) {
        let mut text = "name,id\r\n".to_owned();
        for (at, name) in names.iter().enumerate() {
            text.push_str(&format!("\"{}\",{}\r\n", name.replace('"', "\"\""), at + 1));
        }
        let read: Vec<_> = csv(&text).into_iter().map(|(line, result)| (line, result.unwrap().name.unwrap())).collect();
        let expected: Vec<_> = names.into_iter().enumerate().map(|(at, name)| (at + 2, name)).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[a-z\",\r\n{}:0-9\\\\é]{0,60}", body in proptest::collection::vec(any::<u8>(), 0..40)) {
        // The records end, whatever the text.
        let lines = parse_recipients_csv(&format!("id,name\n{text}")).unwrap().count();
        prop_assert!(lines <= text.len() + 1);
        let _ = parse_recipient(1, &body);
        let _ = parse_recipient(1, text.as_bytes());
    }
}
