//! Migrations, and what they make.

use herald::domain::Channel;
use herald::store::{Location, MigrationMode, Store};
use tokio::runtime::Handle;

use crate::support::{Db, column, event, fresh_database, on_both, pending, pg_column, sqlite_file, stranger};

const ALL: [&str; 4] = ["0001_events", "0002_notifications", "0003_people", "0004_policy"];

async fn check(location: &Location) -> Vec<String> {
    Store::migrate(location, MigrationMode::Check).await.unwrap()
}

async fn run(location: &Location) -> Vec<String> {
    Store::migrate(location, MigrationMode::Run).await.unwrap()
}

async fn tables(location: &Location) -> Vec<String> {
    let sql = match location {
        Location::Postgres(_) => {
            "SELECT schemaname || '.' || tablename AS v FROM pg_tables
             WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
        }
        Location::Sqlite(_) => "SELECT name AS v FROM sqlite_master WHERE type = 'table' ORDER BY 1",
    };
    column(location, sql).await
}

async fn migrates_once(location: Location) {
    assert_eq!(check(&location).await, ALL);
    assert!(tables(&location).await.is_empty(), "a check changes nothing");
    assert_eq!(run(&location).await, ALL);
    let made = tables(&location).await;
    assert!(made.len() > 15, "{made:?}");
    assert!(check(&location).await.is_empty());
    assert!(run(&location).await.is_empty());
    assert_eq!(tables(&location).await, made);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_twice_changes_nothing_sqlite() {
    let (location, _file) = sqlite_file();
    migrates_once(location).await;
}

/// A check makes no file; what is made is its owner's alone to read.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_made_by_migrating_and_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let (location, file) = sqlite_file();
    assert_eq!(check(&location).await, ALL);
    assert_eq!(std::fs::read_dir(file.path()).unwrap().count(), 0);
    assert!(location.is_missing());
    run(&location).await;
    assert!(!location.is_missing());
    let mode = std::fs::metadata(file.path().join("herald.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_twice_changes_nothing_postgres() {
    migrates_once(Location::Postgres(fresh_database().await)).await;
}

async fn one_of_eight(location: Location) {
    let starters = (0..8).map(|_| {
        let location = location.clone();
        tokio::spawn(async move { run(&location).await })
    });
    let ran = futures_util::future::join_all(starters).await;
    let ran: Vec<Vec<String>> = ran.into_iter().map(Result::unwrap).filter(|ran| !ran.is_empty()).collect();
    assert_eq!(ran, [ALL]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_eight_starters_migrates_sqlite() {
    let (location, _file) = sqlite_file();
    one_of_eight(location).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_eight_starters_migrates_postgres() {
    one_of_eight(Location::Postgres(fresh_database().await)).await;
}

/// What each migration makes, the way back takes away: in any schema, and again.
async fn back_and_forth(location: Location) {
    let (folder, made) = match &location {
        Location::Postgres(_) => (
            "postgres",
            "SELECT relname AS v FROM pg_class c JOIN pg_namespace n
              ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND relname NOT LIKE '\\_\\_diesel%'
              UNION ALL SELECT proname AS v FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
              WHERE n.nspname = 'public'",
        ),
        Location::Sqlite(_) => (
            "sqlite",
            "SELECT name AS v FROM sqlite_master
              WHERE name NOT LIKE 'sqlite%' AND name NOT LIKE '%diesel%'",
        ),
    };
    run(&location).await;
    let before = column(&location, made).await.len();
    for name in ALL.iter().rev() {
        let path = format!("{}/migrations/{folder}/{name}/down.sql", env!("CARGO_MANIFEST_DIR"));
        let sql = std::fs::read_to_string(path).unwrap();
        execute(
            &location,
            &format!("{sql}; DELETE FROM __diesel_schema_migrations WHERE version = '{}'", &name[..4]),
        )
        .await;
    }
    assert_eq!(column(&location, made).await, Vec::<String>::new());
    assert_eq!(run(&location).await, ALL);
    assert_eq!(column(&location, made).await.len(), before);
}

async fn execute(location: &Location, sql: &str) {
    match location {
        Location::Postgres(config) => stranger(config).await.batch_execute(sql).await.unwrap(),
        Location::Sqlite(path) => {
            use diesel::Connection;
            use diesel::connection::SimpleConnection;
            diesel::SqliteConnection::establish(path).unwrap().batch_execute(sql).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_migration_has_a_way_back_sqlite() {
    let (location, _file) = sqlite_file();
    back_and_forth(location).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_migration_has_a_way_back_postgres() {
    back_and_forth(Location::Postgres(fresh_database().await)).await;
}

/// A bank's own `notifications`, and whatever else it has in `public`, is none of Herald's business.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_its_own_stands_beside_a_foreign_table() {
    let mut config = fresh_database().await;
    let foreign = stranger(&config).await;
    foreign
        .batch_execute("CREATE TABLE notifications (mine text); CREATE TABLE event_queue (mine text)")
        .await
        .unwrap();
    config.schema = "herald".to_owned();
    let location = Location::Postgres(config.clone());
    assert_eq!(check(&location).await, ALL);
    assert_eq!(tables(&location).await, ["public.event_queue", "public.notifications"]);
    run(&location).await;
    assert!(check(&location).await.is_empty());
    let made = tables(&location).await;
    assert!(made.iter().filter(|name| name.starts_with("herald.")).count() > 15, "{made:?}");
    assert_eq!(made.iter().filter(|name| name.starts_with("public.")).count(), 2);

    // The trigger finds Herald's queue whatever the search path of who inserts, and whatever is in the
    // way: here the foreign table of the same name.
    foreign
        .batch_execute(
            r#"SET search_path = public;
               INSERT INTO herald.domain_events (id, type, aggregate_id, aggregate_type, payload, metadata, timestamp)
               VALUES ('e', 'user.login', '1', 'user', '{}', '{"source":"s"}', now());
               CREATE TEMPORARY TABLE event_queue (mine text);
               INSERT INTO herald.domain_events (id, type, aggregate_id, aggregate_type, payload, metadata, timestamp)
               VALUES ('f', 'user.login', '1', 'user', '{}', '{"source":"s"}', now())"#,
        )
        .await
        .unwrap();
    assert_eq!(pg_column(&foreign, "SELECT event_id FROM herald.event_queue ORDER BY 1").await, ["e", "f"]);

    let store = Store::open(&location, Handle::current()).unwrap();
    let epoch = store.register("test").await.unwrap();
    assert_eq!(store.share_partitions(epoch).await.unwrap(), 64);
    store.append(vec![vec![event("own")]]).await.unwrap();
    assert_eq!(store.open_events(epoch, 10).await.unwrap().len(), 3);
}

/// An outbox needs no right but INSERT on its seven columns.
#[tokio::test(flavor = "multi_thread")]
async fn an_application_with_the_right_to_insert_is_enough() {
    let db = Db::postgres().await;
    let epoch = db.instance().await;
    let role = format!("publisher_{}", std::process::id());
    let other = stranger(db.config()).await;
    other
        .batch_execute(&format!(
            "DROP ROLE IF EXISTS {role}; CREATE ROLE {role};
             GRANT INSERT (id, type, aggregate_id, aggregate_type, payload, metadata, timestamp)
                 ON domain_events TO {role};
             SET ROLE {role}"
        ))
        .await
        .unwrap();
    let insert = |more: &str, values: &str| {
        format!(
            "INSERT INTO domain_events (id, type, aggregate_id, aggregate_type, payload, metadata, timestamp{more})
             VALUES {values}"
        )
    };
    let row = |id: &str| format!(r#"('{id}', 'user.login', '1', 'user', '{{}}', '{{"source":"s"}}', now())"#);
    other.batch_execute(&insert("", &format!("{}, {}", row("a"), row("b")))).await.unwrap();
    other.batch_execute(&insert("", "('c', 'user.login', '1', 'user', '{}', NULL, now())")).await.unwrap();
    for column in ["origin", "outcome", "processed", "position"] {
        let sql = insert(&format!(", {column}"), "('d', 'x', '1', 'u', '{}', NULL, now(), DEFAULT)");
        assert!(other.batch_execute(&sql).await.is_err(), "{column} is not the application's to set");
    }
    for sql in ["SELECT * FROM domain_events", "DELETE FROM event_queue", "SELECT queue_events()"] {
        assert!(other.batch_execute(sql).await.is_err(), "{sql}");
    }
    other.batch_execute("RESET ROLE").await.unwrap();
    let open = db.store.open_events(epoch, 10).await.unwrap();
    assert_eq!(open.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(open[2].metadata, None);
    assert!(open[0].position < open[1].position);
    other.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

on_both! {
    /// The proposal's wide row.
    async fn the_overview_is_readable(db) {
        let epoch = db.instance().await;
        db.append([event("e")]).await;
        let ids = db.notify(epoch, &pending(&[Channel::Push, Channel::Sms])).await;
        let row = "SELECT event_type || ' ' || status || ' ' || push_status || ' ' || COALESCE(email_status, '-')
                   || ' ' || sms_status || ' ' || retry_count AS v FROM notification_overview";
        assert_eq!(db.one(row).await, "transaction.completed PENDING pending - pending 0");
        assert_eq!(db.one("SELECT id AS v FROM notification_overview WHERE user_id = 42").await, ids[0].0);
        let channels = db.one("SELECT channels AS v FROM notification_overview").await;
        assert!(channels == "{push,sms}" || channels == r#"["push","sms"]"#, "{channels}");
    }

    /// Rows of a foreign application, in one statement, as it would write them.
    async fn a_foreign_row_is_queued(db) {
        let epoch = db.instance().await;
        db.run(
            r#"INSERT INTO domain_events (id, type, aggregate_id, aggregate_type, payload, metadata, timestamp)
               VALUES ('a', 'user.login', '1', 'user', '{"n":1}', '{"source":"s"}', '2026-11-24T09:15:00.000000Z'),
                      ('b', 'user.login', '1', 'user', '{}', NULL, '2026-11-24T09:15:00.000000Z')"#,
        )
        .await;
        let open = db.store.open_events(epoch, 10).await.unwrap();
        assert_eq!(open.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(open[0].timestamp.to_rfc3339(), "2026-11-24T09:15:00.000000Z");
        assert_eq!(open[1].metadata, None);
        assert_eq!(open[0].partition, open[1].partition);
    }
}
