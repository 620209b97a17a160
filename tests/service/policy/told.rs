//! Why a customer was told or not: `/v1/events/{id}/flow` and `/v1/notifications/{id}/explain`, in words
//! and in JSON, for everything that was not sent.

use serde_json::{Value, json};

use super::{delivery, notification, quiet_now};
use crate::harness::{Api, Db, Event, Herald, SOON, ingest, on_both, settle, user, wait_until};

on_both!(every_message_that_was_not_sent_says_why);

const RULES: &str = "
[routes.\"offer.made\"]
channels = [\"sms\"]
[routes.\"offer.brief\"]
channels = [\"sms\"]
expires_after = \"1h\"
[routes.\"offer.few\"]
channels = [\"sms\"]
category = \"few\"
[routes.\"offer.later\"]
channels = [\"sms\"]
category = \"few\"
over_cap = \"defer\"
[routes.\"offer.digest\"]
channels = [\"sms\"]
category = \"digest\"
over_cap = \"digest\"
[routes.\"offer.shadow\"]
channels = [\"sms\"]
mode = \"shadow\"
[routes.\"offer.off\"]
channels = [\"sms\"]
mode = \"off\"
[routes.\"login.seen\"]
channels = [\"sms\"]
mandatory = true
[[caps]]
category = \"few\"
limit = 1
window = \"1d\"
[[caps]]
category = \"digest\"
limit = 1
window = \"3s\"
";

/// What must be told of an event: the delivery's state and reason, the rule that decided, what it answered,
/// and words that say it to people.
struct Told {
    event: &'static str,
    state: &'static str,
    reason: &'static str,
    rule: &'static str,
    answer: &'static str,
    /// In the words of the ledger.
    decided: &'static str,
    /// In the words about where it stands.
    stands: &'static str,
}

const TOLD: &[Told] = &[
    Told {
        event: "opted-out",
        state: "suppressed",
        reason: "opted_out",
        rule: "opt_out",
        answer: "suppress",
        decided: "sms: not to be sent (opt-out: of this type).",
        stands: "sms: not sent: the recipient does not want it.",
    },
    Told {
        event: "no-contact",
        state: "suppressed",
        reason: "no_contact",
        rule: "contact",
        answer: "suppress",
        decided: "sms: not to be sent (contact: there is none).",
        stands: "sms: not sent: there is no contact for this channel.",
    },
    Told {
        event: "stranger",
        state: "suppressed",
        reason: "no_contact",
        rule: "contact",
        answer: "suppress",
        decided: "sms: not to be sent (contact: there is none).",
        stands: "sms: not sent: there is no contact for this channel.",
    },
    Told {
        event: "capped",
        state: "suppressed",
        reason: "frequency_cap",
        rule: "frequency_cap",
        answer: "suppress",
        decided: "sms: not to be sent (frequency cap: 1 of few in 1d: full until ",
        stands: "sms: not sent: a frequency cap, or the recipient's own limit, is full.",
    },
    Told {
        event: "flood",
        state: "suppressed",
        reason: "flood_cap",
        rule: "flood_cap",
        answer: "suppress",
        decided: "sms: not to be sent (flood cap: 1 notification of login.seen in 5m: full until ",
        stands: "sms: not sent: the recipient was told of the same a moment ago.",
    },
    Told {
        event: "later",
        state: "deferred",
        reason: "frequency_cap",
        rule: "frequency_cap",
        answer: "defer",
        decided: "sms: later, not before ",
        stands: "sms: waits: a frequency cap, or the recipient's own limit, is full, until ",
    },
    Told {
        event: "quiet",
        state: "deferred",
        reason: "quiet_hours",
        rule: "quiet_hours",
        answer: "defer",
        decided: "sms: later, not before ",
        stands: "sms: waits: these are the recipient's quiet hours, until ",
    },
    Told {
        event: "brief",
        state: "expired",
        reason: "expired",
        rule: "quiet_hours",
        answer: "expire",
        decided: "sms: too late to be of use (quiet hours: quiet until ",
        stands: "sms: not sent: it was, or would have been, too late to be of use.",
    },
    Told {
        event: "digest-1",
        state: "digested",
        reason: "digest",
        rule: "digest",
        answer: "pass",
        decided: "sms: told within another message.",
        stands: "sms: told within another message, ",
    },
    Told {
        event: "shadow",
        state: "shadowed",
        reason: "shadow_mode",
        rule: "mode",
        answer: "pass",
        decided: "sms: to be sent.",
        stands: "sms: not sent: its route is in shadow mode, which does everything but the send.",
    },
];

/// What nothing was made of: the outcome, the rule that stopped it, and the words.
const NOTHING: &[(&str, &str, &str, &str, &str)] = &[
    ("off", "not_routed", "route", "route: its mode is off", "told nobody: no route has its type"),
    ("no-route", "not_routed", "route", "route: none has the type", "told nobody: no route has its type"),
    (
        "nobody",
        "no_recipient",
        "recipient",
        "recipient: nobody is named",
        "it names nobody that is to be told",
    ),
];

async fn tell(api: &Api, id: &str, kind: &str, user: i64) {
    ingest(api, &Event::new(id).set("/type", kind).to(user)).await;
}

async fn every_message_that_was_not_sent_says_why(db: Db) {
    let herald = Herald::start_with(db, &[], RULES).await;
    let api = herald.api("admin").await;
    for id in 1..=4 {
        user(&api, id).await;
    }
    let zone = json!({"phone": "+265991000003", "time_zone": "Etc/UTC"});
    api.put("/v1/users/3", &zone).await.expect(200);
    api.put("/v1/users/4", &json!({"email": "four@example.com"})).await.expect(200);
    let wishes = json!({"opt_outs": [{"type": "offer.made"}]});
    api.put("/v1/users/2/preferences", &wishes).await.expect(200);
    api.put("/v1/users/3/preferences", &json!({"quiet_hours": quiet_now()})).await.expect(200);
    for (id, kind, user) in [
        ("opted-out", "offer.made", 2),
        ("no-contact", "offer.made", 4),
        ("stranger", "offer.made", 99),
        ("first", "offer.few", 1),
        ("capped", "offer.few", 1),
        ("later", "offer.later", 1),
        ("login", "login.seen", 1),
        ("flood", "login.seen", 1),
        ("quiet", "offer.made", 3),
        ("brief", "offer.brief", 3),
        ("shadow", "offer.shadow", 1),
        ("off", "offer.off", 1),
        ("no-route", "tea.served", 1),
    ] {
        tell(&api, id, kind, user).await;
    }
    ingest(&api, &Event::new("nobody").set("/type", "offer.made")).await;
    let digest = |n| Event::new(&format!("digest-{n}")).set("/type", "offer.digest").to(1).0;
    api.post("/v1/events", &json!([digest(0), digest(1), digest(2)])).await.expect(202);

    for told in TOLD {
        check(&herald, &api, told).await;
    }
    for told in NOTHING {
        check_nothing(&api, told).await;
    }
    // What is on its way in the end was sent, and explains itself as well.
    let first = notification(&api, "first").await.unwrap();
    let explained = explain(&api, &first).await;
    assert!(has(&explained["words"], "sms: sent: the provider took it."), "{explained}");
    assert!(explained["not_sent"].as_array().unwrap().is_empty());
    let messages = api.all("/v1/sandbox/messages").await;
    let sent: Vec<&str> = messages.iter().map(|message| message["event_id"].as_str().unwrap()).collect();
    for unsent in TOLD.iter().map(|told| told.event).chain(NOTHING.iter().map(|told| told.0)) {
        assert!(!sent.contains(&unsent), "{unsent} was sent");
    }
    assert_eq!(sent.len(), 4, "first, login, digest-0 and digest-2: {sent:?}");
    api.get("/v1/events/none/flow").await.problem(404);
    api.get("/v1/notifications/none/explain").await.problem(404);
    let writer = herald.api("events:write").await;
    writer.get("/v1/events/off/flow").await.problem(403);
    settle_but_for_the_deferred(&api).await;
    herald.run(&["reconcile"]).await.code(0);
}

async fn settle_but_for_the_deferred(api: &Api) {
    for user in [2, 3] {
        api.put(&format!("/v1/users/{user}/preferences"), &json!({})).await.expect(200);
    }
    // That of the cap waits for a day.
    let open = wait_until(SOON, "an end of all others", async || {
        let open = api.all("/v1/notifications?status=PENDING").await;
        (open.len() == 1).then_some(open)
    })
    .await;
    assert_eq!(open[0]["event_id"], "later");
    api.put("/v1/users/1/preferences", &json!({"opt_outs": [{"channel": "sms"}]})).await.expect(200);
    settle(api).await;
}

async fn explain(api: &Api, notification: &Value) -> Value {
    let id = notification["id"].as_str().unwrap();
    api.get(&format!("/v1/notifications/{id}/explain")).await.expect(200).body
}

/// Whether one of these sentences begins so.
fn has(words: &Value, beginning: &str) -> bool {
    words.as_array().unwrap().iter().any(|sentence| sentence.as_str().unwrap().starts_with(beginning))
}

async fn check(herald: &Herald, api: &Api, told: &Told) {
    let Told { event, state, reason, rule, answer, decided, stands } = told;
    let found = delivery(api, event, "sms", &[state]).await;
    assert_eq!(found["reason"], *reason, "{event}: {found}");
    let notification = notification(api, event).await.unwrap();
    let explained = explain(api, &notification).await;
    let flow = api.get(&format!("/v1/events/{event}/flow")).await.expect(200);
    for body in [&explained, &flow.body] {
        assert!(has(&body["words"], &format!("The event {event} ")), "{event}: {body}");
        assert!(has(&body["words"], stands), "{event}: {body}");
        let not_sent = body["not_sent"].as_array().unwrap();
        assert_eq!(not_sent.len(), 1, "{event}: {body}");
        let named = (&not_sent[0]["state"], &not_sent[0]["reason"], &not_sent[0]["delivery"]);
        assert_eq!(named, (&json!(state), &json!(reason), &found["id"]), "{event}: {body}");
        assert!(not_sent[0]["words"].as_str().unwrap().starts_with(stands), "{event}: {body}");
        // The last entry of the ledger that has a verdict decided it; it names every rule that was asked.
        let decisions = body["decisions"].as_array().unwrap();
        let last = decisions.last().unwrap();
        assert!(last["rules"].as_str().is_some_and(|version| !version.is_empty()), "{event}: {last}");
        assert!(has(&last["words"], decided), "{event}: {last}");
        let steps = last["verdicts"][0]["steps"].as_array().unwrap();
        let step = steps.iter().find(|step| step["rule"] == *rule);
        assert_eq!(step.unwrap_or_else(|| panic!("{event}: {last}"))["answer"], *answer, "{event}: {last}");
        assert!(steps.iter().all(|step| step["saw"].as_str().is_some_and(|saw| !saw.is_empty())));
        assert_eq!(decisions[0]["outcome"], "notified", "{event}");
        assert_eq!(decisions[0]["steps"][0]["rule"], "route", "{event}");
    }
    // Nothing of it is personal.
    let reader = herald.api("read").await;
    let text = reader.get(&format!("/v1/events/{event}/flow")).await.expect(200).text;
    for secret in ["2500.00", "2,500.00", "99100000", "device-of", "@example.com"] {
        assert!(!text.contains(secret), "{event}: {secret}: {text}");
    }
}

async fn check_nothing(api: &Api, told: &(&str, &str, &str, &str, &str)) {
    let (event, outcome, rule, why, words) = told;
    let flow = wait_until(SOON, "it is handled", async || {
        let flow = api.get(&format!("/v1/events/{event}/flow")).await.expect(200).body;
        (flow["event"]["outcome"] == *outcome).then_some(flow)
    })
    .await;
    assert!(flow["words"][0].as_str().unwrap().contains(words), "{event}: {flow}");
    assert_eq!((&flow["notifications"], &flow["not_sent"]), (&json!([]), &json!([])), "{event}: {flow}");
    let decided = &flow["decisions"][0];
    assert_eq!(decided["outcome"], *outcome, "{event}: {flow}");
    assert_eq!(decided["words"], json!([format!("Nothing was made of it: {why}.")]), "{event}: {flow}");
    let stopped = decided["steps"].as_array().unwrap().last().unwrap();
    assert_eq!((&stopped["rule"], &stopped["answer"]), (&json!(rule), &json!("suppress")), "{event}");
}
