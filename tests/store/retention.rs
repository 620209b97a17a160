//! What is older than it is kept goes, and only that.

use std::time::Duration;

use herald::domain::{Channel, DeliveryState, EventOutcome, ExternalSend, Instant, ReplayRequest};
use herald::store::{
    Claim, DeadLetterFilter, Forgotten, HandledEvent, LedgerEntry, NewDelivery, NotificationFilter, PastUse,
};

use crate::support::{Db, born_claimed, delivery, event, first_outcome, handled, notified, on_both, pending};

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
            decisions: 0, external_sends: 0, left_open: 3, left_dead: 2, next: None,
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

    async fn the_ledger_and_reports_go_with_their_events_and_grants_stay_while_a_window_reaches_them(db) {
        let epoch = db.instance().await;
        db.append(["over", "kept"].map(event)).await;
        let open = db.store.open_events(epoch, 10).await.unwrap();
        let now = db.store.now().await.unwrap();
        let entry = || LedgerEntry { user_id: Some(42), rules: "v".to_owned(), record: "{}".to_owned() };
        let granted = |state| NewDelivery { granted: true, ..delivery(Channel::Sms, state) };
        let batch = open.iter().zip([DeliveryState::Suppressed, DeliveryState::Pending]).map(|(event, state)| {
            let mut made = notified(event, 42, &[granted(state)]);
            made.notifications[0].flood_granted = true;
            HandledEvent { ledger: Some(entry()), ..made }
        });
        db.store.handle(epoch, now, batch.collect()).await.unwrap();
        let report = |id: &str, channel| ExternalSend { event_id: id.to_owned(), channel, sent: true, sent_at: None };
        let reports = [report("over", Channel::Sms), report("over", Channel::Push), report("kept", Channel::Sms), report("unknown", Channel::Sms)];
        db.store.report_sends(&reports).await.unwrap();
        assert_eq!((db.count("decisions").await, db.count("cap_grants").await), (2, 4));

        let (walked, _) = walk(&db, epoch, later(&db).await).await;
        assert_eq!((walked.events, walked.left_open), (1, 1));
        assert_eq!((walked.decisions, walked.external_sends), (1, 2));
        let kept: i64 = db.one("SELECT position AS v FROM domain_events").await.parse().unwrap();
        assert_eq!(db.column("SELECT position AS v FROM decisions").await, [kept.to_string()]);
        assert_eq!(db.column("SELECT event_id AS v FROM external_sends ORDER BY 1").await, ["kept", "unknown"]);
        // A cap of a month is not to be forgotten after a day.
        assert_eq!(db.count("cap_grants").await, 4);
        assert_eq!(db.store.forget_past_use(None).await.unwrap(), PastUse::default());

        let older = |days: i64| match db.is_postgres() {
            true => format!("now() - interval '{days} days'"),
            false => format!("strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-{days} days')"),
        };
        db.run(&format!("UPDATE cap_grants SET granted_at = {} WHERE channel = '*'", older(33))).await;
        db.run(&format!("UPDATE cap_grants SET granted_at = {} WHERE channel = 'sms'", older(30))).await;
        let gone = db.store.forget_past_use(None).await.unwrap();
        assert_eq!(gone, PastUse { cap_grants: 2, ..PastUse::default() });
        assert_eq!(db.column("SELECT channel AS v FROM cap_grants").await, ["sms", "sms"]);
    }

    async fn replays_and_reports_about_nothing_go_when_they_are_old(db) {
        let epoch = db.instance().await;
        let request = ReplayRequest::default();
        for id in ["done", "failed", "young", "open"] {
            db.store.create_replay(id, &request, "{}".to_owned(), "t").await.unwrap();
        }
        db.store.fail_replay("failed", "why").await.unwrap();
        // As if the process had died right after.
        for id in ["done", "failed", "open"] {
            db.run(&format!(
                "INSERT INTO replay_grants (replay_id, user_id, channel, category, shadow, granted_at)
                 SELECT '{id}', 42, 'sms', 'general', {}, updated_at FROM replays WHERE id = '{id}'",
                if db.is_postgres() { "false" } else { "0" }
            ))
            .await;
        }
        db.run("UPDATE replays SET state = 'done', finished_at = updated_at WHERE id IN ('done', 'young')").await;
        db.run("UPDATE replays SET finished_at = '2020-01-01T00:00:00.000000Z' WHERE id IN ('done', 'failed')").await;
        db.append([event("known")]).await;
        let report = |id: &str| ExternalSend { event_id: id.to_owned(), channel: Channel::Sms, sent: true, sent_at: None };
        db.store.report_sends(&[report("known"), report("old"), report("new")]).await.unwrap();
        db.run("UPDATE external_sends SET reported_at = '2020-01-01T00:00:00.000000Z' WHERE event_id <> 'new'").await;

        let gone = db.store.forget_past_use(None).await.unwrap();
        assert_eq!(gone, PastUse { replay_grants: 2, ..PastUse::default() }, "whatever is kept for how long");
        assert_eq!(db.column("SELECT replay_id AS v FROM replay_grants").await, ["open"]);
        let before = Instant::parse("2024-01-01T00:00:00Z").unwrap();
        let gone = db.store.forget_past_use(Some(before)).await.unwrap();
        assert_eq!(gone, PastUse { replays: 2, external_sends: 1, ..PastUse::default() });
        assert_eq!(db.column("SELECT id AS v FROM replays ORDER BY id").await, ["open", "young"]);
        assert_eq!(db.column("SELECT event_id AS v FROM external_sends ORDER BY 1").await, ["known", "new"]);
        assert_eq!(db.store.next_replay(epoch).await.unwrap().unwrap().id, "open");
        assert_eq!(db.store.forget_past_use(Some(before)).await.unwrap(), PastUse::default());
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
