//! How much waits for somebody.

use diesel::sql_types::BigInt;

use super::{Bind, Statement, Store, StoreError};

impl Store {
    /// How many deliveries policy holds back until later, counted up to `most` so that the cost is bounded.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn count_deferred(&self, most: i64) -> Result<i64, StoreError> {
        let statement = Statement::<(BigInt,)>::same(
            "SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE state = 'deferred' LIMIT ?) AS waiting",
            vec![Bind::BigInt(most)],
        );
        let rows: Vec<(i64,)> = self.read(statement).await?;
        Ok(rows.into_iter().next().map_or(0, |row| row.0))
    }

    /// How many dead letters there are, counted up to `most` so that the cost is bounded.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn count_dead_letters(&self, most: i64) -> Result<i64, StoreError> {
        let statement = Statement::<(BigInt,)>::same(
            "SELECT count(*) FROM (
                 SELECT 1 FROM deliveries WHERE state = 'dead'
                 UNION ALL SELECT 1 FROM work_items WHERE state = 'dead'
                 UNION ALL SELECT 1 FROM event_failures WHERE discarded_at IS NULL
                 LIMIT ?
             ) AS dead",
            vec![Bind::BigInt(most)],
        );
        let rows: Vec<(i64,)> = self.read(statement).await?;
        Ok(rows.into_iter().next().map_or(0, |row| row.0))
    }
}
