//! Rules: pure functions from an event, a recipient and the time to what is to be done, with the
//! reasons in the result.

mod breaker;
mod conclude;
mod decide;
mod recipient;
mod retry;
mod route;

pub use breaker::{Breaker, BreakerRule, Sign, Standing, Ticket};
pub use conclude::{Conclusion, Past, Try, conclude};
pub use decide::{EXPIRED, NO_CONTACT, Plan, Reach, SHADOW, Verdict, decide};
pub use recipient::{accounts_of, owner_learned, recipient_of};
pub use retry::{PUSH_FLOOR, Retry};
pub use route::{Escalation, Mode, OverCap, QuietHours, Route, Routes};
