//! The states that the contract names.

use super::words;

words! {
    /// What became of an event.
    EventOutcome("outcome") {
        /// Not handled yet.
        Pending = "pending",
        /// It has a notification, whose status tells the rest.
        Notified = "notified",
        /// No route has the type, or its mode is `off`.
        NotRouted = "not_routed",
        /// A route has it, and nobody is to be told.
        NoRecipient = "no_recipient",
        /// Handling failed for good.
        Failed = "failed",
    }
}

words! {
    /// Where a delivery stands.
    DeliveryState("state") {
        /// Waits for its turn.
        Pending = "pending",
        /// Claimed by a sender.
        Sending = "sending",
        /// Waits for its next attempt.
        Retry = "retry",
        /// Policy said later.
        Deferred = "deferred",
        /// The provider accepted it.
        Sent = "sent",
        /// A receipt says that it arrived.
        Delivered = "delivered",
        /// A receipt says that it did not arrive.
        Undelivered = "undelivered",
        /// Retries used up, or a permanent error.
        Dead = "dead",
        /// Policy said no, or there is no contact.
        Suppressed = "suppressed",
        /// Too late to be of use.
        Expired = "expired",
        /// Told within another message.
        Digested = "digested",
        /// The route is in shadow mode: everything was done but the send.
        Shadowed = "shadowed",
        /// A dead letter that an operator gave up.
        Discarded = "discarded",
    }
}

impl DeliveryState {
    /// Whether work remains.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Sending | Self::Retry | Self::Deferred)
    }

    /// What one delivery in this state adds to its notification's counts.
    pub const fn counts(self) -> Counts {
        let mut counts = Counts { open: 0, retry: 0, sent: 0, failed: 0 };
        match self {
            Self::Retry => {
                counts.open = 1;
                counts.retry = 1;
            }
            Self::Pending | Self::Sending | Self::Deferred => counts.open = 1,
            Self::Sent | Self::Delivered => counts.sent = 1,
            Self::Dead | Self::Undelivered | Self::Discarded => counts.failed = 1,
            Self::Suppressed | Self::Expired | Self::Digested | Self::Shadowed => {}
        }
        counts
    }
}

words! {
    /// What the deliveries of a notification add up to.
    NotificationStatus("status") {
        /// Something is still to be sent.
        Pending = "PENDING",
        /// A delivery waits for its next attempt.
        Retry = "RETRY",
        /// Everything that ended well or was not to be sent, and at least one was sent.
        Sent = "SENT",
        /// Some were sent, some failed.
        Partial = "PARTIAL",
        /// None was sent, and at least one failed.
        Failed = "FAILED",
        /// None was sent, and none failed.
        Suppressed = "SUPPRESSED",
    }
}

/// How many deliveries of a notification are in each kind of state, or by how much that changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// In an open state, `retry` included.
    pub open: i64,
    /// In `retry`.
    pub retry: i64,
    /// In `sent` or `delivered`.
    pub sent: i64,
    /// In `dead`, `undelivered` or `discarded`.
    pub failed: i64,
}

impl Counts {
    /// The change when a delivery goes from one state to another.
    pub const fn change(from: DeliveryState, to: DeliveryState) -> Self {
        let (from, to) = (from.counts(), to.counts());
        Self {
            open: to.open - from.open,
            retry: to.retry - from.retry,
            sent: to.sent - from.sent,
            failed: to.failed - from.failed,
        }
    }

    /// The first line of the contract's list that fits.
    pub const fn status(self) -> NotificationStatus {
        match self {
            Self { retry: 1.., .. } => NotificationStatus::Retry,
            Self { open: 1.., .. } => NotificationStatus::Pending,
            Self { sent: 1.., failed: 1.., .. } => NotificationStatus::Partial,
            Self { sent: 1.., .. } => NotificationStatus::Sent,
            Self { failed: 1.., .. } => NotificationStatus::Failed,
            _ => NotificationStatus::Suppressed,
        }
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.open += other.open;
        self.retry += other.retry;
        self.sent += other.sent;
        self.failed += other.failed;
    }
}

words! {
    /// What one try to send came to.
    AttemptOutcome("outcome") {
        /// The provider took it.
        Accepted = "accepted",
        /// It failed, and may succeed later.
        Transient = "transient",
        /// It failed, and would fail again.
        Permanent = "permanent",
        /// It may have been sent.
        Unknown = "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DeliveryState::*;

    #[test]
    fn a_status_is_the_first_line_of_the_contract_that_fits() {
        let cases: &[(&[DeliveryState], &str)] = &[
            (&[Sent, Retry, Dead], "RETRY"),
            (&[Sent, Pending], "PENDING"),
            (&[Sending], "PENDING"),
            (&[Deferred, Dead], "PENDING"),
            (&[Sent, Dead], "PARTIAL"),
            (&[Delivered, Undelivered, Suppressed], "PARTIAL"),
            (&[Sent, Discarded], "PARTIAL"),
            (&[Sent, Suppressed], "SENT"),
            (&[Delivered], "SENT"),
            (&[Dead, Suppressed], "FAILED"),
            (&[Discarded], "FAILED"),
            (&[Suppressed, Expired, Digested, Shadowed], "SUPPRESSED"),
            (&[], "SUPPRESSED"),
        ];
        for (states, expected) in cases {
            let mut counts = Counts::default();
            for state in *states {
                counts += state.counts();
            }
            assert_eq!(counts.status().as_str(), *expected, "{states:?}");
        }
    }

    #[test]
    fn changes_add_up_to_the_counts_of_the_last_state() {
        for &from in DeliveryState::ALL {
            for &to in DeliveryState::ALL {
                let mut counts = from.counts();
                counts += Counts::change(from, to);
                assert_eq!(counts, to.counts());
            }
        }
    }
}
