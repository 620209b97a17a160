//! What the pages show, and what they are sent with.

use serde_json::json;

use crate::harness::{Db, Event, Herald, SOON, ingest, on_both, settle, user, wait_until};
use crate::retry::{CLOSED, QUICK, until_dead};
use crate::visitor::Visitor;

on_both!(
    the_page_tells_how_things_stand_and_nothing_personal,
    a_provider_that_fails_is_shown,
    the_page_of_shadow_mode_tells_where_two_systems_differ,
);

async fn the_page_tells_how_things_stand_and_nothing_personal(db: Db) {
    let herald = Herald::start_with(db, QUICK, CLOSED).await;
    let admin = herald.api("admin").await;
    let visitor = Visitor::by_token(&herald, "read:personal,operate").await;
    let empty = visitor.get("/notifications").await.expect(200).text;
    for words in ["Nothing needs attention.", "No notifications yet.", "Ready"] {
        assert!(empty.contains(words), "{words}: {empty}");
    }

    user(&admin, 4242).await;
    for (id, event_type) in [("e-1", "transaction.completed"), ("e-2", "transaction.failed")] {
        let payload = json!({"userId": 4242, "accountNumber": "77001122", "amount": "98765.43", "currency": "MWK",
                             "description": "Rent for <b>Blantyre</b>"});
        ingest(&admin, &Event::new(id).set("/type", event_type).set("/payload", payload)).await;
    }
    ingest(&admin, &Event::new("e-3").set("/type", "transaction.failed").to(4343)).await;
    until_dead(&admin, 2).await;
    settle(&admin).await;

    let page = visitor.get("/notifications").await.expect(200).text;
    let fragment = visitor.get("/notifications/fragment").await.expect(200).text;
    for text in [&page, &fragment] {
        for shown in ["4242", "4343", "transaction.completed", "no contact", ">Partial<", ">Retry</button>"] {
            // A pill's first letter is made large by the style sheet.
            let shown = shown.replace(">Partial<", ">partial<");
            assert!(text.contains(&shown), "{shown}: {text}");
        }
        // The two SMS of 4242 have died, its e-mail went out; those to 4343 had no contact.
        let cell = |label: &str, n: u32| format!("data-label=\"{label}\">{n}</td>");
        for (label, n) in [("Failed", 2), ("Sent", 1), ("Not sent", 1)] {
            assert!(text.contains(&cell(label, n)), "{label} {n}: {text}");
        }
    }
    for secret in [
        "customer4242",
        "example.com",
        "1004242",
        "Customer 4242",
        "device-of-4242",
        "98765",
        "98,765",
        "77001122",
        "Rent",
        "Blantyre",
    ] {
        assert!(
            admin.get("/v1/events/e-1").await.text.contains(secret) || herald.database.contains(secret).await
        );
        assert!(!page.contains(secret) && !fragment.contains(secret), "{secret}: {page}");
    }
}

