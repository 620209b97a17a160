//! What is older than it is kept goes, and only that.

use std::time::Duration;

use herald::domain::{Channel, DeliveryState, EventOutcome, Instant};
use herald::store::{Claim, DeadLetterFilter, Forgotten, HandledEvent, NotificationFilter};

use crate::support::{Db, born_claimed, event, first_outcome, handled, notified, on_both, pending};

const TABLES: [&str; 7] = [
    "domain_events",
    "event_queue",
    "event_failures",
    "notifications",
    "deliveries",
    "notification_history",
    "work_items",
];

/// Far enough ahead that all that is stored is old.
async fn later(db: &Db) -> Instant {
    db.store.now().await.unwrap().plus(Duration::from_secs(3600))
}

/// Walks to the end; gives the sum, and how many steps it took.
async fn walk(db: &Db, epoch: i64, before: Instant) -> (Forgotten, usize) {
    let (mut sum, mut steps) = (Forgotten::default(), 0);
    loop {
        let after = sum.next.unwrap_or_default();
        sum += db.store.forget_older(epoch, before, after).await.unwrap().unwrap();
        steps += 1;
        if sum.next.is_none() {
            return (sum, steps);
        }
    }
}

async fn ids(db: &Db) -> Vec<String> {
    db.column("SELECT id AS v FROM domain_events WHERE origin <> 'herald' ORDER BY position").await
}

/// One of each kind of end, and of each that has none: `kept-…` must stay.
async fn all_kinds(db: &Db, epoch: i64) {
    let claim = Claim { epoch, life: 1 };
    let names =
        ["sent", "kept-dead", "kept-pending", "not-routed", "failed", "kept-failed", "kept-work", "work"];
    db.append(names.map(event)).await;
    let open = db.store.open_events(epoch, 100).await.unwrap();
    let now = db.store.now().await.unwrap();
    let both = born_claimed(&[Channel::Push, Channel::Sms], claim);
    let batch: Vec<HandledEvent> = open
        .iter()
        .map(|event| match event.id.as_str() {
            "sent" | "kept-dead" => notified(event, 42, &both),
            "kept-pending" => notified(event, 42, &pending(&[Channel::Push])),
            "failed" | "kept-failed" => {
                HandledEvent { reason: Some("x".to_owned()), ..handled(event, EventOutcome::Failed) }
            }
            "kept-work" | "work" => {
                HandledEvent { concerns: vec!["sync"], ..handled(event, EventOutcome::NotRouted) }
            }
            _ => handled(event, EventOutcome::NotRouted),
        })
        .collect();
    let of = |n: usize| batch[n].notifications[0].id.clone();
    let (sent, dead) = (of(0), of(1));
    db.store.handle(epoch, now, batch).await.unwrap();
    for (id, channel, state) in [
        (&sent, Channel::Push, DeliveryState::Sent),
        (&sent, Channel::Sms, DeliveryState::Sent),
        (&dead, Channel::Push, DeliveryState::Sent),
        (&dead, Channel::Sms, DeliveryState::Dead),
    ] {
        assert!(db.record(first_outcome(id, channel, claim, state)).await);
    }
    db.run("UPDATE work_items SET state = 'done' WHERE event_id = 'work'").await;
    db.run("UPDATE event_failures SET discarded_at = failed_at WHERE event_id = 'failed'").await;
    db.append([event("kept-unhandled")]).await;
}

const KEPT: [&str; 5] = ["kept-dead", "kept-pending", "kept-failed", "kept-work", "kept-unhandled"];

on_both! {
    async fn what_is_over_goes_and_what_is_open_or_dead_stays(db) {
        let epoch = db.instance().await;
        all_kinds(&db, epoch).await;
        let statistics = db.count("delivery_stats").await;
        let (walked, _) = walk(&db, epoch, later(&db).await).await;
        assert_eq!(ids(&db).await, KEPT);
        // What Herald told of itself is over, too.
        assert_eq!(db.count("domain_events WHERE origin = 'herald'").await, 0);
        let made = Forgotten {
            events: 4 + 2, notifications: 1, deliveries: 2, attempts: 2, work_items: 1,
            left_open: 3, left_dead: 2, next: None,
        };
        assert_eq!(walked, made);
        for (table, left) in TABLES.into_iter().zip([5, 1, 1, 2, 3, 2, 1]) {
            assert_eq!(db.count(table).await, left, "{table}");
        }
        assert_eq!(db.count("delivery_stats").await, statistics, "the statistics stay");
        assert!(db.store.reconcile().await.unwrap().is_empty());

        // Dead letters that were discarded, and what was open and has ended, go the next time.
        let letters = db.store.dead_letters(DeadLetterFilter::default(), None, 10).await.unwrap();
        assert_eq!(letters.len(), 2);
        db.store.resolve_dead_letters(epoch, letters, false).await.unwrap();
        for claimed in db.claim(Channel::Push, Claim { epoch, life: 2 }).await {
            assert!(db.record(crate::support::outcome_of(&claimed, DeliveryState::Sent)).await);
        }
        walk(&db, epoch, later(&db).await).await;
        assert_eq!(ids(&db).await, ["kept-work", "kept-unhandled"]);
        assert!(db.store.reconcile().await.unwrap().is_empty());
        assert!(db.store.notifications(NotificationFilter::default(), None, 10).await.unwrap().items.is_empty());
    }

    async fn what_is_young_stays(db) {
        let epoch = db.instance().await;
        all_kinds(&db, epoch).await;
        let before = db.one("SELECT min(created_at) AS v FROM domain_events").await;
        let before = before.replacen(' ', "T", 1).replace("+00", "Z");
        let (walked, steps) = walk(&db, epoch, Instant::parse(&before).unwrap()).await;
        assert_eq!((walked, steps), (Forgotten::default(), 1));
        assert_eq!(ids(&db).await.len(), 9);
    }

    async fn an_id_is_new_again_afterwards(db) {
        let epoch = db.instance().await;
        db.append([event("e-1")]).await;
        let first = db.notify(epoch, &born_claimed(&[Channel::Push], Claim { epoch, life: 1 })).await;
        let outcome = first_outcome(&first[0], Channel::Push, Claim { epoch, life: 1 }, DeliveryState::Sent);
        assert!(db.record(outcome).await);
        walk(&db, epoch, later(&db).await).await;
        db.append([event("e-1")]).await;
        assert_eq!(db.notify(epoch, &pending(&[Channel::Push])).await.len(), 1);
        assert!(db.store.reconcile().await.unwrap().is_empty());
    }

    async fn it_walks_in_windows_and_only_where_the_partition_is_held(db) {
        let epoch = db.instance().await;
        db.append((0..450).map(|n| event(&format!("e-{n}")))).await;
        let open = db.store.open_events(epoch, 1000).await.unwrap();
        let now = db.store.now().await.unwrap();
        let batch = open.iter().filter(|event| event.id != "e-7").map(|event| handled(event, EventOutcome::NotRouted));
        db.store.handle(epoch, now, batch.collect()).await.unwrap();
        let before = later(&db).await;
        assert_eq!(db.store.forget_older(epoch + 1, before, 0).await.unwrap(), None);
        let (walked, steps) = walk(&db, epoch, before).await;
        assert_eq!((walked.events, walked.left_open, steps), (449, 1, 3));
        assert_eq!(ids(&db).await, ["e-7"]);
        // An instance that has been given up deletes nothing any more.
        db.store.end(epoch).await.unwrap();
        assert_eq!(db.store.forget_older(epoch, before, 0).await.unwrap(), None);
    }
}
