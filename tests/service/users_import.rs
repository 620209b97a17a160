//! `herald users import`: all of a file, or nothing of it.

use serde_json::json;

use crate::harness::{Db, Herald, on_both};

on_both!(csv, ndjson, a_bad_line_keeps_the_whole_file_out);

const HEADER: &str = "id,name,email,phone,locale,time_zone\n";

async fn csv(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let admin = herald.api("admin").await;
    let mut text = HEADER.to_owned();
    text += "1,\"Banda, Ann\",ann@example.com,+265991234567,en,Africa/Blantyre\r\n";
    text += "2,\"The \"\"Boss\"\"\",,,,\n";
    text += "3,Zoë,zoe@example.com,,fr,Europe/Paris\n";
    std::fs::write(herald.dir().join("users.csv"), &text).unwrap();
    herald.run_as(&admin, &["users", "import", "users.csv"], "").await.code(0);

    let ann = admin.get("/v1/users/1").await.expect(200).body;
    let fields = (&ann["name"], &ann["email"], &ann["phone"], &ann["time_zone"]);
    let expected = ("Banda, Ann", "ann@example.com", "+265991234567", "Africa/Blantyre");
    assert_eq!(fields, (&json!(expected.0), &json!(expected.1), &json!(expected.2), &json!(expected.3)));
    let boss = admin.get("/v1/users/2").await.expect(200).body;
    assert_eq!(
        (&boss["name"], &boss["email"]),
        (&json!("The \"Boss\""), &json!(null)),
        "an empty field is none"
    );
    assert_eq!(admin.get("/v1/users/3").await.expect(200).body["name"], "Zoë");

    let with_device = "id,devices\n4,\"[{\"\"token\"\":\"\"device-4\"\",\"\"platform\"\":\"\"ios\"\"}]\"\n";
    herald.run_as(&admin, &["users", "import", "-"], with_device).await.code(0);
    assert_eq!(admin.get("/v1/users/4").await.expect(200).body["devices"][0]["token"], "device-4");

    // Columns in any order, and a second import changes what there is.
    let again = "email,id\nnew@example.com,1\n";
    herald.run_as(&admin, &["users", "import", "-"], again).await.code(0);
    assert_eq!(admin.get("/v1/users/1").await.expect(200).body["email"], "new@example.com");
}

async fn ndjson(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let admin = herald.api("admin").await;
    let line = |id: i64| {
        let device = json!({"token": format!("device-{id}"), "platform": "android"});
        json!({"id": id, "email": format!("c{id}@example.com"), "devices": [device]}).to_string()
    };
    let many: Vec<_> = (1..=1500).map(line).collect();
    herald.run_as(&admin, &["users", "import", "-"], &many.join("\n")).await.code(0);
    for id in [1, 750, 1500] {
        let user = admin.get(&format!("/v1/users/{id}")).await.expect(200).body;
        assert_eq!(user["email"], format!("c{id}@example.com"));
        assert_eq!(user["devices"][0]["platform"], "android");
    }
}

async fn a_bad_line_keeps_the_whole_file_out(db: Db) {
    let herald = Herald::start(db, &[]).await;
    let admin = herald.api("admin").await;
    let csv =
        format!("{HEADER}1,Ann,ann@example.com,,,\n2,Bob,secret-at-example,,,\n3,Cy,,12345678,,\n4,Di,,,,\n");
    let ndjson =
        "{\"id\": 1}\n{\"id\": 2, \"phone\": \"0991\"}\n\n{\"id\": 3, \"colour\": \"red\"}\n{\"id\": 0}\n";
    let cases = [
        (csv.as_str(), &["3", "4"][..], &["email", "phone"][..]),
        (ndjson, &["2", "4", "5"], &["phone", "colour", "id"]),
        ("id,email,colour\n1,ann@example.com,red\n", &["1"], &["column 3"]),
        ("email\nann@example.com\n", &["1"], &["id"]),
        (&format!("{HEADER}1,Ann\n"), &["2"], &[]),
    ];
    for (text, lines, fields) in cases {
        let ended = herald.run_as(&admin, &["users", "import", "-"], text).await.code(1);
        for line in lines {
            assert!(
                ended.stderr.contains(&format!("line {line}")),
                "line {line} of {text}: {}",
                ended.stderr
            );
        }
        for field in fields {
            assert!(ended.stderr.contains(field), "{field} of {text}: {}", ended.stderr);
        }
        assert!(ended.stderr.contains("nothing was imported"), "{}", ended.stderr);
        for personal in ["secret-at-example", "12345678", "0991"] {
            assert!(!ended.stderr.contains(personal), "{personal} is repeated: {}", ended.stderr);
        }
        for id in 1..=4 {
            admin.get(&format!("/v1/users/{id}")).await.problem(404);
        }
    }
}
