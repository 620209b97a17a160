//! Frequency caps: grants are counted in a sliding window, by the database's clock, under the recipient's
//! lock; each belongs to a delivery, and goes where that one does.

use std::time::Duration;

use herald::domain::{Channel, DeliveryId, DeliveryState, Instant, NotificationId, Recipient, ReplayRequest};
use herald::policy::{Cap, Usage};
use herald::store::{
    CapQuestion, DeferredDelivery, Granted, HandledEvent, LedgerEntry, NewDelivery, QueuedEvent, Release,
    ReopenedNotification, Reopening, ReplayStep, Resending, Store,
};

use crate::support::{Db, delivery, event, notified, on_both};

const HOUR: Duration = Duration::from_secs(3_600);
const USER: i64 = 42;

fn question(limit: u32, window: Duration) -> CapQuestion {
    CapQuestion { user_id: USER, channel: None, category: None, flood: None, shadow: false, limit, window }
}

async fn known(db: &Db) -> i64 {
    db.store.put_recipients(vec![Recipient::new(USER), Recipient::new(43)]).await.unwrap();
    db.instance().await
}

/// The next open event.
async fn next(db: &Db, epoch: i64, id: &str) -> QueuedEvent {
    db.append([event(id)]).await;
    let mut open = db.store.open_events(epoch, 100).await.unwrap();
    open.retain(|event| event.id == id);
    open.remove(0)
}

/// A message by SMS of this category, granted or suppressed.
fn message(event: &QueuedEvent, user: i64, category: &str, shadow: bool, granted: bool) -> HandledEvent {
    let state = if granted { DeliveryState::Pending } else { DeliveryState::Suppressed };
    let one = NewDelivery { granted, ..delivery(Channel::Sms, state) };
    let mut handled = notified(event, user, &[one]);
    handled.notifications[0].category = category.to_owned();
    handled.notifications[0].shadow = shadow;
    handled
}

