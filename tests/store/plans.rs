//! What a call costs on PostgreSQL: which tables are read through, and how many rows are written.

use std::collections::BTreeMap;
use std::time::Duration;

use herald::domain::{AttemptOutcome, Channel, DeliveryState, EventOutcome};
use herald::store::{
    Attempted, Claim, DeadLetterFilter, DeliveryOutcome, HandledEvent, NotificationFilter, Store, WorkOutcome,
};

use crate::policy_round;
use crate::support::{
    Db, attempted, born_claimed, event, first_outcome, handled, notified, outcome_of, pending, pg_column,
    stranger,
};

/// The tables that grow with the bank's history.
const LARGE: &str = "'domain_events', 'notifications', 'deliveries', 'notification_history', 'work_items', 'users', 'devices', 'accounts', 'cap_grants', 'decisions', 'external_sends'";

/// Counters of a database by `table counter`, once every connection of `store` has told its own.
async fn counters(db: &Db, store: Store, counter: &str) -> BTreeMap<String, i64> {
    drop(store);
    // What a connection counts it tells at its end.
    db.column(
        "SELECT pg_terminate_backend(pid) AS v FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'herald'",
    )
    .await;
    db.until(
        "SELECT count(*) AS v FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'herald'",
        "0",
    )
    .await;
    let sql = format!(
        "SELECT relname || ' ' || {counter} AS v FROM pg_stat_user_tables WHERE schemaname = 'public'"
    );
    let rows = db.column(&sql).await;
    rows.iter()
        .map(|row| row.split_once(' ').unwrap())
        .map(|(name, n)| (name.to_owned(), n.parse().unwrap()))
        .collect()
}

/// 200,000 events that are over and done with, as a bank has after a morning.
const HISTORY: &str = "
    ALTER TABLE domain_events DISABLE TRIGGER queue_events;
    INSERT INTO domain_events (id, type, aggregate_id, aggregate_type, payload, metadata, timestamp, processed, outcome)
    SELECT 'h-' || n, 'transaction.completed', 'ACC-' || n % 5000, 'account', '{\"amount\":\"1.00\"}',
           jsonb_build_object('source', 'core', 'correlationId', 'hc-' || n), now(), TRUE, 'notified'
    FROM generate_series(1, 200000) n;
    ALTER TABLE domain_events ENABLE TRIGGER queue_events;
    INSERT INTO notifications (id, event_id, event_type, user_id, lane, template, open, sent, status, ends)
    SELECT lpad(to_hex(n), 12, '0') || '-0000', 'h-' || n, 'transaction.completed', n % 5000, 2, 't', 0, 2, 'SENT', 1
    FROM generate_series(1, 200000) n;
    INSERT INTO deliveries (notification_id, channel, lane, state, attempt)
    SELECT lpad(to_hex(n), 12, '0') || '-0000', c, 2, 'sent', 1
    FROM generate_series(1, 200000) n, unnest(ARRAY['push', 'sms']) c;
    INSERT INTO notification_history (notification_id, channel, attempt, cycle, outcome)
    SELECT lpad(to_hex(n), 12, '0') || '-0000', c, 1, 0, 'accepted'
    FROM generate_series(1, 200000) n, unnest(ARRAY['push', 'sms']) c;
    INSERT INTO work_items (event_id, concern, position, state)
    SELECT 'h-' || n, 'sync', n, 'done' FROM generate_series(1, 50000) n;
    INSERT INTO cap_grants (notification_id, channel, user_id, category, shadow, granted_at)
    SELECT lpad(to_hex(n), 12, '0') || '-0000', 'sms', n % 5000, 'general', FALSE, now() - interval '1 minute' * (n % 40000)
    FROM generate_series(1, 200000) n;
    INSERT INTO decisions (position, decided_at, channel, user_id, rules, record)
    SELECT n, now(), '*', n % 5000, 'v', '{}' FROM generate_series(1, 200000) n;
    INSERT INTO external_sends (event_id, channel, sent) SELECT 'h-' || n, 'sms', TRUE FROM generate_series(1, 200000) n;
    INSERT INTO users (id) SELECT generate_series(1, 50000);
    INSERT INTO devices (id, user_id, token, platform) SELECT 'hd-' || n, n, 't', 'web' FROM generate_series(1, 50000) n;
    INSERT INTO accounts (number, user_id) SELECT 'h-' || n, n FROM generate_series(1, 50000) n;";

