//! What policy deferred: found when it is due, released once, and counted right. And what recipients wish,
//! which makes it due.

use std::time::Duration;

use herald::domain::{
    Channel, DeliveryId, DeliveryState, Instant, Lane, Limit, NotificationId, Preferences, Recipient,
};
use herald::store::{
    DeferredDelivery, Expected, Granted, HandledEvent, LedgerEntry, NewDelivery, NotificationFilter, Release,
    StoreError,
};

use crate::support::{Db, delivery, event, notified, on_both};

fn entry(record: &str) -> LedgerEntry {
    LedgerEntry { user_id: Some(42), rules: "v1".to_owned(), record: record.to_owned() }
}

fn deferred(channel: Channel, reason: &str, not_before: Instant, key: Option<&str>) -> NewDelivery {
    NewDelivery {
        reason: Some(reason.to_owned()),
        not_before: Some(not_before),
        digest_key: key.map(str::to_owned),
        ..delivery(channel, DeliveryState::Deferred)
    }
}

/// Handles an event so that these deliveries are made.
async fn make(db: &Db, epoch: i64, id: &str, deliveries: &[NewDelivery]) -> NotificationId {
    db.append([event(id)]).await;
    let open = db.store.open_events(epoch, 10).await.unwrap();
    let now = db.store.now().await.unwrap();
    let handled = HandledEvent {
        ledger: Some(entry("{\"outcome\":\"notified\"}")),
        ..notified(&open[0], 42, deliveries)
    };
    let made = handled.notifications[0].id.clone();
    db.store.handle(epoch, now, vec![handled]).await.unwrap();
    made
}

fn release(id: &DeliveryId, state: DeliveryState, position: i64) -> Release {
    Release {
        id: id.clone(),
        state,
        reason: (state != DeliveryState::Pending).then(|| "because".to_owned()),
        not_before: None,
        digest_key: None,
        digest: None,
        told_in: None,
        granted: (state == DeliveryState::Pending).then(|| (42, "general".to_owned(), false)),
        ledger: Some((position, entry("{\"later\":1}"))),
    }
}

fn sms(id: &NotificationId) -> DeliveryId {
    DeliveryId { notification: id.clone(), channel: Channel::Sms }
}

/// A deferred delivery as it is read when it is due.
pub(crate) fn deferred_of(id: &DeliveryId, user_id: i64) -> DeferredDelivery {
    DeferredDelivery {
        id: id.clone(),
        reason: Some("frequency_cap".to_owned()),
        not_before: None,
        digest: None,
        digest_key: None,
        lane: Lane::Normal,
        position: 1,
        event_type: "transaction.completed".to_owned(),
        expires_at: None,
        payload: "{}".to_owned(),
        user_id,
        correlation_id: None,
        time_zone: None,
        shadow: false,
        siblings: Vec::new(),
    }
}

async fn due(db: &Db, limit: i64) -> Vec<String> {
    db.store.deferred_due(limit).await.unwrap().iter().map(|one| one.id.to_string()).collect()
}

async fn stats(db: &Db, state: &str) -> String {
    db.one(&format!("SELECT COALESCE(sum(n), 0) AS v FROM delivery_stats WHERE state = '{state}'")).await
}

