//! What is over a frequency cap is not sent, waits for room, or is told with others, by route; and what
//! cannot be refused does not become a flood.

use serde_json::{Value, json};

use super::{delivery, notification, send_to};
use crate::{
    harness::{Api, Db, Event, Herald, SOON, on_both, oracle, settle, user, wait_until},
    peers::{SmsPeer, Wording},
};

on_both!(a_full_cap_does_what_the_route_says);

const RULES: &str = "
[routes.\"transaction.completed\"]
channels = [\"sms\"]
category = \"digested\"
over_cap = \"digest\"
[routes.\"waiting.one\"]
channels = [\"sms\"]
category = \"waiting\"
over_cap = \"defer\"
[routes.\"waiting.brief\"]
channels = [\"sms\"]
category = \"waiting\"
over_cap = \"defer\"
expires_after = \"1s\"
[routes.\"refused.one\"]
channels = [\"sms\"]
category = \"refused\"
over_cap = \"suppress\"
[routes.\"login.seen\"]
channels = [\"sms\"]
mandatory = true
[routes.\"account.frozen\"]
channels = [\"sms\"]
mandatory = true
[[caps]]
category = \"digested\"
limit = 1
window = \"4s\"
[[caps]]
category = \"waiting\"
limit = 1
window = \"3s\"
[routes.\"waiting.crowd\"]
channels = [\"sms\"]
category = \"crowd\"
over_cap = \"defer\"
[[caps]]
category = \"crowd\"
limit = 5
window = \"500ms\"
[[caps]]
category = \"refused\"
limit = 2
window = \"1d\"
";

/// Publishes events of a type to a user at once, so that they are decided one right after the other.
async fn tell(api: &Api, user: i64, kind: &str, ids: &[&str]) {
    let event = |id: &&str| Event::new(id).set("/type", kind).to(user).0;
    api.post("/v1/events", &Value::Array(ids.iter().map(event).collect())).await.expect(202);
}

async fn a_full_cap_does_what_the_route_says(db: Db) {
    let gateway = SmsPeer::start(Wording::Json);
    let mut herald = Herald::prepare(db, &[], RULES).await;
    send_to(&mut herald, &gateway);
    herald.restart().await;
    let api = herald.api("admin").await;
    for id in 1..=5 {
        user(&api, id).await;
    }
    let own = json!({"limits": [{"channel": "sms", "limit": 1, "window": "1d"}]});
    api.put("/v1/users/4/preferences", &own).await.expect(200);

    tell(&api, 1, "transaction.completed", &["d-0", "d-1", "d-2", "d-3", "d-4", "d-5"]).await;
    tell(&api, 2, "waiting.one", &["w-0", "w-1"]).await;
    tell(&api, 2, "waiting.brief", &["w-2"]).await;
    let waits = delivery(&api, "w-1", "sms", &["deferred"]).await;
    assert_eq!((&waits["reason"], waits["not_before"].is_string()), (&json!("frequency_cap"), true));
    tell(&api, 3, "refused.one", &["r-0", "r-1", "r-2"]).await;
    tell(&api, 4, "refused.one", &["o-0", "o-1"]).await;
    // A flood of what is mandatory: one of a type, and that of account.frozen always. Another customer
    // is told, and no other message is counted by it.
    tell(&api, 3, "login.seen", &["l-0", "l-1", "l-2"]).await;
    tell(&api, 4, "login.seen", &["l-3"]).await;
    tell(&api, 3, "account.frozen", &["f-0", "f-1"]).await;

    for (event, reason) in
        [("r-2", "frequency_cap"), ("o-1", "frequency_cap"), ("l-1", "flood_cap"), ("l-2", "flood_cap")]
    {
        let refused = delivery(&api, event, "sms", &["suppressed", "sent"]).await;
        assert_eq!(
            (&refused["state"], &refused["reason"]),
            (&json!("suppressed"), &json!(reason)),
            "{event}"
        );
        assert_eq!(notification(&api, event).await.unwrap()["status"], "SUPPRESSED");
    }
    // There is no room before it is of no use any more: it ends at once.
    let brief = delivery(&api, "w-2", "sms", &["expired", "sent"]).await;
    assert_eq!((&brief["state"], &brief["attempts"]), (&json!("expired"), &json!([])), "{brief}");
    for event in ["r-0", "r-1", "o-0", "l-0", "l-3", "f-0", "f-1", "w-0", "w-1", "d-0"] {
        delivery(&api, event, "sms", &["sent"]).await;
    }
    settle(&api).await;
    let of = |id: &Value| {
        let messages = gateway.messages().all();
        messages.into_iter().find(|message| *id == message.id).unwrap_or_else(|| panic!("{id} never came"))
    };
    let (first, second) =
        (delivery(&api, "w-0", "sms", &["sent"]).await, delivery(&api, "w-1", "sms", &["sent"]).await);
    let apart = of(&second["id"]).at - of(&first["id"]).at;
    assert!(apart.as_millis() > 2_500, "{apart:?} apart, with a window of 3 s");

    told_together(&api, &gateway).await;
    assert_eq!(gateway.messages().len(), 11, "what is said to be sent, each once");
    a_digest_that_is_held_back_once_more_keeps_what_it_tells(&api, &gateway).await;
    a_crowd_waits_in_turns(&herald, &api, &gateway).await;
    oracle::check_reconciled(&herald).await;
}

/// The message that tells the others is stopped right before its send, and goes when the night is over.
async fn a_digest_that_is_held_back_once_more_keeps_what_it_tells(api: &Api, gateway: &SmsPeer) {
    api.put("/v1/users/2", &json!({"phone": "+265991000002", "time_zone": "Etc/UTC"})).await.expect(200);
    tell(api, 2, "transaction.completed", &["k-0", "k-1", "k-2", "k-3"]).await;
    delivery(api, "k-3", "sms", &["deferred"]).await;
    api.post("/v1/channels/sms/pause", &json!({})).await.expect(200);
    delivery(api, "k-1", "sms", &["digested"]).await;
    api.put("/v1/users/2/preferences", &json!({"quiet_hours": super::quiet_now()})).await.expect(200);
    api.post("/v1/channels/sms/resume", &json!({})).await.expect(200);
    let waits = delivery(api, "k-3", "sms", &["deferred", "sent"]).await;
    assert_eq!((&waits["state"], &waits["reason"]), (&json!("deferred"), &json!("quiet_hours")), "{waits}");
    api.put("/v1/users/2/preferences", &json!({})).await.expect(200);
    let sent = delivery(api, "k-3", "sms", &["sent"]).await;
    let messages = gateway.messages().all();
    let text = &messages.iter().find(|message| sent["id"] == message.id).unwrap().text;
    assert!(text.starts_with("3 more transactions, MWK 7,500.00 in all"), "{text}");
}

/// Of many that wait for room each has a turn: not all of them are asked at every window, and the ledger has
/// no line for each time that one waits on.
async fn a_crowd_waits_in_turns(herald: &Herald, api: &Api, gateway: &SmsPeer) {
    const CROWD: usize = 150;
    let before = gateway.messages().len();
    let ids: Vec<String> = (0..CROWD).map(|n| format!("crowd-{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    tell(api, 5, "waiting.crowd", &ids).await;
    let turns = "SELECT DISTINCT not_before AS v FROM deliveries WHERE state = 'deferred'";
    wait_until(SOON, "turns", async || (herald.database.texts(turns).await.len() > 10).then_some(())).await;
    wait_until(SOON, "ten windows", async || (gateway.messages().len() >= before + 50).then_some(())).await;
    // Nobody is left to tell: all that still wait end now, and not in their turns.
    api.delete("/v1/users/5").await.expect(204);
    settle(api).await;
    let arrivals: Vec<_> = gateway.messages().all()[before..].iter().map(|message| message.at).collect();
    assert!(arrivals.len() < CROWD, "all of them went before the customer was erased");
    let took = arrivals[49] - arrivals[0];
    assert!(took.as_millis() > 4_000, "50 messages in {took:?}, at 5 in half a second");
    let later = "SELECT count(*) AS v FROM decisions d JOIN domain_events e ON e.position = d.position
                 WHERE e.type = 'waiting.crowd' AND d.channel = 'sms'";
    let later = herald.database.number(later).await;
    assert!(later <= CROWD as i64, "{later} lines of the ledger for {CROWD} that waited");
}

/// The newest message tells of five, and each of the other four says by which it was told.
async fn told_together(api: &Api, gateway: &SmsPeer) {
    let carrier = delivery(api, "d-5", "sms", &["sent"]).await;
    let messages = gateway.messages().all();
    let text = &messages.iter().find(|message| carrier["id"] == message.id).unwrap().text;
    assert!(text.starts_with("5 more transactions, MWK 12,500.00 in all"), "{text}");
    for event in ["d-1", "d-2", "d-3", "d-4"] {
        let digested = delivery(api, event, "sms", &["digested", "sent"]).await;
        assert_eq!((&digested["state"], &digested["reason"]), (&json!("digested"), &json!("digest")));
        assert_eq!(digested["told_in"], carrier["id"], "{digested}");
        assert_eq!(digested["attempts"], json!([]));
        assert!(messages.iter().all(|message| digested["id"] != message.id));
    }
}
