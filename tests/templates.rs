//! Messages from templates, as the rest of Herald asks for them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use herald::domain::{Channel, Content, Instant};
use herald::templates::{Fault, TemplateError, Templates, Variables, is_gsm7};

/// A payload that has every field that the documentation lists for a type.
fn example(template: &str) -> &'static str {
    match template {
        "transaction.completed" | "transaction.created" => {
            r#"{"accountNumber":"0012341001","amount":"2500.00","currency":"MWK","direction":"debit","description":"Rent November",
                "reference":"FT26328X1","counterparty":"Chisomo Banda","balance":41250.5}"#
        }
        "transaction.failed" => {
            r#"{"accountNumber":"0012341001","amount":2500,"currency":"MWK","reason":"Insufficient funds","reference":"FT26328X1","balance":"12.00"}"#
        }
        "account.balance.low" | "alert.triggered" => {
            r#"{"accountNumber":"0012341001","balance":"950.00","threshold":"1000.00","currency":"MWK","condition":"below"}"#
        }
        "account.created" | "account.frozen" | "account.unfrozen" => {
            r#"{"accountNumber":"0012341001","currency":"MWK","reason":"Requested by the holder","branch":"Blantyre Main"}"#
        }
        "user.login" | "user.login.failed" => {
            r#"{"device":"Pixel 9","ipAddress":"203.0.113.7","location":"Lilongwe"}"#
        }
        "user.registered" => r#"{"name":"Chisomo Banda"}"#,
        _ => {
            r#"{"accountNumber":"0012341001","checkbookNumber":"000451","requestId":"CB-77","branch":"Blantyre Main","reason":"Account too new",
                "amount":"1.00","currency":"MWK","description":"A note"}"#
        }
    }
}

fn variables(event_type: &str, payload: &str, locale: &str) -> Variables {
    Variables {
        event_id: "e-1".into(),
        event_type: event_type.into(),
        occurred_at: Instant::parse("2026-11-24T09:15:00Z").unwrap(),
        aggregate_id: "ACC-1001".into(),
        aggregate_type: "account".into(),
        payload: payload.into(),
        name: Some("Chisomo".into()),
        locale: Some(locale.into()),
        time_zone: Some("Africa/Blantyre".into()),
    }
}

fn content(templates: &Templates, template: &str, channel: Channel, variables: &Variables) -> Content {
    match templates.render(template, channel, variables) {
        Ok(rendered) => rendered.content,
        Err(error) => panic!("{error}"),
    }
}

/// The parts of a message, in the order of its fields.
fn parts(content: Content) -> Vec<String> {
    match content {
        Content::Push { title, body } => vec![title, body],
        Content::Email { subject, text, html } => vec![subject, text, html],
        Content::Sms { text, .. } => vec![text],
    }
}

fn render(template: &str, channel: Channel, payload: &str, locale: &str) -> Vec<String> {
    parts(content(&Templates::built_in(), template, channel, &variables(template, payload, locale)))
}

fn refused(templates: &Templates, template: &str, channel: Channel, variables: &Variables) -> TemplateError {
    templates.render(template, channel, variables).err().expect("an error")
}

fn one_line(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && !text.contains(char::is_control)
}

fn check(content: &Content, what: &str) {
    match content {
        Content::Push { title, body } => {
            assert!(one_line(title) && title.chars().count() <= 65, "{what}: {title}");
            assert!(!body.is_empty() && body.chars().count() <= 240, "{what}: {body}");
        }
        Content::Email { subject, text, html } => {
            assert!(one_line(subject) && subject.chars().count() <= 150, "{what}: {subject}");
            assert!(text.contains("-- \n") || text.contains("--\n"), "{what}: {text}");
            assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>"), "{what}");
        }
        Content::Sms { text, segments } => {
            assert!(!text.is_empty() && *segments <= 3, "{what}: {segments} for {text}");
            assert_eq!(*segments, herald::templates::segments(text));
        }
    }
}

