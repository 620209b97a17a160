//! A replay goes on where it was, by whoever has the task; a step that is void leaves nothing.

use herald::domain::{
    Channel, DeliveryId, DeliveryState, EventOutcome, ReplayFilter, ReplayRequest, ReplayState,
};
use herald::store::{LedgerEntry, ReopenedNotification, Reopening, ReplayGrant, ReplayStep, Resending};

use crate::support::{Db, event, handled, of_aggregate, on_both, pending};

fn step(from: i64, to: i64, finished: bool) -> ReplayStep {
    ReplayStep { id: "r-1".to_owned(), from, to, finished }
}

fn dry() -> ReplayRequest {
    ReplayRequest::default()
}

async fn stored(db: &Db, epoch: i64, n: usize) {
    db.append((0..n).map(|n| event(&format!("e-{n}")))).await;
    let open = db.store.open_events(epoch, 100).await.unwrap();
    let now = db.store.now().await.unwrap();
    let batch = open.iter().map(|event| handled(event, EventOutcome::NotRouted)).collect();
    db.store.handle(epoch, now, batch).await.unwrap();
}

on_both! {
    async fn a_step_counts_once_and_only_from_whom_it_is_the_task_of(db) {
        let epoch = db.instance().await;
        stored(&db, epoch, 5).await;
        db.store.create_replay("r-1", &dry(), "{}".to_owned(), "t").await.unwrap();
        db.store.create_replay("r-2", &dry(), "{}".to_owned(), "t").await.unwrap();
        let replay = db.store.next_replay(epoch).await.unwrap().unwrap();
        assert_eq!((replay.id.as_str(), replay.state, replay.until - replay.begins), ("r-1", ReplayState::Pending, 5));
        assert!(db.store.next_replay(epoch + 1).await.unwrap().is_none(), "not the task of another");

        let begins = replay.begins;
        let now = db.store.now().await.unwrap();
        let grant = ReplayGrant {
            user_id: 42,
            channel: Some(Channel::Sms),
            category: "general".to_owned(),
            flood: None,
            shadow: false,
            at: now,
        };
        let note = async |epoch, step, report: &str| {
            db.store.note_replay(epoch, step, report.to_owned(), vec![grant.clone()]).await.unwrap()
        };
        assert!(note(epoch, step(begins, begins + 2, false), "one").await);
        assert!(!note(epoch, step(begins, begins + 2, false), "twice").await, "it stands elsewhere by now");
        assert!(!note(epoch + 1, step(begins + 2, begins + 4, false), "stranger").await);
        let replay = db.store.replay("r-1").await.unwrap().unwrap();
        assert_eq!((replay.cursor, replay.report.as_str(), replay.state), (begins + 2, "one", ReplayState::Running));
        let since = herald::domain::Instant::parse("2000-01-01T00:00:00Z").unwrap();
        assert_eq!(db.store.replay_grants("r-1", &[42, 43], since).await.unwrap(), std::slice::from_ref(&grant), "once");
        assert!(db.store.replay_grants("r-2", &[42], since).await.unwrap().is_empty(), "each its own");

        // Another instance takes over, and goes on.
        let heir = db.instance().await;
        db.run(&format!("UPDATE partitions SET epoch = {heir}")).await;
        assert!(!note(epoch, step(begins + 2, begins + 5, true), "too late").await);
        assert_eq!(db.store.next_replay(heir).await.unwrap().unwrap().cursor, begins + 2);
        assert!(note(heir, step(begins + 2, begins + 5, true), "all").await);
        let replay = db.store.replay("r-1").await.unwrap().unwrap();
        assert_eq!((replay.state, replay.report.as_str()), (ReplayState::Done, "all"));
        assert!(replay.finished_at.is_some());
        assert_eq!(db.count("replay_grants").await, 0);
        assert_eq!(db.store.next_replay(heir).await.unwrap().unwrap().id, "r-2");
        db.store.fail_replay("r-2", "why").await.unwrap();
        let failed = db.store.replay("r-2").await.unwrap().unwrap();
        assert_eq!((failed.state, failed.error.as_deref()), (ReplayState::Failed, Some("why")));
        assert!(db.store.next_replay(heir).await.unwrap().is_none());
    }

    async fn events_are_found_by_what_they_have_in_common_in_their_order(db) {
        db.append([
            of_aggregate("e-1", "A", "a.x"),
            of_aggregate("e-2", "B", "a.y"),
            of_aggregate("e-3", "A", "a.z"),
            of_aggregate("e-4", "A", "a.x"),
        ])
        .await;
        let find = async |filter: ReplayFilter, after: i64, limit| -> Vec<String> {
            let found = db.store.replay_events(&filter, after, i64::MAX, limit).await.unwrap();
            found.into_iter().map(|event| event.id).collect()
        };
        let types = |types: &[&str]| ReplayFilter {
            types: types.iter().map(|kind| (*kind).to_owned()).collect(),
            ..ReplayFilter::default()
        };
        let of_a = || ReplayFilter { aggregate: Some("A".to_owned()), ..ReplayFilter::default() };
        assert_eq!(find(ReplayFilter::default(), 0, 10).await, ["e-1", "e-2", "e-3", "e-4"]);
        assert_eq!(find(types(&["a.z", "a.x"]), 0, 10).await, ["e-1", "e-3", "e-4"]);
        assert_eq!(find(types(&["a.z", "a.x"]), 0, 2).await, ["e-1", "e-3"]);
        assert_eq!(find(of_a(), 1, 10).await, ["e-3", "e-4"]);
        assert_eq!(find(ReplayFilter { types: vec!["a.x".to_owned()], ..of_a() }, 1, 10).await, ["e-4"]);
    }

    async fn what_is_sent_again_is_what_stood_so(db) {
        let epoch = db.instance().await;
        db.append([event("e-1")]).await;
        let ids = db.notify(epoch, &pending(&[Channel::Push, Channel::Sms])).await;
        let id = ids[0].clone();
        db.run(&format!(
            "UPDATE deliveries SET state = 'dead' WHERE channel = 'sms';
             UPDATE notifications SET open = 1, failed = 1 WHERE id = '{}'", id.0
        ))
        .await;
        db.store.create_replay("r-1", &dry(), "{}".to_owned(), "t").await.unwrap();
        let replay = db.store.next_replay(epoch).await.unwrap().unwrap();
        let reopening = |channel| Reopening {
            id: DeliveryId { notification: id.clone(), channel },
            from: DeliveryState::Dead,
            state: DeliveryState::Pending,
            reason: None,
            not_before: None,
            digest_key: None,
            granted: true,
        };
        let resending = || Resending {
            reopened: vec![ReopenedNotification {
                id: id.clone(),
                user_id: 42,
                flood: None,
                category: "general".to_owned(),
                lane: herald::domain::Lane::High,
                template: "generic".to_owned(),
                expires_at: None,
                // Push waits for its turn still: it is left alone.
                deliveries: vec![reopening(Channel::Push), reopening(Channel::Sms)],
                ledger: (1, LedgerEntry { user_id: Some(42), rules: "v".to_owned(), record: "{}".to_owned() }),
            }],
            first: Vec::new(),
        };
        let again = async |epoch, from| {
            let (resending, to) = (resending(), step(from, replay.until, true));
            let decide = move |_| (resending, ());
            db.store.resend(epoch, to, vec![], vec![], decide, |(), done| done.reopened.to_string()).await.unwrap()
        };
        assert_eq!(again(epoch + 1, replay.begins).await, None);
        assert_eq!(again(epoch, replay.begins + 1_000).await, None);
        assert_eq!(db.count("deliveries WHERE cycle > 0").await, 0, "a void step leaves nothing");
        let done = again(epoch, replay.begins).await.unwrap();
        assert_eq!((done.reopened, done.channels.into_iter().collect::<Vec<_>>()), (1, vec![Channel::Sms]));
        assert_eq!(again(epoch, replay.begins).await, None, "nor does one that was made already");
        let sms = "SELECT state || cycle || lane || replay_id AS v FROM deliveries WHERE channel = 'sms'";
        assert_eq!(db.one(sms).await, "pending11r-1");
        assert_eq!(db.one("SELECT open || ':' || failed || ':' || template AS v FROM notifications").await, "2:0:generic");
        assert_eq!(db.column("SELECT channel AS v FROM cap_grants").await, ["sms"]);
        assert_eq!(db.store.replay("r-1").await.unwrap().unwrap().report, "1");
    }
}