/// A round of everything that Herald does all day.
pub(crate) async fn round(store: &Store, epoch: i64, round: usize, size: usize) {
    let claim = Claim { epoch, life: 1 };
    let new: Vec<_> = (0..size).map(|n| vec![event(&format!("n-{round}-{n}"))]).collect();
    store.append(new.clone()).await.unwrap();
    store.append(new[..size / 2].to_vec()).await.unwrap();
    store.append(vec![new.concat(), vec![event(&format!("a-{round}"))]]).await.unwrap();
    store.open_events_of(epoch, &["transaction.completed".to_owned()], 10).await.unwrap();
    let open = store.open_events(epoch, 1_000).await.unwrap();
    assert_eq!(open.len(), size + 1);
    store.note_crash(open[0].position).await.unwrap();
    store.owners(vec!["h-1".to_owned(), "h-2".to_owned()]).await.unwrap();
    let now = store.now().await.unwrap();
    let mut born = Vec::new();
    let batch = open.iter().enumerate().map(|(n, event)| match n % 4 {
        0 => {
            let made = notified(event, 42, &born_claimed(&[Channel::Push, Channel::Sms], claim));
            born.push(made.notifications[0].id.clone());
            HandledEvent { concerns: vec!["sync"], owners: vec![(format!("o-{round}-{n}"), 1)], ..made }
        }
        1 => notified(event, 43, &pending(&[Channel::Push, Channel::Email])),
        2 => HandledEvent { reason: Some("x".to_owned()), ..handled(event, EventOutcome::Failed) },
        _ => handled(event, EventOutcome::NotRouted),
    });
    let batch: Vec<HandledEvent> = batch.collect();
    store.handle(epoch, now, batch).await.unwrap();
    let device = |outcome| vec![Attempted { device: Some("hd-1".to_owned()), ..attempted(outcome) }];
    let outcomes = born.iter().flat_map(|id| {
        let push = DeliveryOutcome {
            attempts: device(AttemptOutcome::Transient),
            gone_devices: vec!["hd-x".to_owned()],
            ..first_outcome(id, Channel::Push, claim, DeliveryState::Retry)
        };
        [push, first_outcome(id, Channel::Sms, claim, DeliveryState::Dead)]
    });
    store.record(epoch, now, outcomes.collect()).await.unwrap();
    store.next_due().await.unwrap();
    for channel in [Channel::Push, Channel::Email] {
        let claimed = store.claim(channel, claim, 1_000).await.unwrap();
        assert!(!claimed.is_empty());
        store.held_by(channel, claim).await.unwrap();
        store.held_by_earlier_lives(channel, epoch, 2).await.unwrap();
        let outcomes = claimed.iter().map(|claimed| outcome_of(claimed, DeliveryState::Sent)).collect();
        store.record(epoch, now, outcomes).await.unwrap();
    }
    let work = store.claim_work("sync", claim, 100).await.unwrap();
    let outcomes = work.iter().map(|work| WorkOutcome {
        event_id: work.event_id.clone(),
        attempt: work.attempt,
        state: "done",
        error: None,
        wait_s: 0.0,
    });
    store.record_work("sync", claim, outcomes.collect()).await.unwrap();
    store.release_abandoned_work(Duration::ZERO).await.unwrap();
    store.abandoned(100).await.unwrap();
    store.heartbeat(epoch).await.unwrap();
    store.share_partitions(epoch).await.unwrap();
    store.sweep(100).await.unwrap();
    // The reads that the dashboard repeats, and the searches that have an index.
    store.backlog(1_000).await.unwrap();
    store.event("h-77").await.unwrap();
    store.events(herald::store::EventFilter::default(), None, 50).await.unwrap();
    let by_correlation =
        herald::store::EventFilter { correlation_id: Some("hc-7".to_owned()), ..Default::default() };
    store.events(by_correlation, None, 50).await.unwrap();
    store.notifications(NotificationFilter::default(), None, 50).await.unwrap();
    let of_user = NotificationFilter { user_id: Some(7), ..NotificationFilter::default() };
    store.notifications(of_user, None, 50).await.unwrap();
    let failed = NotificationFilter {
        status: Some(herald::domain::NotificationStatus::Failed),
        ..NotificationFilter::default()
    };
    store.notifications(failed, None, 50).await.unwrap();
    let waited: Vec<String> = (0..3).map(|n| format!("h-7{n}")).collect();
    store.ends_of_events(&waited).await.unwrap();
    let letters = store.dead_letters(DeadLetterFilter::default(), None, 20).await.unwrap();
    store.resolve_dead_letters(epoch, letters, false).await.unwrap();
    store.contacts(vec![1, 2, 3]).await.unwrap();
    let before = now.plus(Duration::from_secs(3600));
    store.forget_older(epoch, before, 0).await.unwrap().unwrap();
    store.forget_older(epoch, now, open[0].position).await.unwrap().unwrap();
    policy_round::decide(store, epoch, round, size).await;
}

