//! Rows of the rules that nothing reads any more, and that go with no event.

use super::{Bind, Statement, Store, StoreError};
use crate::domain::{Instant, Preferences};

/// Rows of each kind that one call deletes.
const MOST: usize = 1_000;

/// How many rows of each table were past their use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PastUse {
    /// Grants that no cap's window reaches any more.
    pub cap_grants: usize,
    /// What dry runs that are over would have granted.
    pub replay_grants: usize,
    /// Replays that were over before the bank's retention begins.
    pub replays: usize,
    /// What another system has reported before that, of events that Herald does not know.
    pub external_sends: usize,
}

impl Store {
    /// Deletes rows that are past their use, up to a thousand of each kind. `before`: what is older than
    /// this is past the bank's retention; none: all is kept that the bank may want to read.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn forget_past_use(&self, before: Option<Instant>) -> Result<PastUse, StoreError> {
        let mut gone = PastUse {
            cap_grants: self.execute(old_grants()).await?,
            replay_grants: self.execute(grants_of_ended_replays()).await?,
            ..PastUse::default()
        };
        if let Some(before) = before {
            gone.replays = self.execute(ended_replays(before)).await?;
            gone.external_sends = self.execute(sends_of_unknown_events(before)).await?;
        }
        Ok(gone)
    }
}

/// A grant whose notification is deleted counts as long as a window can reach it: so these go by age.
fn old_grants() -> Statement {
    let days = Preferences::LONGEST_WINDOW.as_secs() / 86_400 + 1;
    let text = |moment: String| {
        format!(
            "DELETE FROM cap_grants WHERE (notification_id, channel) IN (
                 SELECT notification_id, channel FROM cap_grants WHERE granted_at < {moment}
                 ORDER BY granted_at LIMIT {MOST})"
        )
    };
    Statement::new(
        text(format!("statement_timestamp() - interval '{days} days'")),
        text(format!("strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-{days} days')")),
        vec![],
    )
}

/// A replay forgets them at its end, unless the process dies then.
fn grants_of_ended_replays() -> Statement {
    let text = |row: &str| {
        format!(
            "DELETE FROM replay_grants WHERE {row} IN (
                 SELECT g.{row} FROM replays r JOIN replay_grants g ON g.replay_id = r.id
                 WHERE r.state IN ('done', 'failed') LIMIT {MOST})"
        )
    };
    Statement::new(text("ctid"), text("rowid"), vec![])
}

fn ended_replays(before: Instant) -> Statement {
    let text = |moment: &str| {
        format!(
            "DELETE FROM replays WHERE id IN (
                 SELECT id FROM replays WHERE state IN ('done', 'failed') AND finished_at < {moment}
                 LIMIT {MOST})"
        )
    };
    Statement::new(text("?::timestamptz"), text("?"), vec![Bind::Text(before.to_rfc3339())])
}

/// Looked for among the oldest. Those of events that are kept, since somebody has to deal with a dead letter,
/// are in its way when there are as many as it looks at.
fn sends_of_unknown_events(before: Instant) -> Statement {
    let text = |moment: &str| {
        format!(
            "DELETE FROM external_sends WHERE (event_id, channel) IN (
                 SELECT x.event_id, x.channel FROM (
                     SELECT event_id, channel FROM external_sends WHERE reported_at < {moment}
                     ORDER BY reported_at LIMIT {MOST}) x
                 WHERE (SELECT count(*) FROM domain_events e WHERE e.id = x.event_id) = 0)"
        )
    };
    Statement::new(text("?::timestamptz"), text("?"), vec![Bind::Text(before.to_rfc3339())])
}
