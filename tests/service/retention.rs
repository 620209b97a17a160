//! `retention.days`: what is older goes, by itself.

use crate::harness::{Db, Event, Herald, SOON, ingest, on_both, settle, user, wait_until};

on_both!(old_events_go_and_are_counted);

async fn old_events_go_and_are_counted(db: Db) {
    let mut herald = Herald::start(db, &[("HERALD__RETENTION__DAYS", "30")]).await;
    let api = herald.api("admin").await;
    user(&api, 42).await;
    for id in ["old-1", "old-2", "young"] {
        ingest(&api, &Event::new(id).to(42)).await;
    }
    settle(&api).await;
    // As after a restore: while everything is held nothing is deleted.
    api.post("/v1/dispatch/hold", &serde_json::json!({})).await;
    herald.stop().await;
    let ago = match db {
        Db::Sqlite => "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-31 days')",
        Db::Postgres => "now() - interval '31 days'",
    };
    let age = format!("UPDATE domain_events SET created_at = {ago} WHERE id LIKE 'old-%'");
    herald.database.execute(&age).await;

    herald.restart().await;
    let api = herald.with_token(api.token.as_ref().unwrap());
    wait_until(SOON, "the time at which it would delete", async || {
        let text = herald.anonymous().get("/metrics").await.expect(200).text;
        text.contains("herald_retention_left_dead_letters").then_some(())
    })
    .await;
    assert_eq!(
        herald.database.number("SELECT count(*) AS v FROM domain_events WHERE id LIKE 'old-%'").await,
        2
    );
    api.post("/v1/dispatch/resume", &serde_json::json!({})).await.expect(200);
    wait_until(SOON, "old events to go", async || {
        let left =
            herald.database.number("SELECT count(*) AS v FROM domain_events WHERE id LIKE 'old-%'").await;
        (left == 0).then_some(())
    })
    .await;
    api.get("/v1/events/young").await.expect(200);
    api.get("/v1/events/old-1").await.problem(404);
    assert_eq!(api.all("/v1/notifications").await.len(), 1);
    let deleted = r#"herald_retention_deleted_total{table="notifications"} 2"#;
    wait_until(SOON, deleted, async || {
        herald.anonymous().get("/metrics").await.expect(200).text.contains(deleted).then_some(())
    })
    .await;
    let told = |line: &&str| line.contains("past its retention") && line.contains("left_dead");
    let said = wait_until(SOON, "a line in the log", async || {
        herald.output.text().lines().find(told).map(str::to_owned)
    })
    .await;
    assert!(said.contains("notifications") && !said.contains("old-1"), "{said}");
    herald.run(&["reconcile"]).await.code(0);
}
