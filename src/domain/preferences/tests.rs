#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use chrono::{NaiveTime, Weekday};

use super::{Limit, OptOut, Preferences, QuietWindow, never_ends, parse_preferences, patch_preferences};
use crate::domain::{Channel, FieldError};

fn parse(text: &str) -> Result<Preferences, Vec<FieldError>> {
    parse_preferences(text.as_bytes(), |kind| kind == "account.frozen", &[])
}

fn time(hour: u32, minute: u32) -> NaiveTime {
    NaiveTime::from_hms_opt(hour, minute, 0).unwrap()
}

const FULL: &str = r#"{
    "opt_outs": [{"channel": "sms"}, {"type": "transaction.completed"}, {"channel": "push", "type": "user.login"}],
    "quiet_hours": [{"from": "22:00", "to": "07:00"}, {"days": ["sat", "sun"], "from": "07:00", "to": "09:30"}],
    "limits": [{"channel": "sms", "limit": 2, "window": "1h"}, {"limit": 10, "window": "1d"}]
}"#;

#[test]
fn everything_is_read_and_reads_back() {
    let preferences = parse(FULL).unwrap();
    let hour = Duration::from_secs(3_600);
    assert_eq!(
        preferences.opt_outs,
        [
            OptOut { channel: Some(Channel::Sms), kind: None },
            OptOut { channel: None, kind: Some("transaction.completed".to_owned()) },
            OptOut { channel: Some(Channel::Push), kind: Some("user.login".to_owned()) },
        ]
    );
    assert_eq!(
        preferences.quiet_hours,
        [
            QuietWindow { days: Vec::new(), from: time(22, 0), to: time(7, 0) },
            QuietWindow { days: vec![Weekday::Sat, Weekday::Sun], from: time(7, 0), to: time(9, 30) },
        ]
    );
    assert_eq!(
        preferences.limits,
        [
            Limit { channel: Some(Channel::Sms), limit: 2, window: hour },
            Limit { channel: None, limit: 10, window: 24 * hour },
        ]
    );
    let json = preferences.to_json();
    assert_eq!(Preferences::from_stored(&json).unwrap(), preferences);
    assert_eq!(parse(&json).unwrap(), preferences);
    assert_eq!(parse("{}").unwrap(), Preferences::default());
}

