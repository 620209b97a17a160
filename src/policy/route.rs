//! What is configured for each type of event.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{Retry, Variant};
use crate::domain::{Channel, Instant, Lane, words};

words! {
    /// What becomes of a delivery that comes due in the quiet hours.
    QuietHours("quiet_hours") {
        /// It waits until they end.
        Defer = "defer",
        /// It is not sent.
        Suppress = "suppress",
        /// It is sent all the same.
        Send = "send",
    }
}

words! {
    /// What becomes of a delivery that a frequency cap does not grant.
    OverCap("over_cap") {
        /// It is not sent.
        Suppress = "suppress",
        /// It waits until the cap grants it.
        Defer = "defer",
        /// It is told within a later message.
        Digest = "digest",
    }
}

words! {
    /// Whether a route takes effect.
    Mode("mode") {
        /// It does.
        Live = "live",
        /// Everything is done but the send.
        Shadow = "shadow",
        /// It does not: its events end `not_routed`.
        Off = "off",
    }
}

/// A further channel for a notification that was not seen to arrive in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Escalation {
    /// How long after the notification was made.
    pub after: Duration,
    /// By what it goes then.
    pub channel: Channel,
}

/// What one type of event means to its recipient.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// By what it goes, without doubles.
    pub channels: Vec<Channel>,
    /// How urgent it is.
    pub priority: Lane,
    /// The type whose templates are used, where they are not those of its own type.
    pub template: Option<String>,
    /// Templates that a share of the recipients gets in the place of it; together at most 100 %.
    pub variants: Vec<Variant>,
    /// The category, which frequency caps and quiet hours of the bank may be given for.
    pub category: String,
    /// Whether it is sent even to a recipient who opted out.
    pub mandatory: bool,
    /// A JSON pointer (RFC 6901) into the event to the id of the recipient.
    pub recipient: Option<String>,
    /// What becomes of it in quiet hours.
    pub quiet_hours: QuietHours,
    /// What becomes of it over a frequency cap.
    pub over_cap: OverCap,
    /// How long after the event it is of use.
    pub expires_after: Option<Duration>,
    /// Further channels, in the order of their times.
    pub escalate: Vec<Escalation>,
    /// Whether it takes effect.
    pub mode: Mode,
    /// Its own retries; else those of the channel.
    pub retry: Option<Retry>,
}

impl Route {
    /// After this a message is of no use. Counted from the earlier of the event's own time and its storing,
    /// so that a publisher's wrong clock cannot prolong it.
    pub fn expires_at(&self, happened_at: Instant, stored_at: Instant) -> Option<Instant> {
        self.expires_after.map(|after| happened_at.min(stored_at).plus(after))
    }

    /// Whether a channel is one of its own, or one that it escalates to.
    pub fn reaches_by(&self, channel: Channel) -> bool {
        self.channels.contains(&channel)
            || self.escalate.iter().any(|escalation| escalation.channel == channel)
    }
}

/// The routes by type of event.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    routes: HashMap<String, Route>,
    lanes: BTreeMap<Lane, Vec<String>>,
}

impl Routes {
    /// The route of a type, whatever its mode.
    pub fn get(&self, event_type: &str) -> Option<&Route> {
        self.routes.get(event_type)
    }

    /// The lane of a type; one without a route is ordinary.
    pub fn lane_of(&self, event_type: &str) -> Lane {
        self.get(event_type).map_or(Lane::Normal, |route| route.priority)
    }

    /// The types that have a route in a lane, in alphabetical order.
    pub fn types_of(&self, lane: Lane) -> &[String] {
        self.lanes.get(&lane).map_or(&[], Vec::as_slice)
    }

    /// All routes with their types, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Route)> {
        self.routes.iter().map(|(event_type, route)| (event_type.as_str(), route))
    }
}

impl FromIterator<(String, Route)> for Routes {
    fn from_iter<I: IntoIterator<Item = (String, Route)>>(routes: I) -> Self {
        let routes: HashMap<String, Route> = routes.into_iter().collect();
        let mut lanes: BTreeMap<Lane, Vec<String>> = BTreeMap::new();
        for (event_type, route) in &routes {
            lanes.entry(route.priority).or_default().push(event_type.clone());
        }
        lanes.values_mut().for_each(|types| types.sort_unstable());
        Self { routes, lanes }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn route(priority: Lane) -> Route {
        Route {
            channels: vec![Channel::Push],
            priority,
            template: None,
            variants: Vec::new(),
            category: "general".to_owned(),
            mandatory: false,
            recipient: None,
            quiet_hours: QuietHours::Defer,
            over_cap: OverCap::Suppress,
            expires_after: None,
            escalate: Vec::new(),
            mode: Mode::Live,
            retry: None,
        }
    }

    #[test]
    fn types_are_found_by_lane_and_lanes_by_type() {
        let routes: Routes = [("b", Lane::Critical), ("c", Lane::Bulk), ("a", Lane::Critical)]
            .map(|(event_type, lane)| (event_type.to_owned(), route(lane)))
            .into_iter()
            .collect();
        assert_eq!(routes.types_of(Lane::Critical), ["a", "b"]);
        assert_eq!(routes.types_of(Lane::Bulk), ["c"]);
        assert!(routes.types_of(Lane::High).is_empty());
        assert_eq!(routes.lane_of("b"), Lane::Critical);
        assert_eq!(routes.lane_of("unknown"), Lane::Normal);
        assert_eq!(routes.get("c").map(|route| route.priority), Some(Lane::Bulk));
        assert!(routes.get("unknown").is_none());
        assert_eq!(routes.iter().count(), 3);
    }
}
