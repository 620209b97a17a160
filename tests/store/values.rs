//! What goes in comes out.

use herald::domain::{Channel, Document, NewEvent};
use herald::store::Claim;

use crate::support::{event, on_both, parse, pending};

on_both! {
    async fn numbers_keep_all_their_digits(db) {
        let epoch = db.instance().await;
        let digits = "12345678901234567890.120";
        let document = format!(r#"{{"a":{digits},"b":0.1000,"c":-0.0000000000000000000001,"d":18446744073709551616}}"#);
        db.append([NewEvent { payload: Document::parse(&document).unwrap(), ..event("e") }]).await;
        let there = |payload: &str| {
            for number in [digits, "0.1000", "0.0000000000000000000001", "18446744073709551616"] {
                assert!(payload.contains(number), "{number}: {payload}");
            }
        };
        there(&db.store.event("e").await.unwrap().unwrap().payload);
        there(&db.store.open_events(epoch, 1).await.unwrap()[0].payload);
        db.notify(epoch, &pending(&[Channel::Sms])).await;
        there(&db.claim(Channel::Sms, Claim { epoch, life: 1 }).await[0].payload);
    }

    async fn text_keeps_every_character(db) {
        let text = "Zikomo \u{2028}\u{2029} \u{1F4B3} ẞ \u{202E} ' \" \\ ? $1 \u{7f} \u{1} %_ e\u{301}";
        let mut all = event("e");
        all.id = "e-ß'?\"\\".to_owned();
        all.aggregate_id = "ACC '\u{1F4B3}? $1".to_owned();
        all.payload = Document::of(&serde_json::json!({ "text": text, "?": "'" })).unwrap();
        db.append([all.clone()]).await;
        let stored = db.store.event(&all.id).await.unwrap().unwrap();
        assert_eq!(stored.aggregate_id, all.aggregate_id);
        let payload: serde_json::Value = serde_json::from_str(&stored.payload).unwrap();
        assert_eq!(payload["text"], text);
        assert_eq!(payload["?"], "'");
        let answers = db.store.append(vec![vec![all]]).await.unwrap();
        assert_eq!(answers, [Ok(vec![herald::store::Appended::Duplicate])]);
    }

    async fn the_largest_event_is_kept(db) {
        let epoch = db.instance().await;
        let text = "ä".repeat(127 * 1024);
        let large = parse(&format!(
            r#"{{"id":"e","type":"user.login","aggregateId":"1","aggregateType":"user","payload":{{"t":"{text}"}},
                "metadata":{{"source":"s"}}}}"#
        ));
        db.append([large.clone()]).await;
        let open = db.store.open_events(epoch, 1).await.unwrap();
        assert!(open[0].payload.contains(&text));
        assert_eq!(db.store.append(vec![vec![large]]).await.unwrap(), [Ok(vec![herald::store::Appended::Duplicate])]);
    }

    async fn ids_of_the_largest_length_are_kept(db) {
        let epoch = db.instance().await;
        let long = |n: usize| "é".repeat(n);
        let mut all = event(&long(50));
        all.aggregate_id = long(100);
        all.aggregate_type = long(50);
        all.kind = format!("a.{}", "b".repeat(98));
        db.append([all.clone()]).await;
        db.notify(epoch, &pending(&[Channel::Sms])).await;
        let claimed = db.claim(Channel::Sms, Claim { epoch, life: 1 }).await.remove(0);
        assert_eq!((claimed.event_id, claimed.aggregate_id, claimed.event_type), (all.id, all.aggregate_id, all.kind));
    }

    async fn moments_keep_their_microseconds(db) {
        let at = |id: &str, timestamp: &str| {
            parse(&format!(
                r#"{{"id":"{id}","type":"user.login","aggregateId":"1","aggregateType":"user","payload":{{}},
                    "metadata":{{"source":"s"}},"timestamp":"{timestamp}"}}"#
            ))
        };
        let cases = [
            ("a", "2026-11-24T09:15:00.123456Z", "2026-11-24T09:15:00.123456Z"),
            ("b", "2026-11-24T09:15:00.123456999+02:00", "2026-11-24T07:15:00.123456Z"),
            ("c", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
            ("d", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ];
        for (id, given, kept) in cases {
            db.append([at(id, given)]).await;
            let stored = db.store.event(id).await.unwrap().unwrap();
            assert_eq!(stored.timestamp.to_rfc3339(), kept);
            assert!(stored.created_at.since(stored.timestamp).as_secs() > 0 || id == "d");
        }
    }

    async fn an_absent_timestamp_is_now(db) {
        let before = db.store.now().await.unwrap();
        db.append([event("e")]).await;
        let after = db.store.now().await.unwrap();
        let stored = db.store.event("e").await.unwrap().unwrap();
        assert!(before <= stored.timestamp && stored.timestamp <= after);
        assert!(before <= stored.created_at && stored.created_at <= after);
    }
}