on_both! {
    async fn what_is_due_is_found_with_those_that_it_may_be_told_with(db) {
        let epoch = db.instance().await;
        let now = db.store.now().await.unwrap();
        let (past, later) = (Instant::parse("2000-01-01T00:00:00Z").unwrap(), now.plus(Duration::from_secs(3_600)));
        assert_eq!(db.store.next_deferred().await.unwrap(), None);
        let first = make(&db, epoch, "e-1", &[deferred(Channel::Sms, "digest", past, Some("k"))]).await;
        let second = make(&db, epoch, "e-2", &[deferred(Channel::Sms, "digest", later, Some("k"))]).await;
        let other = make(&db, epoch, "e-3", &[deferred(Channel::Sms, "digest", later, Some("l"))]).await;
        let siblings = [
            deferred(Channel::Sms, "escalation", past.plus(Duration::from_secs(60)), None),
            deferred(Channel::Email, "quiet_hours", later, None),
            delivery(Channel::Push, DeliveryState::Suppressed),
        ];
        let third = make(&db, epoch, "e-4", &siblings).await;
        assert_eq!(db.store.next_deferred().await.unwrap(), Some(past));
        assert_eq!(due(&db, 10).await, [&first, &second, &third].map(|id| format!("{id}:sms")), "in the order of storing");
        let with_the_first = due(&db, 1).await;
        assert_eq!(with_the_first, [&first, &second].map(|id| format!("{id}:sms")), "{other} has another key");
        let found = db.store.deferred_due(10).await.unwrap();
        let one = &found[2];
        assert_eq!((one.event_type.as_str(), one.user_id, one.shadow), ("transaction.completed", 42, false));
        assert_eq!((one.reason.as_deref(), one.digest_key.as_deref(), one.expires_at), (Some("escalation"), None, None));
        assert!(one.payload.contains("2500.00"));
        assert_eq!(found[0].digest_key.as_deref(), Some("k"));
        // Where the others of its notification stand is known under the lock.
        let decide = move |_: Granted, still: Vec<DeferredDelivery>| {
            let siblings = &still.iter().find(|one| one.id.notification == third).unwrap().siblings;
            let mut siblings: Vec<_> = siblings.iter().map(|other| (other.channel, other.state, other.not_before)).collect();
            siblings.sort_unstable_by_key(|other| other.0.as_str());
            let email = (Channel::Email, DeliveryState::Deferred, Some(later));
            assert_eq!(siblings, [email, (Channel::Push, DeliveryState::Suppressed, None)]);
            Vec::new()
        };
        assert_eq!(db.store.release(epoch, found, vec![], decide).await.unwrap().taken, 0);
    }

    async fn two_who_release_at_once_release_once(db) {
        let epoch = db.instance().await;
        db.store.put_recipients(vec![Recipient::new(42)]).await.unwrap();
        let past = Instant::parse("2000-01-01T00:00:00Z").unwrap();
        let mut ids = Vec::new();
        for n in 0..8 {
            ids.push(make(&db, epoch, &format!("e-{n}"), &[deferred(Channel::Sms, "frequency_cap", past, None)]).await);
        }
        let rivals = [db.rival(), db.rival(), db.rival()];
        let rounds = rivals.into_iter().map(|store| {
            tokio::spawn(async move {
                // As the actor does: what is due is read first, and decided on under the lock.
                let asked = store.deferred_due(100).await.unwrap();
                let decide = move |_: Granted, still: Vec<DeferredDelivery>| {
                    let state = |n| if n % 2 == 0 { DeliveryState::Pending } else { DeliveryState::Expired };
                    assert!([0, 8].contains(&still.len()), "all or none");
                    still.iter().enumerate().map(|(n, one)| release(&one.id, state(n), n as i64 + 1)).collect()
                };
                let question = herald::store::CapQuestion {
                    user_id: 42, channel: None, category: None, flood: None, shadow: false, limit: 9,
                    window: Duration::from_secs(60),
                };
                store.release(epoch, asked, vec![question], decide).await.unwrap()
            })
        });
        let rounds: Vec<_> = rounds.collect();
        let (mut taken, mut ended, mut channels) = (0, 0, 0);
        for round in rounds {
            let released = round.await.unwrap();
            taken += released.taken;
            ended += released.ended.len();
            channels += released.channels.len();
            assert!(released.events.is_empty(), "none is told of what was not sent");
        }
        assert_eq!((taken, ended, channels), (8, 4, 1), "each once, by whoever was first");
        assert_eq!(db.column("SELECT state || count(*) AS v FROM deliveries GROUP BY state ORDER BY 1").await, ["expired4", "pending4"]);
        assert_eq!(db.count("cap_grants").await, 4);
        assert_eq!(db.count("decisions WHERE channel = 'sms'").await, 8);
        assert_eq!((stats(&db, "created").await, stats(&db, "expired").await), ("8".to_owned(), "4".to_owned()));
        assert_eq!((db.status(&ids[0]).await, db.status(&ids[1]).await), ("PENDING".to_owned(), "SUPPRESSED".to_owned()));
        assert!(due(&db, 10).await.is_empty());
        assert!(db.store.reconcile().await.unwrap().is_empty());
    }

    async fn the_last_one_that_ends_ends_its_notification(db) {
        let epoch = db.instance().await;
        let past = Instant::parse("2000-01-01T00:00:00Z").unwrap();
        let both = [deferred(Channel::Sms, "escalation", past, None), delivery(Channel::Push, DeliveryState::Sent)];
        let id = make(&db, epoch, "e-1", &both).await;
        assert_eq!(db.status(&id).await, "PENDING");
        // Deferred again, it waits for its new time; nobody is told.
        let (at, position) = (db.store.now().await.unwrap().plus(Duration::from_secs(3_600)), 1);
        let again = Release { not_before: Some(at), ..release(&sms(&id), DeliveryState::Deferred, position) };
        let decided = again.clone();
        let released = db.store.release(epoch, vec![deferred_of(&sms(&id), 42)], vec![], move |_, _| vec![decided]).await.unwrap();
        assert_eq!((released.taken, released.channels.len(), released.ended.len()), (1, 0, 0));
        assert_eq!(db.store.next_deferred().await.unwrap(), Some(at));
        let filter = NotificationFilter { state: Some(DeliveryState::Deferred), ..NotificationFilter::default() };
        let shown = db.store.notifications(filter, None, 10).await.unwrap().items;
        let shown = shown[0].deliveries.iter().find(|one| one.channel == "sms").unwrap();
        assert_eq!((shown.reason.as_deref(), shown.not_before), (Some("because"), Some(at)));

        let last = Release { told_in: Some(sms(&id)), ..release(&sms(&id), DeliveryState::Digested, position) };
        let released = db.store.release(epoch, vec![deferred_of(&sms(&id), 42)], vec![], move |_, _| vec![last]).await.unwrap();
        assert_eq!((released.taken, released.ended.len(), released.events.len()), (1, 1, 1));
        assert_eq!(db.status(&id).await, "SENT");
        assert_eq!(db.one("SELECT told_in AS v FROM deliveries WHERE channel = 'sms'").await, sms(&id).to_string());
        assert_eq!(db.one("SELECT type AS v FROM domain_events WHERE origin = 'herald'").await, "notification.sent");
        assert!(db.store.reconcile().await.unwrap().is_empty());
    }

    async fn the_ledger_keeps_each_decision_in_its_order(db) {
        let epoch = db.instance().await;
        let past = Instant::parse("2000-01-01T00:00:00Z").unwrap();
        let id = make(&db, epoch, "e-1", &[deferred(Channel::Sms, "quiet_hours", past, None)]).await;
        let position: i64 = db.one("SELECT position AS v FROM domain_events").await.parse().unwrap();
        let decided = release(&sms(&id), DeliveryState::Pending, position);
        db.store.release(epoch, vec![deferred_of(&sms(&id), 42)], vec![], move |_, _| vec![decided]).await.unwrap();
        let ledger = db.store.decisions(position).await.unwrap();
        let told: Vec<_> = ledger.iter().map(|one| (one.channel, one.user_id, one.rules.as_str(), one.record.as_str())).collect();
        assert_eq!(told, [
            (None, Some(42), "v1", "{\"outcome\":\"notified\"}"),
            (Some(Channel::Sms), Some(42), "v1", "{\"later\":1}"),
        ]);
        assert!(ledger[0].decided_at <= ledger[1].decided_at);
        assert!(db.store.decisions(position + 1).await.unwrap().is_empty());

        db.store.keep_rules("v1", "first").await.unwrap();
        db.store.keep_rules("v1", "second").await.unwrap();
        assert_eq!(db.store.rules("v1").await.unwrap().as_deref(), Some("first"), "a version is what it was");
        assert_eq!(db.store.rules("v2").await.unwrap(), None);
    }

    async fn preferences_have_versions_and_a_change_makes_what_waits_due(db) {
        type Refused = Result<Preferences, &'static str>;
        let epoch = db.instance().await;
        let limit = Limit { channel: None, limit: 1, window: Duration::from_secs(60) };
        let wishes = Preferences { limits: vec![limit], ..Preferences::default() };
        let wanted = wishes.clone();
        let none = db.store.change_preferences(42, Expected::Any, move |_| Refused::Ok(wanted)).await.unwrap();
        assert!(none.is_none() && db.store.preferences(42).await.unwrap().is_none());
        db.store.put_recipients(vec![Recipient::new(42), Recipient::new(43)]).await.unwrap();
        assert_eq!(db.store.preferences(42).await.unwrap().unwrap().version, 0);

        let later = db.store.now().await.unwrap().plus(Duration::from_secs(3_600));
        let each = [
            deferred(Channel::Sms, "quiet_hours", later, None),
            deferred(Channel::Email, "frequency_cap", later, None),
            deferred(Channel::Push, "escalation", later, None),
        ];
        let id = make(&db, epoch, "e-1", &each).await;
        let change = async |expected, result: Refused| db.store.change_preferences(42, expected, move |_| result).await;
        let refused = change(Expected::Any, Err("no")).await.unwrap().unwrap();
        assert_eq!(refused, Err("no"));
        assert!(matches!(change(Expected::OneOf(vec![1]), Ok(wishes.clone())).await, Err(StoreError::Stale)));
        assert!(due(&db, 10).await.is_empty(), "nothing was changed");
        let stored = change(Expected::OneOf(vec![0]), Ok(wishes.clone())).await.unwrap().unwrap().unwrap();
        assert_eq!((stored.version, &stored.preferences), (1, &wishes));
        assert_eq!(db.store.preferences(42).await.unwrap().unwrap(), stored);
        assert_eq!(db.store.contacts(vec![42]).await.unwrap()[&42].preferences, wishes);
        let mut found = due(&db, 10).await;
        found.sort_unstable();
        assert_eq!(found, [format!("{id}:email"), format!("{id}:sms")], "what waits for another channel does so still");

        // Two who have seen the same version: one of them.
        let (one, other) = tokio::join!(
            change(Expected::OneOf(vec![1]), Ok(Preferences::default())),
            change(Expected::OneOf(vec![1]), Ok(wishes.clone()))
        );
        let stale = [&one, &other].into_iter().filter(|result| matches!(result, Err(StoreError::Stale))).count();
        assert_eq!((stale, db.store.preferences(42).await.unwrap().unwrap().version), (1, 2));
        // Another recipient's change, and another address, concern nobody else's wishes.
        db.store.put_recipients(vec![Recipient { phone: Some("+265991234567".to_owned()), ..Recipient::new(42) }]).await.unwrap();
        assert_eq!(db.store.preferences(42).await.unwrap().unwrap().version, 2);
        assert_eq!(db.store.preferences(43).await.unwrap().unwrap().version, 0);
    }
}
