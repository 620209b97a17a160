//! Remembers which recipients' caps are full, and until when, so that the database is not asked again
//! before that. Sharded by recipient: one who gets thousands of events slows nobody else's.
//!
//! It only ever refuses early, and for a short time: a grant may be taken back, by any instance, and then
//! there is room before it was said to be. What it does not know is for the stored grants to say: nothing is
//! lost when it dies, and a cap is exact over any number of instances.

use std::collections::HashMap;
use std::time::Duration;

use actix::prelude::*;

use crate::domain::Instant;
use crate::policy::Cap;
use crate::supervision::SupervisedContext;

/// The most that one shard remembers. At the bound it forgets everything: it is learned again.
const MOST_REMEMBERED: usize = 10_000;
/// How long it refuses without the database being asked again.
const FRESH_FOR: Duration = Duration::from_secs(5);
/// How long a shard is waited for; after that the database is asked.
const ANSWERED_WITHIN: Duration = Duration::from_millis(250);

/// Which of these are known to be full now?
#[derive(Message)]
#[rtype(result = "Vec<(i64, Cap, Instant)>")]
pub(super) struct AskCaps {
    /// The recipients and their caps.
    pub(super) caps: Vec<(i64, Cap)>,
    /// The database's time.
    pub(super) now: Instant,
}

/// These caps were found to be full, each until a time.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct CapsFull {
    /// The recipients, their caps, and when there is room again.
    pub(super) full: Vec<(i64, Cap, Instant)>,
    /// When that was found, by the database's clock.
    pub(super) found: Instant,
}

/// The actor: one shard.
#[derive(Default)]
pub(super) struct RateLimiter {
    full: HashMap<(i64, Cap), Refusal>,
}

#[derive(Clone, Copy)]
struct Refusal {
    until: Instant,
    found: Instant,
}

impl Refusal {
    fn holds(self, now: Instant) -> bool {
        self.until > now && self.found.plus(FRESH_FOR) > now
    }
}

impl Actor for RateLimiter {
    type Context = SupervisedContext<Self>;
}

impl Handler<AskCaps> for RateLimiter {
    type Result = MessageResult<AskCaps>;

    fn handle(&mut self, message: AskCaps, _: &mut Self::Context) -> Self::Result {
        crate::breakpoint!("rate_limiter");
        let AskCaps { caps, now } = message;
        let known = caps.into_iter().filter_map(|key| {
            let refusal = self.full.get(&key).filter(|refusal| refusal.holds(now))?;
            Some((key.0, key.1, refusal.until))
        });
        MessageResult(known.collect())
    }
}

impl Handler<CapsFull> for RateLimiter {
    type Result = ();

    fn handle(&mut self, message: CapsFull, _: &mut Self::Context) {
        let CapsFull { full, found } = message;
        if self.full.len() + full.len() > MOST_REMEMBERED {
            self.full.clear();
        }
        let refusals = full.into_iter().map(|(user, cap, until)| ((user, cap), Refusal { until, found }));
        self.full.extend(refusals);
    }
}

/// All shards, as those who decide see them.
#[derive(Clone)]
pub(super) struct RateLimiters(pub(super) Vec<Addr<RateLimiter>>);

impl RateLimiters {
    fn shard(&self, user: i64) -> Option<(usize, &Addr<RateLimiter>)> {
        let count = i64::try_from(self.0.len()).ok().filter(|count| *count > 0)?;
        let at = usize::try_from(user.rem_euclid(count)).ok()?;
        self.0.get(at).map(|shard| (at, shard))
    }

    /// What is known to be full. A shard that does not answer knows nothing.
    pub(super) async fn full(&self, caps: &[(i64, Cap)], now: Instant) -> Vec<(i64, Cap, Instant)> {
        let mut by_shard: HashMap<usize, Vec<(i64, Cap)>> = HashMap::new();
        for (user, cap) in caps {
            if let Some((at, _)) = self.shard(*user) {
                by_shard.entry(at).or_default().push((*user, cap.clone()));
            }
        }
        let asks = by_shard.into_iter().filter_map(|(at, caps)| {
            let shard = self.0.get(at)?;
            Some(shard.send(AskCaps { caps, now }).timeout(ANSWERED_WITHIN))
        });
        let answers = futures_util::future::join_all(asks).await;
        answers.into_iter().filter_map(Result::ok).flatten().collect()
    }

    /// Has it remembered what was found to be full.
    pub(super) fn remember(&self, full: Vec<(i64, Cap, Instant)>, found: Instant) {
        let mut by_shard: HashMap<usize, Vec<_>> = HashMap::new();
        for one in full {
            if let Some((at, _)) = self.shard(one.0) {
                by_shard.entry(at).or_default().push(one);
            }
        }
        for (at, full) in by_shard {
            if let Some(shard) = self.0.get(at) {
                shard.do_send(CapsFull { full, found });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_refusal_holds_until_there_is_room_and_is_never_old() {
        let found = Instant::parse("2026-11-25T12:00:00Z").unwrap();
        let after = |seconds| found.plus(Duration::from_secs(seconds));
        let soon = Refusal { until: after(2), found };
        assert!(soon.holds(found) && soon.holds(after(1)) && !soon.holds(after(2)));
        let late = Refusal { until: after(3_600), found };
        assert!(late.holds(after(4)) && !late.holds(after(5)), "the database is asked again");
    }
}
