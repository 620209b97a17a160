//! When a provider that keeps failing is left alone, and when it is asked again: a circuit breaker.
//!
//! ```text
//!            failures in a row              the pause is over
//!   closed ────────────────────▶ open ────────────────────────▶ half-open: one probe
//!     ▲                           ▲                                │       │
//!     │                           └──── the probe fails: longer ───┘       │
//!     └────────────────────────────────── the probe is answered ───────────┘
//! ```
//!
//! Moments are durations since one that the holder chooses, of a clock that never goes back.

use std::time::Duration;

/// What an attempt shows of the provider, whatever it means for the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It does its work: it accepted, or it refused this message or recipient for good.
    Answers,
    /// It does not: it cannot be reached, is silent or busy, has a fault, or refuses Herald itself.
    Fails,
    /// Nothing: it spoke of one mailbox only, or was not asked.
    Nothing,
}

impl Sign {
    /// What several destinations of one message show together: who serves one of them works.
    pub fn of_all(signs: impl IntoIterator<Item = Self>) -> Self {
        signs.into_iter().fold(Self::Nothing, |all, sign| match (all, sign) {
            (Self::Answers, _) | (_, Self::Answers) => Self::Answers,
            (Self::Fails, _) | (_, Self::Fails) => Self::Fails,
            (Self::Nothing, Self::Nothing) => Self::Nothing,
        })
    }
}

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerRule {
    /// So many failures in a row open it; at least 1.
    pub failures: u32,
    /// The first pause. Each failed probe doubles it.
    pub pause: Duration,
    /// The longest pause, unless the provider itself asks for a longer one.
    pub max_pause: Duration,
}

/// A pause is longer or shorter by at most this share, so that the instances do not probe together.
const JITTER: f64 = 0.2;

/// A provider that asks for a longer pause (`Retry-After`) is asked again after this all the same: that
/// costs one message, and believing a wrong answer would cost a day.
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);

/// How it stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Everything is sent.
    Closed,
    /// Nothing is sent before this moment.
    Open {
        /// The end of the pause.
        until: Duration,
    },
    /// The pause is over: one probe is sent, and nothing else until it has an answer.
    HalfOpen {
        /// Whether it is under way.
        probing: bool,
    },
}

/// The right to make one attempt, to be given back with what it showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// Attempts begun before the last change say nothing of what is now.
    round: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { failures: u32 },
    Open { until: Duration, openings: u32 },
    Probing { openings: u32 },
}

/// The breaker of one provider.
#[derive(Debug)]
pub struct Breaker {
    rule: BreakerRule,
    state: State,
    since: Duration,
    round: u64,
}

impl Breaker {
    /// A closed one.
    pub fn new(rule: BreakerRule, now: Duration) -> Self {
        Self { rule, state: State::Closed { failures: 0 }, since: now, round: 0 }
    }

    /// How it stands now.
    pub fn standing(&self, now: Duration) -> Standing {
        match self.state {
            State::Closed { .. } => Standing::Closed,
            State::Open { until, .. } if now < until => Standing::Open { until },
            State::Open { .. } => Standing::HalfOpen { probing: false },
            State::Probing { .. } => Standing::HalfOpen { probing: true },
        }
    }

    /// Since when it is closed, or not closed.
    pub fn since(&self) -> Duration {
        self.since
    }

    /// Failures in a row, while it is closed.
    pub fn failures(&self) -> u32 {
        match self.state {
            State::Closed { failures } => failures,
            State::Open { .. } | State::Probing { .. } => self.rule.failures,
        }
    }

    /// The right to make an attempt now. Once a pause is over, the first attempt is the probe.
    pub fn begin(&mut self, now: Duration) -> Option<Ticket> {
        match self.state {
            State::Closed { .. } => {}
            State::Open { until, openings } if now >= until => {
                self.round += 1;
                self.state = State::Probing { openings };
            }
            State::Open { .. } | State::Probing { .. } => return None,
        }
        Some(Ticket { round: self.round })
    }

