//! Lists, filters and pages; dead letters; totals.

use std::time::Duration;

use herald::domain::{Channel, DeliveryId, DeliveryState, EventOutcome, NotificationId, NotificationStatus};
use herald::store::{
    Claim, DeadLetter, DeadLetterFilter, EventFilter, HandledEvent, NotificationFilter, Totals, WorkOutcome,
};

use crate::support::{
    Db, born_claimed, delivery, event, events, first_outcome, handled, notified, of_aggregate, on_both, parse,
};

async fn found_events(db: &Db, filter: EventFilter) -> Vec<String> {
    let found = db.store.events(filter, None, 100).await.unwrap().items;
    found.into_iter().map(|event| event.id).collect()
}

async fn found(db: &Db, filter: NotificationFilter) -> Vec<String> {
    let found = db.store.notifications(filter, None, 100).await.unwrap().items;
    found.into_iter().map(|notification| notification.event_id).collect()
}

fn ids(letters: &[DeadLetter]) -> Vec<&str> {
    letters.iter().map(|letter| letter.id.as_str()).collect()
}

/// A dead delivery, a dead work item and a failed event.
async fn three_letters(db: &Db, epoch: i64) -> NotificationId {
    let claim = Claim { epoch, life: 1 };
    db.append(events(3)).await;
    let open = db.store.open_events(epoch, 10).await.unwrap();
    let now = db.store.now().await.unwrap();
    let dying = notified(&open[0], 42, &born_claimed(&[Channel::Sms, Channel::Email], claim));
    let id = dying.notifications[0].id.clone();
    let batch = vec![
        dying,
        HandledEvent { concerns: vec!["sync"], ..handled(&open[1], EventOutcome::NotRouted) },
        HandledEvent {
            reason: Some("no such 100%_field".to_owned()),
            ..handled(&open[2], EventOutcome::Failed)
        },
    ];
    db.store.handle(epoch, now, batch).await.unwrap();
    assert!(db.record(first_outcome(&id, Channel::Sms, claim, DeliveryState::Dead)).await);
    assert!(db.record(first_outcome(&id, Channel::Email, claim, DeliveryState::Sent)).await);
    let work = db.store.claim_work("sync", claim, 10).await.unwrap();
    let error = Some("core bank: 404".to_owned());
    let outcome =
        WorkOutcome { event_id: work[0].event_id.clone(), attempt: 1, state: "dead", error, wait_s: 0.0 };
    assert_eq!(db.store.record_work("sync", claim, vec![outcome]).await.unwrap().len(), 1);
    id
}

