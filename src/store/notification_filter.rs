//! Which notifications are asked for, and the statement that finds them.

use super::events::Conditions;
use super::notifications::NotificationSql;
use super::search::Window;
use super::{Bind, Statement};
use crate::domain::{Channel, DeliveryState, Instant, NotificationId, NotificationStatus};

/// Which notifications are asked for; every part that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct NotificationFilter {
    /// The recipient.
    pub user_id: Option<i64>,
    /// The event's type.
    pub event_type: Option<String>,
    /// The event.
    pub event_id: Option<String>,
    /// Has a delivery on this channel (for which `state` and `provider` hold, where given).
    pub channel: Option<Channel>,
    /// The status.
    pub status: Option<NotificationStatus>,
    /// Has a delivery in this state.
    pub state: Option<DeliveryState>,
    /// Has a delivery by this provider.
    pub provider: Option<String>,
    /// Made at or after this.
    pub from: Option<Instant>,
    /// Made before this.
    pub to: Option<Instant>,
    /// The correlation id.
    pub correlation_id: Option<String>,
    /// Only this one.
    pub id: Option<String>,
}

impl NotificationFilter {
    /// Whether an index leads to the few that can fit.
    pub(super) fn has_index(&self) -> bool {
        use NotificationStatus::{Failed, Partial, Pending, Retry};
        self.id.is_some()
            || self.event_id.is_some()
            || self.user_id.is_some()
            || self.correlation_id.is_some()
            || matches!(self.status, Some(Pending | Retry | Partial | Failed))
    }
}

pub(super) fn select(
    filter: NotificationFilter,
    before: Option<NotificationId>,
    window: Option<Window>,
    limit: i64,
) -> Statement<NotificationSql> {
    let mut conditions = Conditions::new();
    conditions.text("n.id", filter.id);
    conditions.text("n.event_type", filter.event_type);
    conditions.text("n.event_id", filter.event_id);
    if let Some(correlation) = filter.correlation_id {
        // It is the event's, which has the index.
        let text = |among| format!("n.correlation_id = ? AND n.event_id {among}");
        let events = "(SELECT id FROM domain_events WHERE metadata->>'correlationId' = ?)";
        conditions.and(
            &text(format!("= ANY(ARRAY{events})")),
            &text(format!("IN {events}")),
            [Bind::Text(correlation.clone()), Bind::Text(correlation)],
        );
    }
    if let Some(user) = filter.user_id {
        conditions.same("n.user_id = ?", [Bind::BigInt(user)]);
    }
    if let Some(status) = filter.status {
        // The open and the bad ones are few, and have an index with this very condition.
        let (known, text) = match status {
            NotificationStatus::Sent | NotificationStatus::Suppressed => ("", status.as_str()),
            _ => ("n.status IN ('PENDING', 'RETRY', 'PARTIAL', 'FAILED') AND ", status.as_str()),
        };
        conditions.same(&format!("{known}n.status = ?"), [Bind::Text(text.to_owned())]);
    }
    if filter.state.is_some_and(|state| state.is_open() || state.counts().failed > 0) {
        // A notification with such a delivery has one of these, which leads to it by the index.
        conditions.same("n.status IN ('PENDING', 'RETRY', 'PARTIAL', 'FAILED')", []);
    }
    conditions.moment("n.created_at >=", filter.from);
    conditions.moment("n.created_at <", filter.to);
    let mut parts = String::new();
    let mut binds = Vec::new();
    let mut of_delivery = |column: &str, value: Option<String>| {
        if let Some(value) = value {
            parts.push_str(&format!(" AND {column} = ?"));
            binds.push(Bind::Text(value));
        }
    };
    of_delivery("d.channel", filter.channel.map(|channel| channel.to_string()));
    // No bare column: else a plan may read all that are dead once for each notification.
    of_delivery("d.state || ''", filter.state.map(|state| state.to_string()));
    of_delivery("d.provider", filter.provider);
    if !parts.is_empty() {
        // Counted, since a planner that makes a join of it may read all deliveries of the window again
        // and again, or those of all time.
        let some = format!("(SELECT count(*) FROM deliveries d WHERE d.notification_id = n.id{parts}) > 0");
        conditions.same(&some, binds);
    }
    if let Some(range) = window.map(NotificationId::range) {
        conditions.same("n.id >= ? AND n.id < ?", range.map(Bind::Text));
    }
    if let Some(before) = before {
        conditions.same("n.id < ?", [Bind::Text(before.0)]);
    }
    let text = |lane| {
        format!(
            "SELECT n.id, n.event_id, n.event_type, n.user_id, n.status, {lane}, n.correlation_id, n.created_at,
                    n.template, n.variant
             FROM notifications n WHERE {{where}} ORDER BY n.id DESC LIMIT ?"
        )
    };
    conditions.statement(&text("n.lane::bigint"), &text("n.lane"), [Bind::BigInt(limit)])
}
