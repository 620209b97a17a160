//! Rules: pure functions from an event, a recipient and the time to what is to be done, with the
//! reasons in the result.

mod conclude;
mod decide;
mod recipient;
pub mod retry;
pub mod route;

pub use conclude::{Conclusion, Past, Try, conclude};
pub use decide::{EXPIRED, NO_CONTACT, Plan, Reach, SHADOW, Verdict, decide};
pub use recipient::{accounts_of, owner_learned, recipient_of};
