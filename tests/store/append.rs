//! Storing events: duplicates, conflicts, arrays, order.

use std::collections::HashSet;
use std::time::{Duration, Instant as Clock};

use herald::domain::{Document, NewEvent};
use herald::store::{Appended, Conflict, StoreError};

use crate::support::{Db, event, events, on_both, parse, stranger};

fn with_payload(id: &str, payload: &str) -> NewEvent {
    NewEvent { payload: Document::parse(payload).unwrap(), ..event(id) }
}

fn conflict<T>(index: usize, id: &str) -> Result<T, Conflict> {
    Err(Conflict { index, id: id.to_owned() })
}

async fn singles(db: &Db, events: Vec<NewEvent>) -> Vec<Result<Vec<Appended>, Conflict>> {
    db.store.append(events.into_iter().map(|event| vec![event]).collect()).await.unwrap()
}

fn is_stored(answer: &Result<Vec<Appended>, Conflict>) -> bool {
    matches!(answer.as_deref(), Ok([Appended::Stored(_)]))
}

on_both! {
    async fn a_single_event_is_stored_then_a_duplicate_then_a_conflict(db) {
        assert!(is_stored(&singles(&db, vec![event("e-1")]).await[0]));
        assert_eq!(singles(&db, vec![event("e-1")]).await, [Ok(vec![Appended::Duplicate])]);
        let other = with_payload("e-1", r#"{"amount":"2500.01"}"#);
        assert_eq!(singles(&db, vec![other]).await, [conflict(0, "e-1")]);
        assert_eq!(db.count("domain_events").await, 1);
        assert_eq!(db.count("event_queue").await, 1);
        let stored = db.store.event("e-1").await.unwrap().unwrap();
        assert_eq!(stored.outcome.as_str(), "pending");
    }

    async fn singles_in_one_batch_are_answered_each_for_itself(db) {
        singles(&db, vec![event("old")]).await;
        let batch = vec![
            event("new"),
            event("old"),
            with_payload("old", r#"{"x":1}"#),
            event("new"),
            with_payload("new", r#"{"x":1}"#),
        ];
        let answers = singles(&db, batch).await;
        assert!(is_stored(&answers[0]));
        assert_eq!(answers[1], Ok(vec![Appended::Duplicate]));
        assert_eq!(answers[2], conflict(0, "old"));
        assert_eq!(answers[3], Ok(vec![Appended::Duplicate]));
        assert_eq!(answers[4], conflict(0, "new"));
        assert_eq!(db.count("domain_events").await, 2);
    }

    async fn neither_the_order_of_keys_nor_the_spelling_of_numbers_is_content(db) {
        singles(&db, vec![with_payload("e", r#"{"a":100.0,"b":{"c":1,"d":[2,3]}}"#)]).await;
        let same = with_payload("e", r#"{"b":{"d":[2.0,3e0],"c":1},"a":1e2}"#);
        assert_eq!(singles(&db, vec![same]).await, [Ok(vec![Appended::Duplicate])]);
        for other in [r#"{"a":"100.0","b":{"c":1,"d":[2,3]}}"#, r#"{"a":100,"b":{"c":1,"d":[3,2]}}"#] {
            assert_eq!(singles(&db, vec![with_payload("e", other)]).await, [conflict(0, "e")], "{other}");
        }
    }

    async fn a_timestamp_is_content_only_where_both_have_one(db) {
        let at = |timestamp: &str| {
            parse(&format!(
                r#"{{"id":"e","type":"user.login","aggregateId":"1","aggregateType":"user","payload":{{}},
                    "metadata":{{"source":"s"}}{timestamp}}}"#
            ))
        };
        let first = at(r#","timestamp":"2026-11-24T09:15:00.123456789Z""#);
        assert!(is_stored(&singles(&db, vec![first]).await[0]));
        for same in ["", r#","timestamp":"2026-11-24T11:15:00.123456+02:00""#] {
            assert_eq!(singles(&db, vec![at(same)]).await, [Ok(vec![Appended::Duplicate])], "{same}");
        }
        let other = at(r#","timestamp":"2026-11-24T09:15:01Z""#);
        assert_eq!(singles(&db, vec![other]).await, [conflict(0, "e")]);
    }

    async fn every_part_of_an_event_is_content(db) {
        singles(&db, vec![event("e")]).await;
        let changes: [fn(&mut NewEvent); 4] = [
            |event| event.kind = "transaction.failed".to_owned(),
            |event| event.aggregate_id = "other".to_owned(),
            |event| event.aggregate_type = "other".to_owned(),
            |event| event.metadata = Document::parse(r#"{"source":"core"}"#).unwrap(),
        ];
        for change in changes {
            let mut other = event("e");
            change(&mut other);
            assert_eq!(singles(&db, vec![other]).await, [conflict(0, "e")]);
        }
    }

    async fn an_array_is_all_or_nothing(db) {
        singles(&db, vec![event("old")]).await;
        let bad = vec![event("a"), with_payload("old", r#"{"x":1}"#), event("b")];
        let good = vec![event("c"), event("old"), event("d")];
        let answers = db.store.append(vec![bad, good, vec![event("e")]]).await.unwrap();
        assert_eq!(answers[0], conflict(1, "old"));
        assert!(matches!(
            answers[1].as_deref(),
            Ok([Appended::Stored(_), Appended::Duplicate, Appended::Stored(_)])
        ));
        assert!(is_stored(&answers[2]));
        assert_eq!(db.column("SELECT id AS v FROM domain_events ORDER BY id").await, ["c", "d", "e", "old"]);
        assert_eq!(db.count("event_queue").await, 4);
    }

    async fn an_event_twice_in_an_array_is_a_duplicate_or_a_conflict(db) {
        let answers = db.store.append(vec![vec![event("a"), event("b"), event("a")]]).await.unwrap();
        assert!(matches!(
            answers[0].as_deref(),
            Ok([Appended::Stored(_), Appended::Stored(_), Appended::Duplicate])
        ));
        let answers = db.store.append(vec![vec![event("c"), with_payload("c", "{}")]]).await.unwrap();
        assert_eq!(answers, [conflict(1, "c")]);
        assert_eq!(db.count("domain_events").await, 2);
    }

    async fn arrays_in_one_batch_may_share_events(db) {
        // The second has what the first has; the third conflicts with the first; the fourth shares an
        // event with the third, which is not stored with it.
        let batch = vec![
            vec![event("a"), event("b")],
            vec![event("b"), event("c")],
            vec![event("x"), with_payload("a", "{}")],
            vec![event("x"), event("d")],
        ];
        let answers = db.store.append(batch).await.unwrap();
        assert!(answers[0].is_ok() && answers[1].is_ok());
        assert_eq!(answers[2], conflict(1, "a"));
        assert!(matches!(answers[3].as_deref(), Ok([Appended::Stored(_), Appended::Stored(_)])));
        assert_eq!(db.column("SELECT id AS v FROM domain_events ORDER BY id").await, ["a", "b", "c", "d", "x"]);
    }

    async fn an_empty_array_is_stored_as_nothing(db) {
        let answers = db.store.append(vec![vec![], vec![event("a")]]).await.unwrap();
        assert_eq!(answers[0], Ok(vec![]));
        assert!(is_stored(&answers[1]));
        assert_eq!(db.store.append(vec![]).await.unwrap(), []);
    }

    async fn positions_follow_the_order_of_the_array(db) {
        // Ids in no order: neither the index nor the hash of the id may decide.
        let ids: Vec<String> = (0..1_000_u32).map(|n| format!("{:08x}", n.wrapping_mul(2_654_435_761))).collect();
        let array: Vec<NewEvent> = ids.iter().map(|id| event(id)).collect();
        db.store.append(vec![array]).await.unwrap();
        assert_eq!(db.column("SELECT id AS v FROM domain_events ORDER BY position").await, ids);
    }

    async fn what_64_callers_store_at_once_is_stored_once(db) {
        let calls = (0..64).map(|caller| {
            let store = db.store.clone();
            // Each sends its own event, and one that all send.
            let batch = vec![vec![event(&format!("own-{caller}"))], vec![event("shared")]];
            tokio::spawn(async move {
                loop {
                    // Whoever waits too long for another's commit is told so, and asks again.
                    match store.append(batch.clone()).await {
                        Err(StoreError::Busy(_)) => {}
                        answers => return answers,
                    }
                }
            })
        });
        let mut stored = HashSet::new();
        let mut shared = 0;
        for call in futures_util::future::join_all(calls).await {
            let answers = call.unwrap().unwrap();
            match answers[0].as_deref() {
                Ok([Appended::Stored(position)]) => assert!(stored.insert(*position)),
                other => panic!("{other:?}"),
            }
            shared += usize::from(is_stored(&answers[1]));
        }
        assert_eq!(shared, 1);
        assert_eq!(db.count("domain_events").await, 65);
        assert_eq!(db.count("event_queue").await, 65);
    }

    async fn the_largest_batch_is_stored(db) {
        let answers = db.store.append(vec![events(1_000)]).await.unwrap();
        assert_eq!(answers[0].as_ref().unwrap().len(), 1_000);
        assert_eq!(db.count("event_queue").await, 1_000);
    }
}

/// A stranger's open transaction on one id holds the group up for a moment only.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_in_a_strangers_open_transaction_is_busy() {
    let db = Db::postgres().await;
    let other = stranger(db.config()).await;
    other
        .batch_execute(
            r#"BEGIN; INSERT INTO domain_events (id, type, aggregate_id, aggregate_type, payload, metadata, timestamp)
               VALUES ('e', 'user.login', '1', 'user', '{}', '{"source":"s"}', now())"#,
        )
        .await
        .unwrap();
    let begun = Clock::now();
    let error = db.store.append(vec![vec![event("e")]]).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy(_)), "{error:?}");
    assert!(error.is_transient() && !error.is_outage());
    assert!(begun.elapsed() < Duration::from_secs(3));
    // The others are not held up.
    assert!(db.store.append(vec![vec![event("f")]]).await.unwrap()[0].is_ok());
    other.batch_execute("ROLLBACK").await.unwrap();
    assert!(is_stored(&db.store.append(vec![vec![event("e")]]).await.unwrap()[0]));
}

/// A default that would lose acknowledged commits does not hold for Herald; one that asks for more does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_event_is_durable_whatever_the_databases_default() {
    for (default, used) in [("off", "on"), ("remote_write", "remote_write")] {
        let db = Db::postgres().await;
        db.run(&format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = {default}', current_database()); END $$;
             CREATE TABLE seen (v text);
             CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL;
             END $$;
             CREATE TRIGGER look AFTER INSERT ON domain_events FOR EACH STATEMENT EXECUTE FUNCTION look()"
        ))
        .await;
        assert_eq!(db.one("SELECT current_setting('synchronous_commit') AS v").await, default);
        let store = db.rival();
        store.append(vec![vec![event("e")]]).await.unwrap();
        assert_eq!(db.column("SELECT DISTINCT v FROM seen").await, [used]);
    }
}
