//! Counts by variant of a template: what the deliveries say, at every change of a state.

use std::collections::BTreeMap;

use herald::domain::{Channel, DeliveryId, DeliveryState, Instant, Lane, NotificationId};
use herald::store::{
    Claim, DeadLetterFilter, LedgerEntry, NewDelivery, NotificationFilter, Release, ReopenedNotification,
    Reopening, ReplayStep, Resending,
};

use crate::support::{Db, born_claimed, delivery, event, first_outcome, notified, on_both};

/// What the deliveries say, computed by a query that shares nothing with the store.
async fn adds_up(db: &Db) {
    let counted =
        "SELECT event_type || ' ' || variant || ' ' || channel || ' ' || state || ' ' || sum(n) AS v
         FROM variant_stats GROUP BY event_type, variant, channel, state HAVING sum(n) <> 0";
    let of = "FROM deliveries d JOIN notifications n ON n.id = d.notification_id WHERE n.variant IS NOT NULL";
    let key = "n.event_type || ' ' || n.variant || ' ' || d.channel || ' '";
    let there = format!(
        "SELECT v FROM (SELECT {key} || d.state || ' ' || count(*) AS v {of}
             AND d.state NOT IN ('pending', 'sending', 'retry', 'deferred')
             GROUP BY n.event_type, n.variant, d.channel, d.state
         UNION ALL SELECT {key} || 'created ' || count(*) AS v {of} GROUP BY n.event_type, n.variant, d.channel) x"
    );
    let sorted = |mut rows: Vec<String>| {
        rows.sort();
        rows
    };
    assert_eq!(sorted(db.column(counted).await), sorted(db.column(&there).await));
    let all = "SELECT COALESCE(sum(n), 0) AS v FROM delivery_stats WHERE state = 'created'";
    assert_eq!(db.one(all).await, db.count("deliveries").await.to_string(), "the others are counted as ever");
}

/// A notification for each event, in the variant of that name.
async fn made(
    db: &Db,
    epoch: i64,
    of: &[(&str, Option<&str>)],
    deliveries: &[NewDelivery],
) -> Vec<NotificationId> {
    db.append(of.iter().map(|(id, _)| event(id))).await;
    let open = db.store.open_events(epoch, 100).await.unwrap();
    let variants: BTreeMap<&str, Option<&str>> = of.iter().copied().collect();
    let mut ids = Vec::new();
    let mut batch = Vec::new();
    for event in &open {
        let mut handled = notified(event, 42, deliveries);
        let notification = &mut handled.notifications[0];
        notification.variant = variants[event.id.as_str()].map(str::to_owned);
        if let Some(variant) = &notification.variant {
            notification.template = format!("t.{variant}");
        }
        ids.push(notification.id.clone());
        batch.push(handled);
    }
    let now = db.store.now().await.unwrap();
    db.store.handle(epoch, now, batch).await.unwrap();
    ids
}

async fn ages(db: &Db) -> (Instant, Instant) {
    let hour = std::time::Duration::from_secs(3600);
    let now = db.store.now().await.unwrap();
    (Instant::from(now.utc() - hour), now.plus(hour))
}

fn later(notification: &NotificationId) -> Release {
    Release {
        id: DeliveryId { notification: notification.clone(), channel: Channel::Sms },
        state: DeliveryState::Expired,
        reason: Some("expired".to_owned()),
        not_before: None,
        digest_key: None,
        digest: None,
        told_in: None,
        granted: None,
        ledger: Some((1, LedgerEntry { user_id: Some(42), rules: "v".to_owned(), record: "{}".to_owned() })),
    }
}

