//! The templates that are built in.

use herald::domain::{Channel, Content};
use herald::templates::{Templates, Variables, is_gsm7};

use super::{check, content, example, parts, render, variables};

#[test]
fn every_built_in_renders_whatever_the_payload_holds() {
    let templates = Templates::built_in();
    let long = "x<&>\u{202e}\r\n".repeat(1_500);
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

/// The examples of the documentation: one for each type that a customer is told of.
#[test]
fn the_documented_examples_use_what_they_show() {
    let documentation = include_str!("../../docs/events.md");
    let templates = Templates::built_in();
    let mut seen = Vec::new();
    for block in documentation.split("```json\n").skip(1) {
        let event: serde_json::Value = serde_json::from_str(block.split("```").next().unwrap()).unwrap();
        let event_type = event["type"].as_str().unwrap();
        let variables = variables(event_type, &event["payload"].to_string(), "en");
        for &channel in Channel::ALL {
            let message = content(&templates, event_type, channel, &variables);
            check(&message, event_type);
            let message = parts(message).concat();
            assert!(
                !message.contains("your account") || event["payload"]["accountNumber"].is_null(),
                "{message}"
            );
        }
        seen.push(event_type.to_owned());
    }
    seen.sort();
    let told: Vec<_> =
        Templates::built_in_names().iter().filter(|name| !["generic", "digest"].contains(name)).collect();
    assert_eq!(seen.iter().collect::<Vec<_>>(), told);
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

#[test]
fn several_messages_are_told_in_one() {
    let told = |locale: &str, event_type: &str| {
        let digest = Some(crate::digest());
        let variables = Variables {
            digest,
            ..variables(event_type, r#"{"amount":"1.00","currency":"EUR","counterparty":"Nobody"}"#, locale)
        };
        parts(content(&Templates::built_in(), event_type, Channel::Sms, &variables)).concat()
    };
    assert_eq!(
        told("en", "transaction.completed"),
        "5 more transactions, MWK 12,400.00, USD 3.50 in all. Sign in to your banking for the details."
    );
    let french = told("fr", "transaction.completed");
    assert!(french.starts_with("5 ") && french.contains("MWK") && !french.contains("EUR"), "{french}");
    let other = told("en", "loan.approved");
    assert!(other.contains('5') && !other.contains("transaction"), "{other}");
}
