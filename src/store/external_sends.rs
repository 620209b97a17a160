//! What the system that Herald replaces has sent, beside what Herald made of the same events.

use std::collections::BTreeMap;

use diesel::sql_types::{BigInt, Nullable, Text};
use serde::Serialize;

use super::events::Conditions;
use super::search::{Found, Window};
use super::types::Moment;
use super::{Bind, Statement, Store, StoreError, rows, word};
use crate::domain::{Channel, DeliveryState, ExternalSend, Instant, SendMatch};

/// Which events are compared; every part that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct SendFilter {
    /// The type.
    pub kind: Option<String>,
    /// The channel.
    pub channel: Option<Channel>,
    /// Stored at or after this.
    pub from: Option<Instant>,
    /// Stored before this.
    pub to: Option<Instant>,
    /// Only those of which the two made something different.
    pub differ: bool,
}

/// An event with what both systems made of it.
#[derive(Debug, Clone, Serialize)]
pub struct ComparedEvent {
    /// Its id.
    pub event_id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it was stored.
    pub stored_at: Instant,
    /// Its place in the order of storing.
    #[serde(skip)]
    pub position: i64,
    /// Each channel by which one of the two sent it, or decided not to.
    pub channels: Vec<ComparedChannel>,
}

/// One channel of an event.
#[derive(Debug, Clone, Serialize)]
pub struct ComparedChannel {
    /// The channel.
    pub channel: Channel,
    /// How the two compare.
    #[serde(rename = "match")]
    pub matches: SendMatch,
    /// What the old system reported; none: nothing.
    pub old: Option<OldSend>,
    /// What Herald made of it; none: nothing.
    pub herald: Option<HeraldSend>,
}

/// What the old system reported.
#[derive(Debug, Clone, Serialize)]
pub struct OldSend {
    /// Whether it sent it.
    pub sent: bool,
    /// When.
    pub sent_at: Option<Instant>,
}

/// What Herald made of it.
#[derive(Debug, Clone, Serialize)]
pub struct HeraldSend {
    /// The notification.
    pub notification_id: String,
    /// Where the delivery stands.
    pub state: DeliveryState,
    /// Why.
    pub reason: Option<String>,
}

/// How many of one type on one channel compare how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SendTotals {
    /// Both sent it, or Herald would have.
    pub both: u64,
    /// The old system alone.
    pub only_old: u64,
    /// Herald alone.
    pub only_herald: u64,
    /// Neither.
    pub neither: u64,
    /// Herald has not come to an end with it.
    pub open: u64,
}

impl SendTotals {
    fn add(&mut self, matches: SendMatch, n: u64) {
        match matches {
            SendMatch::Both => self.both += n,
            SendMatch::OnlyOld => self.only_old += n,
            SendMatch::OnlyHerald => self.only_herald += n,
            SendMatch::Neither => self.neither += n,
            SendMatch::Open => self.open += n,
        }
    }
}

/// Totals by type and channel, and whether all that fits is in them: else the newest are.
#[derive(Debug, Clone, Default)]
pub struct SendComparison {
    /// By type and channel.
    pub totals: BTreeMap<(String, Channel), SendTotals>,
    /// Whether all that fits was looked at.
    pub complete: bool,
}

#[derive(Serialize)]
struct SendRow<'a> {
    event_id: &'a str,
    channel: Channel,
    sent: bool,
    sent_at: Option<Instant>,
}

type OldTuple = (String, String, i64, Option<Instant>);