    /// What an attempt showed. `retry_after` is what the provider asks for, `random` is drawn from
    /// [0, 1). Attempts from before the last change can make a pause longer and nothing else.
    pub fn note(
        &mut self,
        ticket: Ticket,
        sign: Sign,
        retry_after: Option<Duration>,
        now: Duration,
        random: f64,
    ) {
        let asked = now.saturating_add(retry_after.unwrap_or_default().min(LONGEST_ASKED));
        if ticket.round != self.round {
            if let (State::Open { until, .. }, Sign::Fails) = (&mut self.state, sign) {
                *until = asked.max(*until);
            }
            return;
        }
        match (self.state, sign) {
            (State::Closed { failures }, Sign::Fails) if failures + 1 < self.rule.failures => {
                self.state = State::Closed { failures: failures + 1 };
            }
            (State::Closed { .. }, Sign::Fails) => {
                self.since = now;
                self.open(1, asked, now, random);
            }
            (State::Closed { .. }, Sign::Answers) => self.state = State::Closed { failures: 0 },
            (State::Probing { .. }, Sign::Answers) => {
                self.round += 1;
                self.since = now;
                self.state = State::Closed { failures: 0 };
            }
            (State::Probing { openings }, Sign::Fails) => self.open(openings + 1, asked, now, random),
            (State::Probing { .. }, Sign::Nothing) => self.forget_probe(now),
            (State::Closed { .. }, Sign::Nothing) | (State::Open { .. }, _) => {}
        }
    }

    /// The probe came to nothing, or who made it died: another may go.
    pub fn forget_probe(&mut self, now: Duration) {
        if let State::Probing { openings } = self.state {
            self.round += 1;
            self.state = State::Open { until: now, openings };
        }
    }

