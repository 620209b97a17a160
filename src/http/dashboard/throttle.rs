//! How often one address may try to log in. A token cannot be guessed; this keeps those who try
//! from keeping the database busy.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Tries at once, and tries a minute after that.
const TRIES: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);
/// How many addresses are remembered; beyond it those that have all their tries again are forgotten.
const REMEMBERED: usize = 4_096;

/// Tries to log in, by address.
pub(super) struct Throttle(DefaultKeyedRateLimiter<IpAddr>);

impl Default for Throttle {
    fn default() -> Self {
        Self(RateLimiter::keyed(Quota::per_minute(TRIES)))
    }
}

impl Throttle {
    /// Whether this address may try now.
    pub(super) fn admits(&self, address: Option<IpAddr>) -> bool {
        if self.0.len() >= REMEMBERED {
            self.0.retain_recent();
        }
        // Still full: so many addresses try at once that only those known may go on.
        let key = address.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), network);
        let key = if self.0.len() >= REMEMBERED { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { key };
        self.0.check_key(&key).is_ok()
    }
}

/// An IPv6 host has a whole /64 for itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u16) -> Option<IpAddr> {
        Some(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)))
    }

    #[test]
    fn an_address_has_ten_tries_and_its_network_shares_them() {
        let throttle = Throttle::default();
        assert!((0..10).all(|host| throttle.admits(from(host))));
        assert!(!throttle.admits(from(99)));
        assert!(throttle.admits(Some(IpAddr::from([192, 0, 2, 1]))), "another one is not touched");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let throttle = Throttle::default();
        for n in 0..20_000_u32 {
            throttle.admits(Some(IpAddr::from(n.to_be_bytes())));
        }
        assert!(throttle.0.len() <= REMEMBERED + 1);
    }
}
