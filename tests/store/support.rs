//! An empty database for each test, on either engine; events, handling and outcomes for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant as Clock};

use diesel::prelude::*;
use herald::domain::event::parse_events;
use herald::domain::{
    AttemptOutcome, Channel, DeliveryId, DeliveryState, EventOutcome, Lane, NewEvent, NotificationId,
};
use herald::store::{
    Attempted, Claim, ClaimedDelivery, DeliveryOutcome, HandledEvent, Location, MigrationMode, NewDelivery,
    NewNotification, PostgresConfig, QueuedEvent, Store,
};
use tokio::runtime::Handle;

/// Writes a test once and runs it on both databases.
macro_rules! on_both {
    ($($(#[$meta:meta])* async fn $name:ident($db:ident) $body:block)+) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $(#[$meta])*
            async fn run($db: crate::support::Db) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                run(crate::support::Db::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                run(crate::support::Db::postgres().await).await;
            }
        }
    )+};
}
pub(crate) use on_both;

/// A database of a test's own, with Herald's tables.
pub struct Db {
    pub store: Store,
    pub location: Location,
    _file: Option<Arc<tempfile::TempDir>>,
}

impl Db {
    pub async fn sqlite() -> Self {
        let (location, file) = sqlite_file();
        Self::open(location, Some(Arc::new(file))).await
    }

    pub async fn postgres() -> Self {
        Self::open(Location::Postgres(fresh_database().await), None).await
    }

    /// A database of the test server that is there already.
    pub fn existing(name: &str) -> Self {
        let mut config = server();
        let (base, _) = config.url.rsplit_once('/').unwrap();
        config.url = format!("{base}/{name}");
        let location = Location::Postgres(config);
        let store = Store::open(&location, Handle::current()).unwrap();
        Self { store, location, _file: None }
    }

    async fn open(location: Location, file: Option<Arc<tempfile::TempDir>>) -> Self {
        Store::migrate(&location, MigrationMode::Run).await.unwrap();
        let store = Store::open(&location, Handle::current()).unwrap();
        Self { store, location, _file: file }
    }

