//! Searches: newest first, in windows of positions, for as long as there is time.
//!
//! Most conditions have no index, which each write would pay for. A statement that looks for what is
//! rare, or is not there, would then read the whole history. So each looks at so many positions and
//! no more, and a search that runs out of time says where it goes on.

use std::time::{Duration, Instant as Tick};

use diesel::sql_types::{BigInt, Nullable};

use super::{Statement, Store, StoreError};

/// The first window: what is asked for is mostly among the newest.
const FIRST: i64 = 1_000;
/// Each further window: some ten milliseconds.
const WINDOW: i64 = 8_000;
/// How long a search goes on looking for more.
const PATIENCE: Duration = Duration::from_secs(2);

/// A part of what was searched for.
#[derive(Debug, Clone)]
pub struct Found<T> {
    /// What was found, newest first: as many as were asked for, unless there are no more or the
    /// time was up.
    pub items: Vec<T>,
    /// Where the time was up: what was stored before this position has not been looked at.
    pub next: Option<i64>,
}

impl<T> Found<T> {
    /// All that there is.
    pub(super) fn all(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// Positions from the first to below the second.
pub(super) type Window = (i64, i64);

impl Store {
    /// Calls `look` for one window of positions after the other, the newest first and those below
    /// `below` alone, with how many are still wanted, until `limit` are found.
    pub(super) async fn in_windows<T>(
        &self,
        below: Option<i64>,
        limit: i64,
        look: impl AsyncFn(Window, i64) -> Result<Vec<T>, StoreError>,
    ) -> Result<Found<T>, StoreError> {
        self.in_windows_within(PATIENCE, below, limit, look).await
    }

    async fn in_windows_within<T>(
        &self,
        patience: Duration,
        below: Option<i64>,
        limit: i64,
        look: impl AsyncFn(Window, i64) -> Result<Vec<T>, StoreError>,
    ) -> Result<Found<T>, StoreError> {
        let mut found = Found::all(Vec::new());
        let Some((first, last)) = self.positions().await? else { return Ok(found) };
        let begun = Tick::now();
        let mut below = below.map_or(last + 1, |below| below.min(last + 1));
        let mut size = FIRST;
        let mut wanted = limit;
        while below > first {
            let from = below - size;
            let items = look((from, below), wanted).await?;
            wanted -= i64::try_from(items.len()).unwrap_or(i64::MAX);
            found.items.extend(items);
            if wanted <= 0 {
                break;
            }
            (below, size) = (from, WINDOW);
            if below > first && begun.elapsed() >= patience {
                found.next = Some(below);
                break;
            }
        }
        Ok(found)
    }

    /// The first and the last position that is stored.
    pub(super) async fn positions(&self) -> Result<Option<(i64, i64)>, StoreError> {
        let statement = Statement::<(Nullable<BigInt>, Nullable<BigInt>)>::same(
            "SELECT (SELECT min(position) FROM domain_events), (SELECT max(position) FROM domain_events)",
            vec![],
        );
        let rows: Vec<(Option<i64>, Option<i64>)> = self.read(statement).await?;
        Ok(rows.into_iter().next().and_then(|(first, last)| first.zip(last)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::{Location, MigrationMode};

    /// A store with events at these positions.
    async fn with_events(dir: &tempfile::TempDir, positions: &[i64]) -> Store {
        let location = Location::Sqlite(dir.path().join("herald.db").display().to_string());
        Store::migrate(&location, MigrationMode::Run).await.unwrap();
        let store = Store::open(&location, tokio::runtime::Handle::current()).unwrap();
        for at in positions {
            let text = format!(
                "INSERT INTO domain_events (position, id, type, aggregate_id, aggregate_type, payload, metadata, timestamp)
                 VALUES ({at}, 'e-{at}', 'x', 'a', 'b', '{{}}', '{{}}', '2026-11-25T00:00:00Z')"
            );
            store.execute(Statement::same(text, vec![])).await.unwrap();
        }
        store
    }

    #[tokio::test]
    async fn windows_meet_until_enough_is_found_or_the_time_is_up() {
        let dir = tempfile::tempdir().unwrap();
        let stored = [1, 999, 1_000, 20_000, 29_000, 29_001, 30_000];
        let store = with_events(&dir, &stored).await;
        let search = async |patience, below, limit| {
            let look = async |(from, below), wanted: i64| {
                let inside = stored.iter().rev().copied().filter(|at| (from..below).contains(at));
                Ok(inside.take(usize::try_from(wanted).unwrap()).collect())
            };
            store.in_windows_within(patience, below, limit, look).await.unwrap()
        };
        let newest_first: Vec<i64> = stored.iter().rev().copied().collect();
        let all = search(PATIENCE, None, 10).await;
        assert_eq!((all.items, all.next), (newest_first.clone(), None));
        let some = search(PATIENCE, None, 4).await;
        assert_eq!((some.items.as_slice(), some.next), (&newest_first[..4], None));
        assert_eq!(search(PATIENCE, Some(1_000), 10).await.items, [999, 1]);

        // Page by page, each out of time after its first window.
        let (mut pages, mut below, mut found) = (0, None, Vec::new());
        loop {
            let page = search(Duration::ZERO, below, 10).await;
            (pages, below) = (pages + 1, page.next);
            found.extend(page.items);
            if below.is_none() {
                break;
            }
        }
        assert_eq!(found, newest_first);
        assert_eq!(pages, 30, "a window of a thousand each");
    }

    #[tokio::test]
    async fn nothing_is_stored() {
        let dir = tempfile::tempdir().unwrap();
        let store = with_events(&dir, &[]).await;
        let found = store.in_windows(None, 10, async |_, _| Ok(vec![1])).await.unwrap();
        assert!(found.items.is_empty() && found.next.is_none());
    }
}
