//! Counts of deliveries by hour, type, channel and state, kept up to date by the same transactions
//! that change the deliveries. So totals cost the same at ten rows and at ten million.

use std::collections::BTreeMap;

use diesel::sql_types::{BigInt, Text};
use serde::Serialize;

use super::{Bind, Statement, Store, StoreError, rows};
use crate::domain::{Channel, DeliveryState, Instant};

/// Stands in the place of a state for "all that were made".
pub(super) const CREATED: &str = "created";

/// Instances write to different rows, so that they do not wait for each other.
const SHARDS: i64 = 16;

/// A change of one count.
#[derive(Serialize)]
pub(super) struct StatRow<'a> {
    /// Any moment of the hour in which the notification was made.
    pub(super) at: Instant,
    pub(super) event_type: &'a str,
    pub(super) channel: Channel,
    pub(super) state: &'a str,
    pub(super) n: i64,
}

/// Changes counts. The rows are in the order of the key, the order in which all take the locks.
pub(super) fn add(epoch: i64, changes: Bind) -> Statement {
    Statement::new(
        "INSERT INTO delivery_stats (hour, event_type, channel, state, shard, n)
         SELECT date_trunc('hour', at, 'UTC'), event_type, channel, state, ?::bigint::smallint, sum(n)
         FROM json_to_recordset(?::json) AS r(at timestamptz, event_type text, channel text, state text, n bigint)
         GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
         ON CONFLICT (hour, event_type, channel, state, shard) DO UPDATE SET n = delivery_stats.n + excluded.n",
        "INSERT INTO delivery_stats (hour, event_type, channel, state, shard, n)
         SELECT substr(value->>'at', 1, 13) || ':00:00.000000Z' AS hour, value->>'event_type' AS event_type,
                value->>'channel' AS channel, value->>'state' AS state, ?, sum(value->>'n')
         FROM json_each(?) WHERE TRUE GROUP BY 1, 2, 3, 4
         ON CONFLICT (hour, event_type, channel, state, shard) DO UPDATE SET n = n + excluded.n",
        vec![Bind::BigInt(epoch.rem_euclid(SHARDS)), changes],
    )
}

/// Collects changes of counts, so that each count is changed once.
#[derive(Default)]
pub(super) struct Changes(BTreeMap<(Instant, String, Channel, &'static str), i64>);

impl Changes {
    /// Notes that a delivery, whose notification was made at `at`, changed its state.
    pub(super) fn note(
        &mut self,
        at: Instant,
        event_type: &str,
        channel: Channel,
        from: DeliveryState,
        to: DeliveryState,
    ) {
        let mut add = |state: DeliveryState, n: i64| {
            if !state.is_open() {
                *self.0.entry((at, event_type.to_owned(), channel, state.as_str())).or_default() += n;
            }
        };
        add(from, -1);
        add(to, 1);
    }

    /// The statement that writes them, if there are any.
    pub(super) fn statement(&self, epoch: i64) -> Result<Option<Statement>, StoreError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let changes: Vec<StatRow<'_>> = self
            .0
            .iter()
            .map(|((at, event_type, channel, state), n)| StatRow {
                at: *at,
                event_type,
                channel: *channel,
                state,
                n: *n,
            })
            .collect();
        Ok(Some(add(epoch, rows(&changes)?)))
    }
}

/// Deliveries of one kind by how they stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// All.
    pub total: i64,
    /// `sent` and `delivered`.
    pub sent: i64,
    /// `dead`, `undelivered` and `discarded`.
    pub failed: i64,
    /// `suppressed`, `expired`, `digested` and `shadowed`.
    pub not_sent: i64,
    /// Still open.
    pub open: i64,
}

impl Totals {
    /// The share of what was sent in what was tried to the end, between 0 and 1.
    pub fn success_rate(&self) -> Option<f64> {
        let tried = self.sent + self.failed;
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        (tried > 0).then(|| self.sent as f64 / tried as f64)
    }

    fn add(&mut self, state: &str, n: i64) {
        match state.parse::<DeliveryState>() {
            Ok(state) => {
                let counts = state.counts();
                self.sent += counts.sent * n;
                self.failed += counts.failed * n;
                if counts == crate::domain::Counts::default() {
                    self.not_sent += n;
                }
                self.open -= n;
            }
            Err(_) if state == CREATED => {
                self.total += n;
                self.open += n;
            }
            // A state that only a newer version knows: it is not open any more.
            Err(_) => self.open -= n,
        }
    }
}

/// The totals of one channel.
#[derive(Debug, Clone, Serialize)]
pub struct ChannelTotals {
    /// The channel.
    pub channel: String,
    /// Its totals.
    #[serde(flatten)]
    pub totals: Totals,
}

impl Store {
    /// The totals of each channel, for notifications made since the hour of `from`.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn totals(&self, from: Instant) -> Result<Vec<ChannelTotals>, StoreError> {
        let statement = Statement::<(Text, Text, BigInt)>::new(
            "SELECT channel, state, sum(n)::bigint FROM delivery_stats
             WHERE hour >= date_trunc('hour', ?::timestamptz, 'UTC') GROUP BY channel, state ORDER BY channel",
            "SELECT channel, state, sum(n) FROM delivery_stats
             WHERE hour >= substr(?, 1, 13) || ':00:00.000000Z' GROUP BY channel, state ORDER BY channel",
            vec![Bind::Text(from.to_rfc3339())],
        );
        let counts: Vec<(String, String, i64)> = self.read(statement).await?;
        let mut channels: BTreeMap<String, Totals> = BTreeMap::new();
        for (channel, state, n) in counts {
            channels.entry(channel).or_default().add(&state, n);
        }
        Ok(channels.into_iter().map(|(channel, totals)| ChannelTotals { channel, totals }).collect())
    }
}