on_both! {
    async fn events_are_found_by_every_filter(db) {
        let epoch = db.instance().await;
        db.append([
            of_aggregate("a", "ACC-1", "account.created"),
            of_aggregate("b", "ACC-1", "account.frozen"),
            parse(r#"{"id":"c","type":"user.login","aggregateId":"7","aggregateType":"user","payload":{},
                "timestamp":"2020-01-01T00:00:00Z","metadata":{"source":"s","userId":7,"causationId":"b"}}"#),
        ])
        .await;
        let open = db.store.open_events(epoch, 10).await.unwrap();
        let now = db.store.now().await.unwrap();
        db.store.handle(epoch, now, vec![notified(&open[1], 99, &[])]).await.unwrap();

        let all = || EventFilter::default();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(found_events(&db, all()).await, ["c", "b", "a"]);
        assert_eq!(found_events(&db, EventFilter { kind: text("account.frozen"), ..all() }).await, ["b"]);
        assert_eq!(found_events(&db, EventFilter { aggregate_id: text("ACC-1"), ..all() }).await, ["b", "a"]);
        assert_eq!(found_events(&db, EventFilter { aggregate_type: text("user"), ..all() }).await, ["c"]);
        assert_eq!(found_events(&db, EventFilter { user_id: Some(7), ..all() }).await, ["c"]);
        assert_eq!(found_events(&db, EventFilter { user_id: Some(42), ..all() }).await, ["b", "a"]);
        assert_eq!(found_events(&db, EventFilter { user_id: Some(99), ..all() }).await, ["b"], "who was told");
        assert_eq!(found_events(&db, EventFilter { outcome: Some(EventOutcome::Notified), ..all() }).await, ["b"]);
        assert_eq!(found_events(&db, EventFilter { outcome: Some(EventOutcome::Pending), ..all() }).await, ["c", "a"]);
        assert_eq!(found_events(&db, EventFilter { correlation_id: text("c-a"), ..all() }).await, ["a"]);
        assert_eq!(found_events(&db, EventFilter { causation_id: text("b"), ..all() }).await, ["c"]);
        let old = open[2].timestamp;
        assert_eq!(found_events(&db, EventFilter { to: Some(old.plus(Duration::from_secs(1))), ..all() }).await, ["c"]);
        assert_eq!(found_events(&db, EventFilter { from: Some(old), ..all() }).await.len(), 3);
        assert_eq!(found_events(&db, EventFilter { from: Some(old.plus(Duration::from_micros(1))), ..all() }).await, ["b", "a"]);
        assert_eq!(found_events(&db, EventFilter { to: Some(old), ..all() }).await, Vec::<String>::new());
        let both = EventFilter { kind: text("account.created"), aggregate_id: text("ACC-1"), user_id: Some(42), ..all() };
        assert_eq!(found_events(&db, both).await, ["a"]);
        assert!(db.store.event("nobody").await.unwrap().is_none());
        let known = db.store.known_events(vec!["c".to_owned(), "nobody".to_owned(), "a".to_owned()]).await.unwrap();
        assert_eq!(known, ["a", "c"].map(str::to_owned).into());
        assert!(db.store.known_events(vec![]).await.unwrap().is_empty());
    }

    async fn events_are_paged_by_position(db) {
        db.append(events(25)).await;
        let mut seen = Vec::new();
        let mut before = None;
        loop {
            let page = db.store.events(EventFilter::default(), before, 10).await.unwrap().items;
            let Some(last) = page.last() else { break };
            before = Some(last.position);
            assert!(page.len() <= 10);
            seen.extend(page.into_iter().map(|event| event.id));
        }
        assert_eq!(seen, (0..25).rev().map(|n| format!("e-{n:05}")).collect::<Vec<_>>());
    }

    async fn notifications_are_found_by_every_filter(db) {
        let epoch = db.instance().await;
        let claim = Claim { epoch, life: 1 };
        db.append([of_aggregate("a", "A", "account.created"), event("b"), event("c"), event("d")]).await;
        let open = db.store.open_events(epoch, 10).await.unwrap();
        let now = db.store.now().await.unwrap();
        let of = [vec![Channel::Email], vec![Channel::Sms], vec![Channel::Email, Channel::Sms], vec![]];
        let batch = open.iter().zip(&of).zip([1, 1, 2, 2]);
        let batch: Vec<_> = batch.map(|((event, channels), user)| notified(event, user, &born_claimed(channels, claim))).collect();
        let made: Vec<NotificationId> = batch.iter().map(|event| event.notifications[0].id.clone()).collect();
        db.store.handle(epoch, now, batch).await.unwrap();
        assert!(db.record(first_outcome(&made[0], Channel::Email, claim, DeliveryState::Sent)).await);
        assert!(db.record(first_outcome(&made[1], Channel::Sms, claim, DeliveryState::Dead)).await);
        let retry = herald::store::DeliveryOutcome { provider: Some("gateway"), wait: Some(Duration::from_secs(60)),
            ..first_outcome(&made[2], Channel::Sms, claim, DeliveryState::Retry) };
        assert!(db.record(retry).await);

        let all = || NotificationFilter::default();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(found(&db, all()).await, ["d", "c", "b", "a"]);
        assert_eq!(found(&db, NotificationFilter { user_id: Some(1), ..all() }).await, ["b", "a"]);
        assert_eq!(found(&db, NotificationFilter { event_type: text("account.created"), ..all() }).await, ["a"]);
        assert_eq!(found(&db, NotificationFilter { event_id: text("c"), ..all() }).await, ["c"]);
        assert_eq!(found(&db, NotificationFilter { id: Some(made[1].0.clone()), ..all() }).await, ["b"]);
        assert_eq!(found(&db, NotificationFilter { channel: Some(Channel::Email), ..all() }).await, ["c", "a"]);
        assert_eq!(found(&db, NotificationFilter { state: Some(DeliveryState::Sent), ..all() }).await, ["a"]);
        assert_eq!(found(&db, NotificationFilter { provider: text("gateway"), ..all() }).await, ["c"]);
        assert_eq!(found(&db, NotificationFilter { correlation_id: text("c-b"), ..all() }).await, ["b"]);
        let crossed = NotificationFilter { channel: Some(Channel::Email), state: Some(DeliveryState::Retry), ..all() };
        assert_eq!(found(&db, crossed).await, Vec::<String>::new(), "of one delivery, all must hold");
        for (status, expected) in [
            (NotificationStatus::Sent, "a"), (NotificationStatus::Failed, "b"),
            (NotificationStatus::Retry, "c"), (NotificationStatus::Suppressed, "d"),
        ] {
            assert_eq!(found(&db, NotificationFilter { status: Some(status), ..all() }).await, [expected]);
        }
        assert_eq!(found(&db, NotificationFilter { from: Some(now), ..all() }).await.len(), 4);
        assert_eq!(found(&db, NotificationFilter { to: Some(now), ..all() }).await, Vec::<String>::new());

        let page = db.store.notifications(all(), Some(made[2].clone()), 1).await.unwrap().items;
        assert_eq!(page.len(), 1);
        assert_eq!(page[0].id, made[1].0);
        let one = &page[0];
        assert_eq!((one.status.as_str(), one.user_id), ("FAILED", 1));
        assert!(one.created_at >= now, "by the database's clock");
        let delivery = &one.deliveries[0];
        assert_eq!(delivery.id, format!("{}:sms", made[1]));
        assert_eq!((delivery.state.as_str(), delivery.reason.as_deref()), ("dead", Some("because")));
        assert_eq!((delivery.next_attempt_at, delivery.sent_at), (None, None));
        let attempt = &delivery.attempts[0];
        assert_eq!((attempt.attempt, attempt.outcome.as_str(), attempt.latency_ms), (1, "permanent", Some(3)));
        let sent = &db.store.notifications(NotificationFilter { event_id: text("a"), ..all() }, None, 1).await.unwrap().items[0];
        assert!(sent.deliveries[0].sent_at.is_some());
        assert_eq!(sent.deliveries[0].reference.as_deref(), Some("r-1"));

        assert_eq!(db.store.ends_of_events(&["c".to_owned()]).await.unwrap()["c"].deliveries, [
            ("email".to_owned(), "sending".to_owned(), None),
            ("sms".to_owned(), "retry".to_owned(), Some("because".to_owned())),
        ]);
        let id = |channel| DeliveryId { notification: made[0].clone(), channel };
        assert_eq!(db.store.delivery_state(&id(Channel::Email)).await.unwrap().as_deref(), Some("sent"));
        assert_eq!(db.store.delivery_state(&id(Channel::Push)).await.unwrap(), None);
    }

    async fn dead_letters_are_found_by_every_filter(db) {
        let epoch = db.instance().await;
        let notification = three_letters(&db, epoch).await;
        let all = || DeadLetterFilter::default();
        let look = async |filter| db.store.dead_letters(filter, None, 100).await.unwrap();
        assert_eq!(db.store.count_dead_letters(100).await.unwrap(), 3);
        assert_eq!(db.store.count_dead_letters(2).await.unwrap(), 2);
        let delivery = format!("{notification}:sms");
        let letters = look(all()).await;
        assert_eq!(letters.len(), 3);
        assert!(letters.is_sorted_by(|a, b| (a.died_at, &a.id) > (b.died_at, &b.id)), "{:?}", ids(&letters));
        for (kind, id) in [("delivery", delivery.as_str()), ("work_item", "work:e-00001:sync"), ("event", "event:e-00002")] {
            let found = look(DeadLetterFilter { kind: Some(kind.to_owned()), ..all() }).await;
            assert_eq!(ids(&found), [id]);
            assert_eq!(found[0].event_type, "transaction.completed");
        }
        let of = |kind: &str| letters.iter().find(|letter| letter.kind == kind).unwrap();
        assert_eq!((of("delivery").channel.as_deref(), of("delivery").user_id), (Some("sms"), Some(42)));
        assert_eq!(of("work_item").concern.as_deref(), Some("sync"));
        assert_eq!(of("event").error.as_deref(), Some("no such 100%_field"));
        assert_eq!(ids(&look(DeadLetterFilter { channel: Some(Channel::Sms), ..all() }).await), [delivery.as_str()]);
        assert!(look(DeadLetterFilter { channel: Some(Channel::Email), ..all() }).await.is_empty());
        assert_eq!(ids(&look(DeadLetterFilter { error: Some("100%_".to_owned()), ..all() }).await), ["event:e-00002"]);
        assert!(look(DeadLetterFilter { error: Some("%".to_owned()), channel: Some(Channel::Sms), ..all() }).await.is_empty());
        assert_eq!(look(DeadLetterFilter { notification: Some(notification.0.clone()), ..all() }).await.len(), 1);
        let some = vec![delivery.clone(), "event:nobody".to_owned()];
        assert_eq!(ids(&look(DeadLetterFilter { ids: Some(some), ..all() }).await), [delivery.as_str()]);
        let newest = letters[0].died_at;
        assert!(look(DeadLetterFilter { from: Some(newest.plus(Duration::from_micros(1))), ..all() }).await.is_empty());
        assert_eq!(look(DeadLetterFilter { to: Some(newest.plus(Duration::from_micros(1))), ..all() }).await.len(), 3);
    }

    async fn dead_letters_of_one_moment_are_paged(db) {
        let epoch = db.instance().await;
        let claim = Claim { epoch, life: 1 };
        db.append(events(25)).await;
        let made = db.notify(epoch, &born_claimed(&[Channel::Sms], claim)).await;
        let now = db.store.now().await.unwrap();
        let batch = made.iter().map(|id| first_outcome(id, Channel::Sms, claim, DeliveryState::Dead)).collect();
        db.store.record(epoch, now, batch).await.unwrap();
        db.run("UPDATE deliveries SET updated_at = '2026-11-24T09:15:00.123456Z'").await;
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = db.store.dead_letters(DeadLetterFilter::default(), after, 10).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some((last.died_at, last.id.clone()));
            seen.extend(page.into_iter().map(|letter| letter.notification_id.unwrap()));
        }
        assert_eq!(seen, made.iter().rev().map(|id| id.0.clone()).collect::<Vec<_>>());
    }

    async fn dead_letters_go_back_to_work(db) {
        let epoch = db.instance().await;
        let notification = three_letters(&db, epoch).await;
        let letters = db.store.dead_letters(DeadLetterFilter::default(), None, 10).await.unwrap();
        assert_eq!(db.status(&notification).await, "PARTIAL");
        assert_eq!(db.store.resolve_dead_letters(epoch, letters.clone(), true).await.unwrap(), (3, vec![]));
        assert!(db.store.dead_letters(DeadLetterFilter::default(), None, 10).await.unwrap().is_empty());
        assert_eq!(db.store.resolve_dead_letters(epoch, letters.clone(), true).await.unwrap().0, 0);
        assert_eq!(db.store.resolve_dead_letters(epoch, letters, false).await.unwrap().0, 0);
        assert_eq!(db.status(&notification).await, "PENDING");

        let claim = Claim { epoch, life: 2 };
        let again = db.claim(Channel::Sms, claim).await;
        assert_eq!((again.len(), again[0].retries, again[0].cycle, again[0].attempt), (1, 0, 1, 2));
        assert_eq!(db.store.claim_work("sync", claim, 10).await.unwrap().len(), 1);
        let open = db.store.open_events(epoch, 10).await.unwrap();
        assert_eq!(open.len(), 1);
        assert_eq!(open[0].id, "e-00002");
        let now = db.store.now().await.unwrap();
        let taken = db.store.handle(epoch, now, vec![handled(&open[0], EventOutcome::NoRecipient)]).await.unwrap();
        assert_eq!(taken.len(), 1);
        assert!(db.store.reconcile().await.unwrap().is_empty());
    }

    async fn dead_letters_are_given_up(db) {
        let epoch = db.instance().await;
        let notification = three_letters(&db, epoch).await;
        let letters = db.store.dead_letters(DeadLetterFilter::default(), None, 10).await.unwrap();
        let told = db.count("domain_events").await;
        assert_eq!(db.store.resolve_dead_letters(epoch, letters.clone(), false).await.unwrap(), (3, vec![]));
        assert_eq!(db.store.resolve_dead_letters(epoch, letters, true).await.unwrap().0, 0, "none of them comes back");
        assert!(db.store.dead_letters(DeadLetterFilter::default(), None, 10).await.unwrap().is_empty());
        assert_eq!(db.status(&notification).await, "PARTIAL");
        assert_eq!(db.one("SELECT state AS v FROM deliveries WHERE channel = 'sms'").await, "discarded");
        assert_eq!(db.one("SELECT state AS v FROM work_items").await, "discarded");
        assert_eq!(db.count("event_queue").await, 0);
        assert_eq!(db.count("domain_events").await, told, "that it ended was told before");
        assert!(db.store.reconcile().await.unwrap().is_empty());
    }

    async fn totals_are_told_for_each_channel(db) {
        use DeliveryState::{Dead, Expired, Retry, Sent, Suppressed};
        let epoch = db.instance().await;
        let claim = Claim { epoch, life: 1 };
        db.append(events(6)).await;
        let mut all = born_claimed(&[Channel::Sms], claim);
        all.push(delivery(Channel::Push, Suppressed));
        let made = db.notify(epoch, &all).await;
        let now = db.store.now().await.unwrap();
        for (id, state) in made.iter().zip([Sent, Sent, Dead, Retry, Expired]) {
            assert!(db.record(first_outcome(id, Channel::Sms, claim, state)).await);
        }
        let hour = Duration::from_secs(3600);
        let totals = db.store.totals(now).await.unwrap();
        assert_eq!(totals.iter().map(|t| t.channel.as_str()).collect::<Vec<_>>(), ["push", "sms"]);
        assert_eq!(totals[0].totals, Totals { total: 6, not_sent: 6, ..Totals::default() });
        let sms = totals[1].totals;
        assert_eq!(sms, Totals { total: 6, sent: 2, failed: 1, not_sent: 1, open: 2 });
        assert!((sms.success_rate().unwrap() - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(totals[0].totals.success_rate(), None);
        assert!(db.store.totals(now.plus(hour)).await.unwrap().is_empty());
    }
}
