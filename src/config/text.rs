//! Sizes as a configuration writes them.

pub use crate::domain::duration::{format_duration, parse_duration};

pub(super) use crate::domain::duration::DURATION;

/// How a size is written, for error texts.
pub(super) const SIZE: &str = "a size such as 8MiB, 64KiB, 1MB or a number of bytes";

/// Reads `8MiB`, `64KiB`, `1MB` or a plain number of bytes.
///
/// # Errors
///
/// Any other text, and a size that this machine cannot address: what is expected, in words.
pub fn parse_size(text: &str) -> Result<usize, String> {
    let (number, unit) = split_unit(text);
    let bytes = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(format!("expected {SIZE}")),
    };
    whole(number)
        .and_then(|number| number.checked_mul(bytes))
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| format!("expected {SIZE}"))
}

/// A number and what follows it.
fn split_unit(text: &str) -> (&str, &str) {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(digits)
}

/// Digits alone: `u64`'s own reader would take a plus sign.
fn whole(digits: &str) -> Option<u64> {
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("8MiB", 8_388_608),
            ("64KiB", 65_536),
            ("1MB", 1_000_000),
            ("262144", 262_144),
            ("10B", 10),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "8 MiB", "8mib", "-1", "1.5MiB", "99999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
