//! Lanes.

use super::words;

words! {
    /// The priority of a route; the order of the variants is the order of dispatch and sending.
    Lane("priority") {
        /// Overtakes everything else, but not its own aggregate.
        Critical = "critical",
        /// Before the ordinary.
        High = "high",
        /// The ordinary.
        Normal = "normal",
        /// When there is room.
        Bulk = "bulk",
    }
}

impl Lane {
    /// The lane's number as the tables keep it: 0 is sent first.
    pub const fn rank(self) -> i64 {
        self as i64
    }

    /// The lane of a number; an unknown number is the last lane.
    pub const fn from_rank(rank: i64) -> Self {
        match rank {
            0 => Self::Critical,
            1 => Self::High,
            2 => Self::Normal,
            _ => Self::Bulk,
        }
    }
}
