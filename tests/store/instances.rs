//! Instances, leases, and who holds what.

use std::time::Duration;

use herald::domain::{AttemptOutcome, Channel, DeliveryState};
use herald::store::{Attempted, Claim, DeliveryOutcome, StoreError};

use crate::support::{Db, attempted, born_claimed, events, first_outcome, on_both, pending};

const LEASE: Duration = Duration::from_secs(15);

/// Lets an instance fall silent for a while.
async fn silence(db: &Db, epoch: i64, seconds: u32) {
    let at = if db.is_postgres() {
        format!("clock_timestamp() - interval '{seconds} seconds'")
    } else {
        format!("strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-{seconds} seconds')")
    };
    db.run(&format!("UPDATE instances SET heartbeat_at = {at} WHERE epoch = {epoch}")).await;
}

async fn held(db: &Db, epoch: i64) -> i64 {
    db.count(&format!("partitions WHERE epoch = {epoch}")).await
}

on_both! {
    async fn a_heartbeat_gives_the_databases_time_until_the_instance_is_fenced(db) {
        let first = db.store.register("first").await.unwrap();
        let second = db.store.register("second").await.unwrap();
        assert!(second > first);
        let before = db.store.now().await.unwrap();
        let beat = db.store.heartbeat(first).await.unwrap().unwrap();
        let after = db.store.now().await.unwrap();
        assert!(before <= beat.at && beat.at <= after, "{before:?} {beat:?} {after:?}");
        assert_eq!((beat.live, db.store.live_instances().await.unwrap()), (2, 2));
        assert!(db.store.fence(second, LEASE).await.unwrap().is_empty());

        silence(&db, first, 14).await;
        assert!(db.store.fence(second, LEASE).await.unwrap().is_empty());
        silence(&db, first, 16).await;
        // Who has been silent for a while itself has seen nothing of the others.
        silence(&db, second, 8).await;
        assert!(db.store.fence(second, LEASE).await.unwrap().is_empty());
        assert!(db.store.fence(999, LEASE).await.unwrap().is_empty());
        db.store.heartbeat(second).await.unwrap();
        assert_eq!(db.store.fence(second, LEASE).await.unwrap(), [first]);
        assert_eq!(db.store.heartbeat(first).await.unwrap(), None);
        assert_eq!(db.store.heartbeat(second).await.unwrap().unwrap().live, 1);
        assert!(db.store.fence(second, LEASE).await.unwrap().is_empty(), "once");
        db.store.end(second).await.unwrap();
        assert_eq!(db.store.heartbeat(second).await.unwrap(), None);
        assert_eq!(db.store.heartbeat(999).await.unwrap(), None);
    }

    async fn an_ended_instance_holds_nothing_and_gets_nothing(db) {
        let first = db.instance().await;
        let all = held(&db, first).await;
        assert_eq!(all, if db.is_postgres() { 64 } else { 1 });
        silence(&db, first, 60).await;
        let other = db.store.register("other").await.unwrap();
        assert_eq!(db.store.living().await.unwrap().len(), 2);
        assert_eq!(db.store.fence(other, LEASE).await.unwrap(), [first]);
        assert_eq!(db.store.living().await.unwrap(), [(other, "other".to_owned())]);
        db.store.end(other).await.unwrap();
        assert_eq!(held(&db, first).await, 0);
        let error = db.store.share_partitions(first).await.unwrap_err();
        assert!(matches!(error, StoreError::Fenced), "{error:?}");
        assert_eq!(held(&db, first).await, 0);
        let next = db.instance().await;
        assert_eq!(held(&db, next).await, all);
    }

    async fn what_ended_instances_held_is_abandoned(db) {
        let gone = db.instance().await;
        let claim = Claim { epoch: gone, life: 4 };
        db.append(events(5)).await;
        let ids = db.notify(gone, &born_claimed(&[Channel::Sms, Channel::Push], claim)).await;
        assert!(db.store.abandoned(100).await.unwrap().is_empty(), "it lives");
        assert!(db.record(first_outcome(&ids[0], Channel::Sms, claim, DeliveryState::Sent)).await);
        db.store.end(gone).await.unwrap();
        let next = db.instance().await;
        let alive = Claim { epoch: next, life: 1 };
        db.append(events(6).split_off(5)).await;
        db.notify(next, &born_claimed(&[Channel::Sms], alive)).await;
        let abandoned = db.store.abandoned(100).await.unwrap();
        assert_eq!(abandoned.len(), 9);
        assert!(abandoned.iter().all(|held| held.claim == claim && held.attempt == 1 && held.cycle == 0));
        assert!(abandoned.iter().all(|held| held.event_type == "transaction.completed"));
        assert_eq!(db.store.abandoned(4).await.unwrap().len(), 4);

        // Taken back by whoever sees it, and by one only. The sender that comes back is refused.
        let taken_back = first_outcome(&ids[1], Channel::Sms, abandoned[0].claim, DeliveryState::Retry);
        assert!(db.record(taken_back.clone()).await);
        assert!(!db.record(taken_back).await);
        assert!(!db.record(first_outcome(&ids[1], Channel::Sms, claim, DeliveryState::Sent)).await);
        assert_eq!(db.store.abandoned(100).await.unwrap().len(), 8);
        assert!(db.store.reconcile().await.unwrap().is_empty());
    }

    async fn a_new_life_finds_what_earlier_ones_held(db) {
        let epoch = db.instance().await;
        let first = Claim { epoch, life: 1 };
        db.append(events(3)).await;
        db.notify(epoch, &born_claimed(&[Channel::Sms, Channel::Email], first)).await;
        db.append(events(5).split_off(3)).await;
        db.notify(epoch, &born_claimed(&[Channel::Sms], Claim { epoch, life: 2 })).await;
        assert!(db.store.held_by_earlier_lives(Channel::Sms, epoch, 1).await.unwrap().is_empty());
        let held = db.store.held_by_earlier_lives(Channel::Sms, epoch, 2).await.unwrap();
        assert_eq!(held.len(), 3);
        assert!(held.iter().all(|held| held.claim == first && held.id.channel == Channel::Sms));
        assert_eq!(db.store.held_by_earlier_lives(Channel::Sms, epoch, 3).await.unwrap().len(), 5);
        assert_eq!(db.store.held_by_earlier_lives(Channel::Email, epoch, 3).await.unwrap().len(), 3);
        assert!(held.iter().all(|held| !held.accepted));
        assert!(db.store.held_by_earlier_lives(Channel::Sms, epoch + 1, 3).await.unwrap().is_empty());
        assert!(db.store.abandoned(100).await.unwrap().is_empty());
    }

    /// Its other devices were still to be tried when the instance ended.
    async fn what_a_device_accepted_is_known_when_it_is_taken_back(db) {
        let epoch = db.instance().await;
        let claim = Claim { epoch, life: 1 };
        db.append(events(1)).await;
        let ids = db.notify(epoch, &born_claimed(&[Channel::Push], claim)).await;
        let device = |outcome| Attempted { device: Some(format!("d-{outcome}")), ..attempted(outcome) };
        let attempts = vec![device(AttemptOutcome::Accepted), device(AttemptOutcome::Transient)];
        let retry = DeliveryOutcome { attempts, ..first_outcome(&ids[0], Channel::Push, claim, DeliveryState::Retry) };
        assert!(db.record(retry).await);
        assert_eq!(db.claim(Channel::Push, claim).await.len(), 1);
        db.store.end(epoch).await.unwrap();
        let abandoned = db.store.abandoned(10).await.unwrap();
        assert_eq!((abandoned.len(), abandoned[0].attempt, abandoned[0].accepted), (1, 2, true));
    }

    async fn what_waits_is_nobodys(db) {
        let epoch = db.instance().await;
        db.append(events(2)).await;
        db.notify(epoch, &pending(&[Channel::Sms])).await;
        db.store.end(epoch).await.unwrap();
        assert!(db.store.abandoned(100).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_shared_among_those_that_live() {
    let db = Db::postgres().await;
    let first = db.instance().await;
    assert_eq!(held(&db, first).await, 64);
    let second = db.store.register("second").await.unwrap();
    assert_eq!(db.store.share_partitions(second).await.unwrap(), 0, "none is free yet");
    assert_eq!(db.store.share_partitions(first).await.unwrap(), 32);
    assert_eq!(db.store.share_partitions(second).await.unwrap(), 32);
    let third = db.store.register("third").await.unwrap();
    for _ in 0..2 {
        for epoch in [first, second, third] {
            db.store.share_partitions(epoch).await.unwrap();
        }
    }
    assert_eq!([held(&db, first).await, held(&db, second).await, held(&db, third).await], [22, 22, 20]);
    // Settled: nobody gives or takes any more.
    let tokens = db.one("SELECT sum(token) AS v FROM partitions").await;
    for epoch in [first, second, third] {
        db.store.share_partitions(epoch).await.unwrap();
    }
    assert_eq!(db.one("SELECT sum(token) AS v FROM partitions").await, tokens);

    // One leaves, and its part goes to the others.
    db.store.end(second).await.unwrap();
    assert_eq!(db.count("partitions WHERE epoch IS NULL").await, 22);
    assert_eq!(db.store.share_partitions(first).await.unwrap(), 32);
    assert_eq!(db.store.share_partitions(third).await.unwrap(), 32);
    assert_eq!(db.count("partitions WHERE epoch IS NULL").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_given_to_the_holder_of_their_partition_alone() {
    let db = Db::postgres().await;
    let first = db.instance().await;
    let second = db.store.register("second").await.unwrap();
    db.store.share_partitions(first).await.unwrap();
    db.store.share_partitions(second).await.unwrap();
    db.append(events(500)).await;
    let mine = db.store.open_events(first, 1_000).await.unwrap();
    let theirs = db.store.open_events(second, 1_000).await.unwrap();
    assert_eq!(mine.len() + theirs.len(), 500);
    assert!(mine.len() > 100 && theirs.len() > 100, "{} {}", mine.len(), theirs.len());
    assert!(mine.iter().all(|event| theirs.iter().all(|other| other.id != event.id)));
    assert_eq!(db.store.open_events(first, 7).await.unwrap().len(), 7, "the limit is on one's own");
}
