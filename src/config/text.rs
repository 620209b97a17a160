//! Durations and sizes as a configuration writes them.

use std::time::Duration;

/// How a duration is written, for error texts.
pub(super) const DURATION: &str = "a duration such as 250ms, 5s, 15m, 2h or 90d";
/// How a size is written, for error texts.
pub(super) const SIZE: &str = "a size such as 8MiB, 64KiB, 1MB or a number of bytes";

/// Reads `250ms`, `5s`, `15m`, `2h` or `90d`.
///
/// # Errors
///
/// Any other text, and a duration beyond `u64` milliseconds: what is expected, in words.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("expected {DURATION}")),
    };
    whole(number)
        .and_then(|number| number.checked_mul(milliseconds))
        .map(Duration::from_millis)
        .ok_or_else(|| format!("expected {DURATION}"))
}

/// Writes a duration in the largest unit that says it exactly: the reverse of [`parse_duration`].
pub fn format_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")]
        .into_iter()
        .find(|(unit, _)| milliseconds > 0 && milliseconds.is_multiple_of(*unit))
        .map_or_else(|| format!("{milliseconds}ms"), |(unit, name)| format!("{}{name}", milliseconds / unit))
}

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
    use proptest::prelude::*;

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("250ms", 250),
            ("5s", 5_000),
            ("15m", 900_000),
            ("2h", 7_200_000),
            ("90d", 7_776_000_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "+5s",
            "5S",
            "1.5s",
            "5sec",
            "1h30m",
            "99999999999999999999s",
            "213503982334601d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

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

    proptest! {
        #[test]
        fn a_written_duration_reads_back(milliseconds in 0_u64..u64::MAX / 2) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }
}
