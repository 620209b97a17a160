//! Ids that follow from what makes a thing unique.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Channel;

/// The id of a notification: the same event and recipient always give the same one.
///
/// The text form of a UUID of version 8 (RFC 9562 §5.8): 48 bits of the event's place in the order
/// of storing, then a hash of event and recipient. So ids sort as their events were stored, which
/// gives lists "newest first" without an index of their own, and inserts go to the end of the index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NotificationId(pub String);

/// The name space of Herald's derived ids: an arbitrary UUID, fixed for good.
const NAME_SPACE: Uuid = Uuid::from_u128(0x6b1f_61b5_2a0c_4f6e_9d0e_3f1c_5a77_48e1);

impl NotificationId {
    /// The id for an event, stored at `position`, and a recipient.
    pub fn of(position: i64, event_id: &str, user_id: i64) -> Self {
        let hash = Uuid::new_v5(&NAME_SPACE, format!("notification:{event_id}:{user_id}").as_bytes());
        let mut bytes = *hash.as_bytes();
        bytes[..6].copy_from_slice(&position.to_be_bytes()[2..]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string())
    }

    /// The place of its event in the order of storing, also of a bound of [`NotificationId::range`];
    /// none for a text that is no such id.
    pub fn position(&self) -> Option<i64> {
        let (high, rest) = self.0.split_once('-')?;
        let low = rest.get(..4).filter(|_| high.len() == 8)?;
        i64::from_str_radix(&format!("{high}{low}"), 16).ok()
    }

    /// Two texts: the ids of events at the positions from the first to below the second are from the
    /// first text to below the second.
    pub fn range((from, below): (i64, i64)) -> [String; 2] {
        let first = |position: i64| {
            let digits = format!("{:012x}", position.max(0));
            let (high, low) = digits.split_at(8);
            format!("{high}-{low}")
        };
        [first(from), first(below)]
    }

    /// The id of the event that tells how the notification ended, the `nth` time that it ended.
    pub fn ended_event_id(&self, nth: i64) -> String {
        Uuid::new_v5(&NAME_SPACE, format!("ended:{}:{nth}", self.0).as_bytes()).to_string()
    }
}

impl fmt::Display for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a delivery: its notification and its channel, written `<notification>:<channel>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// The notification.
    pub notification: NotificationId,
    /// The channel.
    pub channel: Channel,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.notification, self.channel)
    }
}

impl Serialize for DeliveryId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::str::FromStr for DeliveryId {
    type Err = super::UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (notification, channel) = text.split_once(':').unwrap_or((text, ""));
        Ok(Self { notification: NotificationId(notification.to_owned()), channel: channel.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_sort_by_position() {
        let first = NotificationId::of(255, "e-1", 42);
        assert_eq!(first, NotificationId::of(255, "e-1", 42));
        assert_ne!(first, NotificationId::of(255, "e-1", 43));
        assert!(first < NotificationId::of(256, "a", 1));
        assert!(Uuid::parse_str(&first.0).is_ok_and(|id| id.get_version_num() == 8));
    }

    #[test]
    fn an_id_tells_its_position_and_a_range_holds_its_ids() {
        let id = NotificationId::of(0x1_2345_6789, "e-1", 42);
        assert_eq!(id.position(), Some(0x1_2345_6789));
        for no_id in ["", "x", "00000000000a-0000", "00000000-00", "0000000-00000"] {
            assert_eq!(NotificationId(no_id.to_owned()).position(), None, "{no_id}");
        }
        let within = |from, below| {
            let [from, below] = NotificationId::range((from, below));
            id.0 >= from && id.0 < below
        };
        assert!(within(0x1_2345_6789, 0x1_2345_678a));
        assert!(within(-8_000, 0x1_2345_678a));
        assert!(!within(0x1_2345_678a, 0x1_2345_678b));
        assert!(!within(0, 0x1_2345_6789));
    }

    #[test]
    fn a_delivery_id_reads_back() {
        let id = DeliveryId { notification: NotificationId::of(1, "e", 1), channel: Channel::Sms };
        assert_eq!(id.to_string().parse::<DeliveryId>().as_ref(), Ok(&id));
        assert!("x".parse::<DeliveryId>().is_err());
    }
}
