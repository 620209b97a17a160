//! What a token may do.

use std::fmt;
use std::str::FromStr;

use super::{UnknownWord, words};

words! {
    /// What a token may do. None includes another, but `read:personal` includes `read`, and `admin` all.
    Scope("scope") {
        /// Send events.
        EventsWrite = "events:write",
        /// Read; contacts, payloads and rendered text are masked.
        Read = "read",
        /// The same, unmasked.
        ReadPersonal = "read:personal",
        /// Change users, preferences and alerts.
        PreferencesWrite = "preferences:write",
        /// Whatever changes the course of work.
        Operate = "operate",
        /// Everything, also tokens, erasure and the audit.
        Admin = "admin",
    }
}

/// The scopes of one token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Whether they allow what a scope stands for.
    pub fn allows(self, scope: Scope) -> bool {
        self.holds(scope)
            || self.holds(Scope::Admin)
            || (scope == Scope::Read && self.holds(Scope::ReadPersonal))
    }

    /// The scopes that were given, one by one, without those that they include.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.iter().copied().filter(move |scope| self.holds(*scope))
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    const fn holds(self, scope: Scope) -> bool {
        self.0 & bit(scope) != 0
    }
}

const fn bit(scope: Scope) -> u8 {
    1 << scope as u8
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | bit(scope)))
    }
}

/// Written `read,operate`.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, scope) in self.iter().enumerate() {
            write!(f, "{}{scope}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for Scopes {
    type Err = UnknownWord;

    /// Reads scopes with commas between them; an empty one is no scope.
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        text.split(',').map(|scope| scope.trim().parse::<Scope>()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Scope::*;
    use super::*;

    #[test]
    fn a_scope_allows_itself_and_what_the_contract_says() {
        for &given in Scope::ALL {
            for &asked in Scope::ALL {
                let expected = given == asked || given == Admin || (given == ReadPersonal && asked == Read);
                assert_eq!(Scopes::from_iter([given]).allows(asked), expected, "{given} {asked}");
                assert!(!Scopes::default().allows(asked));
            }
        }
    }

    #[test]
    fn scopes_read_back() {
        let scopes: Scopes = "operate, read".parse().unwrap();
        assert_eq!(scopes.to_string(), "read,operate");
        assert_eq!(scopes.to_string().parse(), Ok(scopes));
        assert_eq!(scopes.iter().collect::<Vec<_>>(), [Read, Operate]);
        for bad in ["", "read,", "Read", "read;operate", "personal"] {
            assert!(bad.parse::<Scopes>().is_err(), "{bad}");
        }
    }
}
