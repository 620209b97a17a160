//! `/v1/users/{id}/preferences`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, Db, Herald, JSON, on_both, user};

on_both!(preferences_are_read_replaced_and_patched);

const RULES: &str = "
[[quiet_hours]]
from = \"22:00\"
to = \"06:00\"
";

const OF_1: &str = "/v1/users/1/preferences";

async fn change(api: &Api, method: Method, version: Option<&str>, body: &Value) -> Answer {
    let mut headers = JSON.to_vec();
    headers.extend(version.map(|version| ("If-Match", version)));
    api.send(method, OF_1, &headers, body.to_string()).await
}

async fn preferences_are_read_replaced_and_patched(db: Db) {
    let herald = Herald::start_with(db, &[], RULES).await;
    let api = herald.api("preferences:write,read").await;
    for path in [OF_1, "/v1/users/2/preferences"] {
        api.get(path).await.problem(404);
        api.put(path, &json!({})).await.problem(404);
        api.send(Method::PATCH, path, JSON, "{}").await.problem(404);
    }
    user(&api, 1).await;

    let first = api.get(OF_1).await.expect(200);
    assert_eq!(first.body, json!({"opt_outs": [], "quiet_hours": [], "limits": []}));
    assert_eq!(first.header("etag"), "\"0\"");
    let night = json!([{"days": ["mon", "fri"], "from": "21:00", "to": "07:30"}]);
    let limits = json!([{"channel": "sms", "limit": 2, "window": "1h"}, {"limit": 10, "window": "1d"}]);
    let opt_outs = json!([{"channel": "email"}, {"type": "account.created"},
        {"type": "checkbook.ready", "channel": "sms"}]);
    let all = json!({"opt_outs": opt_outs, "quiet_hours": night, "limits": limits});
    let second = change(&api, Method::PUT, Some("\"0\""), &all).await.expect(200);
    assert_eq!((&second.body, second.header("etag")), (&all, "\"1\""));
    assert_eq!(api.get(OF_1).await.expect(200).body, all);

    // Who has seen an older version changes nothing, nor does who names none that there ever was.
    for stale in ["\"0\"", "\"7\"", "1", "W/\"1\"", "\"x\""] {
        for method in [Method::PUT, Method::PATCH] {
            change(&api, method, Some(stale), &json!({})).await.problem(412);
        }
    }
    assert_eq!(api.get(OF_1).await.expect(200).header("etag"), "\"1\"");

    // A patch changes what it names; an array is replaced as a whole, and `null` empties one.
    let patch = json!({"opt_outs": [{"channel": "push"}], "limits": null});
    let third = change(&api, Method::PATCH, Some("\"1\""), &patch).await.expect(200);
    let expected = json!({"opt_outs": [{"channel": "push"}], "quiet_hours": night, "limits": []});
    assert_eq!((&third.body, third.header("etag")), (&expected, "\"2\""));
    let same = change(&api, Method::PATCH, Some("*"), &json!({})).await.expect(200);
    assert_eq!(same.body, expected);
    let none = change(&api, Method::PUT, None, &json!({})).await.expect(200);
    assert_eq!(none.body, json!({"opt_outs": [], "quiet_hours": [], "limits": []}));
    // Its own contacts stay, and a new address leaves the wishes as they are.
    change(&api, Method::PUT, None, &all).await.expect(200);
    api.put("/v1/users/1", &json!({"email": "new@example.com"})).await.expect(200);
    assert_eq!(api.get(OF_1).await.expect(200).body, all);

    refused(&api).await;
    assert_eq!(api.get(OF_1).await.expect(200).body, all, "what was refused changed nothing");

    let nobody = herald.anonymous();
    nobody.get(OF_1).await.problem(401);
    let reader = herald.api("read").await;
    reader.get(OF_1).await.expect(200);
    let writer = herald.api("preferences:write").await;
    writer.get(OF_1).await.problem(403);
    for method in [Method::PUT, Method::PATCH] {
        change(&nobody, method.clone(), None, &json!({})).await.problem(401);
        change(&reader, method.clone(), None, &json!({})).await.problem(403);
        change(&writer, method, None, &json!({})).await.expect(200);
    }
    herald.api("admin").await.delete("/v1/users/1").await.expect(204);
    api.get(OF_1).await.problem(404);
}

/// Everything that is wrong is named at once, with what to do about it.
async fn refused(api: &Api) {
    let wrong = json!({
        "opt_outs": [{}, {"channel": "fax"}, {"type": "user.login.failed"}, {"type": "No Type"}, {"kind": "x"}],
        "quiet_hours": [
            {"from": "22:00", "to": "22:00"}, {"from": "25:00", "to": "6"}, {"days": ["moon"], "from": "01:00"},
        ],
        "limits": [{"limit": 0, "window": "1h"}, {"limit": 1, "window": "32d"}, {"limit": 1}],
        "colour": "blue",
    });
    let expected = [
        "/colour",
        "/limits/0/limit",
        "/limits/1/window",
        "/limits/2/window",
        "/opt_outs/0",
        "/opt_outs/1/channel",
        "/opt_outs/2/type",
        "/opt_outs/3/type",
        "/opt_outs/4",
        "/opt_outs/4/kind",
        "/quiet_hours/0/to",
        "/quiet_hours/1/from",
        "/quiet_hours/1/to",
        "/quiet_hours/2/days/0",
        "/quiet_hours/2/to",
    ];
    for method in [Method::PUT, Method::PATCH] {
        let answer = change(api, method, None, &wrong).await.problem(400);
        let mut pointers = answer.pointers();
        pointers.sort_unstable();
        assert_eq!(pointers, expected, "{}", answer.text);
    }
    let says = async |body: Value, pointer: &str, words: &str| {
        for method in [Method::PUT, Method::PATCH] {
            let answer = change(api, method, None, &body).await.problem(400);
            assert_eq!(answer.pointers(), [pointer], "{}", answer.text);
            assert!(answer.body["errors"][0]["detail"].as_str().unwrap().contains(words), "{}", answer.text);
        }
    };
    let mandatory = json!({"opt_outs": [{"type": "user.login.failed", "channel": "sms"}]});
    says(mandatory, "/opt_outs/0/type", "is mandatory: nobody can opt out of it").await;
    let window = json!({"quiet_hours": [{"from": "08:00", "to": "08:00"}]});
    says(window, "/quiet_hours/0/to", "would never end").await;
    // Two that end, and never do together; and one that never does with the bank's own.
    let two = json!({"quiet_hours": [{"from": "06:00", "to": "18:00"}, {"from": "18:00", "to": "06:00"}]});
    says(two, "/quiet_hours", "would never end").await;
    let with_the_banks = json!({"quiet_hours": [{"from": "06:00", "to": "22:00"}]});
    says(with_the_banks, "/quiet_hours", "would never end").await;
    for body in ["", "[]", "{", "{\"limits\": 7}"] {
        api.send(Method::PUT, OF_1, JSON, body).await.problem(400);
    }
}
