//! Handling: what was decided becomes rows, in one transaction, once.

use std::time::Duration;

use herald::domain::{Channel, DeliveryState, EventOutcome, Lane, Recipient};
use herald::store::{Claim, DeadLetterFilter, HandledEvent, NewDelivery, NotificationFilter, StoreError};

use crate::support::{
    Db, born_claimed, delivery, event, events, handled, notified, of_aggregate, on_both, pending, pg_column,
    stranger,
};

const TABLES: [&str; 9] = [
    "notifications",
    "deliveries",
    "work_items",
    "users",
    "accounts",
    "event_failures",
    "delivery_stats",
    "notification_history",
    "domain_events WHERE processed",
];

async fn rows(db: &Db) -> Vec<i64> {
    let mut counts = Vec::new();
    for table in TABLES {
        counts.push(db.count(table).await);
    }
    counts
}

on_both! {
    async fn everything_is_written_at_once_and_once(db) {
        let epoch = db.instance().await;
        db.append(events(2)).await;
        let open = db.store.open_events(epoch, 10).await.unwrap();
        let now = db.store.now().await.unwrap();
        let batch = || {
            let mut first = notified(&open[0], 42, &pending(&[Channel::Push, Channel::Email]));
            first.notifications.extend(notified(&open[0], 43, &pending(&[Channel::Sms])).notifications);
            first.concerns = vec!["balance_sync", "alerts"];
            first.owners = vec![("1001".to_owned(), 42), ("1002".to_owned(), 42)];
            first.introduces = Some(Recipient { email: Some("a@example.com".to_owned()), ..Recipient::new(42) });
            let second = HandledEvent { reason: Some("broken".to_owned()), ..handled(&open[1], EventOutcome::Failed) };
            vec![first, second]
        };
        let taken = db.store.handle(epoch, now, batch()).await.unwrap();
        assert_eq!(taken, open.iter().map(|event| event.position).collect());
        let written = rows(&db).await;
        assert_eq!(written, [2, 3, 2, 1, 2, 1, 3, 0, 2], "{TABLES:?}");
        assert_eq!(db.count("event_queue").await, 0);
        let stats = "SELECT sum(n) AS v FROM delivery_stats WHERE state = 'created'";
        assert_eq!(db.one(stats).await, "3");

        // Seen again, by whomever: nothing.
        assert!(db.store.handle(epoch, now, batch()).await.unwrap().is_empty());
        assert_eq!(rows(&db).await, written);
        assert_eq!(db.one(stats).await, "3");

        let outcomes = db.column("SELECT outcome || ' ' || COALESCE(reason, '-') AS v FROM domain_events ORDER BY id").await;
        assert_eq!(outcomes, ["notified -", "failed broken"]);
        let letters = db.store.dead_letters(DeadLetterFilter::default(), None, 10).await.unwrap();
        assert_eq!(letters.len(), 1);
        assert_eq!(letters[0].id, "event:e-00001");
        assert_eq!(letters[0].error.as_deref(), Some("broken"));
        assert!(db.store.reconcile().await.unwrap().is_empty());
    }

    /// An event that is in the queue although it was handled, as two sweeps at once may leave it.
    async fn an_event_that_is_queued_twice_is_handled_once(db) {
        let epoch = db.instance().await;
        db.append([event("e")]).await;
        let open = db.store.open_events(epoch, 10).await.unwrap();
        let now = db.store.now().await.unwrap();
        let batch = || vec![notified(&open[0], 42, &pending(&[Channel::Sms]))];
        db.store.handle(epoch, now, batch()).await.unwrap();
        let written = rows(&db).await;
        db.run("INSERT INTO event_queue (position, event_id, type, aggregate_type, aggregate_id, partition)
                SELECT position, id, type, aggregate_type, aggregate_id, 0 FROM domain_events").await;
        assert!(db.store.handle(epoch, now, batch()).await.unwrap().is_empty());
        assert_eq!(rows(&db).await, written);
        assert_eq!(db.one("SELECT sum(n) AS v FROM delivery_stats").await, "1");
        assert_eq!(db.count("event_queue").await, 0, "and it does not stay");
    }

    async fn each_outcome_and_reason_is_kept(db) {
        let epoch = db.instance().await;
        db.append(events(4)).await;
        let open = db.store.open_events(epoch, 10).await.unwrap();
        let now = db.store.now().await.unwrap();
        let outcomes = [EventOutcome::NotRouted, EventOutcome::NoRecipient, EventOutcome::Failed, EventOutcome::Notified];
        let batch = open.iter().zip(outcomes).map(|(event, outcome)| {
            let base = if outcome == EventOutcome::Notified { notified(event, 1, &[]) } else { handled(event, outcome) };
            HandledEvent { reason: Some(format!("because {outcome}")), ..base }
        });
        db.store.handle(epoch, now, batch.collect()).await.unwrap();
        for (event, outcome) in open.iter().zip(outcomes) {
            let kept = db.store.event(&event.id).await.unwrap().unwrap();
            assert_eq!(kept.outcome, outcome);
            assert_eq!(kept.reason, Some(format!("because {outcome}")));
        }
        // A notification without a delivery, and so with nothing that could be sent or fail.
        assert_eq!(db.one("SELECT status AS v FROM notifications").await, "SUPPRESSED");
    }

    async fn an_instance_that_lost_a_partition_writes_nothing(db) {
        let epoch = db.instance().await;
        db.append(events(3)).await;
        let open = db.store.open_events(epoch, 10).await.unwrap();
        let now = db.store.now().await.unwrap();
        db.store.end(epoch).await.unwrap();
        let before = rows(&db).await;
        let batch = || open.iter().map(|event| notified(event, 42, &pending(&[Channel::Sms]))).collect::<Vec<_>>();
        let error = db.store.handle(epoch, now, batch()).await.unwrap_err();
        assert!(matches!(error, StoreError::Fenced), "{error:?}");
        assert!(!error.is_transient());
        let next = db.instance().await;
        let error = db.store.handle(epoch, now, batch()).await.unwrap_err();
        assert!(matches!(error, StoreError::Fenced), "{error:?}");
        assert_eq!(rows(&db).await, before);
        assert_eq!(db.count("event_queue").await, 3);
        assert_eq!(db.store.handle(next, now, batch()).await.unwrap().len(), 3);
    }

    async fn deliveries_are_born_in_the_state_that_was_decided(db) {
        let epoch = db.instance().await;
        let claim = Claim { epoch, life: 7 };
        db.append([event("e")]).await;
        let later = db.store.now().await.unwrap().plus(Duration::from_secs(3600));
        let mut all = born_claimed(&[Channel::Push], claim);
        all.push(NewDelivery {
            reason: Some("quiet_hours".to_owned()),
            not_before: Some(later),
            ..delivery(Channel::Email, DeliveryState::Deferred)
        });
        all.push(NewDelivery { reason: Some("no_contact".to_owned()), ..delivery(Channel::Sms, DeliveryState::Suppressed) });
        let ids = db.notify(epoch, &all).await;
        assert_eq!(db.status(&ids[0]).await, "PENDING");
        let kept = &db.store.notifications(NotificationFilter::default(), None, 10).await.unwrap().items[0];
        let states: Vec<_> = kept.deliveries.iter().map(|d| (d.channel.as_str(), d.state.as_str())).collect();
        assert_eq!(states, [("email", "deferred"), ("push", "sending"), ("sms", "suppressed")]);
        assert_eq!(kept.deliveries[0].not_before, Some(later));
        assert_eq!(kept.deliveries[0].next_attempt_at, Some(later));
        assert_eq!(kept.deliveries[2].reason.as_deref(), Some("no_contact"));
        let held = db.store.held_by(Channel::Push, claim).await.unwrap();
        assert_eq!((held.len(), held[0].attempt, held[0].retries), (1, 1, 0));
        assert!(db.store.claim(Channel::Email, claim, 10).await.unwrap().is_empty(), "it is not due");
        // What ended at birth is counted: a suppressed one, and two that are open.
        let totals = db.store.totals(later.plus(Duration::ZERO)).await.unwrap();
        assert!(totals.is_empty() || totals.len() == 3, "an hour later is another hour");
        let from = db.store.now().await.unwrap();
        let totals = db.store.totals(from).await.unwrap();
        let of = |channel: &str| totals.iter().find(|t| t.channel == channel).unwrap().totals;
        assert_eq!((of("sms").total, of("sms").not_sent, of("sms").open), (1, 1, 0));
        assert_eq!((of("email").total, of("email").not_sent, of("email").open), (1, 0, 1));
    }

    async fn the_first_owner_that_is_learned_stands(db) {
        let epoch = db.instance().await;
        db.append(events(2)).await;
        let open = db.store.open_events(epoch, 10).await.unwrap();
        let now = db.store.now().await.unwrap();
        let learn = |event, owner| HandledEvent {
            owners: vec![("1001".to_owned(), owner)],
            ..handled(event, EventOutcome::NotRouted)
        };
        db.store.handle(epoch, now, vec![learn(&open[0], 7)]).await.unwrap();
        db.store.handle(epoch, now, vec![learn(&open[1], 8)]).await.unwrap();
        let owners = db.store.owners(vec!["1001".to_owned(), "unknown".to_owned()]).await.unwrap();
        assert_eq!(owners.into_iter().collect::<Vec<_>>(), [("1001".to_owned(), 7)]);
    }

    /// A forged event must not redirect somebody's alerts.
    async fn an_event_introduces_recipients_and_changes_none(db) {
        let epoch = db.instance().await;
        let with = |id, email: &str| Recipient { email: Some(email.to_owned()), ..Recipient::new(id) };
        db.store.put_recipients(vec![with(1, "known@example.com")]).await.unwrap();
        db.append(events(3)).await;
        let open = db.store.open_events(epoch, 10).await.unwrap();
        let now = db.store.now().await.unwrap();
        let batch = open.iter().zip([(1, "forged@example.com"), (2, "new@example.com"), (2, "again@example.com")]);
        let batch = batch.map(|(event, (id, email))| HandledEvent {
            introduces: Some(with(id, email)),
            ..handled(event, EventOutcome::NotRouted)
        });
        db.store.handle(epoch, now, batch.collect()).await.unwrap();
        let contacts = db.store.contacts(vec![1, 2, 3]).await.unwrap();
        assert_eq!(contacts.len(), 2);
        assert_eq!(contacts[&1].email.as_deref(), Some("known@example.com"));
        assert_eq!(contacts[&2].email.as_deref(), Some("new@example.com"));
    }

    async fn lane_zone_and_the_rest_come_back_with_the_claim(db) {
        let epoch = db.instance().await;
        db.append([of_aggregate("e", "ACC-1", "account.frozen")]).await;
        let open = db.store.open_events(epoch, 10).await.unwrap();
        let now = db.store.now().await.unwrap();
        let mut made = notified(&open[0], 42, &pending(&[Channel::Sms]));
        let notification = &mut made.notifications[0];
        notification.lane = Lane::Critical;
        notification.time_zone = Some("Africa/Blantyre".to_owned());
        notification.name = Some("Thandiwe".to_owned());
        notification.expires_at = Some(now.plus(Duration::from_secs(600)));
        db.store.handle(epoch, now, vec![made]).await.unwrap();
        let claim = Claim { epoch, life: 1 };
        let claimed = db.claim(Channel::Sms, claim).await.remove(0);
        assert_eq!(claimed.lane, Lane::Critical);
        assert_eq!(claimed.claim, claim);
        assert_eq!((claimed.attempt, claimed.retries, claimed.cycle), (1, 0, 0));
        assert_eq!((claimed.event_id.as_str(), claimed.event_type.as_str()), ("e", "account.frozen"));
        assert_eq!((claimed.aggregate_id.as_str(), claimed.aggregate_type.as_str()), ("ACC-1", "account"));
        assert_eq!((claimed.user_id, claimed.template.as_str()), (42, "account.frozen"));
        assert_eq!(claimed.time_zone.as_deref(), Some("Africa/Blantyre"));
        assert_eq!(claimed.name.as_deref(), Some("Thandiwe"));
        assert_eq!(claimed.locale.as_deref(), Some("en"));
        assert_eq!(claimed.expires_at, Some(now.plus(Duration::from_secs(600))));
        assert_eq!(claimed.correlation_id.as_deref(), Some("c-e"));
        assert_eq!(claimed.occurred_at, open[0].timestamp);
        assert!(claimed.contacts.is_none(), "nobody has told of this recipient");
        assert!(claimed.payload.contains("2500.00"));
    }
}

/// A partition's row is locked against a change of hands while its events are being handled.
#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_waits_for_the_handling_transaction() {
    let db = Db::postgres().await;
    let epoch = db.instance().await;
    db.append([event("e")]).await;
    let open = db.store.open_events(epoch, 10).await.unwrap();
    let now = db.store.now().await.unwrap();
    let partition = open[0].partition;

    // The takeover is under way: handling waits for it, and then is fenced.
    let other = stranger(db.config()).await;
    other
        .batch_execute(&format!(
            "BEGIN; UPDATE partitions SET epoch = 999, token = token + 1 WHERE partition = {partition}"
        ))
        .await
        .unwrap();
    let (store, batch) = (db.store.clone(), vec![notified(&open[0], 42, &pending(&[Channel::Sms]))]);
    let handling = tokio::spawn(async move { store.handle(epoch, now, batch).await });
    db.until("SELECT count(*) AS v FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'", "1")
        .await;
    other.batch_execute("COMMIT").await.unwrap();
    let error = handling.await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Fenced), "{error:?}");
    assert_eq!(db.count("notifications").await, 0);

    // The other way round: whoever handles holds the row, and a takeover has to wait.
    db.run(&format!("UPDATE partitions SET epoch = {epoch} WHERE partition = {partition}")).await;
    other.batch_execute("BEGIN; LOCK TABLE notifications IN EXCLUSIVE MODE").await.unwrap();
    let (store, batch) = (db.store.clone(), vec![notified(&open[0], 42, &pending(&[Channel::Sms]))]);
    let handling = tokio::spawn(async move { store.handle(epoch, now, batch).await });
    db.until("SELECT count(*) AS v FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'", "1")
        .await;
    let takeover = stranger(db.config()).await;
    let skipped = format!(
        "SELECT partition FROM partitions WHERE partition = {partition} FOR NO KEY UPDATE SKIP LOCKED"
    );
    assert!(pg_column(&takeover, &skipped).await.is_empty(), "the row is held");
    other.batch_execute("ROLLBACK").await.unwrap();
    // It may have given up waiting for the table meanwhile; then it is tried again.
    match handling.await.unwrap() {
        Ok(taken) => assert_eq!(taken.len(), 1),
        Err(error) => assert!(matches!(error, StoreError::Busy(_)), "{error:?}"),
    }
    assert_eq!(pg_column(&takeover, &skipped).await.len(), 1);
}
