//! What one event with three channels costs on PostgreSQL: statements and rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use herald::domain::{Channel, DeliveryState, NotificationId};
use herald::store::{Claim, Location, Store};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use crate::support::{Db, born_claimed, event, events, first_outcome, notified};

const ALL: [Channel; 3] = [Channel::Push, Channel::Email, Channel::Sms];

/// Passes a client's messages on, and counts those that run a statement: `Query` and `Execute`
/// (PostgreSQL's documentation, "Message Formats").
async fn count_statements(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: Arc<AtomicUsize>,
) -> std::io::Result<()> {
    // The first message has no type.
    let mut header = vec![0; 4];
    loop {
        from.read_exact(&mut header).await?;
        if matches!(header[0], b'Q' | b'E') && header.len() == 5 {
            count.fetch_add(1, Ordering::SeqCst);
        }
        let length = u32::from_be_bytes(header[header.len() - 4..].try_into().unwrap());
        let mut body = vec![0; length as usize - 4];
        from.read_exact(&mut body).await?;
        to.write_all(&header).await?;
        to.write_all(&body).await?;
        header.resize(5, 0);
    }
}

/// A store whose statements are counted on their way to the database.
async fn counted(db: &Db) -> (Store, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = db.config().clone();
    let server: tokio_postgres::Config = config.url.parse().unwrap();
    let tokio_postgres::config::Host::Tcp(host) = server.get_hosts()[0].clone() else { panic!("not TCP") };
    let address = format!("{host}:{}", server.get_ports().first().copied().unwrap_or(5432));
    let (user, name) = (server.get_user().unwrap(), server.get_dbname().unwrap());
    let password =
        server.get_password().map(|word| format!(":{}", String::from_utf8_lossy(word))).unwrap_or_default();
    config.url =
        format!("postgres://{user}{password}@{}/{name}?sslmode=disable", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&address).await.unwrap();
            let (from_client, mut to_client) = client.into_split();
            let (mut from_server, to_server) = server.into_split();
            tokio::spawn(count_statements(from_client, to_server, Arc::clone(&counting)));
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        }
    });
    (Store::open(&Location::Postgres(config), Handle::current()).unwrap(), count)
}

/// One batch of events on its way; gives the statements of each call.
async fn way(
    store: &Store,
    count: &AtomicUsize,
    epoch: i64,
    new: Vec<herald::domain::NewEvent>,
) -> Vec<usize> {
    let claim = Claim { epoch, life: 1 };
    let mut told = Vec::new();
    let mut tell = || told.push(count.swap(0, Ordering::SeqCst));
    let now = store.now().await.unwrap();
    count.store(0, Ordering::SeqCst);
    store.append(new.into_iter().map(|event| vec![event]).collect()).await.unwrap();
    tell();
    let open = store.open_events(epoch, 1_000).await.unwrap();
    tell();
    let batch: Vec<_> = open.iter().map(|event| notified(event, 42, &born_claimed(&ALL, claim))).collect();
    let ids: Vec<NotificationId> = batch.iter().map(|event| event.notifications[0].id.clone()).collect();
    store.handle(epoch, now, batch).await.unwrap();
    tell();
    let outcomes =
        ids.iter().flat_map(|id| ALL.map(|channel| first_outcome(id, channel, claim, DeliveryState::Sent)));
    let recorded = store.record(epoch, now, outcomes.collect()).await.unwrap();
    tell();
    assert_eq!(recorded.events.len(), ids.len());
    told
}

async fn rows(db: &Db) -> Vec<String> {
    db.column(
        "SELECT pg_terminate_backend(pid) AS v FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'herald'",
    )
    .await;
    db.until(
        "SELECT count(*) AS v FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'herald'",
        "0",
    )
    .await;
    db.column(
        "SELECT relname || ' +' || n_tup_ins || ' ~' || n_tup_upd || ' -' || n_tup_del AS v FROM pg_stat_user_tables
         WHERE schemaname = 'public' AND n_tup_ins + n_tup_upd + n_tup_del > 0 ORDER BY 1",
    )
    .await
}

async fn measured(size: usize) -> (Vec<usize>, Vec<String>, String) {
    let db = Db::postgres().await;
    let epoch = db.instance().await;
    let (store, count) = counted(&db).await;
    // Statements are prepared, and the statistics' rows are there.
    way(&store, &count, epoch, vec![event("warm-1")]).await;
    rows(&db).await;
    db.run("SELECT pg_stat_reset()").await;
    let (store, count) = counted(&db).await;
    let statements = way(&store, &count, epoch, events(size)).await;
    drop(store);
    let rows = rows(&db).await;
    let hot = "SELECT n_tup_hot_upd * 100 / n_tup_upd AS v FROM pg_stat_user_tables WHERE relname = 'domain_events'";
    let hot = db.one(hot).await;
    println!("{size} events, 3 channels: statements for append, open_events, handle, record: {statements:?}");
    println!("rows: {rows:?}; updates of domain_events that are HOT: {hot} %");
    (statements, rows, hot)
}

/// The session's settings, and preparing, are not counted twice: a connection is used again.
#[tokio::test(flavor = "multi_thread")]
async fn one_event_costs_what_it_must() {
    let (statements, rows, hot) = measured(1).await;
    assert_eq!(statements[1..], [1, 8, 8]);
    assert_eq!(
        rows,
        [
            "deliveries +3 ~3 -0",
            "delivery_stats +0 ~6 -0",
            "domain_events +2 ~1 -0",
            "event_queue +1 ~0 -1",
            "notification_history +3 ~0 -0",
            "notifications +1 ~1 -0",
        ]
    );
    assert_eq!(hot, "100");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_events_cost_as_many_statements_as_one() {
    let (statements, rows, hot) = measured(100).await;
    assert_eq!(statements[1..], [1, 8, 8]);
    assert_eq!(
        rows,
        [
            "deliveries +300 ~300 -0",
            "delivery_stats +0 ~6 -0",
            "domain_events +200 ~100 -0",
            "event_queue +100 ~0 -100",
            "notification_history +300 ~0 -0",
            "notifications +100 ~100 -0",
        ]
    );
    let hot: i64 = hot.parse().unwrap();
    assert!(hot >= 90, "{hot} %");
}
