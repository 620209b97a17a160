//! A round of everything that the rules have Herald read and write all day.

use std::time::Duration;

use herald::domain::{
    Channel, DeliveryId, DeliveryState, ExternalSend, Preferences, Recipient, ReplayFilter, ReplayRequest,
};
use herald::store::{
    CapQuestion, Claim, Expected, Granted, HandledEvent, LedgerEntry, NewDelivery, Release,
    ReopenedNotification, Reopening, ReplayGrant, ReplayStep, Resending, Store,
};

use crate::support::{delivery, event, notified};

fn entry(user: i64) -> LedgerEntry {
    LedgerEntry { user_id: Some(user), rules: "v".to_owned(), record: "{}".to_owned() }
}

fn question(user_id: i64) -> CapQuestion {
    CapQuestion {
        user_id,
        channel: Some(Channel::Sms),
        category: None,
        flood: None,
        shadow: false,
        limit: 5,
        window: Duration::from_secs(86_400),
    }
}

/// Messages that a cap counts, grants, and defers, for ten recipients; what is deferred is released.
pub(crate) async fn decide(store: &Store, epoch: i64, round: usize, size: usize) {
    let ids = (0..size).map(|n| format!("p-{round}-{n}"));
    store.append(ids.map(|id| vec![event(&id)]).collect()).await.unwrap();
    let open = store.open_events(epoch, 1_000).await.unwrap();
    let (positions, now) = (open[0].position, store.now().await.unwrap());
    let users: Vec<i64> = (40..50).collect();
    let places = open.iter().map(|event| (event.position, event.partition)).collect();
    let questions: Vec<CapQuestion> = users.iter().map(|user| question(*user)).collect();
    let asked = users.clone();
    let decide = move |granted: Granted| {
        assert_eq!(granted.grants.len(), asked.len());
        let made = open.iter().enumerate().map(|(n, event)| {
            let user = asked[n % asked.len()];
            let due = |reason: &str, key: Option<String>| NewDelivery {
                reason: Some(reason.to_owned()),
                digest_key: key,
                ..delivery(Channel::Sms, DeliveryState::Deferred)
            };
            let one = match n % 3 {
                0 => NewDelivery { granted: true, ..delivery(Channel::Sms, DeliveryState::Suppressed) },
                1 => due("digest", Some(format!("{user}:sms"))),
                _ => due("frequency_cap", None),
            };
            HandledEvent { ledger: Some(entry(user)), ..notified(event, user, &[one]) }
        });
        let made: Vec<HandledEvent> = made.collect();
        let ids: Vec<_> = made.iter().map(|event| event.notifications[0].id.clone()).collect();
        (made, ids)
    };
    let (_, ids) = store.handle_by(epoch, now, places, questions.clone(), decide).await.unwrap();
    store.decisions(positions).await.unwrap();
    store.keep_rules("v", "{}").await.unwrap();
    wishes(store, &users).await;

    store.next_deferred().await.unwrap().unwrap();
    let due = store.deferred_due(256).await.unwrap();
    assert!(!due.is_empty());
    let decide = move |_: Granted, still: Vec<herald::store::DeferredDelivery>| {
        let release = |(n, one): (usize, herald::store::DeferredDelivery)| Release {
            state: if n % 2 == 0 { DeliveryState::Pending } else { DeliveryState::Expired },
            reason: (n % 2 > 0).then(|| "expired".to_owned()),
            not_before: None,
            digest_key: None,
            digest: None,
            told_in: None,
            granted: (n % 2 == 0).then(|| (one.user_id, "general".to_owned(), false)),
            ledger: Some((one.position, entry(one.user_id))),
            id: one.id,
        };
        still.into_iter().enumerate().map(release).collect()
    };
    store.release(epoch, due, questions, decide).await.unwrap();
    let claim = Claim { epoch, life: 1 };
    let claimed = store.claim_by_lanes(Channel::Sms, claim, 1_000, 900).await.unwrap();
    let outcomes = claimed.iter().map(|one| crate::support::outcome_of(one, DeliveryState::Sent)).collect();
    store.record(epoch, now, outcomes).await.unwrap();
    replay(store, epoch, round, &ids).await;
    store.forget_past_use(Some(now)).await.unwrap();
}

