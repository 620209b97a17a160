//! A bank's own templates.

use std::path::Path;

use herald::domain::{Channel, Content};
use herald::templates::{Fault, Templates};

use super::{check, content, example, parts, refused, render, variables};

/// A folder with the given files.
fn own(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, source) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, source).unwrap();
    }
    dir
}

fn load(dir: &Path) -> Templates {
    match Templates::load(Some(dir)) {
        Ok(templates) => templates,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_bank_replaces_one_part() {
    let dir = own(&[
        ("user.login/en/push.title", "Hello {{ recipient.name }}\n"),
        (
            "loan.approved/default/sms.txt",
            "{{ payload.loan.amount | money(payload.loan.currency) }} {{ lang }}",
        ),
        ("README.md", "ours"),
    ]);
    let templates = load(dir.path());
    let login = variables("user.login", "{}", "en-GB");
    let push = parts(content(&templates, "user.login", Channel::Push, &login));
    assert_eq!(push[0], "Hello Chisomo");
    assert_eq!(push[1], render("user.login", Channel::Push, "{}", "en-GB")[1]);
    assert!(templates.known("loan.approved") && !templates.known("loan"));
    let amount = "123456789012345678901234567890.12";
    let loan =
        variables("loan.approved", &format!(r#"{{"loan":{{"amount":{amount},"currency":"mwk"}}}}"#), "pl");
    let text = parts(content(&templates, "loan.approved", Channel::Sms, &loan));
    assert_eq!(text, ["123 456 789 012 345 678 901 234 567 890,12 MWK pl"]);
}

#[test]
fn the_nearest_locale_wins() {
    let dir = own(&[
        ("user.login/de-CH/push.title", "Grüezi"),
        ("user.login/de/push.title", "Hallo"),
        ("user.login/default/push.title", "Hello"),
        ("user.login.failed/en/push.title", "English"),
    ]);
    let templates = load(dir.path());
    let title = |template: &str, locale: &str| {
        parts(content(&templates, template, Channel::Push, &variables(template, "{}", locale)))[0].clone()
    };
    for (locale, expected) in
        [("de-CH", "Grüezi"), ("de_ch.UTF-8", "Grüezi"), ("de-AT", "Hallo"), ("fr", "Hello"), ("en", "Hello")]
    {
        assert_eq!(title("user.login", locale), expected, "{locale}");
    }
    assert_eq!(title("user.login.failed", "fr"), "English");
}

#[test]
fn filters_for_a_banks_own() {
    let dir = own(&[(
        "t/en/email.txt",
        "{{ payload.amount | money('MWK') }}|{{ payload.amount | number }}|{{ event.occurred_at | datetime }}|\
         {{ event.occurred_at | time }}|{{ event.occurred_at | date }}|{{ payload.due | date }}|{{ payload.account | mask }}|\
         {{ payload.amount is gt(1000) }}|{{ payload.amount is le('2500.5') }}|{{ payload.amount }}",
    )]);
    let payload = r#"{"amount": 2500.50, "due": "2026-12-01", "account": "0012341001"}"#;
    let mail = parts(content(&load(dir.path()), "t", Channel::Email, &variables("t", payload, "en")));
    assert_eq!(
        mail[1],
        "MWK 2,500.50|2,500.50|Tue 24 Nov 2026 11:15 CAT|11:15|24/11/2026|01/12/2026|••1001|True|True|2500.50"
    );
}

#[test]
fn a_banks_mail_is_escaped_and_may_use_the_layout() {
    let dir = own(&[(
        "t/en/email.html",
        "{% extends \"layout.html\" %}{% block heading %}Hi {{ payload.x }}{% endblock %}{% block content %}<p>{{ payload.x }}</p>{% endblock %}",
    )]);
    let mail =
        parts(content(&load(dir.path()), "t", Channel::Email, &variables("t", r#"{"x":"<b>"}"#, "en")));
    assert!(mail[2].contains("<h1") && mail[2].contains("<p>&lt;b&gt;</p>"), "{}", mail[2]);
}

#[test]
fn what_is_missing_is_an_error_of_that_message() {
    let dir = own(&[
        ("t/en/push.title", "fine"),
        ("t/en/push.body", "line one\n{{ payload.loan.amount | money(payload.secret) }}"),
        ("t/en/sms.txt", "{% macro m(x) %}{{ x | money('MWK') }}{% endmacro %}\n\n{{ m(payload.secret) }}"),
        ("t/en/email.subject", "{% if payload.flag %}x{% endif %}"),
        ("empty/en/sms.txt", "{% if false %}x{% endif %}  \n"),
    ]);
    let templates = load(dir.path());
    let of = |payload: &str, channel| refused(&templates, "t", channel, &variables("t", payload, "en"));

    let error = of(r#"{"secret":"hunter2"}"#, Channel::Push);
    assert_eq!((error.line, error.file, error.locale.as_str()), (2, "push.body", "en"));
    assert_eq!(error.fault, Fault::Undefined("payload.loan".into()));
    assert_eq!(
        error.to_string(),
        "template `t`, `push.body` for `en`, line 2: `payload.loan` is undefined; ask `is defined` first, or have the publisher send it"
    );
    // A null is missing too.
    assert_eq!(
        of(r#"{"loan":{"amount":null}}"#, Channel::Push).fault,
        Fault::Undefined("payload.loan.amount".into())
    );
    let error = of(r#"{"secret":"hunter2"}"#, Channel::Sms);
    assert!(matches!(error.fault, Fault::Filter(_)), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    assert_eq!(of("{}", Channel::Email).fault, Fault::Undefined("payload.flag".into()));
    assert_eq!(of("[]", Channel::Push).fault, Fault::Payload);
    let empty = refused(&templates, "empty", Channel::Sms, &variables("empty", "{}", "en"));
    assert_eq!(empty.fault, Fault::Empty);
    // The others go on.
    check(
        &content(&templates, "user.login", Channel::Push, &variables("user.login", "{}", "en")),
        "user.login",
    );
}

#[test]
fn an_endless_template_ends() {
    let dir = own(&[
        ("t/en/sms.txt", "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}"),
        ("t/en/push.title", "{{ 'x' * 100000000 }}"),
        ("t/en/email.subject", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
    ]);
    let templates = load(dir.path());
    let variables = variables("t", "{}", "en");
    assert_eq!(refused(&templates, "t", Channel::Sms, &variables).fault, Fault::Endless);
    assert_eq!(refused(&templates, "t", Channel::Push, &variables).fault, Fault::Endless);
    assert!(templates.render("t", Channel::Email, &variables).is_err());
}

#[test]
fn bad_files_are_named_all_at_once() {
    let dir = own(&[
        ("t/en/push.title", "ok\n{{ payload.x "),
        ("t/en/push.body", "{# {{ x | nonsense }} #}\n{{ 'a | b' }}{{ payload.x | mony('MWK') }}"),
        ("t/en/sms.txt", "\n\n{{ amount }}"),
        ("t/en/email.html", "{% if payload.x is defned %}{% include '/etc/passwd' %}{% endif %}"),
        ("t/en/email.body", "x"),
        ("t/not a locale/sms.txt", "x"),
        ("t/fr_FR/sms.txt", "x"),
        ("t/fr-FR/sms.txt", "x"),
        ("Upper/en/sms.txt", "x"),
    ]);
    std::fs::write(dir.path().join("t/en/email.txt"), [b'a', 0xff]).unwrap();
    let error = Templates::load(Some(dir.path())).err().expect("an error");
    let text = error.to_string();
    let found: Vec<String> = error
        .problems
        .iter()
        .map(|p| format!("{}:{}", p.path.strip_prefix(dir.path()).unwrap().display(), p.line.unwrap_or(0)))
        .collect();
    assert_eq!(
        found,
        [
            "Upper:0",
            "t/en/email.body:0",
            "t/en/email.html:1",
            "t/en/email.html:1",
            "t/en/email.txt:0",
            "t/en/push.body:2",
            "t/en/push.title:2",
            "t/en/sms.txt:3",
            "t/fr_FR/sms.txt:0",
            "t/not a locale:0",
        ],
        "{text}"
    );
    for what in [
        "there is no filter `mony`",
        "there is no test `defned`",
        "`/etc/passwd` is no template",
        "`amount` is unknown",
        "UTF-8",
    ] {
        assert!(text.contains(what), "{what}: {text}");
    }
    assert!(Templates::load(Some(&dir.path().join("none"))).is_err());
}

#[test]
fn a_version_follows_the_sources() {
    let version = |templates: &Templates, channel, payload: &str| {
        templates
            .render("user.login", channel, &variables("user.login", payload, "en"))
            .map(|r| r.version)
            .unwrap()
    };
    let built_in = Templates::built_in();
    let first = version(&built_in, Channel::Push, "{}");
    assert_eq!(first.len(), 16);
    assert_eq!(first, version(&built_in, Channel::Push, example("user.login")));
    assert_ne!(first, version(&built_in, Channel::Sms, "{}"));
    let (one, other) = (own(&[("user.login/en/push.title", "a")]), own(&[("user.login/en/push.title", "b")]));
    let versions = [&one, &other].map(|dir| version(&load(dir.path()), Channel::Push, "{}"));
    assert_ne!(versions[0], versions[1]);
    assert_ne!(versions[0], first);
}

#[test]
fn a_banks_long_text_is_cut_where_the_channel_ends() {
    let dir = own(&[
        ("t/en/sms.txt", "{{ payload.x }}"),
        ("t/en/push.title", "{{ payload.x }}"),
        ("t/en/push.body", "{{ payload.x }}"),
    ]);
    let templates = load(dir.path());
    let variables = variables("t", &format!(r#"{{"x":"{}"}}"#, "a".repeat(5000)), "en");
    let Content::Sms { text, segments } = content(&templates, "t", Channel::Sms, &variables) else {
        panic!()
    };
    assert!(segments == 10 && text.ends_with("a..."), "{segments}");
    let push = parts(content(&templates, "t", Channel::Push, &variables));
    assert_eq!(push.iter().map(|part| part.chars().count()).collect::<Vec<_>>(), [200, 800]);
}
