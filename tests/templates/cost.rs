//! What text messages cost at worst.

use herald::templates::{SmsCost, Templates, is_gsm7, segments};

fn own(files: &[(&str, &str)]) -> (tempfile::TempDir, Templates) {
    let dir = tempfile::tempdir().unwrap();
    for (path, source) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, source).unwrap();
    }
    let templates = Templates::load(Some(dir.path())).unwrap_or_else(|error| panic!("{error}"));
    (dir, templates)
}

fn of(templates: &Templates, name: &str, locale: &str) -> SmsCost {
    let mut costs = templates.sms_costs();
    costs.retain(|cost| cost.template == name && cost.locale == locale);
    assert_eq!(costs.len(), 1, "{name}/{locale}");
    costs.remove(0)
}

#[test]
fn each_built_in_text_is_rendered_in_each_language() {
    let templates = Templates::built_in();
    let costs = templates.sms_costs();
    assert_eq!(costs.len(), Templates::built_in_names().len() * 2);
    for cost in &costs {
        assert!(cost.segments.is_some_and(|n| (1..=3).contains(&n)), "{cost:?}");
        assert!(cost.segments_with_foreign_values >= cost.segments, "{cost:?}");
        assert!(cost.not_gsm.iter().all(|c| !is_gsm7(&c.to_string())), "{cost:?}");
        assert!(!cost.own);
        // English is written with the letters of the GSM alphabet.
        assert!(cost.locale == "fr" || cost.not_gsm.is_empty(), "{cost:?}");
    }
    let welcome = of(&templates, "user.registered", "en");
    assert_eq!((welcome.segments, welcome.is_notable()), (Some(1), false));
    assert_eq!(welcome.segments_with_foreign_values, Some(1), "it shows no value");
    let failed = of(&templates, "user.login.failed", "en");
    assert!(failed.segments_with_foreign_values > failed.segments, "it shows a device: {failed:?}");
    assert!(of(&templates, "transaction.completed", "en").is_notable());
    let digest = of(&templates, "digest", "en");
    assert_eq!(digest.segments, Some(1), "{digest:?}");
}

#[test]
fn what_forces_ucs2_is_named() {
    let (_dir, templates) = own(&[
        ("loan.approved/en/sms.txt", "Approved \u{2014} see you soon"),
        ("loan.approved/fr/sms.txt", "Prêt accordé, reçu \u{202f}!"),
        ("loan.approved/ny/sms.txt", "Ngongole yavomerezedwa"),
    ]);
    let plain = of(&templates, "loan.approved", "en");
    assert_eq!((plain.segments, plain.not_gsm.len(), plain.own), (Some(1), 0, true), "a dash is made plain");
    let french = of(&templates, "loan.approved", "fr");
    assert_eq!(french.not_gsm, ['ç', 'ê'], "not é, which the alphabet has");
    assert_eq!(french.in_words(), "1 segment in UCS-2, for `ç` `ê`");
    assert!(french.is_notable());
    assert!(!of(&templates, "loan.approved", "ny").is_notable());
}

#[test]
fn the_banks_own_are_filled_with_long_values() {
    let (_dir, templates) = own(&[
        (
            "loan.approved/en/sms.txt",
            "Dear {{ recipient.name }}, {{ payload.loan.amount | money(payload.loan.currency) }} from \
             {{ payload.branch }} on {{ payload.paidAt | datetime }} to {{ payload.accountNumber | mask }}: \
             {{ payload.purpose }}.{% if payload.note is defined %} {{ payload.note }}{% endif %}",
        ),
        (
            "loan.approved.digest/default/sms.txt",
            "{{ digest.count }} loans: {{ digest.totals[0].amount | money('MWK') }}",
        ),
        ("odd/en/sms.txt", "{{ payload.when | date }} {{ payload.value | number }}"),
        ("first/en/sms.txt", "{{ payload.anything | number }}"),
        ("user.registered/en/sms.txt", "Welcome, {{ recipient.name }}"),
    ]);
    let loan = of(&templates, "loan.approved", "en");
    assert_eq!((loan.segments, loan.not_gsm.len()), (Some(2), 0), "{loan:?}");
    assert!(loan.segments_with_foreign_values > Some(2), "{loan:?}");
    let words =
        format!("2 segments ({} with other letters in a value)", loan.segments_with_foreign_values.unwrap());
    assert_eq!(loan.in_words(), words);
    let digest = of(&templates, "loan.approved.digest", "default");
    assert_eq!(digest.segments, Some(1), "{digest:?}");
    assert_eq!(
        of(&templates, "first", "en").segments,
        Some(1),
        "what is no name of an amount is tried as one"
    );
    // No kind of value fits both.
    let odd = of(&templates, "odd", "en");
    assert_eq!((odd.segments, odd.is_notable()), (None, true));
    assert!(odd.in_words().contains("not known"), "{}", odd.in_words());
    let welcome = of(&templates, "user.registered", "en");
    assert!(welcome.own, "it stands in the place of the built-in one");
    assert_eq!(templates.sms_of("loan.approved"), "loan.approved");
    assert_eq!(templates.sms_of("no.such"), "generic");
    assert_eq!(templates.digest_of("loan.approved"), "loan.approved.digest");
    assert_eq!(templates.digest_of("user.login"), "digest");
}

#[test]
fn a_text_is_counted_as_it_is_sent() {
    let (_dir, templates) = own(&[("long/en/sms.txt", &"word ".repeat(1_000))]);
    let long = of(&templates, "long", "en");
    assert_eq!(long.segments, Some(10), "it is cut");
    assert_eq!(segments(&"a".repeat(161)), 2);
}
