//! A database for each test, and a way into it past Herald.

use std::{future::Future, path::Path};

use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection, sql_query, sql_types::Text};
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// Which database a test runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Db {
    Sqlite,
    Postgres,
}

/// A variable that `tests/run` sets.
pub(crate) fn given(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run as `bash tests/run`"))
}

/// A database of its own, gone when this is dropped.
pub(crate) enum Database {
    Sqlite {
        file: String,
    },
    Postgres {
        url: reqwest::Url,
        name: String,
    },
    /// On PostgreSQL, and somebody else's: another Herald's, or a whole server of the test's own.
    Shared {
        url: reqwest::Url,
        settings: Vec<(String, String)>,
    },
}

impl Database {
    pub(crate) async fn create(db: Db, dir: &Path) -> Self {
        match db {
            Db::Sqlite => Self::Sqlite { file: dir.join("herald.db").display().to_string() },
            Db::Postgres => {
                let mut url: reqwest::Url = given("HERALD_TEST_POSTGRES_URL").parse().unwrap();
                let name = format!("t_{}", uuid::Uuid::new_v4().simple());
                postgres(&url, &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
                url.set_path(&name);
                Self::Postgres { url, name }
            }
        }
    }

    /// One that is there already, on a server without TLS.
    pub(crate) fn at(url: &str) -> Self {
        let settings = vec![("HERALD__DATABASE__URL".to_owned(), format!("{url}?sslmode=disable"))];
        Self::Shared { url: url.parse().unwrap(), settings }
    }

    /// The same one for a second instance.
    pub(crate) fn shared(&self) -> Self {
        Self::Shared { url: self.url().clone(), settings: self.settings() }
    }

    /// The way into it past Herald, on PostgreSQL.
    pub(crate) fn url(&self) -> &reqwest::Url {
        match self {
            Self::Sqlite { .. } => panic!("a file has no URL"),
            Self::Postgres { url, .. } | Self::Shared { url, .. } => url,
        }
    }

    /// The settings that lead Herald to it.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let set = |key: &str, value: String| (key.to_owned(), value);
        match self {
            Self::Sqlite { file } => vec![set("HERALD__DATABASE__URL", format!("sqlite://{file}"))],
            Self::Postgres { url, .. } => vec![
                set("HERALD__DATABASE__URL", format!("{url}?sslmode=require")),
                set("HERALD__TLS__CA_FILE", given("HERALD_TEST_POSTGRES_CA")),
            ],
            Self::Shared { settings, .. } => settings.clone(),
        }
    }

    /// Runs a statement that returns nothing.
    pub(crate) async fn execute(&self, sql: &str) {
        match self {
            Self::Sqlite { file } => {
                sql_query(sql).execute(&mut sqlite(file)).unwrap_or_else(|error| panic!("{error}: {sql}"));
            }
            Self::Postgres { url, .. } | Self::Shared { url, .. } => {
                postgres(url, sql).await;
            }
        }
    }

    /// The texts of a query whose one column is named `v`.
    pub(crate) async fn texts(&self, query: &str) -> Vec<String> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Text)]
            v: String,
        }
        let sql = format!("SELECT CAST(v AS TEXT) AS v FROM ({query}) AS query");
        match self {
            Self::Sqlite { file } => {
                let rows = sql_query(&sql).load::<Row>(&mut sqlite(file));
                rows.unwrap_or_else(|error| panic!("{error}: {sql}")).into_iter().map(|row| row.v).collect()
            }
            Self::Postgres { url, .. } | Self::Shared { url, .. } => postgres(url, &sql).await,
        }
    }

    /// The number that a query with one column `v` gives.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        let texts = self.texts(query).await;
        assert_eq!(texts.len(), 1, "{query}");
        texts[0].parse().unwrap()
    }

    /// Whether a text is anywhere in the database.
    pub(crate) async fn contains(&self, text: &str) -> bool {
        let tables = match self {
            Self::Sqlite { .. } => "SELECT name AS v FROM sqlite_master WHERE type = 'table'",
            Self::Postgres { .. } | Self::Shared { .. } => {
                "SELECT tablename AS v FROM pg_tables WHERE schemaname = 'public'"
            }
        };
        for table in self.texts(tables).await {
            let found = match self {
                Self::Sqlite { .. } => {
                    let columns = format!("SELECT name AS v FROM pragma_table_info('{table}')");
                    let columns = self.texts(&columns).await;
                    let any: Vec<_> =
                        columns.iter().map(|name| format!("instr(\"{name}\", '{text}')")).collect();
                    format!("SELECT count(*) AS v FROM \"{table}\" WHERE {}", any.join(" OR "))
                }
                Self::Postgres { .. } | Self::Shared { .. } => {
                    format!("SELECT count(*) AS v FROM \"{table}\" t WHERE strpos(t::text, '{text}') > 0")
                }
            };
            if self.number(&found).await > 0 {
                return true;
            }
        }
        false
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Self::Postgres { url, name } = self {
            let (mut url, name) = (url.clone(), name.clone());
            url.set_path("postgres");
            on_a_thread(async move { postgres(&url, &format!("DROP DATABASE {name} WITH (FORCE)")).await });
        }
    }
}

/// Waits for a future where there is a runtime already, as in a destructor.
fn on_a_thread<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) {
    let thread = std::thread::spawn(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
    });
    // A database that stays behind goes with its server; the test's own result is what counts.
    let _ = thread.join();
}

fn sqlite(file: &str) -> SqliteConnection {
    let mut connection = SqliteConnection::establish(file).unwrap();
    sql_query("PRAGMA busy_timeout = 10000").execute(&mut connection).unwrap();
    connection
}

/// Runs statements; gives the first column of the rows.
async fn postgres(url: &reqwest::Url, sql: &str) -> Vec<String> {
    let (client, connection) = tokio_postgres::connect(url.as_str(), NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    let rows = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{error:?}: {sql}"));
    drop(client);
    driver.await.unwrap().unwrap();
    let text = |row| match row {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    };
    rows.into_iter().filter_map(text).collect()
}

mod tests {
    use super::*;
    use crate::harness::on_both;

    on_both!(the_way_past_herald);

    async fn the_way_past_herald(db: Db) {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::create(db, dir.path()).await;
        database.execute("CREATE TABLE notes (id BIGINT, note TEXT)").await;
        database.execute("INSERT INTO notes VALUES (7, 'a needle'), (8, NULL)").await;
        assert_eq!(database.texts("SELECT id AS v FROM notes ORDER BY id").await, ["7", "8"]);
        assert_eq!(database.number("SELECT count(*) AS v FROM notes").await, 2);
        assert!(database.contains("needle").await);
        assert!(!database.contains("thread").await);
    }
}