/// The text, and where it is wrong.
const WRONG: &[(&str, &[&str])] = &[
    ("[]", &[""]),
    (r#"{"optouts": []}"#, &["/optouts"]),
    (r#"{"opt_outs": {}}"#, &["/opt_outs"]),
    (r#"{"opt_outs": [{}]}"#, &["/opt_outs/0"]),
    (r#"{"opt_outs": [{"channel": "fax"}]}"#, &["/opt_outs/0/channel"]),
    (r#"{"opt_outs": [{"type": "account.frozen"}]}"#, &["/opt_outs/0/type"]),
    (r#"{"opt_outs": [{"channel": "sms", "type": "account.frozen"}]}"#, &["/opt_outs/0/type"]),
    (r#"{"opt_outs": [{"type": "Not A Type"}]}"#, &["/opt_outs/0/type"]),
    (r#"{"opt_outs": [{"type": "notification.sent"}]}"#, &["/opt_outs/0/type"]),
    (r#"{"opt_outs": [{"channel": "sms", "since": 1}]}"#, &["/opt_outs/0/since"]),
    (r#"{"quiet_hours": [{"from": "22:00"}]}"#, &["/quiet_hours/0/to"]),
    (r#"{"quiet_hours": [{"from": "22:00", "to": "22:00"}]}"#, &["/quiet_hours/0/to"]),
    (r#"{"quiet_hours": [{"from": "10pm", "to": "24:00"}]}"#, &["/quiet_hours/0/from", "/quiet_hours/0/to"]),
    (
        r#"{"quiet_hours": [{"from": "1:00", "to": "02:00:00"}]}"#,
        &["/quiet_hours/0/from", "/quiet_hours/0/to"],
    ),
    (r#"{"quiet_hours": [{"days": [], "from": "01:00", "to": "02:00"}]}"#, &["/quiet_hours/0/days"]),
    (
        r#"{"quiet_hours": [{"days": ["mon", "mon"], "from": "01:00", "to": "02:00"}]}"#,
        &["/quiet_hours/0/days/1"],
    ),
    (
        r#"{"quiet_hours": [{"days": ["monday"], "from": "01:00", "to": "02:00"}]}"#,
        &["/quiet_hours/0/days/0"],
    ),
    (
        r#"{"quiet_hours": [{"from": "08:00", "to": "20:00"}, {"from": "20:00", "to": "08:00"}]}"#,
        &["/quiet_hours"],
    ),
    (r#"{"limits": [{"limit": 0, "window": "1h"}]}"#, &["/limits/0/limit"]),
    (r#"{"limits": [{"limit": 1.5, "window": "1h"}]}"#, &["/limits/0/limit"]),
    (r#"{"limits": [{"limit": 1, "window": "0s"}]}"#, &["/limits/0/window"]),
    (r#"{"limits": [{"limit": 1, "window": "32d"}]}"#, &["/limits/0/window"]),
    (r#"{"limits": [{"limit": 1, "window": 3600}]}"#, &["/limits/0/window"]),
    (r#"{"limits": [{"window": "1h"}, {"limit": 1}]}"#, &["/limits/0/limit", "/limits/1/window"]),
];

#[test]
fn what_is_wrong_is_named() {
    for (text, pointers) in WRONG {
        let errors = parse(text).expect_err(text);
        let found: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(found, *pointers, "{text}: {errors:?}");
    }
    let many = format!(r#"{{"opt_outs": [{}]}}"#, vec![r#"{"channel": "sms"}"#; 201].join(","));
    assert_eq!(parse(&many).unwrap_err()[0].pointer, "/opt_outs");
    let errors = parse(r#"{"opt_outs": [{"type": "account.frozen"}]}"#).unwrap_err();
    assert!(errors[0].detail.contains("mandatory"), "it says so: {}", errors[0].detail);
}

#[test]
fn a_merge_patch_replaces_what_it_names() {
    let before = parse(FULL).unwrap();
    let patch = |text: &str| patch_preferences(&before, text.as_bytes(), |_| false, &[]).unwrap();
    assert_eq!(patch("{}"), before);
    assert_eq!(patch(r#"{"limits": null}"#), Preferences { limits: Vec::new(), ..before.clone() });
    let patched = patch(r#"{"opt_outs": [{"channel": "email"}]}"#);
    let only = vec![OptOut { channel: Some(Channel::Email), kind: None }];
    assert_eq!(patched, Preferences { opt_outs: only, ..before.clone() });
    assert!(patch_preferences(&before, b"{\"whatever\": 1}", |_| false, &[]).is_err());
}

#[test]
fn a_patch_may_not_leave_quiet_hours_that_never_end() {
    let bank = [QuietWindow { days: Vec::new(), from: time(12, 0), to: time(0, 0) }];
    let night = br#"{"quiet_hours": [{"from": "00:00", "to": "12:00"}]}"#;
    assert_eq!(parse_preferences(night, |_| false, &bank).unwrap_err()[0].pointer, "/quiet_hours");
    assert!(parse_preferences(night, |_| false, &[]).is_ok());
}

#[test]
fn a_week_has_an_end_as_long_as_one_minute_is_left() {
    let window = |days: &[Weekday], from, to| QuietWindow { days: days.to_vec(), from, to };
    assert!(!never_ends(&[]));
    assert!(!never_ends(&[window(&[], time(0, 0), time(23, 59))]));
    assert!(never_ends(&[window(&[], time(0, 0), time(23, 59)), window(&[], time(23, 59), time(0, 0))]));
    let week = [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat];
    let nearly = [window(&week, time(0, 0), time(12, 0)), window(&week, time(12, 0), time(0, 0))];
    assert!(!never_ends(&nearly), "there is Sunday");
}
