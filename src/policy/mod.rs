//! Rules: pure functions from an event, a recipient and the time to what is to be done, with the
//! reasons in the result.

mod breaker;
mod caps;
mod conclude;
mod decide;
mod digest;
mod escalate;
mod ledger;
mod quiet;
mod reason;
mod recipient;
mod replay;
mod retry;
mod route;
mod rule_set;
mod step;
mod variant;

pub use breaker::{Breaker, BreakerRule, Sign, Standing, Ticket};
pub use caps::{Cap, FLOOD_WINDOW, NEVER_FLOODS, Spent, Usage, caps_of};
pub use conclude::{Conclusion, Past, Try, conclude};
pub use decide::{Bank, Plan, Question, Reach, Verdict, ask_again, decide, decide_again};
pub use digest::{Digest, Told, Total};
pub use escalate::{Escalated, Other, escalate_again};
pub use ledger::{Record, StoredRecord, about_event, delivery_in_words, state_in_words};
pub use quiet::quiet_until;
pub use reason::{
    DIGEST, ESCALATION, EXPIRED, FLOOD_CAP, FREQUENCY_CAP, NO_CONTACT, NOT_NEEDED, NOT_ROUTED, OPTED_OUT,
    QUIET_HOURS, SHADOW,
};
pub use recipient::{accounts_of, owner_learned, recipient_of};
pub use replay::{Beside, Compared, ReplayReport, Resent, Was, Would, route_to_reopen};
pub use retry::{PUSH_FLOOR, Retry};
pub use route::{Escalation, Mode, OverCap, QuietHours, Route, Routes};
pub use rule_set::{RuleSet, rule_set};
pub use step::{Answer, Step};
pub use variant::{OWN_VARIANT, Variant};