#[tokio::test]
async fn the_page_tells_what_operators_have_set() {
    let herald = Herald::start(Db::Sqlite, &[]).await;
    let admin = herald.api("admin").await;
    let visitor = Visitor::by_token(&herald, "read").await;
    let state = async |word: &str| {
        let text = crate::harness::wait_until(crate::harness::SOON, word, async || {
            let text = visitor.get("/notifications").await.expect(200).text;
            text.contains(&format!("\">{word}</span>")).then_some(text)
        });
        text.await
    };
    state("Ready").await;
    admin.post("/v1/channels/sms/pause", &json!({})).await.expect(200);
    assert!(state("Paused").await.contains("nothing is sent by SMS"));
    admin.post("/v1/dispatch/hold", &json!({})).await.expect(200);
    ingest(&admin, &Event::new("e-1").to(1)).await;
    assert!(state("Held").await.contains("nothing is handled or sent"));
    crate::harness::wait_until(crate::harness::SOON, "the backlog", async || {
        visitor.get("/notifications").await.text.contains("1 event waits").then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_page_is_sent_with_its_headers() {
    let herald = Herald::start(Db::Sqlite, &[]).await;
    let (stranger, visitor) = (Visitor::stranger(&herald), Visitor::by_link(&herald).await);
    let pages = [
        visitor.get("/notifications").await.expect(200),
        visitor.get("/notifications/fragment").await.expect(200),
        visitor.post("/notifications/retry", &[]).await.expect(403),
        stranger.get("/notifications").await.expect(303),
        stranger.get("/notifications/fragment").await.expect(401),
        visitor.get("/shadow").await.expect(200),
        visitor.get("/not-sent").await.expect(200),
        visitor.get("/not-sent?state=x").await.expect(400),
        stranger.get("/not-sent").await.expect(303),
        visitor.get("/notifications/nothing").await.expect(404),
        stranger.get("/notifications/nothing").await.expect(303),
        stranger.get("/shadow").await.expect(303),
        stranger.get("/login").await.expect(200),
        stranger.get("/login/x").await.expect(410),
        stranger.post("/login", &[("token", "x")]).await.expect(401),
        stranger.get("/logout").await.expect(405),
    ];
    for page in pages {
        let policy = page.header("content-security-policy");
        for part in
            ["default-src 'none'", "script-src 'self'", "form-action 'self'", "frame-ancestors 'none'"]
        {
            assert!(policy.split("; ").any(|found| found == part), "{part}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
        assert_eq!(page.header("cache-control"), "no-store");
        // What the policy would refuse.
        for inline in ["style=", "<style", "onclick", "<script>", "http://", "https://"] {
            let text = page.text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains(inline), "{inline}: {text}");
        }
    }
    let page = visitor.get("/notifications").await.text;
    for (kind, ending) in
        [("text/css", "href=\"/assets/dashboard.css"), ("text/javascript", "src=\"/assets/dashboard.js")]
    {
        let (_, rest) = page.split_once(ending).unwrap();
        let path = format!("{}{}", ending.split_once('"').unwrap().1, rest.split_once('"').unwrap().0);
        let asset = stranger.get(&path).await.expect(200);
        assert!(asset.header("content-type").starts_with(kind), "{path}");
        assert_eq!(asset.header("x-content-type-options"), "nosniff");
        assert!(asset.header("cache-control").contains("immutable") && path.contains("?v="), "{path}");
    }
}

async fn a_provider_that_fails_is_shown(db: Db) {
    let mut settings = QUICK.to_vec();
    settings.push(("HERALD__LIMITS__BREAKER__FAILURES", "2"));
    let herald = Herald::start_with(db, &settings, CLOSED).await;
    let admin = herald.api("admin").await;
    let visitor = Visitor::by_token(&herald, "read").await;
    user(&admin, 42).await;
    for n in 1..=3 {
        ingest(&admin, &Event::new(&format!("e-{n}")).to(42)).await;
    }
    wait_until(SOON, "what fails, and until when it is left alone", async || {
        let page = visitor.get("/notifications").await.expect(200).text;
        let shown = ["Degraded", "see by channel: SMS", "http fails, next try at "];
        shown.iter().all(|words| page.contains(words)).then_some(())
    })
    .await;
}

async fn the_page_of_shadow_mode_tells_where_two_systems_differ(db: Db) {
    let shadow = "[routes.\"transaction.completed\"]\nchannels = [\"email\", \"sms\"]\nmode = \"shadow\"\n\
                  variants = [{name = \"b\", template = \"generic\", share = 100}]\n";
    let herald = Herald::start_with(db, &[], shadow).await;
    let admin = herald.api("admin").await;
    let visitor = Visitor::by_token(&herald, "read").await;
    let page = async || visitor.get("/shadow").await.expect(200).text;
    let empty = page().await;
    assert!(empty.contains("Nothing to compare yet.") && empty.contains("Nothing differs."), "{empty}");
    assert!(!empty.contains("Variants of templates"), "{empty}");
    assert!(visitor.get("/notifications").await.text.contains("href=\"/shadow\""), "the way there");

    user(&admin, 42).await;
    admin.put("/v1/users/42/preferences", &json!({"opt_outs": [{"channel": "sms"}]})).await.expect(200);
    ingest(&admin, &Event::new("e-1").to(42)).await;
    settle(&admin).await;
    let sends = json!([
        {"event_id": "e-1", "channel": "email"},
        {"event_id": "e-1", "channel": "sms"},
        {"event_id": "e-lost", "channel": "sms"},
    ]);
    admin.post("/v1/external-sends", &sends).await.expect(202);
    let page = page().await;
    for shown in [
        "transaction.completed <span class=\"pill\">SMS</span>",
        "Variants of templates",
        "transaction.completed <span class=\"pill plain\">b</span> <span class=\"pill\">E-mail</span>",
        "data-label=\"Only old\">1</td>",
        "data-label=\"Agree\">100%</td>",
        "The old system sent it. Herald: suppressed, opted out.",
        "1 reported of events that have never reached Herald, such as e-lost.",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    for secret in ["customer42", "1000042", "2500.00"] {
        assert!(!page.contains(secret), "{secret}: {page}");
    }
}