async fn wishes(store: &Store, users: &[i64]) {
    store.put_recipients(vec![Recipient::new(users[0]), Recipient::new(9_000_000)]).await.unwrap();
    store.preferences(users[0]).await.unwrap().unwrap();
    for user in users {
        let change = |current: &Preferences| Ok::<_, ()>(current.clone());
        // Of a large database not every one of these is known.
        let _: Option<_> = store.change_preferences(*user, Expected::Any, change).await.unwrap();
    }
    store.delete_recipient(9_000_000).await.unwrap();
}

/// A dry run, one that sends, and what another system reports, about the newest events.
async fn replay(store: &Store, epoch: i64, round: usize, made: &[herald::domain::NotificationId]) {
    let report = |n: usize| ExternalSend {
        event_id: format!("p-{round}-{n}"),
        channel: Channel::Sms,
        sent: true,
        sent_at: None,
    };
    store.report_sends(&(0..10).map(report).collect::<Vec<_>>()).await.unwrap();
    let now = store.now().await.unwrap();
    let from = Some(herald::domain::Instant::from(now.utc() - chrono::TimeDelta::seconds(1)));
    let filter = ReplayFilter { from, ..ReplayFilter::default() };
    for send in [false, true] {
        let request = ReplayRequest { filter: filter.clone(), send, reason: send.then(|| "why".to_owned()) };
        let id = format!("r-{epoch}-{round}-{send}");
        store.create_replay(&id, &request, "{}".to_owned(), "t").await.unwrap();
        let replay = store.next_replay(epoch).await.unwrap().unwrap();
        assert_eq!(replay.id, id);
        let events = store.replay_events(&filter, replay.until - 50, replay.until, 50).await.unwrap();
        let names: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
        store.deliveries_made(&names).await.unwrap();
        let step = |from, to, finished| ReplayStep { id: id.clone(), from, to, finished };
        if send {
            let reopening = |channel| Reopening {
                id: DeliveryId { notification: made[0].clone(), channel },
                from: DeliveryState::Suppressed,
                state: DeliveryState::Pending,
                reason: None,
                not_before: None,
                digest_key: None,
                granted: true,
            };
            let resending = Resending {
                reopened: vec![ReopenedNotification {
                    id: made[0].clone(),
                    user_id: 40,
                    flood: None,
                    category: "general".to_owned(),
                    lane: herald::domain::Lane::Normal,
                    template: "t".to_owned(),
                    expires_at: None,
                    deliveries: vec![reopening(Channel::Sms)],
                    ledger: (1, entry(40)),
                }],
                first: Vec::new(),
            };
            let candidates = vec![DeliveryId { notification: made[0].clone(), channel: Channel::Sms }];
            let (step, decide) = (step(replay.begins, replay.until, true), move |_| (resending, ()));
            let done =
                store.resend(epoch, step, candidates, vec![question(40)], decide, |(), _| "{}".to_owned());
            assert_eq!(done.await.unwrap().unwrap().reopened, 1);
        } else {
            let grant = ReplayGrant {
                user_id: 40,
                channel: Some(Channel::Sms),
                category: "general".to_owned(),
                flood: None,
                shadow: false,
                at: now,
            };
            let first = step(replay.begins, replay.until - 1, false);
            assert!(store.note_replay(epoch, first, "{}".to_owned(), vec![grant]).await.unwrap());
            assert_eq!(store.replay_grants(&id, &[40, 41], now).await.unwrap().len(), 0);
            let last = step(replay.until - 1, replay.until, true);
            assert!(store.note_replay(epoch, last, "{}".to_owned(), vec![]).await.unwrap());
        }
        store.replay(&id).await.unwrap().unwrap();
    }
    // What was put to work again ends here.
    let claim = Claim { epoch, life: 1 };
    let claimed = store.claim(Channel::Sms, claim, 1_000).await.unwrap();
    let outcomes = claimed.iter().map(|one| crate::support::outcome_of(one, DeliveryState::Sent)).collect();
    store.record(epoch, now, outcomes).await.unwrap();
}