#[test]
fn every_built_in_renders_whatever_the_payload_holds() {
    let templates = Templates::built_in();
    let long = "x<&>\u{202e}\r\n".repeat(10_000);
    let fields = [
        "accountNumber",
        "amount",
        "currency",
        "description",
        "reference",
        "counterparty",
        "balance",
        "threshold",
        "reason",
        "branch",
        "checkbookNumber",
        "requestId",
        "device",
        "ipAddress",
        "location",
        "name",
        "direction",
        "condition",
    ];
    let filled = |value: &str| {
        let members: Vec<String> = fields.iter().map(|field| format!("\"{field}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    };
    let payloads = [
        "{}".to_owned(),
        filled("null"),
        filled("true"),
        filled("[1,[2]]"),
        filled("{\"a\":{\"b\":1}}"),
        filled("1e400"),
        filled("-0.000"),
        filled("\"\""),
        filled("\"{{ 7 * 7 }}{% for\""),
        filled(&serde_json::to_string(&long).unwrap()),
        filled(&"9".repeat(10_000)),
        filled("\"\\ud800\""),
    ];
    for &template in Templates::built_in_names() {
        for &channel in Channel::ALL {
            for locale in ["en", "fr-CD", "de", "ny", "ar", "x"] {
                for payload in payloads.iter().map(String::as_str).chain([example(template)]) {
                    let variables = variables(template, payload, locale);
                    let what = format!("{template} {channel} {locale} {:.60}", payload);
                    check(&content(&templates, template, channel, &variables), &what);
                }
            }
        }
    }
}

#[test]
fn text_messages_stay_in_the_cheap_alphabet() {
    let templates = Templates::built_in();
    for &template in Templates::built_in_names() {
        for locale in ["en", "en-US", "fr", "de", "de-CH"] {
            for payload in ["{}", example(template)] {
                let variables = variables(template, payload, locale);
                let Content::Sms { text, segments } = content(&templates, template, Channel::Sms, &variables)
                else {
                    panic!("no text message")
                };
                assert!(is_gsm7(&text), "{template} {locale}: {text}");
                assert!(segments <= 2, "{template} {locale}: {segments} for {text}");
            }
        }
    }
}

#[test]
fn a_message_gets_better_with_each_field() {
    let push = |payload| render("transaction.completed", Channel::Push, payload, "en");
    assert_eq!(push("{}"), ["Transaction completed", "Your transaction on your account is complete."]);
    assert_eq!(
        push(r#"{"accountNumber":"0012341001","amount":2500.0,"currency":"MWK"}"#),
        ["Transaction completed", "Your transaction of MWK 2,500.00 on account ••1001 is complete."]
    );
    assert_eq!(
        push(example("transaction.completed")),
        [
            "Money sent",
            "MWK 2,500.00 was debited from account ••1001. To Chisomo Banda. Rent November. Balance: MWK 41,250.50."
        ]
    );
    assert_eq!(
        render("transaction.completed", Channel::Sms, example("transaction.completed"), "en"),
        [
            "MWK 2,500.00 was debited from account *1001. To Chisomo Banda. Rent November. Balance: MWK 41,250.50. \
            24/11/2026 11:15 CAT. Not you? Call us at once."
        ]
    );
}

#[test]
fn a_message_is_in_the_recipients_language() {
    let payload = r#"{"accountNumber":"0012341001","amount":"1234567.8","currency":"EUR"}"#;
    assert_eq!(
        render("transaction.completed", Channel::Push, payload, "fr-FR"),
        [
            "Opération effectuée",
            "Votre opération de 1\u{202f}234\u{202f}567,80 EUR sur le compte ••1001 est effectuée."
        ]
    );
    // There is no German one: the words are English, the numbers German.
    assert_eq!(
        render("transaction.completed", Channel::Push, payload, "de-DE")[1],
        "Your transaction of 1.234.567,80 EUR on account ••1001 is complete."
    );
    let mail = render("transaction.completed", Channel::Email, payload, "fr");
    assert_eq!(mail[0], "Opération effectuée : 1\u{202f}234\u{202f}567,80 EUR");
    assert!(mail[1].starts_with("Bonjour Chisomo,\n\n"), "{}", mail[1]);
    assert!(mail[1].contains("Date et heure : mar. 24 nov. 2026 11:15 CAT\n"), "{}", mail[1]);
    assert!(mail[2].contains("<html lang=\"fr\">"));
}

#[test]
fn a_mail_reads_well() {
    let mail = render("transaction.failed", Channel::Email, example("transaction.failed"), "en");
    assert_eq!(
        mail[1],
        "Dear Chisomo,\n\nYour transaction of MWK 2,500.00 on account ••1001 did not go through.\n\n\
        Amount: MWK 2,500.00\nAccount: ••1001\nReference: FT26328X1\nBalance: MWK 12.00\nReason: Insufficient funds\n\
        Date and time: Tue 24 Nov 2026 11:15 CAT\n\n\
        Check the details and try again. If you need help, or if you did not make this transaction, call us on the number on the back of your card.\n\n\
        --\nThis is an automatic message from your bank. Please do not reply to it."
    );
}

#[test]
fn mail_is_escaped_and_asks_for_nothing_from_outside() {
    let payload = r#"{"description":"<script>alert('1')</script>\"&"}"#;
    let mail = render("transaction.completed", Channel::Email, payload, "en");
    assert!(!mail[2].contains("<script"), "{}", mail[2]);
    assert!(mail[2].contains("&lt;script&gt;"), "{}", mail[2]);
    assert!(mail[1].contains("Description: <script>alert('1')</script>\"&"), "{}", mail[1]);
    for &template in Templates::built_in_names() {
        let html = &render(template, Channel::Email, example(template), "en")[2];
        for outside in ["http:", "https:", "src=", "url(", "<link", "@import"] {
            assert!(!html.contains(outside), "{template}: {outside}");
        }
        for wanted in ["max-width:600px", "viewport", "prefers-color-scheme: dark", "display:none"] {
            assert!(html.contains(wanted), "{template}: {wanted}");
        }
    }
}

#[test]
fn account_numbers_are_masked() {
    let payload = r#"{"accountNumber":"0012341001","counterparty":"4000123456789010","description":"From 0012341001 to 4000123456789010",
        "amount":"5","currency":"MWK"}"#;
    for &channel in Channel::ALL {
        let all = render("transaction.completed", channel, payload, "en").concat();
        assert!(!all.contains("0012341001"), "{channel}");
        assert!(all.contains("1001"), "{channel}");
        assert!(channel == Channel::Email || !all.contains("4000123456789010"), "{channel}: {all}");
    }
}

#[test]
fn a_subject_is_one_line() {
    let mut variables = variables("user.registered", "{}", "en");
    variables.name = Some("Eve\r\nBcc: all@example.com\u{2028}x".into());
    let mail = parts(content(&Templates::built_in(), "user.registered", Channel::Email, &variables));
    assert_eq!(mail[0], "Welcome, Eve Bcc: all@example.com x");
}

#[test]
fn a_type_without_templates_has_a_message_too() {
    let push = render("loan.approved", Channel::Push, r#"{"accountNumber":"0012341001"}"#, "en");
    assert_eq!(push, ["News from your bank", "There is news about account ••1001. Sign in for the details."]);
    assert!(!Templates::built_in().known("loan.approved"));
    assert!(Templates::built_in().known("user.login"));
}

#[test]
fn variables_are_kept_as_they_are() {
    let kept = variables("user.login", r#"{"amount": 1.10}"#, "en");
    let json = serde_json::to_string(&kept).unwrap();
    assert!(json.contains(r#""occurred_at":"2026-11-24T09:15:00.000000Z""#), "{json}");
    assert!(serde_json::from_str::<Variables>(&json).unwrap() == kept);
}

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
        "MWK 2,500.50|2,500.50|Tue 24 Nov 2026 11:15 CAT|11:15|24/11/2026|01/12/2026|••1001|true|true|2500.50"
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
