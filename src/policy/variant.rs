//! Variants of a route's template: which recipients get which.

use sha2::{Digest as _, Sha256};

use super::Route;

/// The name of the variant that is the route's own template.
pub const OWN_VARIANT: &str = "a";

/// A template that a share of a route's recipients gets in the place of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// What it is counted by.
    pub name: String,
    /// The template's name.
    pub template: String,
    /// How many of a hundred recipients get it.
    pub share: u32,
}

impl Route {
    /// By which template a recipient is told, and the name of the variant where the route has any.
    ///
    /// The same recipient always gets the same variant of a type, and another type's buckets are others. A
    /// share that grows keeps those whom it had, if the shares before it stay as they are.
    pub fn told_by<'a>(&'a self, event_type: &'a str, user: i64) -> (&'a str, Option<&'a str>) {
        let own = self.template.as_deref().unwrap_or(event_type);
        if self.variants.is_empty() {
            return (own, None);
        }
        let bucket = bucket(event_type, user);
        let mut end = 0;
        for variant in &self.variants {
            end += u64::from(variant.share);
            if bucket < end {
                return (&variant.template, Some(&variant.name));
            }
        }
        (own, Some(OWN_VARIANT))
    }
}

/// A recipient's place from 0 to 99, as good as drawn by lot for each type.
fn bucket(event_type: &str, user: i64) -> u64 {
    let mut hash = Sha256::new();
    hash.update(event_type);
    hash.update([0]);
    hash.update(user.to_be_bytes());
    // 2^64 is so much more than 100 that none of the places is favoured.
    hash.finalize().iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte)) % 100
}

#[cfg(test)]
mod tests {
    use super::super::route::tests::route;
    use super::*;
    use crate::domain::Lane;

    fn with(shares: &[(&str, u32)]) -> Route {
        let variants = shares.iter().map(|(name, share)| Variant {
            name: (*name).to_owned(),
            template: format!("t.{name}"),
            share: *share,
        });
        Route { variants: variants.collect(), ..route(Lane::Normal) }
    }

    fn names(route: &Route, event_type: &'static str, users: std::ops::Range<i64>) -> Vec<String> {
        users.map(|user| route.told_by(event_type, user).1.unwrap_or("none").to_owned()).collect()
    }

    #[test]
    fn without_variants_all_get_the_routes_own_template() {
        let mut route = with(&[]);
        assert_eq!(route.told_by("a.b", 42), ("a.b", None));
        route.template = Some("other".to_owned());
        assert_eq!(route.told_by("a.b", 42), ("other", None));
    }

    #[test]
    fn each_gets_its_share() {
        let route = with(&[("b", 20), ("c", 5)]);
        let names = names(&route, "transaction.completed", 0..20_000);
        let count = |name: &str| names.iter().filter(|found| *found == name).count();
        // Four standard deviations of the binomial distribution: 226, 123 and 245.
        for (name, expected, tolerance) in [("b", 4_000, 226), ("c", 1_000, 123), ("a", 15_000, 245)] {
            assert!(count(name).abs_diff(expected) <= tolerance, "{name}: {}", count(name));
        }
        for user in 0..200 {
            match route.told_by("own", user) {
                (template, Some(OWN_VARIANT)) => assert_eq!(template, "own"),
                (template, name) => {
                    assert_eq!(Some(template), name.map(|name| format!("t.{name}")).as_deref())
                }
            }
        }
    }

    #[test]
    fn a_recipient_keeps_its_variant() {
        // Written down once: another hash, or another order of its input, would move everybody.
        let buckets: Vec<u64> = (1..=6).map(|user| bucket("transaction.completed", user)).collect();
        assert_eq!(buckets, [96, 91, 10, 18, 96, 2]);
        assert_ne!(bucket("user.login", 1), bucket("transaction.completed", 1));
        let (small, large) = (with(&[("b", 20)]), with(&[("b", 40)]));
        for user in 0..2_000 {
            if small.told_by("t", user).1 == Some("b") {
                assert_eq!(large.told_by("t", user).1, Some("b"), "user {user}");
            }
        }
    }

    #[test]
    fn types_are_drawn_by_themselves() {
        let route = with(&[("b", 50)]);
        let (one, other) = (names(&route, "a.b", 0..4_000), names(&route, "a.c", 0..4_000));
        let same = one.iter().zip(&other).filter(|(one, other)| one == other).count();
        assert!(same.abs_diff(2_000) <= 127, "{same} of 4000 are in the same variant of both");
    }

    #[test]
    fn a_whole_share_leaves_nobody_to_the_routes_own() {
        let route = with(&[("b", 60), ("c", 40)]);
        assert!(names(&route, "a.b", 0..2_000).iter().all(|name| name != OWN_VARIANT));
    }
}