/// Handles one event, and grants it while fewer than the question's limit are found; gives what was found.
async fn ask(store: &Store, epoch: i64, event: QueuedEvent, question: CapQuestion) -> (Granted, bool) {
    let limit = question.limit as usize;
    let at = Instant::parse("2000-01-01T00:00:00Z").unwrap();
    loop {
        let (event, places) = (event.clone(), vec![(event.position, event.partition)]);
        let decide = move |granted: Granted| {
            let goes = granted.grants[0].len() < limit;
            (vec![message(&event, USER, "general", false, goes)], (granted, goes))
        };
        match store.handle_by(epoch, at, places, vec![question.clone()], decide).await {
            Ok((taken, decided)) => {
                assert_eq!(taken.len(), 1, "handled once");
                return decided;
            }
            // Somebody held the recipient's lock for too long: the actor tries again, too.
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
}

async fn grants(db: &Db) -> Vec<String> {
    db.column("SELECT notification_id || ':' || channel AS v FROM cap_grants ORDER BY granted_at").await
}

/// The ages of all grants are made so many seconds more.
async fn age(db: &Db, seconds: f64) {
    let sql = match db.is_postgres() {
        true => format!("UPDATE cap_grants SET granted_at = granted_at - make_interval(secs => {seconds})"),
        false => format!(
            "UPDATE cap_grants
             SET granted_at = strftime('%Y-%m-%dT%H:%M:%f000Z', granted_at, '-{seconds} seconds')"
        ),
    };
    db.run(&sql).await;
}

fn release(id: &NotificationId, state: DeliveryState, granted: bool) -> Release {
    Release {
        id: DeliveryId { notification: id.clone(), channel: Channel::Sms },
        state,
        reason: (state != DeliveryState::Pending).then(|| "because".to_owned()),
        not_before: None,
        digest_key: None,
        digest: None,
        told_in: None,
        granted: granted.then(|| (USER, "general".to_owned(), false)),
        ledger: Some((
            1,
            LedgerEntry { user_id: Some(USER), rules: "v".to_owned(), record: "{}".to_owned() },
        )),
    }
}

on_both! {
    async fn grants_are_found_newest_first_within_the_window_and_no_more_than_asked_for(db) {
        let epoch = known(&db).await;
        let before = db.store.now().await.unwrap();
        let mut times = Vec::new();
        for n in 0..3 {
            let (granted, goes) = ask(&db.store, epoch, next(&db, epoch, &format!("e-{n}")).await, question(3, HOUR)).await;
            assert!(goes);
            let found: Vec<Instant> = times.iter().rev().copied().collect();
            assert_eq!(granted.grants, [found], "what was granted before, to the microsecond, the newest first");
            assert!(granted.now >= before && times.iter().all(|at| *at <= granted.now), "the database's clock");
            times.push(granted.now);
        }
        let (granted, goes) = ask(&db.store, epoch, next(&db, epoch, "e-3").await, question(2, HOUR)).await;
        assert_eq!((granted.grants[0].len(), goes), (2, false), "no more than the limit are looked at");
        assert_eq!(grants(&db).await.len(), 3, "what is refused has no grant");
        assert!(db.store.reconcile().await.unwrap().is_empty());
    }

    async fn a_window_slides_and_is_exact_at_its_end(db) {
        let epoch = known(&db).await;
        ask(&db.store, epoch, next(&db, epoch, "e-0").await, question(1, HOUR)).await;
        let cap = Cap { channel: None, category: None, flood: None, shadow: false, limit: 1, window: HOUR };
        let full = |granted: Granted| {
            let now = granted.now;
            Usage { grants: granted.grants[0].clone(), full_until: None }.full_until(&cap, now)
        };
        // A moment before its end the grant counts, and says until when; a moment after it, it does not.
        age(&db, 3_590.0).await;
        let (granted, goes) = ask(&db.store, epoch, next(&db, epoch, "e-1").await, question(1, HOUR)).await;
        assert!(!goes);
        let until = full(granted.clone()).unwrap();
        assert!(until > granted.now && until <= granted.now.plus(Duration::from_secs(10)));
        age(&db, 10.0).await;
        // The store may give one that left within the last second; who asks cuts exactly.
        let (granted, _) = ask(&db.store, epoch, next(&db, epoch, "e-2").await, question(1, HOUR)).await;
        assert_eq!(full(granted), None);
        age(&db, 2.0).await;
        let (granted, goes) = ask(&db.store, epoch, next(&db, epoch, "e-3").await, question(1, HOUR)).await;
        assert!(goes && granted.grants[0].is_empty(), "{granted:?}");
    }

    async fn only_what_a_cap_counts_is_found(db) {
        let epoch = known(&db).await;
        for (n, (user, category, shadow)) in
            [(USER, "general", false), (USER, "offers", false), (USER, "general", true), (43, "general", false)].into_iter().enumerate()
        {
            let event = next(&db, epoch, &format!("e-{n}")).await;
            let now = db.store.now().await.unwrap();
            let mut one = message(&event, user, category, shadow, true);
            if n == 1 {
                one.notifications[0].flood_granted = true;
            }
            db.store.handle(epoch, now, vec![one]).await.unwrap();
        }
        let questions = vec![
            question(9, HOUR),
            CapQuestion { shadow: true, ..question(9, HOUR) },
            CapQuestion { channel: Some(Channel::Sms), ..question(9, HOUR) },
            CapQuestion { channel: Some(Channel::Push), ..question(9, HOUR) },
            CapQuestion { category: Some("offers".to_owned()), ..question(9, HOUR) },
            CapQuestion { category: Some("offers".to_owned()), channel: Some(Channel::Email), ..question(9, HOUR) },
            CapQuestion { flood: Some("transaction.completed".to_owned()), ..question(9, HOUR) },
            CapQuestion { flood: Some("user.login".to_owned()), ..question(9, HOUR) },
            CapQuestion { user_id: 43, ..question(9, HOUR) },
            CapQuestion { user_id: 44, ..question(9, HOUR) },
            CapQuestion { limit: 1, ..question(9, HOUR) },
        ];
        let event = next(&db, epoch, "asking").await;
        let places = vec![(event.position, event.partition)];
        let now = db.store.now().await.unwrap();
        let decide = move |granted: Granted| (vec![message(&event, USER, "general", false, false)], granted);
        let (_, granted) = db.store.handle_by(epoch, now, places, questions, decide).await.unwrap();
        let found: Vec<usize> = granted.grants.iter().map(Vec::len).collect();
        // An ordinary cap never counts what the flood cap does, nor the other way round.
        assert_eq!(found, [2, 3, 2, 0, 1, 0, 1, 0, 1, 0, 1]);
    }

    async fn who_ask_at_once_are_granted_no_more_than_the_cap(db) {
        const LIMIT: u32 = 5;
        let epoch = known(&db).await;
        db.append((0..24).map(|n| event(&format!("e-{n:02}")))).await;
        let open = db.store.open_events(epoch, 100).await.unwrap();
        let rivals = [db.rival(), db.rival()];
        let asks = open.into_iter().enumerate().map(|(n, event)| {
            let store = rivals[n % 2].clone();
            tokio::spawn(async move { ask(&store, epoch, event, question(LIMIT, HOUR)).await.1 })
        });
        let asks: Vec<_> = asks.collect();
        let mut granted = 0;
        for ask in asks {
            granted += u32::from(ask.await.unwrap());
        }
        assert_eq!(granted, LIMIT);
        assert_eq!(grants(&db).await.len(), LIMIT as usize);
        assert_eq!(db.count("deliveries WHERE state = 'pending'").await, i64::from(LIMIT));
        assert!(db.store.reconcile().await.unwrap().is_empty());
    }

    async fn what_is_decided_anew_does_not_stand_in_its_own_way(db) {
        let epoch = known(&db).await;
        let mut ids = Vec::new();
        for n in 0..3 {
            let event = next(&db, epoch, &format!("e-{n}")).await;
            ids.push(NotificationId::of(event.position, &event.id, USER));
            ask(&db.store, epoch, event, question(9, HOUR)).await;
        }
        let granted_at = db.column("SELECT granted_at AS v FROM cap_grants ORDER BY granted_at").await;
        // Two of them were granted, and deferred right before the send; somebody has released one since.
        db.run(&format!("UPDATE deliveries SET state = 'deferred' WHERE notification_id <> '{}'", ids[2].0)).await;
        let asked = |ids: &[NotificationId]| {
            let sms = |id: &NotificationId| DeliveryId { notification: id.clone(), channel: Channel::Sms };
            ids.iter().map(|id| crate::deferred::deferred_of(&sms(id), USER)).collect::<Vec<_>>()
        };
        let (first, second) = (ids[0].clone(), ids[1].clone());
        let decide = move |granted: Granted, still: Vec<DeferredDelivery>| {
            let still: Vec<_> = still.into_iter().map(|one| one.id.notification).collect();
            assert_eq!(still, [first.clone(), second.clone()], "the third is not decided on again");
            assert_eq!(granted.grants[0].len(), 1, "that of the third, which is on its way");
            vec![release(&first, DeliveryState::Pending, true), release(&second, DeliveryState::Suppressed, false)]
        };
        let released = db.store.release(epoch, asked(&ids), vec![question(9, HOUR)], decide).await.unwrap();
        assert_eq!(released.taken, 2);
        let left = grants(&db).await;
        assert_eq!(left, [format!("{}:sms", ids[2]), format!("{}:sms", ids[0])], "taken back, and granted anew as of now");
        assert!(granted_at.contains(&db.one("SELECT min(granted_at) AS v FROM cap_grants").await));
        assert!(db.store.reconcile().await.unwrap().is_empty());
        // What is on its way, or was sent, keeps its grant whoever asks.
        let decide = move |granted: Granted, _| {
            assert_eq!(granted.grants[0].len(), 2);
            Vec::new()
        };
        db.store.release(epoch, asked(&ids), vec![question(9, HOUR)], decide).await.unwrap();
        assert_eq!(grants(&db).await, left);
    }

    async fn what_a_replay_sends_stands_not_in_its_own_way_and_counts_as_it_goes_now(db) {
        let epoch = known(&db).await;
        let states = [DeliveryState::Shadowed, DeliveryState::Dead, DeliveryState::Pending];
        let mut ids = Vec::new();
        for (n, state) in states.into_iter().enumerate() {
            let event = next(&db, epoch, &format!("e-{n}")).await;
            let one = NewDelivery { granted: true, ..delivery(Channel::Sms, state) };
            let mut made = notified(&event, USER, &[one]);
            made.notifications[0].shadow = state == DeliveryState::Shadowed;
            made.notifications[0].flood_granted = true;
            ids.push(made.notifications[0].id.clone());
            db.store.handle(epoch, db.store.now().await.unwrap(), vec![made]).await.unwrap();
        }
        db.store.create_replay("r-1", &ReplayRequest::default(), "{}".to_owned(), "t").await.unwrap();
        let replay = db.store.next_replay(epoch).await.unwrap().unwrap();
        let step = ReplayStep { id: "r-1".to_owned(), from: replay.begins, to: replay.until, finished: true };
        let asked = ids.iter().map(|id| DeliveryId { notification: id.clone(), channel: Channel::Sms }).collect();
        let flood = CapQuestion { flood: Some("transaction.completed".to_owned()), shadow: true, ..question(9, HOUR) };
        let questions = vec![question(9, HOUR), CapQuestion { shadow: true, ..question(9, HOUR) }, flood];
        let reopened = ids.iter().zip(states).take(2).map(|(id, from)| ReopenedNotification {
            id: id.clone(),
            user_id: USER,
            flood: None,
            category: "offers".to_owned(),
            lane: herald::domain::Lane::Normal,
            template: "generic".to_owned(),
            expires_at: None,
            deliveries: vec![Reopening {
                id: DeliveryId { notification: id.clone(), channel: Channel::Sms },
                from,
                state: DeliveryState::Pending,
                reason: None,
                not_before: None,
                digest_key: None,
                granted: from == DeliveryState::Shadowed,
            }],
            ledger: (1, LedgerEntry { user_id: Some(USER), rules: "v".to_owned(), record: "{}".to_owned() }),
        });
        let resending = Resending { reopened: reopened.collect(), first: Vec::new() };
        let decide = move |granted: Granted| {
            let found: Vec<usize> = granted.grants.iter().map(Vec::len).collect();
            assert_eq!(found, [1, 1, 1], "that of the one that is on its way");
            (resending, ())
        };
        let done = db.store.resend(epoch, step, asked, questions, decide, |(), _| "{}".to_owned()).await.unwrap();
        assert_eq!(done.unwrap().reopened, 2);
        let live = "SELECT notification_id AS v FROM cap_grants WHERE NOT shadow AND flood IS NULL ORDER BY granted_at";
        assert_eq!(db.column(live).await, [ids[2].to_string(), ids[0].to_string()], "what was a trial counts now");
        let of_first = format!("SELECT category AS v FROM cap_grants WHERE notification_id = '{}'", ids[0]);
        assert_eq!(db.one(&of_first).await, "offers");
        assert!(db.store.reconcile().await.unwrap().is_empty());
    }

    async fn what_no_window_reaches_any_more_is_forgotten_when_the_recipient_is_granted_again(db) {
        let epoch = known(&db).await;
        for (n, user) in [USER, USER, 43].into_iter().enumerate() {
            let event = next(&db, epoch, &format!("old-{n}")).await;
            let now = db.store.now().await.unwrap();
            db.store.handle(epoch, now, vec![message(&event, user, "general", false, true)]).await.unwrap();
        }
        age(&db, 31.0 * 86_400.0).await;
        ask(&db.store, epoch, next(&db, epoch, "e-1").await, question(9, HOUR)).await;
        assert_eq!(db.count("cap_grants").await, 4, "the longest window is 31 days, and some more");
        age(&db, 86_401.0).await;
        ask(&db.store, epoch, next(&db, epoch, "e-2").await, question(9, HOUR)).await;
        assert_eq!(db.count("cap_grants WHERE user_id = 42").await, 2, "e-1 and e-2");
        assert_eq!(db.count("cap_grants WHERE user_id = 43").await, 1, "another's are not looked at");
    }
}