    /// A second store on the same database, as another instance has it.
    pub fn rival(&self) -> Store {
        Store::open(&self.location, Handle::current()).unwrap()
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self.location, Location::Postgres(_))
    }

    pub fn config(&self) -> &PostgresConfig {
        match &self.location {
            Location::Postgres(config) => config,
            Location::Sqlite(_) => panic!("this is SQLite"),
        }
    }

    /// The column `v` of a query of the test's own, as text.
    pub async fn column(&self, sql: &str) -> Vec<String> {
        column(&self.location, sql).await
    }

    /// The one value of a query of the test's own.
    pub async fn one(&self, sql: &str) -> String {
        let mut found = self.column(sql).await;
        assert_eq!(found.len(), 1, "{sql}: {found:?}");
        found.remove(0)
    }

    /// How many rows a table has, or a `FROM … WHERE …`.
    pub async fn count(&self, from: &str) -> i64 {
        self.one(&format!("SELECT count(*) AS v FROM {from}")).await.parse().unwrap()
    }

    /// Runs statements of the test's own.
    pub async fn run(&self, sql: &str) {
        match &self.location {
            Location::Postgres(config) => stranger(config).await.batch_execute(sql).await.unwrap(),
            Location::Sqlite(path) => {
                use diesel::connection::SimpleConnection;
                SqliteConnection::establish(path)
                    .unwrap()
                    .batch_execute(&format!("PRAGMA busy_timeout = 5000; {sql}"))
                    .unwrap();
            }
        }
    }

    /// Registers an instance that takes its share of the partitions.
    pub async fn instance(&self) -> i64 {
        let epoch = self.store.register("test").await.unwrap();
        self.store.share_partitions(epoch).await.unwrap();
        epoch
    }

    /// Stores events, one a group.
    pub async fn append(&self, events: impl IntoIterator<Item = NewEvent>) {
        let groups = events.into_iter().map(|event| vec![event]).collect();
        let answers = self.store.append(groups).await.unwrap();
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }

    /// Handles all that is open: a notification for user 42 for each event, with these deliveries.
    pub async fn notify(&self, epoch: i64, deliveries: &[NewDelivery]) -> Vec<NotificationId> {
        let open = self.store.open_events(epoch, 100_000).await.unwrap();
        let handled: Vec<HandledEvent> = open.iter().map(|event| notified(event, 42, deliveries)).collect();
        let ids = handled.iter().flat_map(|event| event.notifications.iter().map(|n| n.id.clone())).collect();
        let now = self.store.now().await.unwrap();
        let taken = self.store.handle(epoch, now, handled).await.unwrap();
        assert_eq!(taken.len(), open.len());
        ids
    }

    /// Claims everything that is due on a channel.
    pub async fn claim(&self, channel: Channel, claim: Claim) -> Vec<ClaimedDelivery> {
        self.store.claim(channel, claim, 100_000).await.unwrap()
    }

    /// Records one outcome; whether it was taken.
    pub async fn record(&self, outcome: DeliveryOutcome) -> bool {
        let now = self.store.now().await.unwrap();
        let recorded = self.store.record(outcome.claim.epoch, now, vec![outcome]).await.unwrap();
        recorded.taken == [true]
    }

    /// The status of a notification, as it is kept.
    pub async fn status(&self, id: &NotificationId) -> String {
        self.one(&format!("SELECT status AS v FROM notifications WHERE id = '{id}'")).await
    }

    /// Waits for a condition on what a query of the test's own gives.
    pub async fn until(&self, sql: &str, expected: &str) {
        let begun = Clock::now();
        loop {
            let found = self.column(sql).await;
            if found == [expected] {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{sql}: {found:?}, not {expected}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub fn sqlite_file() -> (Location, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("herald.db").to_str().unwrap().to_owned();
    (Location::Sqlite(path), dir)
}

/// A server for tests.
pub fn server() -> PostgresConfig {
    let url = std::env::var("HERALD_TEST_POSTGRES_URL")
        .unwrap_or_else(|_| panic!("run as `bash tests/run`, or set HERALD_TEST_POSTGRES_URL"));
    let mut config = PostgresConfig::new(url);
    config.ca_file = std::env::var_os("HERALD_TEST_POSTGRES_CA").map(Into::into);
    config
}

/// A database that nobody has used yet.
pub async fn fresh_database() -> PostgresConfig {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut config = server();
    let name = format!("herald_store_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    stranger(&config).await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let (address, query) = match config.url.split_once('?') {
        Some((address, query)) => (address, format!("?{query}")),
        None => (config.url.as_str(), String::new()),
    };
    let (base, _) = address.rsplit_once('/').unwrap();
    config.url = format!("{base}/{name}{query}");
    config.pool_size = 12;
    config
}

/// Another application's connection to PostgreSQL.
pub async fn stranger(config: &PostgresConfig) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&config.url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(&format!("SET search_path = \"{}\"", config.schema)).await.unwrap();
    client
}

pub async fn column(location: &Location, sql: &str) -> Vec<String> {
    match location {
        Location::Postgres(config) => pg_column(&stranger(config).await, sql).await,
        Location::Sqlite(path) => {
            #[derive(QueryableByName)]
            struct Row {
                #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Text>)]
                v: Option<String>,
            }
            let mut conn = SqliteConnection::establish(path).unwrap();
            diesel::sql_query("PRAGMA busy_timeout = 5000").execute(&mut conn).unwrap();
            let sql = format!("SELECT CAST(v AS TEXT) AS v FROM ({sql})");
            let rows: Vec<Row> = diesel::sql_query(sql).load(&mut conn).unwrap();
            rows.into_iter().map(|row| row.v.unwrap_or_else(|| "NULL".to_owned())).collect()
        }
    }
}

/// The first column of what a query gives.
pub async fn pg_column(client: &tokio_postgres::Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let rows = messages.into_iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
        _ => None,
    });
    rows.collect()
}

/// An event as a publisher would send it.
pub fn parse(json: &str) -> NewEvent {
    parse_events(json.as_bytes()).unwrap_or_else(|errors| panic!("{errors:?}")).remove(0)
}

/// An event of an aggregate of its own.
pub fn event(id: &str) -> NewEvent {
    of_aggregate(id, id, "transaction.completed")
}

