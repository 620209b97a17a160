//! The open set.

use herald::domain::{Channel, DeliveryState, EventOutcome, NewEvent};
use herald::store::{Claim, QueuedEvent};

use crate::support::{born_claimed, event, events, first_outcome, handled, of_aggregate, on_both};

fn ids(open: &[QueuedEvent]) -> Vec<&str> {
    open.iter().map(|event| event.id.as_str()).collect()
}

on_both! {
    async fn the_oldest_come_first_up_to_the_limit(db) {
        let epoch = db.instance().await;
        db.append(events(30)).await;
        let open = db.store.open_events(epoch, 20).await.unwrap();
        assert_eq!(ids(&open), (0..20).map(|n| format!("e-{n:05}")).collect::<Vec<_>>());
        assert!(open.iter().all(|event| event.crashes == 0 && event.kind == "transaction.completed"));
        assert_eq!(db.store.backlog(100).await.unwrap(), 30);
        assert_eq!(db.store.backlog(7).await.unwrap(), 7);
    }

    async fn what_another_holds_is_not_given(db) {
        let epoch = db.instance().await;
        db.append(events(10)).await;
        let other = db.store.register("other").await.unwrap();
        assert!(db.store.open_events(other, 100).await.unwrap().is_empty());
        assert!(db.store.open_events_of(other, &["transaction.completed".to_owned()], 9).await.unwrap().is_empty());
        assert_eq!(db.store.open_events(epoch, 100).await.unwrap().len(), 10);
    }

    async fn an_urgent_event_pulls_along_what_its_aggregate_waits_for(db) {
        let epoch = db.instance().await;
        db.append([
            of_aggregate("a-1", "A", "account.created"),
            of_aggregate("b-1", "B", "account.created"),
            of_aggregate("a-2", "A", "transaction.completed"),
            of_aggregate("a-3", "A", "alert.triggered"),
            NewEvent { aggregate_type: "user".to_owned(), ..of_aggregate("u-1", "A", "user.login") },
            of_aggregate("a-4", "A", "transaction.completed"),
            of_aggregate("c-1", "C", "alert.triggered"),
            of_aggregate("a-5", "A", "alert.triggered"),
        ])
        .await;
        let urgent = ["alert.triggered".to_owned()];
        let open = db.store.open_events_of(epoch, &urgent, 2).await.unwrap();
        assert_eq!(ids(&open), ["a-1", "a-2", "a-3", "c-1"]);
        let open = db.store.open_events_of(epoch, &urgent, 100).await.unwrap();
        assert_eq!(ids(&open), ["a-1", "a-2", "a-3", "a-4", "c-1", "a-5"]);
        assert!(db.store.open_events_of(epoch, &["x.y".to_owned()], 100).await.unwrap().is_empty());
        assert!(db.store.open_events_of(epoch, &[], 100).await.unwrap().is_empty());
    }

    async fn crashes_are_counted(db) {
        let epoch = db.instance().await;
        db.append(events(2)).await;
        let open = db.store.open_events(epoch, 10).await.unwrap();
        assert_eq!(db.store.note_crash(open[1].position).await.unwrap(), 1);
        assert_eq!(db.store.note_crash(open[1].position).await.unwrap(), 2);
        assert_eq!(db.store.note_crash(1_000_000).await.unwrap(), 0, "handled meanwhile");
        let open = db.store.open_events(epoch, 10).await.unwrap();
        assert_eq!(open.iter().map(|event| event.crashes).collect::<Vec<_>>(), [0, 2]);
    }

    /// Logical replication runs no statement triggers.
    async fn the_sweep_queues_what_no_trigger_has(db) {
        let epoch = db.instance().await;
        db.append(events(4)).await;
        let open = db.store.open_events(epoch, 10).await.unwrap();
        let now = db.store.now().await.unwrap();
        db.store.handle(epoch, now, vec![handled(&open[0], EventOutcome::NotRouted)]).await.unwrap();
        db.run("DELETE FROM event_queue WHERE event_id IN ('e-00001', 'e-00002')").await;
        assert_eq!(db.store.sweep(1_000).await.unwrap(), 0, "they may be on their way");
        db.run("UPDATE domain_events SET created_at = '2026-01-01T00:00:00.000000Z'").await;
        assert_eq!(db.store.sweep(2).await.unwrap(), 1, "only the newest two are looked at");
        assert_eq!(db.store.sweep(1_000).await.unwrap(), 1);
        assert_eq!(db.store.sweep(1_000).await.unwrap(), 0);
        let again = db.store.open_events(epoch, 10).await.unwrap();
        assert_eq!(ids(&again), ["e-00001", "e-00002", "e-00003"]);
        let partitions = |open: &[QueuedEvent]| open.iter().map(|event| event.partition).collect::<Vec<_>>();
        assert_eq!(partitions(&again), partitions(&open[1..]), "the partition is the one that the trigger gives");
    }

    async fn heralds_own_closed_events_are_not_queued(db) {
        let epoch = db.instance().await;
        let claim = Claim { epoch, life: 1 };
        db.append([event("e")]).await;
        let ids = db.notify(epoch, &born_claimed(&[Channel::Sms], claim)).await;
        assert!(db.record(first_outcome(&ids[0], Channel::Sms, claim, DeliveryState::Sent)).await);
        assert_eq!(db.count("domain_events WHERE type = 'notification.sent' AND origin = 'herald' AND processed").await, 1);
        assert_eq!(db.count("event_queue").await, 0);
        // What another application claims to be handled is handled all the same.
        db.run(
            r#"INSERT INTO domain_events (id, type, aggregate_id, aggregate_type, payload, metadata, timestamp, processed)
               VALUES ('f', 'user.login', '1', 'user', '{}', '{"source":"s"}', '2026-11-24T09:15:00.000000Z', TRUE)"#,
        )
        .await;
        let open = db.store.open_events(epoch, 10).await.unwrap();
        assert_eq!(open.len(), 1);
        let now = db.store.now().await.unwrap();
        let taken = db.store.handle(epoch, now, vec![handled(&open[0], EventOutcome::NotRouted)]).await.unwrap();
        assert_eq!(taken.len(), 1);
        assert_eq!(db.one("SELECT outcome AS v FROM domain_events WHERE id = 'f'").await, "not_routed");
    }
}
