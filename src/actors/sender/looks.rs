//! What a sender learns by comparing what it has in hand with what the database says that it holds.
//!
//! A look takes time, on a busy machine seconds, and its answer is as old as its beginning: what was
//! recorded meanwhile is in it and no longer in hand, and is not lost. A delivery that is taken up although
//! it was sent would go twice, with nothing in its history that says so.

use std::collections::{HashSet, VecDeque};

use crate::domain::DeliveryId;

/// An attempt at a delivery.
pub(super) type Attempt = (DeliveryId, i64);

/// How many that were taken up are remembered: their hand-overs may only be late.
const REMEMBERED: usize = 1_000;

/// The looks of one life, one at a time.
#[derive(Default)]
pub(super) struct Looks {
    /// Not in hand at the last look.
    missed: HashSet<Attempt>,
    /// While a look is under way: what was recorded since it began.
    ended: Option<HashSet<Attempt>>,
    taken_up: VecDeque<Attempt>,
}

impl Looks {
    /// A look begins, unless one is under way: two at once would not be two in a row.
    pub(super) fn begin(&mut self) -> bool {
        let is_first = self.ended.is_none();
        self.ended.get_or_insert_default();
        is_first
    }

    /// The outcome of an attempt has been recorded.
    pub(super) fn has_ended(&mut self, attempt: Attempt) {
        if let Some(ended) = &mut self.ended {
            ended.insert(attempt);
        }
    }

    /// The look found nothing out.
    pub(super) fn failed(&mut self) {
        self.ended = None;
    }

    /// The look is over, and these are held and not in hand. Gives those that were absent the last time
    /// as well: they are lost.
    pub(super) fn end(&mut self, mut absent: HashSet<Attempt>) -> HashSet<Attempt> {
        let ended = self.ended.take().unwrap_or_default();
        absent.retain(|attempt| !ended.contains(attempt));
        let lost = absent.intersection(&self.missed).cloned().collect();
        self.missed = absent;
        lost
    }

    /// One that was lost is taken up.
    pub(super) fn take_up(&mut self, attempt: Attempt) {
        if self.taken_up.len() >= REMEMBERED {
            self.taken_up.pop_front();
        }
        self.taken_up.push_back(attempt);
    }

    /// Whether one that is handed over now was taken up as lost before.
    pub(super) fn was_taken_up(&self, attempt: &Attempt) -> bool {
        self.taken_up.contains(attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Channel, NotificationId};

    fn attempt(name: &str) -> Attempt {
        (DeliveryId { notification: NotificationId(name.to_owned()), channel: Channel::Sms }, 1)
    }

    fn look(looks: &mut Looks, absent: &[&str]) -> Vec<Attempt> {
        looks.end(absent.iter().map(|name| attempt(name)).collect()).into_iter().collect()
    }

    #[test]
    fn lost_is_what_is_absent_at_two_looks_in_a_row() {
        let mut looks = Looks::default();
        assert!(looks.begin());
        assert_eq!(look(&mut looks, &["a", "b"]), []);
        assert!(looks.begin());
        assert_eq!(look(&mut looks, &["b", "c"]), [attempt("b")]);
        assert!(looks.begin());
        assert_eq!(look(&mut looks, &["a"]), [], "not in a row");
    }

    #[test]
    fn what_is_recorded_during_a_look_is_not_lost() {
        let mut looks = Looks::default();
        looks.begin();
        assert!(!looks.begin(), "one look at a time");
        looks.has_ended(attempt("a"));
        assert_eq!(look(&mut looks, &["a"]), []);
        looks.begin();
        assert_eq!(look(&mut looks, &["a"]), [], "the first look did not count");
        looks.begin();
        looks.has_ended(attempt("a"));
        assert_eq!(look(&mut looks, &["a"]), []);
        looks.begin();
        looks.failed();
        assert!(looks.begin(), "a look that failed is over");
    }

    #[test]
    fn a_late_hand_over_is_known() {
        let mut looks = Looks::default();
        looks.take_up(attempt("a"));
        assert!(looks.was_taken_up(&attempt("a")) && !looks.was_taken_up(&attempt("b")));
        (0..2 * REMEMBERED).for_each(|n| looks.take_up(attempt(&n.to_string())));
        assert_eq!(looks.taken_up.len(), REMEMBERED);
    }
}