on_both! {
    async fn every_change_of_a_state_is_counted_by_variant(db) {
        use DeliveryState::{Dead, Deferred, Sent, Suppressed};
        let epoch = db.instance().await;
        let claim = Claim { epoch, life: 1 };
        let mut deliveries = born_claimed(&[Channel::Email, Channel::Push], claim);
        deliveries.push(NewDelivery { reason: Some("quiet_hours".to_owned()), ..delivery(Channel::Sms, Deferred) });
        let ids = made(&db, epoch, &[("a1", Some("a")), ("a2", Some("a")), ("b1", Some("b")), ("none", None)], &deliveries).await;
        adds_up(&db).await;
        assert_eq!(db.one("SELECT count(DISTINCT variant) AS v FROM variant_stats").await, "2", "not of one without");

        for (id, state) in ids.iter().zip([Sent, Dead, Dead, Sent]) {
            assert!(db.record(first_outcome(id, Channel::Email, claim, state)).await);
            assert!(db.record(first_outcome(id, Channel::Push, claim, Suppressed)).await);
        }
        adds_up(&db).await;
        let releases: Vec<Release> = ids.iter().map(later).collect();
        let own = releases.iter().map(|one| crate::deferred::deferred_of(&one.id, 42)).collect();
        let released = db.store.release(epoch, own, Vec::new(), move |_, _| releases).await.unwrap();
        assert_eq!((released.taken, released.verdicts.len()), (4, 4));
        assert_eq!(released.verdicts[0], (DeliveryState::Expired, Some("expired".to_owned())));
        adds_up(&db).await;

        let (from, to) = ages(&db).await;
        let totals = db.store.variant_totals(from, to).await.unwrap();
        let kind = "transaction.completed";
        let shown: Vec<_> = totals.iter().map(|one| {
            assert_eq!(one.event_type, kind);
            let states: Vec<String> = one.states.iter().map(|(state, n)| format!("{state} {n}")).collect();
            (one.variant.as_str(), one.channel.as_str(), one.totals.total, one.totals.open, states.join(", "))
        }).collect();
        assert_eq!(shown, [
            ("a", "email", 2, 0, "dead 1, sent 1".to_owned()),
            ("a", "push", 2, 0, "suppressed 2".to_owned()),
            ("a", "sms", 2, 0, "expired 2".to_owned()),
            ("b", "email", 1, 0, "dead 1".to_owned()),
            ("b", "push", 1, 0, "suppressed 1".to_owned()),
            ("b", "sms", 1, 0, "expired 1".to_owned()),
        ]);
        assert_eq!(totals[0].totals.success_rate(), Some(0.5));
        let day = std::time::Duration::from_secs(86_400);
        assert!(db.store.variant_totals(to, to.plus(day)).await.unwrap().is_empty(), "made before that");
        assert!(db.store.variant_totals(Instant::from(from.utc() - day), from).await.unwrap().is_empty(), "after");

        // An operator puts the dead ones back.
        let letters = db.store.dead_letters(DeadLetterFilter::default(), None, 10).await.unwrap();
        assert_eq!(db.store.resolve_dead_letters(epoch, letters, true).await.unwrap().0, 2);
        adds_up(&db).await;
        let totals = db.store.variant_totals(from, to).await.unwrap();
        assert_eq!((totals[0].totals.open, totals[0].states.get("dead")), (1, None), "{totals:?}");

        let filter = NotificationFilter { event_id: Some("b1".to_owned()), ..NotificationFilter::default() };
        let found = db.store.notifications(filter, None, 1).await.unwrap().items.remove(0);
        assert_eq!((found.variant.as_deref(), found.template.as_str()), (Some("b"), "t.b"));
        let filter = NotificationFilter { event_id: Some("none".to_owned()), ..NotificationFilter::default() };
        let found = db.store.notifications(filter, None, 1).await.unwrap().items.remove(0);
        assert_eq!((found.variant, found.template.as_str()), (None, kind));
    }

    async fn a_replay_keeps_the_variant_and_its_template(db) {
        let epoch = db.instance().await;
        let suppressed = [delivery(Channel::Sms, DeliveryState::Suppressed)];
        let ids = made(&db, epoch, &[("b1", Some("b")), ("none", None)], &suppressed).await;
        db.store.create_replay("r-1", &Default::default(), "{}".to_owned(), "t").await.unwrap();
        let replay = db.store.next_replay(epoch).await.unwrap().unwrap();
        let reopened = ids.iter().map(|id| ReopenedNotification {
            id: id.clone(),
            user_id: 42,
            flood: None,
            category: "general".to_owned(),
            lane: Lane::Normal,
            template: "today".to_owned(),
            expires_at: None,
            deliveries: vec![Reopening {
                id: DeliveryId { notification: id.clone(), channel: Channel::Sms },
                from: DeliveryState::Suppressed,
                state: DeliveryState::Pending,
                reason: None,
                not_before: None,
                digest_key: None,
                granted: false,
            }],
            ledger: (1, LedgerEntry { user_id: Some(42), rules: "v".to_owned(), record: "{}".to_owned() }),
        });
        let resending = Resending { reopened: reopened.collect(), first: Vec::new() };
        let step = ReplayStep { id: "r-1".to_owned(), from: replay.begins, to: replay.until, finished: true };
        let done = db.store.resend(epoch, step, vec![], vec![], move |_| (resending, ()), |(), _| "{}".to_owned()).await;
        assert_eq!(done.unwrap().unwrap().reopened, 2);
        adds_up(&db).await;
        let templates = "SELECT COALESCE(variant, '-') || ' ' || template AS v FROM notifications ORDER BY 1";
        assert_eq!(db.column(templates).await, ["- today", "b t.b"]);
    }

    async fn many_events_are_asked_for_at_once(db) {
        let epoch = db.instance().await;
        let ended = [delivery(Channel::Email, DeliveryState::Sent), NewDelivery {
            reason: Some("opted_out".to_owned()),
            ..delivery(Channel::Sms, DeliveryState::Suppressed)
        }];
        made(&db, epoch, &[("e-1", None), ("e-2", None)], &ended).await;
        db.append([event("e-3")]).await;
        let ids = ["e-1", "e-3", "e-4"].map(str::to_owned);
        let found = db.store.ends_of_events(&ids).await.unwrap();
        let mut known: Vec<&String> = found.keys().collect();
        known.sort();
        assert_eq!(known, ["e-1", "e-3"]);
        assert_eq!(found["e-1"].outcome.as_str(), "notified");
        assert_eq!(found["e-1"].deliveries, [
            ("email".to_owned(), "sent".to_owned(), None),
            ("sms".to_owned(), "suppressed".to_owned(), Some("opted_out".to_owned())),
        ]);
        assert_eq!((found["e-3"].outcome.as_str(), found["e-3"].deliveries.len()), ("pending", 0));
        assert!(db.store.ends_of_events(&[]).await.unwrap().is_empty());
    }
}
