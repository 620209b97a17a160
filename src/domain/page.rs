//! Pages of lists.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::FieldError;

/// The items of a page where nobody asks for a number.
pub const DEFAULT_LIMIT: usize = 50;
/// The most items of a page.
pub const MOST_ITEMS: usize = 200;

/// Reads how many items a page shall have.
///
/// # Errors
///
/// Anything but 1 to [`MOST_ITEMS`].
pub fn parse_limit(text: Option<&str>) -> Result<usize, FieldError> {
    let Some(text) = text else { return Ok(DEFAULT_LIMIT) };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let limit = text.parse().ok().filter(|limit| digits && (1..=MOST_ITEMS).contains(limit));
    limit.ok_or_else(|| FieldError::new("/limit", format!("must be a number from 1 to {MOST_ITEMS}")))
}

/// Where the next page of a list begins: behind this item.
///
/// Outside it is an opaque text with a checksum, so that a text that Herald did not give, or gave
/// for another list, gets an error and not a page from anywhere. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cursor {
    /// A place in the order of storing.
    Position(i64),
    /// An id.
    Id(String),
}

const VERSION: u8 = 1;
const CHECKSUM: usize = 6;

impl Cursor {
    /// The text for the list of this name.
    pub fn encode(&self, list: &str) -> String {
        let mut bytes = vec![VERSION];
        match self {
            Self::Position(position) => {
                bytes.push(b'p');
                bytes.extend(position.to_be_bytes());
            }
            Self::Id(id) => {
                bytes.push(b'i');
                bytes.extend(id.as_bytes());
            }
        }
        bytes.extend(checksum(list, &bytes));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads the text of the list of this name.
    ///
    /// # Errors
    ///
    /// A text that this list did not give.
    pub fn decode(list: &str, text: &str) -> Result<Self, FieldError> {
        let read = || {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
            let (content, sum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
            if sum != checksum(list, content) {
                return None;
            }
            match content {
                [VERSION, b'p', position @ ..] => {
                    Some(Self::Position(i64::from_be_bytes(position.try_into().ok()?)))
                }
                [VERSION, b'i', id @ ..] => {
                    String::from_utf8(id.to_vec()).ok().filter(|id| !id.contains('\0')).map(Self::Id)
                }
                _ => None,
            }
        };
        read().ok_or_else(Self::not_given)
    }

    /// The error for a cursor that the list did not give.
    pub fn not_given() -> FieldError {
        FieldError::new("/cursor", "is no cursor of this list: use `next_cursor` of its last page, or none")
    }
}

fn checksum(list: &str, content: &[u8]) -> [u8; CHECKSUM] {
    let digest = Sha256::new().chain_update(list).chain_update([0]).chain_update(content).finalize();
    let mut sum = [0; CHECKSUM];
    sum.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    sum
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_limit_is_1_to_200() {
        let cases = [
            (None, Some(50)),
            (Some("1"), Some(1)),
            (Some("200"), Some(200)),
            (Some("0"), None),
            (Some("201"), None),
            (Some("-1"), None),
            (Some("+1"), None),
            (Some(""), None),
            (Some("ten"), None),
            (Some("99999999999999999999999"), None),
        ];
        for (text, limit) in cases {
            assert_eq!(parse_limit(text).ok(), limit, "{text:?}");
        }
    }

    #[test]
    fn a_cursor_is_good_for_its_list_alone() {
        let text = Cursor::Position(7).encode("events");
        assert_eq!(Cursor::decode("events", &text), Ok(Cursor::Position(7)));
        assert_eq!(Cursor::decode("notifications", &text).unwrap_err().pointer, "/cursor");
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back_and_a_changed_one_does_not(
            cursor in prop_oneof![any::<i64>().prop_map(Cursor::Position), "\\PC{0,60}".prop_map(Cursor::Id)],
            at in any::<prop::sample::Index>(),
            other in "[A-Za-z0-9_-]",
        ) {
            let text = cursor.encode("list");
            prop_assert_eq!(&Cursor::decode("list", &text).unwrap(), &cursor);
            let at = at.index(text.len());
            let mut changed = text.clone();
            changed.replace_range(at..=at, &other);
            prop_assert_eq!(Cursor::decode("list", &changed).is_ok(), changed == text);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            prop_assert!(Cursor::decode("list", &text).is_err());
        }
    }
}