async fn reads_nothing_through(db: &Db, store: Store, epoch: i64, rounds: usize, size: usize) {
    for n in 0..rounds {
        round(&store, epoch, n, size).await;
    }
    // Half of them by the rules of a plain round, half by those of policy.
    let rows = rounds * (size + 1) * 2;
    let seq = counters(db, store, "seq_tup_read").await;
    let index = counters(db, db.rival(), "COALESCE(idx_tup_fetch, 0)").await;
    println!("rows read through: {seq:?}\nrows fetched by index: {index:?}");
    let large: Vec<&str> = LARGE.split(", ").map(|name| name.trim_matches('\'')).collect();
    for table in large {
        assert!(seq[table] < 200, "{table} was read through: {} rows", seq[table]);
        // A full index scan is no better.
        let windows = rounds * 2 * 200;
        // Each round looks whether any of the thousand oldest reports is about nothing.
        let reports = rounds * 1_000;
        let bound = i64::try_from(rows * 15 + windows * 2 + reports).unwrap() + 2_000;
        assert!(index[table] < bound, "{table}: {} rows by index, of {bound}", index[table]);
    }
}

/// A night's quiet hours: what waits for the morning is not looked at.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_later_costs_a_claim_nothing() {
    let db = Db::postgres().await;
    let epoch = db.instance().await;
    db.append((0..10).map(|n| event(&format!("e-{n}")))).await;
    db.notify(epoch, &pending(&[Channel::Sms])).await;
    db.run(
        "INSERT INTO deliveries (notification_id, channel, lane, state, next_attempt_at)
         SELECT 'later-' || n, 'sms', n % 4, 'deferred', now() + interval '8 hours' FROM generate_series(1, 100000) n",
    )
    .await;
    db.run("VACUUM ANALYZE deliveries").await;
    let client = stranger(db.config()).await;
    let blocks =
        "SELECT sum(idx_blks_hit + idx_blks_read) FROM pg_statio_user_tables WHERE relname = 'deliveries'";
    client.batch_execute("SELECT pg_stat_reset()").await.unwrap();
    let store = db.rival();
    assert_eq!(store.claim(Channel::Sms, Claim { epoch, life: 1 }, 100).await.unwrap().len(), 10);
    for _ in 0..9 {
        assert!(store.claim(Channel::Sms, Claim { epoch, life: 1 }, 100).await.unwrap().is_empty());
    }
    counters(&db, store, "seq_scan").await;
    let read: i64 = pg_column(&client, blocks).await[0].parse().unwrap();
    assert!(read < 1_000, "ten claims read {read} blocks of indexes");
}

/// Plans are made for each connection, and kept: those of a new database must be good for a large one.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_database_is_never_read_through() {
    let db = Db::postgres().await;
    let epoch = db.instance().await;
    let store = db.rival();
    reads_nothing_through(&db, store, epoch, 30, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_database_is_never_read_through() {
    let db = Db::postgres().await;
    db.run(HISTORY).await;
    db.run("ANALYZE").await;
    db.run("SELECT pg_stat_reset()").await;
    let epoch = db.instance().await;
    let store = db.rival();
    reads_nothing_through(&db, store, epoch, 12, 40).await;
}
