//! The same counts for notifications that got a variant of their template, by variant.

use std::collections::BTreeMap;

use diesel::sql_types::{BigInt, Text};
use serde::Serialize;

use super::super::{Bind, Statement, Store, StoreError};
use super::{CREATED, Totals};
use crate::domain::Instant;

/// Changes counts, in the order of the key.
pub(super) fn add(shard: i64, changes: Bind) -> Statement {
    Statement::new(
        "INSERT INTO variant_stats (hour, event_type, variant, channel, state, shard, n)
         SELECT date_trunc('hour', at, 'UTC'), event_type, variant, channel, state, ?::bigint::smallint, sum(n)
         FROM json_to_recordset(?::json) AS r(at timestamptz, event_type text, variant text, channel text,
              state text, n bigint)
         GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
         ON CONFLICT (hour, event_type, variant, channel, state, shard)
         DO UPDATE SET n = variant_stats.n + excluded.n",
        "INSERT INTO variant_stats (hour, event_type, variant, channel, state, shard, n)
         SELECT substr(value->>'at', 1, 13) || ':00:00.000000Z' AS hour, value->>'event_type' AS event_type,
                value->>'variant' AS variant, value->>'channel' AS channel, value->>'state' AS state, ?,
                sum(value->>'n')
         FROM json_each(?) WHERE TRUE GROUP BY 1, 2, 3, 4, 5
         ON CONFLICT (hour, event_type, variant, channel, state, shard) DO UPDATE SET n = n + excluded.n",
        vec![Bind::BigInt(shard), changes],
    )
}

/// How the deliveries of one variant stand on one channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VariantTotals {
    /// The event's type.
    pub event_type: String,
    /// The variant.
    pub variant: String,
    /// The channel.
    pub channel: String,
    /// Its totals.
    #[serde(flatten)]
    pub totals: Totals,
    /// How many have ended in each state.
    pub states: BTreeMap<String, i64>,
}

impl Store {
    /// The totals of each variant on each channel, of notifications made since the hour of `from` and in
    /// hours that begin before `to`, by type, variant and channel.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn variant_totals(&self, from: Instant, to: Instant) -> Result<Vec<VariantTotals>, StoreError> {
        let statement = Statement::<(Text, Text, Text, Text, BigInt)>::new(
            "SELECT event_type, variant, channel, state, sum(n)::bigint FROM variant_stats
             WHERE hour >= date_trunc('hour', ?::timestamptz, 'UTC') AND hour < ?::timestamptz
             GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
            "SELECT event_type, variant, channel, state, sum(n) FROM variant_stats
             WHERE hour >= substr(?, 1, 13) || ':00:00.000000Z' AND hour < ?
             GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
            vec![Bind::Text(from.to_rfc3339()), Bind::Text(to.to_rfc3339())],
        );
        let counts: Vec<(String, String, String, String, i64)> = self.read(statement).await?;
        let mut totals: BTreeMap<(String, String, String), VariantTotals> = BTreeMap::new();
        for (event_type, variant, channel, state, n) in counts {
            let of = totals.entry((event_type.clone(), variant.clone(), channel.clone())).or_default();
            (of.event_type, of.variant, of.channel) = (event_type, variant, channel);
            of.totals.add(&state, n);
            if state != CREATED && n != 0 {
                of.states.insert(state, n);
            }
        }
        Ok(totals.into_values().collect())
    }
}
