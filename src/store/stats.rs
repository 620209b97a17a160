//! Counts of deliveries by hour, type, channel and state, kept up to date by the same transactions
//! that change the deliveries. So totals cost the same at ten rows and at ten million.

mod variants;

use std::collections::BTreeMap;

use diesel::sql_types::{BigInt, Text};
use serde::Serialize;

pub use self::variants::VariantTotals;
use super::shift::Locked;
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
    /// The variant of its template, where it has any.
    pub(super) variant: Option<&'a str>,
    pub(super) channel: Channel,
    pub(super) state: &'a str,
    pub(super) n: i64,
}

/// The statements that change counts, in the order in which all take the locks.
pub(super) fn add(epoch: i64, changes: &[StatRow<'_>]) -> Result<Vec<Statement>, StoreError> {
    let mut statements = vec![add_to_all(epoch, rows(&changes)?)];
    let of_variants: Vec<&StatRow<'_>> = changes.iter().filter(|change| change.variant.is_some()).collect();
    if !of_variants.is_empty() {
        statements.push(variants::add(epoch.rem_euclid(SHARDS), rows(&of_variants)?));
    }
    Ok(statements)
}

/// The rows are in the order of the key.
fn add_to_all(epoch: i64, changes: Bind) -> Statement {
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
pub(super) struct Changes(BTreeMap<Counted, i64>);

/// What is counted: the moment, the type, the variant, the channel and the state.
type Counted = (Instant, String, Option<String>, Channel, &'static str);

impl Changes {
    /// Notes that a delivery of a notification changed its state.
    pub(super) fn note(&mut self, of: &Locked, channel: Channel, from: DeliveryState, to: DeliveryState) {
        let mut add = |state: DeliveryState, n: i64| {
            if !state.is_open() {
                let key = (of.created_at, of.event_type.clone(), of.variant.clone(), channel, state.as_str());
                *self.0.entry(key).or_default() += n;
            }
        };
        add(from, -1);
        add(to, 1);
    }

    /// The statements that write them, if there are any.
    pub(super) fn statements(&self, epoch: i64) -> Result<Vec<Statement>, StoreError> {
        if self.0.is_empty() {
            return Ok(Vec::new());
        }
        let changes: Vec<StatRow<'_>> = self
            .0
            .iter()
            .map(|((at, event_type, variant, channel, state), n)| StatRow {
                at: *at,
                event_type,
                variant: variant.as_deref(),
                channel: *channel,
                state,
                n: *n,
            })
            .collect();
        add(epoch, &changes)
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

    pub(super) fn add(&mut self, state: &str, n: i64) {
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
