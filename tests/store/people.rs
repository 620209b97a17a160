//! Recipients, devices, tokens, logins, and the rest that the API keeps.

use std::collections::HashSet;
use std::time::Duration;

use herald::domain::{
    Channel, Content, DeliveryId, Destination, Device, NotificationId, Platform, Recipient,
};
use herald::store::{Controls, Login, Remembered};

use crate::support::{Db, event, notified, on_both, pending};

fn device(token: &str) -> Device {
    Device { token: token.to_owned(), platform: Platform::Ios }
}

fn recipient(id: i64, devices: &[&str]) -> Recipient {
    Recipient {
        name: Some(format!("Name {id}")),
        email: Some(format!("user{id}@example.com")),
        phone: Some("+265991234567".to_owned()),
        locale: Some("ny-MW".to_owned()),
        time_zone: Some("Africa/Blantyre".to_owned()),
        devices: devices.iter().map(|token| device(token)).collect(),
        ..Recipient::new(id)
    }
}

async fn tokens_of(db: &Db, id: i64) -> Vec<String> {
    let contacts = db.store.contacts(vec![id]).await.unwrap().remove(&id).unwrap();
    contacts.devices.into_iter().map(|(_, device)| device.token).collect()
}

on_both! {
    async fn a_recipient_is_made_replaced_and_forgotten(db) {
        assert_eq!(db.store.put_recipients(vec![recipient(1, &["token-a", "token-b"]), recipient(2, &[])]).await.unwrap(), 2);
        let contacts = db.store.contacts(vec![1, 2, 3]).await.unwrap();
        assert_eq!(contacts.len(), 2);
        let one = &contacts[&1];
        assert_eq!(one.name.as_deref(), Some("Name 1"));
        assert_eq!(one.email.as_deref(), Some("user1@example.com"));
        assert_eq!(one.phone.as_deref(), Some("+265991234567"));
        assert_eq!(one.locale.as_deref(), Some("ny-MW"));
        assert_eq!(one.time_zone.as_deref(), Some("Africa/Blantyre"));
        assert_eq!(one.devices.len(), 2);
        assert!(one.devices.iter().all(|(id, device)| !id.contains(&device.token) && device.platform == Platform::Ios));

        // Whole: what is not told is gone.
        assert_eq!(db.store.put_recipients(vec![Recipient { devices: vec![device("c")], ..Recipient::new(1) }]).await.unwrap(), 0);
        let contacts = db.store.contacts(vec![1]).await.unwrap();
        assert_eq!(contacts[&1].email, None);
        assert_eq!(tokens_of(&db, 1).await, ["c"]);

        assert!(db.store.delete_recipient(1).await.unwrap());
        assert!(!db.store.delete_recipient(1).await.unwrap());
        assert!(db.store.contacts(vec![1]).await.unwrap().is_empty());
        assert_eq!(db.count("devices").await, 0);
        assert_eq!(db.store.contacts(vec![]).await.unwrap().len(), 0);
    }

    /// What is personal goes with the recipient; what happened stays, and other people's things do.
    async fn a_recipient_is_forgotten_wherever_the_name_or_a_contact_is_kept(db) {
        let epoch = db.instance().await;
        db.store.put_recipients(vec![recipient(42, &["a"]), recipient(43, &[])]).await.unwrap();
        db.append([event("e"), event("f")]).await;
        let open = db.store.open_events(epoch, 10).await.unwrap();
        let named = |event, user| {
            let mut handled = notified(event, user, &pending(&[Channel::Sms]));
            handled.notifications[0].name = Some(format!("Name {user}"));
            handled
        };
        let handled = vec![named(&open[0], 42), named(&open[1], 43)];
        let ids: Vec<_> = handled.iter().map(|event| event.notifications[0].id.clone()).collect();
        let now = db.store.now().await.unwrap();
        assert_eq!(db.store.handle(epoch, now, handled).await.unwrap().len(), 2);
        for id in &ids {
            let id = DeliveryId { notification: id.clone(), channel: Channel::Sms };
            let to = Destination::Phone { number: "+265991234567".to_owned() };
            let content = Content::Sms { text: "Moni".to_owned(), segments: 1 };
            db.store.keep_sandbox_message(&id, "e", "user.login", &to, &content).await.unwrap();
        }

        assert!(db.store.delete_recipient(42).await.unwrap());
        assert_eq!(db.column("SELECT name AS v FROM notifications ORDER BY user_id").await, ["NULL", "Name 43"]);
        assert_eq!(db.column("SELECT notification_id AS v FROM sandbox_messages").await, [ids[1].0.as_str()]);
        assert_eq!(db.column("SELECT id AS v FROM users").await, ["43"]);
        assert_eq!(db.count("deliveries WHERE state = 'pending'").await, 2);

        // One that was never made known leaves nothing either.
        db.run("DELETE FROM users").await;
        assert!(!db.store.delete_recipient(43).await.unwrap());
        assert_eq!(db.count("notifications WHERE name IS NOT NULL").await, 0);
        assert_eq!(db.count("sandbox_messages").await, 0);
    }

    /// A push must not reach who had the phone before.
    async fn a_device_goes_over_to_who_registered_it_last(db) {
        db.store.put_recipients(vec![recipient(1, &["phone", "tablet"])]).await.unwrap();
        db.store.put_recipients(vec![recipient(2, &["phone"])]).await.unwrap();
        assert_eq!(tokens_of(&db, 1).await, ["tablet"]);
        assert_eq!(tokens_of(&db, 2).await, ["phone"]);
    }

    async fn an_import_may_name_one_twice(db) {
        let mut last = recipient(1, &["b", "b"]);
        last.name = Some("Last".to_owned());
        let made = db.store.put_recipients(vec![recipient(1, &["a"]), recipient(2, &["a"]), last]).await.unwrap();
        assert_eq!(made, 2);
        assert_eq!(db.store.contacts(vec![1]).await.unwrap()[&1].name.as_deref(), Some("Last"));
        assert_eq!(tokens_of(&db, 1).await, ["b"]);
        let many = (1..=1_000).map(|id| recipient(id, &[])).collect();
        assert_eq!(db.store.put_recipients(many).await.unwrap(), 998);
    }

    async fn a_token_is_valid_until_it_expires_or_is_revoked(db) {
        let hour = Some(Duration::from_secs(3600));
        db.store.create_token("t1", "ci", "h1", "read,operate", None).await.unwrap();
        db.store.create_token("t2", "app", "h2", "events:write", hour).await.unwrap();
        db.store.create_token("t3", "old", "h3", "read", Some(Duration::ZERO)).await.unwrap();
        assert_eq!(db.store.valid_token("t1").await.unwrap(), Some(("h1".to_owned(), "read,operate".to_owned())));
        assert_eq!(db.store.valid_token("t2").await.unwrap(), Some(("h2".to_owned(), "events:write".to_owned())));
        assert_eq!(db.store.valid_token("t3").await.unwrap(), None);
        assert_eq!(db.store.valid_token("t4").await.unwrap(), None);
        assert!(db.store.create_token("t1", "again", "h", "read", None).await.is_err());

        let all = db.store.tokens().await.unwrap();
        assert_eq!(all.iter().map(|token| token.id.as_str()).collect::<HashSet<_>>(), HashSet::from(["t1", "t2", "t3"]));
        let of = |id: &str| all.iter().find(|token| token.id == id).unwrap();
        assert_eq!(of("t1").expires_at, None);
        let lifetime = of("t2").expires_at.unwrap().since(of("t2").created_at);
        assert!(lifetime >= Duration::from_secs(3599) && lifetime < Duration::from_secs(3660), "{lifetime:?}");

        assert!(db.store.revoke_token("t1").await.unwrap());
        assert!(!db.store.revoke_token("t1").await.unwrap());
        assert!(!db.store.revoke_token("t4").await.unwrap());
        assert_eq!(db.store.valid_token("t1").await.unwrap(), None);
        assert!(db.store.tokens().await.unwrap().iter().any(|token| token.revoked_at.is_some()));
    }

    async fn a_login_link_works_once_and_a_session_until_its_end(db) {
        let hour = Duration::from_secs(3600);
        db.store.create_login(Login::Link, "link", "admin", hour).await.unwrap();
        db.store.create_login(Login::Link, "late", "admin", Duration::ZERO).await.unwrap();
        db.store.create_login(Login::Session, "session", "read", hour).await.unwrap();
        db.store.create_login(Login::Session, "over", "read", Duration::ZERO).await.unwrap();
        assert_eq!(db.store.session("link").await.unwrap(), None, "a link is no session");
        assert_eq!(db.store.use_up_login(Login::Session, "link").await.unwrap(), None);
        let rivals = (0..8).map(|_| {
            let store = db.store.clone();
            tokio::spawn(async move { store.use_up_login(Login::Link, "link").await.unwrap() })
        });
        let got = futures_util::future::join_all(rivals).await;
        assert_eq!(got.into_iter().filter_map(Result::unwrap).collect::<Vec<_>>(), ["admin"]);
        assert_eq!(db.store.use_up_login(Login::Link, "late").await.unwrap(), None);
        assert_eq!(db.store.session("session").await.unwrap().as_deref(), Some("read"));
        assert_eq!(db.store.session("session").await.unwrap().as_deref(), Some("read"));
        assert_eq!(db.store.session("over").await.unwrap(), None);
        db.store.forget_expired(hour).await.unwrap();
        assert_eq!(db.column("SELECT hash AS v FROM logins").await, ["session"]);
        assert_eq!(db.store.use_up_login(Login::Session, "session").await.unwrap().as_deref(), Some("read"));
        assert_eq!(db.store.session("session").await.unwrap(), None, "it is ended");
    }

    async fn a_session_ends_with_the_token_that_began_it(db) {
        let hour = Duration::from_secs(3600);
        db.store.create_token("t", "ops", "h", "operate", None).await.unwrap();
        db.store.create_token("short", "ops", "h", "operate", Some(Duration::ZERO)).await.unwrap();
        db.store.begin_session("a", "operate", hour, Some("t")).await.unwrap();
        db.store.begin_session("b", "read", hour, None).await.unwrap();
        db.store.begin_session("c", "read", hour, Some("short")).await.unwrap();
        db.store.begin_session("d", "read", hour, Some("nobody")).await.unwrap();
        assert_eq!(db.store.session("a").await.unwrap().as_deref(), Some("operate"));
        assert_eq!(db.store.session("b").await.unwrap().as_deref(), Some("read"));
        assert_eq!(db.store.session("c").await.unwrap(), None);
        assert_eq!(db.store.session("d").await.unwrap(), None);
        assert!(db.store.revoke_token("t").await.unwrap());
        assert_eq!(db.store.session("a").await.unwrap(), None);
        assert_eq!(db.store.session("b").await.unwrap().as_deref(), Some("read"));
    }

    async fn a_key_is_answered_as_the_first_time(db) {
        let remember = async |key: &str, request: &str| db.store.remember("token", key, request).await.unwrap();
        assert_eq!(remember("k", "r").await, Remembered::New);
        assert_eq!(remember("k", "r").await, Remembered::InFlight);
        assert_eq!(remember("k", "other").await, Remembered::OtherRequest);
        assert_eq!(db.store.remember("another", "k", "r").await.unwrap(), Remembered::New, "a key is its token's");
        db.store.answer("token", "k", Some((202, "{\"a\":1}".to_owned()))).await.unwrap();
        assert_eq!(remember("k", "r").await, Remembered::Answer(202, "{\"a\":1}".to_owned()));
        assert_eq!(remember("k", "other").await, Remembered::OtherRequest);

        // Not answered: the request may be made again.
        assert_eq!(remember("l", "r").await, Remembered::New);
        db.store.answer("token", "l", None).await.unwrap();
        assert_eq!(remember("l", "r2").await, Remembered::New);

        // Its process died.
        db.run("UPDATE idempotency_keys SET created_at = '2026-01-01T00:00:00.000000Z'").await;
        assert_eq!(remember("l", "r3").await, Remembered::OtherRequest);
        assert_eq!(remember("l", "r2").await, Remembered::New);
        assert_eq!(remember("l", "r2").await, Remembered::InFlight);
        assert_eq!(remember("k", "r").await, Remembered::Answer(202, "{\"a\":1}".to_owned()), "an answer does not age");
        db.store.forget_expired(Duration::from_secs(86_400)).await.unwrap();
        assert_eq!(db.column("SELECT key AS v FROM idempotency_keys").await, ["l"]);
    }

    async fn one_of_many_that_ask_at_once_is_first(db) {
        let rivals = (0..16).map(|_| {
            let store = db.store.clone();
            tokio::spawn(async move { store.remember("t", "k", "r").await.unwrap() })
        });
        let got = futures_util::future::join_all(rivals).await.into_iter().map(Result::unwrap);
        assert_eq!(got.filter(|got| *got == Remembered::New).count(), 1);
    }

    async fn controls_are_kept(db) {
        assert_eq!(db.store.controls().await.unwrap(), Controls::default());
        db.store.hold_dispatch(true).await.unwrap();
        db.store.pause_channel(Channel::Sms, true).await.unwrap();
        db.store.pause_channel(Channel::Push, true).await.unwrap();
        db.store.pause_channel(Channel::Push, false).await.unwrap();
        let expected = Controls { held: true, paused: HashSet::from([Channel::Sms]) };
        assert_eq!(db.rival().controls().await.unwrap(), expected);
        db.run("INSERT INTO controls (name, value) VALUES ('channel:fax', 'paused'), ('later', 'x')").await;
        assert_eq!(db.store.controls().await.unwrap(), expected, "what a newer version knows is let be");
        db.store.hold_dispatch(false).await.unwrap();
        db.store.pause_channel(Channel::Sms, false).await.unwrap();
        assert_eq!(db.store.controls().await.unwrap(), Controls::default());
    }

    async fn the_sandbox_keeps_what_it_was_given(db) {
        for n in 0..25 {
            let channel = if n % 5 == 0 { Channel::Email } else { Channel::Sms };
            let id = DeliveryId { notification: NotificationId(format!("n-{n}")), channel };
            let to = Destination::Phone { number: "+265991234567".to_owned() };
            let content = Content::Sms { text: format!("Moni № {n}"), segments: 1 };
            db.store.keep_sandbox_message(&id, &format!("e-{}", n / 5), "user.login", &to, &content).await.unwrap();
        }
        let mut seen = Vec::new();
        let mut before = None;
        loop {
            let page = db.store.sandbox_messages(None, None, before, 10).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            seen.extend(page.into_iter().map(|message| message.notification_id));
        }
        assert_eq!(seen, (0..25).rev().map(|n| format!("n-{n}")).collect::<Vec<_>>());
        let found = db.store.sandbox_messages(Some("e-2".to_owned()), Some("email".to_owned()), None, 10).await.unwrap();
        assert_eq!(found.len(), 1);
        let message = &found[0];
        assert_eq!(message.notification_id, "n-10");
        assert_eq!(serde_json::from_str::<serde_json::Value>(message.content.get()).unwrap()["text"], "Moni № 10");
        assert_eq!(serde_json::from_str::<serde_json::Value>(message.to.get()).unwrap()["phone"]["number"], "+265991234567");
        assert_eq!(db.store.trim_sandbox(20).await.unwrap(), 5);
        assert_eq!(db.store.trim_sandbox(20).await.unwrap(), 0);
        assert_eq!(db.store.clear_sandbox().await.unwrap(), 20);
        assert_eq!(db.store.trim_sandbox(20).await.unwrap(), 0, "of none");
    }
}