    /// While it is not closed: how long until a probe may go, which may be no time at all.
    pub fn pause_left(&self, now: Duration) -> Option<Duration> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { until, .. } => Some(until.saturating_sub(now)),
            State::Probing { openings } => Some(self.pause(openings)),
        }
    }

    fn open(&mut self, openings: u32, asked: Duration, now: Duration, random: f64) {
        self.round += 1;
        let jitter = 1.0 + JITTER * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        let until = now.saturating_add(self.pause(openings).mul_f64(jitter));
        self.state = State::Open { until: until.max(asked), openings };
    }

    fn pause(&self, openings: u32) -> Duration {
        let doubled = 2_u32.checked_pow(openings.saturating_sub(1)).unwrap_or(u32::MAX);
        self.rule.pause.saturating_mul(doubled).min(self.rule.max_pause)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    const RULE: BreakerRule =
        BreakerRule { failures: 5, pause: Duration::from_secs(5), max_pause: Duration::from_secs(60) };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Makes an attempt that begins and ends at this second, without jitter; whether it might begin.
    fn attempt(breaker: &mut Breaker, second: u64, sign: Sign) -> bool {
        let ticket = breaker.begin(at(second));
        if let Some(ticket) = ticket {
            breaker.note(ticket, sign, None, at(second), 0.5);
        }
        ticket.is_some()
    }

    fn opened(second: u64) -> Breaker {
        let mut breaker = Breaker::new(RULE, at(0));
        for _ in 0..RULE.failures {
            assert!(attempt(&mut breaker, second, Sign::Fails));
        }
        breaker
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        use Sign::{Answers, Fails, Nothing};
        for (signs, open) in [
            (vec![Fails; 4], false),
            (vec![Fails; 5], true),
            (vec![Fails, Fails, Fails, Fails, Answers, Fails, Fails, Fails, Fails], false),
            (vec![Fails, Fails, Nothing, Fails, Nothing, Fails, Nothing, Fails], true),
            (vec![Nothing; 50], false),
            (vec![Answers; 50], false),
        ] {
            let mut breaker = Breaker::new(RULE, at(0));
            for sign in &signs {
                attempt(&mut breaker, 1, *sign);
            }
            assert_eq!(breaker.standing(at(1)) != Standing::Closed, open, "{signs:?}");
        }
    }

    #[test]
    fn the_pause_doubles_up_to_its_limit_and_an_answer_ends_it() {
        let mut breaker = opened(100);
        let mut now = 100;
        for pause in [5, 10, 20, 40, 60, 60, 60] {
            assert_eq!(breaker.standing(at(now)), Standing::Open { until: at(now + pause) });
            assert!(breaker.begin(at(now + pause - 1)).is_none());
            now += pause;
            assert_eq!(breaker.standing(at(now)), Standing::HalfOpen { probing: false });
            assert!(attempt(&mut breaker, now, Sign::Fails));
        }
        assert_eq!(breaker.since(), at(100), "it has been failing since then");
        assert!(attempt(&mut breaker, now + 60, Sign::Answers));
        assert_eq!((breaker.standing(at(now + 60)), breaker.since()), (Standing::Closed, at(now + 60)));
        assert_eq!((breaker.failures(), breaker.pause_left(at(now + 60))), (0, None));
    }

    #[test]
    fn one_probe_goes_at_a_time() {
        let mut breaker = opened(0);
        let probe = breaker.begin(at(5)).unwrap();
        assert_eq!(breaker.standing(at(5)), Standing::HalfOpen { probing: true });
        assert!(breaker.begin(at(500)).is_none(), "however long it takes");
        // It came to nothing: the recipient was gone, or its sender died. The next may go at once.
        breaker.note(probe, Sign::Nothing, None, at(500), 0.5);
        let probe = breaker.begin(at(500)).unwrap();
        breaker.forget_probe(at(501));
        let next = breaker.begin(at(501)).unwrap();
        breaker.note(probe, Sign::Answers, None, at(502), 0.5);
        assert_eq!(breaker.standing(at(502)), Standing::HalfOpen { probing: true }, "of an earlier life");
        breaker.note(next, Sign::Answers, None, at(503), 0.5);
        assert_eq!(breaker.standing(at(503)), Standing::Closed);
    }

    #[test]
    fn the_provider_may_ask_for_a_longer_pause_and_not_for_a_shorter_one() {
        let mut breaker = opened(0);
        let probe = breaker.begin(at(5)).unwrap();
        breaker.note(probe, Sign::Fails, Some(at(300)), at(6), 0.5);
        assert_eq!(breaker.standing(at(6)), Standing::Open { until: at(306) });
        let probe = breaker.begin(at(306)).unwrap();
        breaker.note(probe, Sign::Fails, Some(at(1)), at(306), 0.5);
        assert_eq!(breaker.standing(at(306)), Standing::Open { until: at(306 + 20) });
        let probe = breaker.begin(at(326)).unwrap();
        breaker.note(probe, Sign::Fails, Some(at(86_400)), at(326), 0.5);
        assert_eq!(breaker.standing(at(326)), Standing::Open { until: at(326 + 3_600) });
    }

    #[test]
    fn what_began_before_it_opened_can_make_the_pause_longer_and_nothing_else() {
        let mut breaker = Breaker::new(RULE, at(0));
        let early: Vec<Ticket> = (0..9).map(|_| breaker.begin(at(0)).unwrap()).collect();
        for ticket in &early[..5] {
            breaker.note(*ticket, Sign::Fails, None, at(1), 0.5);
        }
        assert_eq!(breaker.pause_left(at(1)), Some(at(5)));
        breaker.note(early[5], Sign::Fails, None, at(2), 0.5);
        breaker.note(early[6], Sign::Answers, None, at(2), 0.5);
        assert_eq!(breaker.standing(at(2)), Standing::Open { until: at(6) });
        breaker.note(early[7], Sign::Fails, Some(at(30)), at(3), 0.5);
        assert_eq!(breaker.standing(at(3)), Standing::Open { until: at(33) });
        assert!(attempt(&mut breaker, 33, Sign::Answers));
        breaker.note(early[8], Sign::Fails, None, at(34), 0.5);
        assert_eq!((breaker.standing(at(34)), breaker.failures()), (Standing::Closed, 0));
    }

    #[test]
    fn who_serves_one_device_works() {
        use Sign::{Answers, Fails, Nothing};
        for (signs, together) in [
            (vec![], Nothing),
            (vec![Nothing, Nothing], Nothing),
            (vec![Nothing, Fails], Fails),
            (vec![Fails, Answers, Fails], Answers),
        ] {
            assert_eq!(Sign::of_all(signs.clone()), together, "{signs:?}");
        }
    }

    proptest! {
        #[test]
        fn it_never_sends_in_a_pause_nor_two_probes_at_once(
            steps in prop::collection::vec((0_u64..40, 0_usize..3, 0_u8..4, 0.0_f64..1.0), 1..200),
        ) {
            let mut breaker = Breaker::new(RULE, at(0));
            let (mut now, mut flying) = (at(0), Vec::new());
            for (wait, which, what, random) in steps {
                now += at(wait);
                let before = breaker.standing(now);
                if what == 3 || flying.is_empty() {
                    let ticket = breaker.begin(now);
                    let may = matches!(before, Standing::Closed | Standing::HalfOpen { probing: false });
                    prop_assert_eq!(ticket.is_some(), may);
                    flying.extend(ticket);
                } else {
                    let sign = [Sign::Answers, Sign::Fails, Sign::Nothing][usize::from(what)];
                    let ticket = flying.swap_remove(which % flying.len());
                    breaker.note(ticket, sign, None, now, random);
                }
                if let Standing::Open { until } = breaker.standing(now) {
                    prop_assert!(until <= now + RULE.max_pause.mul_f64(1.0 + JITTER));
                }
            }
        }
    }
}
