//! A template that a share of the recipients gets: who gets which, and how each does.

use serde_json::json;

use crate::harness::{Db, Event, Herald, ingest, on_both, settle, user};

on_both!(variants_are_told_and_counted);

const ROUTES: &str = r#"
[templates]
dir = "templates"
[routes."transaction.completed"]
channels = ["email", "sms"]
variants = [{name = "b", template = "transaction.completed.b", share = 50}]
"#;

/// A folder with the bank's own text of variant `b`.
fn templates(herald: &Herald) {
    let folder = herald.dir().join("templates/transaction.completed.b/en");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("sms.txt"), "Paid: {{ payload.amount }}").unwrap();
}

async fn variants_are_told_and_counted(db: Db) {
    let mut herald = Herald::prepare(db, &[], ROUTES).await;
    std::fs::create_dir_all(herald.dir().join("templates")).unwrap();
    let missing = herald.run(&["check"]).await.code(1).stdout;
    let problem = "problem  variant b of transaction.completed: there is no template transaction.completed.b";
    assert!(missing.lines().any(|line| line.starts_with(problem)), "{missing}");
    templates(&herald);
    let found = herald.run(&["check"]).await.code(0).stdout;
    assert!(!found.contains("problem"), "{found}");

    herald.restart().await;
    let admin = herald.api("admin").await;
    const USERS: i64 = 12;
    for id in 1..=USERS {
        user(&admin, id).await;
        for n in 0..2 {
            ingest(&admin, &Event::new(&format!("e-{id}-{n}")).to(id)).await;
        }
    }
    settle(&admin).await;
    let mut counts = [0, 0];
    for id in 1..=USERS {
        let found = admin.all(&format!("/v1/notifications?user_id={id}")).await;
        assert_eq!(found.len(), 2);
        assert_eq!(found[0]["variant"], found[1]["variant"], "the same each time: {found:?}");
        let is_b = found[0]["variant"] == "b";
        counts[usize::from(is_b)] += 2;
        let (variant, template) =
            if is_b { ("b", "transaction.completed.b") } else { ("a", "transaction.completed") };
        assert_eq!((&found[0]["variant"], &found[0]["template"]), (&json!(variant), &json!(template)));
        let one = found[0]["id"].as_str().unwrap();
        let sent = admin.all("/v1/sandbox/messages?channel=sms").await;
        let text = sent.iter().find(|sent| sent["event_id"] == found[0]["event_id"]).unwrap();
        let text = text["content"]["text"].as_str().unwrap();
        assert_eq!(text == "Paid: 2500.00", is_b, "{text}");
        let explained = admin.get(&format!("/v1/notifications/{one}/explain")).await.expect(200).body;
        let words = format!("The recipient is in variant {variant}: its template is {template}.");
        assert!(explained["words"].as_array().unwrap().contains(&json!(words)), "{explained}");
        assert_eq!(explained["notification"]["variant"], variant);
    }
    assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");

    let stats = admin.get("/v1/stats?by=variant").await.expect(200).body;
    let items = stats["items"].as_array().unwrap();
    assert_eq!(items.len(), 4, "two variants on two channels: {stats}");
    for item in items {
        let n = counts[usize::from(item["variant"] == "b")];
        assert_eq!(item["event_type"], "transaction.completed");
        assert_eq!(
            (&item["total"], &item["sent"], &item["open"]),
            (&json!(n), &json!(n), &json!(0)),
            "{item}"
        );
        assert_eq!((&item["states"], &item["success_rate"]), (&json!({"sent": n}), &json!(1.0)), "{item}");
    }
    let none = admin.get("/v1/stats?by=variant&from=2020-01-01T00:00:00Z&to=2020-02-01T00:00:00Z").await;
    assert_eq!(none.expect(200).body["items"], json!([]));
    admin.get("/v1/stats").await.problem(400);
    admin.get("/v1/stats?by=moon").await.problem(400);
    herald.api("events:write").await.get("/v1/stats?by=variant").await.problem(403);
}

#[tokio::test]
async fn check_tells_what_text_messages_cost() {
    let herald = Herald::prepare(Db::Sqlite, &[], ROUTES).await;
    templates(&herald);
    let folder = herald.dir().join("templates/transaction.completed.b/fr");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("sms.txt"), "Reçu : {{ payload.amount }}").unwrap();
    let checked = herald.run(&["check"]).await.code(0).stdout;
    let line = "note     sms template transaction.completed.b, at worst: fr 1 segment in UCS-2, for `ç`";
    assert!(checked.lines().any(|found| found == line), "{checked}");
    let built_in = checked.lines().find(|line| line.contains("sms template transaction.completed,")).unwrap();
    assert!(built_in.contains("en 2 segments") && built_in.contains("; fr "), "{built_in}");
    assert!(!checked.contains("sms template checkbook.approved"), "no route sends it by SMS: {checked}");
    let json = herald.run(&["check", "--json"]).await.code(0).json();
    let costs = json["sms_templates"].as_array().unwrap();
    let of = |locale: &str| {
        let found = |cost: &&serde_json::Value| {
            cost["template"] == "transaction.completed.b" && cost["locale"] == locale
        };
        costs.iter().find(found).unwrap_or_else(|| panic!("{json}"))
    };
    assert_eq!((&of("fr")["segments"], &of("fr")["not_gsm"]), (&json!(1), &json!(["ç"])));
    assert_eq!((&of("en")["own"], &of("en")["not_gsm"]), (&json!(true), &json!([])));
    assert!(costs.iter().any(|cost| cost["template"] == "digest" && cost["locale"] == "fr"), "all of them");
}
