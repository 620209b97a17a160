//! What the rules held back: in the lists by state, and on the page of the notification, with its reason.

use serde_json::{Value, json};

use crate::harness::{Api, Db, Event, Herald, SOON, ingest, on_both, settle, user, wait_until};
use crate::retry::{CLOSED, QUICK, until_dead};
use crate::visitor::Visitor;

on_both!(what_was_not_sent_says_why, a_notification_that_failed_can_be_put_back_from_its_page);

const ROUTES: &str = r#"
[[caps]]
category = "offers"
limit = 1
window = "2s"
[[caps]]
category = "news"
limit = 1
window = "1h"
[routes."transaction.completed"]
channels = ["push", "email"]
variants = [{name = "b", template = "generic", share = 100}]
[routes."loan.approved"]
channels = ["sms"]
mode = "shadow"
[routes."code.sent"]
channels = ["sms"]
expires_after = "5m"
[routes."offer.made"]
channels = ["email"]
category = "offers"
over_cap = "digest"
[routes."news.told"]
channels = ["email"]
category = "news"
over_cap = "defer"
"#;

fn of(kind: &str, id: &str) -> Event {
    Event::new(id).set("/type", kind).to(4242)
}

/// The page of the one notification of an event.
async fn page_of(admin: &Api, visitor: &Visitor, event: &str) -> String {
    let found = admin.all(&format!("/v1/notifications?event_id={event}")).await;
    assert_eq!(found.len(), 1, "{event}");
    let path = format!("/notifications/{}", found[0]["id"].as_str().unwrap());
    visitor.get(&path).await.expect(200).text
}

fn has(page: &str, words: &[&str]) {
    for words in words {
        assert!(page.contains(words), "{words}: {page}");
    }
}

async fn what_was_not_sent_says_why(db: Db) {
    let herald = Herald::start_with(db, &[], ROUTES).await;
    let admin = herald.api("admin").await;
    let visitor = Visitor::by_token(&herald, "read").await;
    let list = async |state: &str| visitor.get(&format!("/not-sent?state={state}")).await.expect(200).text;
    has(&list("suppressed").await, &["Nothing is suppressed.", "aria-current=\"page\">suppressed</a>"]);

    user(&admin, 4242).await;
    let wishes = json!({"opt_outs": [{"channel": "push", "type": "transaction.completed"}]});
    admin.put("/v1/users/4242/preferences", &wishes).await.expect(200);
    for n in 1..=3 {
        ingest(&admin, &of("offer.made", &format!("offer-{n}"))).await;
    }
    for n in 1..=2 {
        ingest(&admin, &of("news.told", &format!("news-{n}"))).await;
    }
    let late = of("code.sent", "code").set("/timestamp", "2026-01-01T00:00:00Z");
    for event in [of("transaction.completed", "paid"), of("loan.approved", "loan"), late] {
        ingest(&admin, &event).await;
    }
    // The second offer is due after two seconds, and tells the third.
    wait_until(SOON, "one that is told within another", async || {
        let found = admin.all("/v1/notifications?state=digested").await;
        let shadowed = admin.all("/v1/notifications?state=shadowed").await;
        (found.len() == 1 && shadowed.len() == 1).then_some(())
    })
    .await;

    let cases = [
        (
            "deferred",
            "news.told",
            "Waits: a frequency cap, or the recipient&#39;s own limit, is full, until ",
        ),
        ("suppressed", "transaction.completed", "Not sent: the recipient does not want it."),
        ("digested", "offer.made", "Told within another message."),
        ("expired", "code.sent", "Not sent: it was, or would have been, too late to be of use."),
        ("shadowed", "loan.approved", "Not sent: its route is in shadow mode"),
    ];
    for (state, kind, why) in cases {
        let page = list(state).await;
        has(&page, &[why, &format!("\">{kind}</a>"), "data-label=\"User\">4242</td>"]);
        assert_eq!(page.matches("<td role=\"cell\" class=\"where\">").count(), 1, "{state}: {page}");
    }

    let paid = page_of(&admin, &visitor, "paid").await;
    has(
        &paid,
        &[
            "<dt>Variant</dt><dd>b</dd>",
            "<dt>Template</dt><dd>generic</dd>",
            "The recipient is in variant b",
            "Not sent: the recipient does not want it.",
            "Sent: the provider took it.",
            "Attempt 1 by sandbox: accepted",
            "push: not to be sent (opt-out: of this type by this channel).",
            "<th scope=\"row\" role=\"rowheader\">opt-out</th>",
            "<td role=\"cell\" class=\"answer failed\">not at all</td>",
            "When the event was handled",
        ],
    );
    let deferred = page_of(&admin, &visitor, "news-2").await;
    has(&deferred, &["frequency cap: ", "full until ", "<td role=\"cell\" class=\"answer open\">later</td>"]);
    let expired = page_of(&admin, &visitor, "code").await;
    has(&expired, &["Not sent: it was, or would have been, too late to be of use.", "too late</td>"]);
    let shadowed = page_of(&admin, &visitor, "loan").await;
    has(&shadowed, &["which does everything but the send", "shadow: everything but the send"]);
    let told: Value = admin.all("/v1/notifications?state=digested").await.remove(0);
    let told_in = told["deliveries"][0]["told_in"].as_str().unwrap();
    let teller = format!("/notifications/{}", told_in.strip_suffix(":email").unwrap());
    let digested = page_of(&admin, &visitor, told["event_id"].as_str().unwrap()).await;
    has(
        &digested,
        &[
            "Told within another message.",
            &format!("<a href=\"{teller}\">See that one</a>"),
            "Later, about E-mail",
        ],
    );
    has(&visitor.get(&teller).await.expect(200).text, &["Sent: the provider took it."]);

    // From the page of all to that of one.
    let id = told["id"].as_str().unwrap();
    has(
        &visitor.get("/notifications").await.text,
        &[&format!("<a href=\"/notifications/{id}\""), "href=\"/not-sent\""],
    );
    for secret in ["customer4242", "example.com", "1004242", "Customer 4242", "device-of-4242", "2500.00"] {
        for page in [&paid, &deferred, &expired, &shadowed, &digested] {
            assert!(!page.contains(secret), "{secret}: {page}");
        }
    }
    visitor.get("/notifications/none").await.expect(404);
}

async fn a_notification_that_failed_can_be_put_back_from_its_page(db: Db) {
    let herald = Herald::start_with(db, QUICK, CLOSED).await;
    let admin = herald.api("admin").await;
    user(&admin, 4242).await;
    ingest(&admin, &of("transaction.failed", "e-1")).await;
    until_dead(&admin, 1).await;
    settle(&admin).await;
    let button = "Retry what failed";
    let reader = Visitor::by_token(&herald, "read").await;
    let page = page_of(&admin, &reader, "e-1").await;
    has(&page, &["Not sent, all attempts failed", "Attempt 1 by http"]);
    assert!(!page.contains(button), "{page}");
    let operator = Visitor::by_token(&herald, "read,operate").await;
    let page = page_of(&admin, &operator, "e-1").await;
    has(&page, &[button]);
    let (_, action) = page.split_once("<form method=\"post\" action=\"/notifications/").unwrap();
    let path = format!("/notifications/{}", action.split_once('"').unwrap().0);
    let csrf = operator.csrf().await;
    let answer = operator.post(&path, &[("csrf", &csrf)]).await.expect(303);
    assert_eq!(answer.header("location"), "/notifications?retried=1");
}
