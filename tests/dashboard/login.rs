//! Getting in, staying in, and getting out.

use crate::harness::{Db, Herald, SOON, on_both, wait_until};
use crate::visitor::{Visitor, link};

on_both!(a_token_logs_in_and_its_end_ends_the_session, logging_out_ends_the_session);

#[tokio::test]
async fn a_link_works_once() {
    let herald = Herald::start(Db::Sqlite, &[]).await;
    let link = link(&herald).await;
    let visitor = Visitor::stranger(&herald);
    let first = visitor.get(&link).await.expect(303);
    assert_eq!(first.header("location"), "/notifications");
    let cookie = first.header("set-cookie").to_owned();
    for flag in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=43200"] {
        assert!(cookie.split("; ").any(|part| part == flag), "{flag}: {cookie}");
    }
    assert!(!cookie.contains("Secure"), "by plain HTTP a browser would not send it: {cookie}");
    let secret = cookie.split(['=', ';']).nth(1).unwrap();
    assert!(secret.len() >= 43, "{cookie}");
    assert!(!herald.database.contains(secret).await, "only its hash is kept");
    assert!(!herald.output.text().contains(secret), "nor is it in the log");

    let again = visitor.get(&link).await.expect(410);
    assert!(again.header("set-cookie").is_empty());
    assert!(again.text.contains("Herald prints a new one each time it starts"), "{}", again.text);
    for other in ["/login/x".to_owned(), format!("/login/{}", "A".repeat(43)), format!("{link}%00")] {
        visitor.get(&other).await.expect(410);
    }

    let mut visitor = Visitor::stranger(&herald);
    visitor.keep(&first);
    visitor.get("/notifications").await.expect(200);
    assert_eq!(visitor.get("/").await.expect(303).header("location"), "/notifications");
    assert_eq!(visitor.get("/login").await.expect(303).header("location"), "/notifications");
}

#[tokio::test]
async fn behind_tls_the_cookie_goes_by_tls_alone() {
    let herald =
        Herald::start(Db::Sqlite, &[("HERALD__SERVER__PUBLIC_URL", "https://herald.bank.example")]).await;
    let answer = Visitor::stranger(&herald).get(&link(&herald).await).await.expect(303);
    assert!(answer.header("set-cookie").contains("; Secure"), "{}", answer.header("set-cookie"));
}

#[tokio::test]
async fn without_a_session_there_is_nothing_to_see() {
    let herald = Herald::start(Db::Sqlite, &[]).await;
    let mut visitor = Visitor::stranger(&herald);
    for _ in 0..2 {
        assert_eq!(visitor.get("/").await.expect(303).header("location"), "/notifications");
        assert_eq!(visitor.get("/notifications").await.expect(303).header("location"), "/login");
        for path in ["/notifications/fragment", "/notifications/stream"] {
            visitor.get(path).await.expect(401);
        }
        for path in ["/notifications/retry", "/notifications/n-1/retry"] {
            assert_eq!(visitor.post(path, &[]).await.expect(303).header("location"), "/login");
        }
        let form = visitor.get("/login").await.expect(200).text;
        assert!(form.contains("type=\"password\"") && form.contains("name=\"token\""), "{form}");
        // Nor is there with a session that does not exist.
        visitor = Visitor::with(&herald, &"A".repeat(43));
    }
}

async fn a_token_logs_in_and_its_end_ends_the_session(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let made =
        herald.run(&["token", "create", "--name", "me", "--scope", "read", "--json"]).await.code(0).json();
    let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    let mut visitor = Visitor::stranger(&herald);
    let last = if token.ends_with('A') { 'B' } else { 'A' };
    for wrong in ["", "secret", &format!("{}{last}", &token[..token.len() - 1])] {
        let refused = visitor.post("/login", &[("token", wrong)]).await.expect(401);
        assert!(refused.header("set-cookie").is_empty() && refused.text.contains("role=\"alert\""));
        assert!(wrong.is_empty() || !refused.text.contains(wrong), "it is not shown again");
    }
    let blind = herald.api("operate").await.token.unwrap();
    visitor.post("/login", &[("token", &blind)]).await.expect(403);

    let entered = visitor.post("/login", &[("token", token)]).await.expect(303);
    visitor.keep(&entered);
    visitor.get("/notifications").await.expect(200);
    herald.run(&["token", "revoke", id]).await.code(0);
    assert_eq!(visitor.get("/notifications").await.expect(303).header("location"), "/login");
}

async fn logging_out_ends_the_session(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let visitor = Visitor::by_token(&herald, "read").await;
    let mut stream = visitor.watch(&herald).await;
    visitor.post("/logout", &[]).await.expect(403);
    let csrf = visitor.csrf().await;
    let left = visitor.post("/logout", &[("csrf", &csrf)]).await.expect(303);
    assert!(left.header("set-cookie").contains("Max-Age=0"), "{}", left.header("set-cookie"));
    assert_eq!(visitor.get("/notifications").await.expect(303).header("location"), "/login");
    stream.until("event: ended", SOON).await;
    assert_eq!(stream.rest(SOON).await.trim(), "data: session", "and then it ends");
}

#[tokio::test]
async fn who_tries_too_often_is_told_to_wait() {
    let herald = Herald::start(Db::Sqlite, &[]).await;
    let visitor = Visitor::stranger(&herald);
    let mut tries = 0;
    wait_until(SOON, "429", async || {
        tries += 1;
        let status = visitor.post("/login", &[("token", "wrong")]).await.status;
        assert!([401, 429].contains(&status), "{status}");
        (status == 429).then_some(())
    })
    .await;
    assert!(tries > 5, "a person may mistype: {tries}");
    visitor.get(&format!("/login/{}", "A".repeat(43))).await.expect(429);
    visitor.get("/login").await.expect(200);
}
