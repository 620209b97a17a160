//! Putting dead letters back by a button.

use serde_json::Value;

use crate::harness::{Api, Db, Event, Herald, SOON, ingest, on_both, user, wait_until};
use crate::visitor::Visitor;

on_both!(
    a_button_puts_a_dead_delivery_back,
    a_form_from_elsewhere_is_refused,
    who_may_not_operate_has_no_button
);

/// An SMS gateway where nobody listens.
pub(crate) const CLOSED: &str = r#"
[sms]
provider = "http"

[sms.http]
url = "http://127.0.0.1:1/send"
method = "POST"
headers = { Content-Type = "application/json" }
body = '{"to": "{{ to }}", "text": "{{ text }}", "id": "{{ id }}"}'
accepted = "ok"

# What fails again and again is to die, and not to wait until the gateway is back.
[limits.breaker]
failures = 1000

[routes."transaction.completed"]
channels = ["sms"]

[routes."transaction.failed"]
channels = ["email", "sms"]
"#;

/// Retries that are over at once.
pub(crate) const QUICK: &[(&str, &str)] = &[("HERALD__RETRY__RETRIES", "1"), ("HERALD__RETRY__BASE", "50ms")];

/// A Herald with so many dead letters.
async fn with_dead(db: Db, many: usize) -> (Herald, Api) {
    let herald = Herald::start_with(db, QUICK, CLOSED).await;
    let admin = herald.api("admin").await;
    user(&admin, 42).await;
    for n in 1..=many {
        ingest(&admin, &Event::new(&format!("e-{n}")).to(42)).await;
    }
    until_dead(&admin, many).await;
    (herald, admin)
}

/// Waits until so many deliveries have died. `settle` could look between two attempts of one.
pub(crate) async fn until_dead(admin: &Api, many: usize) {
    wait_until(SOON, "the dead letters", async || (dead(admin).await.len() == many).then_some(())).await;
}

async fn dead(admin: &Api) -> Vec<Value> {
    admin.all("/v1/dead-letters").await
}

fn path_of(letter: &Value) -> String {
    format!("/notifications/{}/retry", letter["notification_id"].as_str().unwrap())
}

async fn a_button_puts_a_dead_delivery_back(db: Db) {
    let (mut herald, admin) = with_dead(db, 4).await;
    let visitor = Visitor::by_token(&herald, "read,operate").await;
    herald.stop().await;
    // The gateway works again.
    herald.set(&[("HERALD__SMS__PROVIDER", "sandbox")]);
    herald.restart().await;
    let admin = herald.with_token(admin.token.as_ref().unwrap());
    // A session outlives the process.
    let visitor = visitor.at(&herald);
    let csrf = visitor.csrf().await;
    let letters = dead(&admin).await;
    let page = visitor.get("/notifications").await.expect(200).text;
    for letter in &letters {
        assert!(page.contains(&format!("action=\"{}\"", path_of(letter))), "{letter}: {page}");
    }

    let one = path_of(&letters[0]);
    let answer = visitor.post(&one, &[("csrf", &csrf)]).await.expect(303);
    assert_eq!(answer.header("location"), "/notifications?retried=1");
    let told = visitor.get("/notifications?retried=1").await.expect(200).text;
    assert!(told.contains("1 was put back to work."), "{told}");
    let answer = visitor.post(&one, &[("csrf", &csrf)]).await.expect(303);
    assert_eq!(answer.header("location"), "/notifications?retried=0", "it is not dead any more");

    let id = letters[1]["id"].as_str().unwrap();
    let wrong = visitor.post(&path_of(&letters[2]), &[("csrf", &csrf), ("letter", id)]).await.expect(303);
    assert_eq!(wrong.header("location"), "/notifications?retried=0", "the letter is of another notification");
    let right = visitor.post(&path_of(&letters[1]), &[("csrf", &csrf), ("letter", id)]).await.expect(303);
    assert_eq!(right.header("location"), "/notifications?retried=1");
    let all = visitor.post("/notifications/retry", &[("csrf", &csrf)]).await.expect(303);
    assert_eq!(all.header("location"), "/notifications?retried=2");
    wait_until(SOON, "all four are sent", async || {
        (admin.all("/v1/notifications?status=SENT").await.len() == 4).then_some(())
    })
    .await;
    until_dead(&admin, 0).await;
    let page = visitor.get("/notifications").await.expect(200).text;
    assert!(page.contains("Nothing needs attention."), "{page}");
}

async fn a_form_from_elsewhere_is_refused(db: Db) {
    let (herald, admin) = with_dead(db, 1).await;
    let visitor = Visitor::by_token(&herald, "read,operate").await;
    let other = Visitor::by_token(&herald, "read,operate").await;
    let (csrf, others) = (visitor.csrf().await, other.csrf().await);
    assert_ne!(csrf, others);
    let letter = dead(&admin).await.remove(0);
    for path in [path_of(&letter), "/notifications/retry".to_owned()] {
        visitor.post(&path, &[]).await.expect(403);
        visitor.post(&path, &[("csrf", "")]).await.expect(403);
        visitor.post(&path, &[("csrf", &others)]).await.expect(403);
        for header in [
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Site", "same-site"),
            ("Origin", "https://elsewhere.example"),
        ] {
            visitor.post_from(&path, &[("csrf", &csrf)], &[header]).await.expect(403);
        }
        visitor.get(&path).await.expect(405);
    }
    assert_eq!(dead(&admin).await.len(), 1, "it stays where it was");
    let own = [("Sec-Fetch-Site", "same-origin"), ("Origin", "null")];
    visitor.post_from(&path_of(&letter), &[("csrf", &csrf)], &own).await.expect(303);
    wait_until(SOON, "it is tried again, in vain", async || {
        let letters = dead(&admin).await;
        (letters.len() == 1 && letters[0]["died_at"] != letter["died_at"]).then_some(())
    })
    .await;
}

async fn who_may_not_operate_has_no_button(db: Db) {
    let (herald, admin) = with_dead(db, 1).await;
    let visitor = Visitor::by_token(&herald, "read").await;
    let page = visitor.get("/notifications").await.expect(200).text;
    assert!(page.contains("transaction.completed"), "the failed one is shown: {page}");
    assert!(!page.contains("/retry") && !page.contains("Retry"), "{page}");
    let csrf = visitor.csrf().await;
    let path = path_of(&dead(&admin).await[0]);
    for path in [path.as_str(), "/notifications/retry"] {
        let refused = visitor.post(path, &[("csrf", &csrf)]).await.expect(403);
        assert!(refused.text.contains("operate"), "it says what is missing: {}", refused.text);
    }
    assert_eq!(dead(&admin).await.len(), 1);
}
