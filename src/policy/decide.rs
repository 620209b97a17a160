//! What an event means: for whom, over which channels, and what is not sent, and why.

use super::{Mode, Route};
use crate::domain::{Channel, DeliveryState, Instant};

/// Over which channels a recipient can be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// Has a device.
    pub push: bool,
    /// Has an address.
    pub email: bool,
    /// Has a phone.
    pub sms: bool,
}

impl Reach {
    const fn covers(self, channel: Channel) -> bool {
        match channel {
            Channel::Push => self.push,
            Channel::Email => self.email,
            Channel::Sms => self.sms,
        }
    }
}

/// What was decided for one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The channel.
    pub channel: Channel,
    /// `pending`: to be sent. Else the state in which the delivery is born.
    pub state: DeliveryState,
    /// Why it is not to be sent.
    pub reason: Option<&'static str>,
}

/// What was decided for a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// One for each channel of the route, in its order.
    pub verdicts: Vec<Verdict>,
    /// After this the message is of no use.
    pub expires_at: Option<Instant>,
}

/// The recipient has no contact for the channel, or is not known.
pub const NO_CONTACT: &str = "no_contact";
/// It was too late to be of use.
pub const EXPIRED: &str = "expired";
/// The route is in shadow mode.
pub const SHADOW: &str = "shadow_mode";

/// Decides what a recipient is sent. `stored_at` and `happened_at` are the event's; expiry counts from
/// the earlier of the two, so that a publisher's wrong clock cannot prolong it.
pub fn decide(route: &Route, reach: Reach, happened_at: Instant, stored_at: Instant, now: Instant) -> Plan {
    let expires_at = route.expires_after.map(|after| happened_at.min(stored_at).plus(after));
    let expired = expires_at.is_some_and(|at| at <= now);
    let verdict = |channel: &Channel| {
        let (state, reason) = if !reach.covers(*channel) {
            (DeliveryState::Suppressed, Some(NO_CONTACT))
        } else if expired {
            (DeliveryState::Expired, Some(EXPIRED))
        } else if route.mode == Mode::Shadow {
            (DeliveryState::Shadowed, Some(SHADOW))
        } else {
            (DeliveryState::Pending, None)
        };
        Verdict { channel: *channel, state, reason }
    };
    Plan { verdicts: route.channels.iter().map(verdict).collect(), expires_at }
}
