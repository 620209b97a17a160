//! Why a message is not sent, or not now: the words that are stored and shown.

/// The recipient has no contact for the channel, or is not known.
pub const NO_CONTACT: &str = "no_contact";
/// It was too late to be of use, or would have been.
pub const EXPIRED: &str = "expired";
/// The route is in shadow mode.
pub const SHADOW: &str = "shadow_mode";
/// The recipient does not want it.
pub const OPTED_OUT: &str = "opted_out";
/// It is quiet for the recipient.
pub const QUIET_HOURS: &str = "quiet_hours";
/// A frequency cap of the bank, or the recipient's own limit, is full.
pub const FREQUENCY_CAP: &str = "frequency_cap";
/// A mandatory type comes too often.
pub const FLOOD_CAP: &str = "flood_cap";
/// A frequency cap is full; it is told with others when there is room.
pub const DIGEST: &str = "digest";
/// It goes only if the other channels have not sent it by then.
pub const ESCALATION: &str = "escalation";
/// Another channel had sent it already.
pub const NOT_NEEDED: &str = "not_needed";
/// Its type has no route any more, or the route is off by now.
pub const NOT_ROUTED: &str = "not_routed";