impl Store {
    /// Notes what the old system reports, all or nothing; a second report about an event and a channel
    /// replaces the first. Gives how many there are.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn report_sends(&self, sends: &[ExternalSend]) -> Result<usize, StoreError> {
        // Of several about one event and channel the last stands; in one order, so that two do not deadlock.
        let sends: BTreeMap<(&str, &str), SendRow<'_>> = sends
            .iter()
            .map(|send| {
                let ExternalSend { event_id, channel, sent, sent_at } = send;
                let row = SendRow { event_id, channel: *channel, sent: *sent, sent_at: *sent_at };
                ((event_id.as_str(), channel.as_str()), row)
            })
            .collect();
        let sends: Vec<&SendRow<'_>> = sends.values().collect();
        let statement = Statement::<()>::new(
            "INSERT INTO external_sends (event_id, channel, sent, sent_at)
             SELECT event_id, channel, sent, sent_at
             FROM json_to_recordset(?::json) AS r(event_id text, channel text, sent boolean, sent_at timestamptz)
             ON CONFLICT (event_id, channel) DO UPDATE SET sent = excluded.sent, sent_at = excluded.sent_at",
            "INSERT INTO external_sends (event_id, channel, sent, sent_at)
             SELECT value->>'event_id', value->>'channel', value->>'sent', value->>'sent_at'
             FROM json_each(?) WHERE TRUE
             ON CONFLICT (event_id, channel) DO UPDATE SET sent = excluded.sent, sent_at = excluded.sent_at",
            vec![rows(&sends)?],
        );
        self.execute(statement).await
    }

    /// Up to `limit` events of which one of the two systems made something, newest first, stored before the
    /// position `before`; fewer where the search takes too long.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn compare_sends(
        &self,
        filter: SendFilter,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Found<ComparedEvent>, StoreError> {
        self.in_windows(before, limit, async |window, wanted| {
            let mut events = self.compared(&filter, window).await?;
            if filter.differ {
                events.retain(|event| event.channels.iter().any(|channel| channel.matches.differs()));
            }
            events.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
            Ok(events)
        })
        .await
    }

    /// How many compare how, for as many of the newest events as there is time for.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn compare_totals(&self, filter: &SendFilter) -> Result<SendComparison, StoreError> {
        let found = self
            .in_windows(None, i64::MAX, async |window, _| {
                let mut totals: BTreeMap<(String, Channel), SendTotals> = BTreeMap::new();
                for event in self.compared(filter, window).await? {
                    for channel in event.channels {
                        totals
                            .entry((event.kind.clone(), channel.channel))
                            .or_default()
                            .add(channel.matches, 1);
                    }
                }
                Ok(totals.into_iter().collect())
            })
            .await?;
        let mut comparison = SendComparison { complete: found.next.is_none(), ..SendComparison::default() };
        for (key, part) in found.items {
            let all = comparison.totals.entry(key).or_default();
            all.both += part.both;
            all.only_old += part.only_old;
            all.only_herald += part.only_herald;
            all.neither += part.neither;
            all.open += part.open;
        }
        Ok(comparison)
    }

    /// How many sends are reported of events that Herald does not know, and the newest of those events;
    /// looked for among the newest ten thousand reports.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn sends_of_unknown_events(&self, limit: i64) -> Result<(i64, Vec<String>), StoreError> {
        let text = "SELECT x.event_id, count(*) OVER () FROM (
                 SELECT event_id, reported_at FROM external_sends ORDER BY reported_at DESC LIMIT 10000) x
             WHERE NOT EXISTS (SELECT 1 FROM domain_events e WHERE e.id = x.event_id)
             ORDER BY x.reported_at DESC, x.event_id LIMIT ?";
        let statement = Statement::<(Text, BigInt)>::same(text, vec![Bind::BigInt(limit)]);
        let found: Vec<(String, i64)> = self.read(statement).await?;
        let count = found.first().map_or(0, |row| row.1);
        let mut ids: Vec<String> = found.into_iter().map(|row| row.0).collect();
        ids.dedup();
        Ok((count, ids))
    }

    /// The events of a window of which one of the two made something, newest first.
    async fn compared(
        &self,
        filter: &SendFilter,
        (from, below): Window,
    ) -> Result<Vec<ComparedEvent>, StoreError> {
        let mut conditions = Conditions::new();
        conditions.same("e.position >= ? AND e.position < ?", [Bind::BigInt(from), Bind::BigInt(below)]);
        conditions.text("e.type", filter.kind.clone());
        conditions.moment("e.created_at >=", filter.from);
        conditions.moment("e.created_at <", filter.to);
        let text = "SELECT e.position, e.id, e.type, e.created_at FROM domain_events e
                    WHERE {where} ORDER BY e.position DESC";
        let statement: Statement<(BigInt, Text, Text, Moment)> = conditions.statement(text, text, []);
        let events: Vec<(i64, String, String, Instant)> = self.read(statement).await?;
        let ids: Vec<&str> = events.iter().map(|event| event.1.as_str()).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let (old, mut made) = tokio::try_join!(self.external_sends_of(&ids), self.deliveries_made(&ids))?;
        let mut reported: BTreeMap<String, BTreeMap<Channel, OldSend>> = BTreeMap::new();
        for (event, channel, sent, sent_at) in old {
            let old = OldSend { sent: sent != 0, sent_at };
            reported.entry(event).or_default().insert(word(&channel)?, old);
        }
        let compared = events.into_iter().filter_map(|(position, event_id, kind, stored_at)| {
            let mut channels: BTreeMap<Channel, (Option<OldSend>, Option<HeraldSend>)> = BTreeMap::new();
            for (channel, old) in reported.remove(&event_id).unwrap_or_default() {
                channels.entry(channel).or_default().0 = Some(old);
            }
            for made in made.remove(&event_id).unwrap_or_default() {
                let (notification_id, state, reason) = (made.notification.0, made.state, made.reason);
                channels.entry(made.channel).or_default().1 =
                    Some(HeraldSend { notification_id, state, reason });
            }
            channels.retain(|channel, _| filter.channel.is_none_or(|wanted| wanted == *channel));
            let channels: Vec<ComparedChannel> = channels
                .into_iter()
                .map(|(channel, (old, herald))| {
                    let sent = old.as_ref().is_some_and(|old| old.sent);
                    let matches = SendMatch::of(sent, herald.as_ref().map(|herald| herald.state));
                    ComparedChannel { channel, matches, old, herald }
                })
                .collect();
            let event = ComparedEvent { event_id, kind, stored_at, position, channels };
            (!event.channels.is_empty()).then_some(event)
        });
        Ok(compared.collect())
    }

    async fn external_sends_of(&self, events: &[&str]) -> Result<Vec<OldTuple>, StoreError> {
        let statement = Statement::<(Text, Text, BigInt, Nullable<Moment>)>::new(
            "SELECT x.event_id, x.channel, x.sent::int::bigint, x.sent_at
             FROM json_array_elements_text(?::json) AS r
             CROSS JOIN LATERAL (SELECT * FROM external_sends WHERE event_id = r.value OFFSET 0) x",
            "SELECT x.event_id, x.channel, x.sent, x.sent_at
             FROM json_each(?) AS r CROSS JOIN external_sends x ON x.event_id = r.value",
            vec![rows(events)?],
        );
        self.read(statement).await
    }
}