pub fn of_aggregate(id: &str, aggregate: &str, kind: &str) -> NewEvent {
    parse(&format!(
        r#"{{"id":"{id}","type":"{kind}","aggregateId":"{aggregate}","aggregateType":"account",
            "payload":{{"amount":"2500.00"}},
            "metadata":{{"source":"core","userId":42,"correlationId":"c-{id}"}}}}"#
    ))
}

pub fn events(count: usize) -> Vec<NewEvent> {
    (0..count).map(|n| event(&format!("e-{n:05}"))).collect()
}

/// What handling makes of an event: nothing yet but its outcome.
pub fn handled(event: &QueuedEvent, outcome: EventOutcome) -> HandledEvent {
    HandledEvent {
        ledger: None,
        position: event.position,
        id: event.id.clone(),
        partition: event.partition,
        outcome,
        reason: None,
        notifications: Vec::new(),
        concerns: Vec::new(),
        owners: Vec::new(),
        introduces: None,
    }
}

/// A notification for one user.
pub fn notified(event: &QueuedEvent, user_id: i64, deliveries: &[NewDelivery]) -> HandledEvent {
    let notification = NewNotification {
        shadow: false,
        variant: None,
        category: "general".to_owned(),
        flood_granted: false,
        id: NotificationId::of(event.position, &event.id, user_id),
        event_id: event.id.clone(),
        event_type: event.kind.clone(),
        user_id,
        lane: Lane::Normal,
        correlation_id: Some(format!("c-{}", event.id)),
        template: event.kind.clone(),
        locale: Some("en".to_owned()),
        time_zone: None,
        name: None,
        expires_at: None,
        deliveries: deliveries.to_vec(),
    };
    HandledEvent { notifications: vec![notification], ..handled(event, EventOutcome::Notified) }
}

pub fn delivery(channel: Channel, state: DeliveryState) -> NewDelivery {
    NewDelivery {
        channel,
        state,
        reason: None,
        not_before: None,
        claim: None,
        granted: false,
        digest_key: None,
    }
}

pub fn pending(channels: &[Channel]) -> Vec<NewDelivery> {
    channels.iter().map(|channel| delivery(*channel, DeliveryState::Pending)).collect()
}

/// Deliveries that are claimed from birth.
pub fn born_claimed(channels: &[Channel], claim: Claim) -> Vec<NewDelivery> {
    let born =
        |channel: &Channel| NewDelivery { claim: Some(claim), ..delivery(*channel, DeliveryState::Sending) };
    channels.iter().map(born).collect()
}

pub fn attempted(outcome: AttemptOutcome) -> Attempted {
    Attempted {
        device: None,
        outcome,
        provider: Some("sandbox"),
        code: None,
        error: None,
        reference: Some("r-1".to_owned()),
        latency_ms: Some(3),
    }
}

/// What a first attempt came to, of a delivery that was claimed at birth.
pub fn first_outcome(
    id: &NotificationId,
    channel: Channel,
    claim: Claim,
    state: DeliveryState,
) -> DeliveryOutcome {
    use DeliveryState::{Dead, Retry, Sent};
    let attempts = match state {
        Sent => vec![attempted(AttemptOutcome::Accepted)],
        Retry => vec![attempted(AttemptOutcome::Transient)],
        Dead => vec![attempted(AttemptOutcome::Permanent)],
        _ => Vec::new(),
    };
    DeliveryOutcome {
        hurries: false,
        ledger: None,
        not_before: None,
        id: DeliveryId { notification: id.clone(), channel },
        claim,
        attempt: 1,
        cycle: 0,
        state,
        reason: (state != Sent).then(|| "because".to_owned()),
        retries: i64::from(state == Retry),
        wait: (state == Retry).then_some(Duration::ZERO),
        provider: Some("sandbox"),
        reference: (state == Sent).then(|| "r-1".to_owned()),
        segments: None,
        template_version: Some("v1".to_owned()),
        attempts,
        gone_devices: Vec::new(),
    }
}

/// What the attempt of a claim came to.
pub fn outcome_of(claimed: &ClaimedDelivery, state: DeliveryState) -> DeliveryOutcome {
    DeliveryOutcome {
        hurries: false,
        ledger: None,
        not_before: None,
        attempt: claimed.attempt,
        cycle: claimed.cycle,
        retries: claimed.retries + i64::from(state == DeliveryState::Retry),
        ..first_outcome(&claimed.id.notification, claimed.id.channel, claimed.claim, state)
    }
}
