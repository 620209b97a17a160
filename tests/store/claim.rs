//! Claiming: who gets what, in which order, and when.

use std::collections::HashSet;
use std::time::Duration;

use herald::domain::{AttemptOutcome, Channel, DeliveryState, Device, Lane, Platform, Recipient};
use herald::store::{Claim, DeadLetterFilter, DeliveryOutcome, HandledEvent, NewDelivery};

use crate::support::{
    attempted, born_claimed, delivery, event, events, first_outcome, notified, on_both, outcome_of, pending,
};

on_both! {
    async fn eight_rivals_never_share_a_delivery(db) {
        let epoch = db.instance().await;
        db.append(events(400)).await;
        db.notify(epoch, &pending(&[Channel::Sms])).await;
        let rivals = (0..8).map(|n| {
            let store = if n % 2 == 0 { db.rival() } else { db.store.clone() };
            tokio::spawn(async move {
                let mut mine = Vec::new();
                loop {
                    match store.claim(Channel::Sms, Claim { epoch, life: n }, 7).await {
                        Ok(claimed) if claimed.is_empty() => return mine,
                        Ok(claimed) => mine.extend(claimed.into_iter().map(|claimed| claimed.id)),
                        Err(error) => assert!(error.is_transient(), "{error:?}"),
                    }
                }
            })
        });
        let mut all = Vec::new();
        for rival in futures_util::future::join_all(rivals).await {
            all.extend(rival.unwrap());
        }
        // A rival may have gone home while another held the last ones under lock.
        all.extend(db.claim(Channel::Sms, Claim { epoch, life: 9 }).await.into_iter().map(|claimed| claimed.id));
        assert_eq!(all.len(), 400);
        assert_eq!(all.into_iter().collect::<HashSet<_>>().len(), 400);
        assert_eq!(db.count("deliveries WHERE state = 'sending' AND attempt = 1").await, 400);
    }

    async fn upper_lanes_come_first_then_the_order_of_storing(db) {
        let epoch = db.instance().await;
        let lanes = [Lane::Bulk, Lane::Normal, Lane::Critical, Lane::High];
        db.append(events(40)).await;
        let open = db.store.open_events(epoch, 100).await.unwrap();
        let now = db.store.now().await.unwrap();
        let batch = open.iter().enumerate().map(|(n, event)| {
            let mut made = notified(event, 42, &pending(&[Channel::Sms]));
            made.notifications[0].lane = lanes[n % 4];
            made
        });
        db.store.handle(epoch, now, batch.collect()).await.unwrap();
        let mut order = Vec::new();
        loop {
            let claimed = db.store.claim(Channel::Sms, Claim { epoch, life: 1 }, 7).await.unwrap();
            if claimed.is_empty() {
                break;
            }
            order.extend(claimed.into_iter().map(|claimed| claimed.event_id));
        }
        let expected = [2, 3, 1, 0].iter().flat_map(|lane| (0..10).map(move |n| format!("e-{:05}", n * 4 + lane)));
        assert_eq!(order, expected.collect::<Vec<_>>());
    }

    async fn a_claim_is_for_one_channel_and_up_to_its_limit(db) {
        let epoch = db.instance().await;
        db.append(events(5)).await;
        db.notify(epoch, &pending(&[Channel::Sms, Channel::Email])).await;
        let claim = Claim { epoch, life: 1 };
        assert_eq!(db.store.claim(Channel::Sms, claim, 2).await.unwrap().len(), 2);
        assert_eq!(db.claim(Channel::Sms, claim).await.len(), 3);
        assert!(db.claim(Channel::Sms, claim).await.is_empty());
        assert!(db.claim(Channel::Push, claim).await.is_empty());
        assert_eq!(db.store.held_by(Channel::Sms, claim).await.unwrap().len(), 5);
        assert!(db.store.held_by(Channel::Email, claim).await.unwrap().is_empty());
        assert!(db.store.held_by(Channel::Sms, Claim { epoch, life: 2 }).await.unwrap().is_empty());
    }

    async fn only_who_holds_the_claim_records(db) {
        let epoch = db.instance().await;
        let claim = Claim { epoch, life: 3 };
        db.append([event("e")]).await;
        let ids = db.notify(epoch, &born_claimed(&[Channel::Sms], claim)).await;
        let right = first_outcome(&ids[0], Channel::Sms, claim, DeliveryState::Sent);
        let stale = [
            DeliveryOutcome { claim: Claim { epoch: epoch + 1, ..claim }, ..right.clone() },
            DeliveryOutcome { claim: Claim { life: 2, ..claim }, ..right.clone() },
            DeliveryOutcome { attempt: 2, ..right.clone() },
            first_outcome(&ids[0], Channel::Email, claim, DeliveryState::Sent),
        ];
        for outcome in stale {
            assert!(!db.record(outcome).await);
        }
        assert_eq!(db.count("notification_history").await, 0);
        assert_eq!(db.status(&ids[0]).await, "PENDING");
        assert!(db.record(right.clone()).await);
        assert!(!db.record(right.clone()).await, "the same again");
        assert!(!db.record(DeliveryOutcome { state: DeliveryState::Dead, ..right }).await);
        assert_eq!(db.count("notification_history").await, 1);
        assert_eq!(db.status(&ids[0]).await, "SENT");
        assert!(db.store.reconcile().await.unwrap().is_empty());
    }

    /// A batch may hold the outcome of an old attempt beside that of the current one, or one twice.
    async fn of_several_outcomes_in_a_batch_the_right_one_is_taken(db) {
        let epoch = db.instance().await;
        let claim = Claim { epoch, life: 1 };
        db.append(events(2)).await;
        let ids = db.notify(epoch, &born_claimed(&[Channel::Sms], claim)).await;
        assert!(db.record(first_outcome(&ids[0], Channel::Sms, claim, DeliveryState::Retry)).await);
        let claimed = db.claim(Channel::Sms, claim).await.remove(0);
        assert_eq!(claimed.attempt, 2);
        let batch = vec![
            first_outcome(&ids[0], Channel::Sms, claim, DeliveryState::Dead),
            outcome_of(&claimed, DeliveryState::Sent),
            outcome_of(&claimed, DeliveryState::Dead),
            first_outcome(&ids[1], Channel::Sms, claim, DeliveryState::Dead),
            first_outcome(&ids[1], Channel::Sms, claim, DeliveryState::Sent),
        ];
        let now = db.store.now().await.unwrap();
        let recorded = db.store.record(epoch, now, batch).await.unwrap();
        assert_eq!(recorded.taken, [false, true, false, true, false]);
        assert_eq!(recorded.ended.len(), 2);
        assert_eq!(db.column("SELECT state AS v FROM deliveries ORDER BY notification_id").await, ["sent", "dead"]);
        assert_eq!(db.column("SELECT status AS v FROM notifications ORDER BY id").await, ["SENT", "FAILED"]);
        assert!(db.store.reconcile().await.unwrap().is_empty());
    }

    async fn a_retry_waits_by_the_databases_clock(db) {
        let epoch = db.instance().await;
        let claim = Claim { epoch, life: 1 };
        db.append([event("e")]).await;
        let ids = db.notify(epoch, &born_claimed(&[Channel::Sms], claim)).await;
        assert!(db.store.next_due().await.unwrap().is_empty());
        let wait = Duration::from_millis(400);
        let before = db.store.now().await.unwrap();
        let retry = DeliveryOutcome { wait: Some(wait), ..first_outcome(&ids[0], Channel::Sms, claim, DeliveryState::Retry) };
        assert!(db.record(retry).await);
        assert_eq!(db.status(&ids[0]).await, "RETRY");
        let due = db.store.next_due().await.unwrap();
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].0, Channel::Sms);
        // SQLite's clock has milliseconds.
        assert!(due[0].1.since(before) >= wait - Duration::from_millis(1), "{due:?}");
        let claimed = loop {
            let claimed = db.claim(Channel::Sms, claim).await;
            let now = db.store.now().await.unwrap();
            match claimed.into_iter().next() {
                Some(claimed) => {
                    assert!(now >= due[0].1, "claimed {:?} too early", due[0].1.since(now));
                    break claimed;
                }
                None => assert!(now < due[0].1.plus(Duration::from_secs(10)), "it is never due"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert_eq!((claimed.attempt, claimed.retries), (2, 1));
        assert_eq!(db.status(&ids[0]).await, "PENDING", "a retry that is being sent waits no more");
        assert!(db.store.next_due().await.unwrap().is_empty());
    }

    async fn next_due_is_told_for_each_channel(db) {
        let epoch = db.instance().await;
        db.append([event("e")]).await;
        let hour = db.store.now().await.unwrap().plus(Duration::from_secs(3600));
        let mut all = pending(&[Channel::Push]);
        all.push(NewDelivery { not_before: Some(hour), ..delivery(Channel::Email, DeliveryState::Deferred) });
        db.notify(epoch, &all).await;
        let due = db.store.next_due().await.unwrap();
        assert_eq!(due.iter().map(|due| due.0).collect::<Vec<_>>(), [Channel::Push]);
        assert_eq!(db.store.next_deferred().await.unwrap(), Some(hour), "what was deferred is decided on first");
    }

    async fn devices_that_are_gone_are_removed(db) {
        let epoch = db.instance().await;
        let claim = Claim { epoch, life: 1 };
        let device = |token: &str| Device { token: token.to_owned(), platform: Platform::Android };
        let recipient = Recipient { devices: vec![device("t-1"), device("t-2")], ..Recipient::new(42) };
        db.store.put_recipients(vec![recipient]).await.unwrap();
        db.append([event("e")]).await;
        db.notify(epoch, &pending(&[Channel::Push])).await;
        let claimed = db.claim(Channel::Push, claim).await.remove(0);
        let devices = claimed.contacts.as_ref().unwrap().devices.clone();
        assert_eq!(devices.len(), 2);
        let gone = devices.iter().find(|(_, device)| device.token == "t-1").unwrap().0.clone();
        let outcome = DeliveryOutcome { gone_devices: vec![gone], ..outcome_of(&claimed, DeliveryState::Sent) };
        assert!(db.record(outcome).await);
        let left = &db.store.contacts(vec![42]).await.unwrap()[&42].devices;
        assert_eq!(left.iter().map(|(_, device)| device.token.as_str()).collect::<Vec<_>>(), ["t-2"]);
    }

    /// A retry goes to those devices only that neither accepted it nor refused it for good; after an
    /// operator's retry, also to those that refused it.
    async fn a_push_is_tried_again_only_where_it_may_help(db) {
        let epoch = db.instance().await;
        let claim = Claim { epoch, life: 1 };
        db.append([event("e")]).await;
        let ids = db.notify(epoch, &born_claimed(&[Channel::Push], claim)).await;
        let to = |device: &str, outcome| herald::store::Attempted { device: Some(device.to_owned()), ..attempted(outcome) };
        let first = DeliveryOutcome {
            attempts: vec![
                to("d-ok", AttemptOutcome::Accepted),
                to("d-bad", AttemptOutcome::Permanent),
                to("d-slow", AttemptOutcome::Transient),
                to("d-lost", AttemptOutcome::Unknown),
            ],
            ..first_outcome(&ids[0], Channel::Push, claim, DeliveryState::Retry)
        };
        assert!(db.record(first).await);
        let claimed = db.claim(Channel::Push, claim).await.remove(0);
        let mut done = claimed.done_devices.clone();
        done.sort();
        assert_eq!(done, ["d-bad", "d-ok"]);
        assert!(claimed.accepted);
        let held = db.store.held_by(Channel::Push, claim).await.unwrap().remove(0);
        assert_eq!(held.done_devices.len(), 2, "who reads its claims anew sees the same");

        let dead = DeliveryOutcome {
            attempts: vec![to("d-slow", AttemptOutcome::Permanent)],
            ..outcome_of(&claimed, DeliveryState::Dead)
        };
        assert!(db.record(dead).await);
        let letters = db.store.dead_letters(DeadLetterFilter::default(), None, 10).await.unwrap();
        assert_eq!(db.store.resolve_dead_letters(epoch, letters, true).await.unwrap().0, 1);
        let claimed = db.claim(Channel::Push, claim).await.remove(0);
        assert_eq!((claimed.attempt, claimed.cycle, claimed.retries), (3, 1, 0));
        assert_eq!(claimed.done_devices, ["d-ok"]);
        assert!(claimed.accepted);
        let history = db.column("SELECT attempt || ' ' || cycle || ' ' || device AS v FROM notification_history ORDER BY id").await;
        assert_eq!(history.len(), 5);
        assert_eq!(history[4], "2 0 d-slow");
    }

    async fn work_is_claimed_by_one_and_recorded_by_who_holds_it(db) {
        let epoch = db.instance().await;
        db.append(events(3)).await;
        let open = db.store.open_events(epoch, 10).await.unwrap();
        let now = db.store.now().await.unwrap();
        let batch = open.iter().map(|event| HandledEvent { concerns: vec!["sync"], ..notified(event, 1, &[]) });
        db.store.handle(epoch, now, batch.collect()).await.unwrap();
        let claim = Claim { epoch, life: 1 };
        let mine = db.store.claim_work("sync", claim, 2).await.unwrap();
        assert_eq!(mine.iter().map(|work| (work.event_id.as_str(), work.attempt)).collect::<Vec<_>>(), [("e-00000", 1), ("e-00001", 1)]);
        assert_eq!(db.store.claim_work("sync", claim, 9).await.unwrap().len(), 1);
        assert!(db.store.claim_work("sync", claim, 9).await.unwrap().is_empty());
        assert!(db.store.claim_work("other", claim, 9).await.unwrap().is_empty());
        let outcome = |event: &str, state, attempt| herald::store::WorkOutcome {
            event_id: event.to_owned(), attempt, state, error: (state != "done").then(|| "slow".to_owned()), wait_s: 0.0,
        };
        let other = Claim { life: 2, ..claim };
        assert!(db.store.record_work("sync", other, vec![outcome("e-00000", "done", 1)]).await.unwrap().is_empty());
        assert!(db.store.record_work("sync", claim, vec![outcome("e-00000", "done", 2)]).await.unwrap().is_empty());
        let taken = vec![outcome("e-00000", "done", 1), outcome("e-00001", "retry", 1), outcome("e-00002", "dead", 1)];
        assert_eq!(db.store.record_work("sync", claim, taken.clone()).await.unwrap().len(), 3);
        assert!(db.store.record_work("sync", claim, taken).await.unwrap().is_empty(), "the same again");
        let again = db.store.claim_work("sync", claim, 9).await.unwrap();
        assert_eq!(again.iter().map(|work| (work.event_id.as_str(), work.attempt)).collect::<Vec<_>>(), [("e-00001", 2)]);
        let states = db.column("SELECT state AS v FROM work_items ORDER BY event_id").await;
        assert_eq!(states, ["done", "working", "dead"]);
        // Its claimant ends.
        assert_eq!(db.store.release_abandoned_work(Duration::ZERO).await.unwrap(), 0);
        db.store.end(epoch).await.unwrap();
        assert_eq!(db.store.release_abandoned_work(Duration::ZERO).await.unwrap(), 1);
        let next = db.instance().await;
        assert_eq!(db.store.claim_work("sync", Claim { epoch: next, life: 1 }, 9).await.unwrap().len(), 1);
    }
}
