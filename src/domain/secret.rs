//! Tokens of the API: what their holder has, and what the database keeps.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// How every token begins, so that scanners for leaked secrets can find one.
const PREFIX: &str = "hrld_";
const ID: usize = 22;
const SECRET: usize = 43;

/// A token: `hrld_<id>_<secret>`, where the id (22 characters) may be shown and the secret (43
/// characters, 256 bits) is shown once, to whom it is given. `Debug` shows the id alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// A text that is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a token: one reads `hrld_`, an id of 22 characters, `_`, and a secret of 43")]
pub struct NoToken;

impl Token {
    /// The token of these random bytes.
    pub fn new(id: [u8; 16], secret: [u8; 32]) -> Self {
        Self(format!("{PREFIX}{}_{}", URL_SAFE_NO_PAD.encode(id), URL_SAFE_NO_PAD.encode(secret)))
    }

    /// Reads a token.
    ///
    /// # Errors
    ///
    /// A text of another form.
    pub fn parse(text: &str) -> Result<Self, NoToken> {
        // By length and not by `_`, which Base64 for URLs has too.
        let parts = || {
            let (id, rest) = text.strip_prefix(PREFIX)?.split_at_checked(ID)?;
            Some((id, rest.strip_prefix('_').filter(|secret| secret.len() == SECRET)?))
        };
        let (id, secret) = parts().ok_or(NoToken)?;
        URL_SAFE_NO_PAD.decode(id).map_err(|_| NoToken)?;
        URL_SAFE_NO_PAD.decode(secret).map_err(|_| NoToken)?;
        Ok(Self(text.to_owned()))
    }

    /// The id, which is not secret.
    pub fn id(&self) -> &str {
        self.0.get(PREFIX.len()..PREFIX.len() + ID).unwrap_or_default()
    }

    /// The whole token, for its holder alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> TokenHash {
        let digest = Sha256::digest(&self.0);
        TokenHash(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.id())
    }
}

/// The SHA-256 of a token in hexadecimal. A secret of 256 random bits needs no slow hash.
#[derive(Clone)]
pub struct TokenHash(String);

impl TokenHash {
    /// A hash that was kept.
    pub const fn stored(hash: String) -> Self {
        Self(hash)
    }

    /// The text that is kept.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Compares in a time that does not depend on where the two differ.
impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (self.0.as_bytes(), other.0.as_bytes());
        one.len() == other.len() && one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hash_is_sha_256_and_nothing_secret_is_shown() {
        let token = Token::new([0xfb; 16], [7; 32]);
        assert_eq!(token.reveal().len(), 5 + 22 + 1 + 43);
        assert_eq!(format!("{token:?}"), format!("Token({})", token.id()));
        assert_eq!(token.hash().as_str().len(), 64);
        assert_eq!(token.hash(), TokenHash::stored(token.hash().as_str().to_owned()));
        assert_ne!(token.hash(), Token::new([0xfb; 16], [8; 32]).hash());
        assert!(!format!("{:?}", token.hash()).contains(token.hash().as_str()));
        // The SHA-256 of "abc" (FIPS 180-2, B.1) shows the spelling.
        assert!(Token("abc".to_owned()).hash().as_str().starts_with("ba7816bf8f01cfea"));
    }

    #[test]
    fn other_texts_are_no_tokens() {
        let token = Token::new([1; 16], [2; 32]);
        let text = token.reveal();
        let cases = [
            String::new(),
            text[1..].to_owned(),
            text[..text.len() - 1].to_owned(),
            format!("{text}A"),
            text.replacen("hrld_", "hrlx_", 1),
            text.replacen(token.id(), &"é".repeat(11), 1),
            format!("{}=", &text[..text.len() - 1]),
        ];
        for case in cases {
            assert_eq!(Token::parse(&case), Err(NoToken), "{case}");
        }
    }

    proptest! {
        #[test]
        fn a_token_reads_back(id in any::<[u8; 16]>(), secret in any::<[u8; 32]>()) {
            let token = Token::new(id, secret);
            prop_assert_eq!(Token::parse(token.reveal()).unwrap(), token);
        }

        #[test]
        fn no_text_makes_it_panic(text in "(hrld_)?\\PC{0,80}") {
            let _ = Token::parse(&text);
        }
    }
}
