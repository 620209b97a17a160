//! Exact decimal numbers of any length, as text.
//!
//! A number of a payload is only read, compared and grouped, never computed with; so its digits are
//! kept as they are, also where they are more than the 28 that `rust_decimal` holds.

use std::cmp::Ordering;

/// The most digits that an exponent may unfold to, so that `1e999999999` does not fill the memory.
const MOST_DIGITS: usize = 200;

/// A decimal number.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    /// Without leading zeros; `0` if there is nothing else.
    whole: String,
    /// As it was written.
    fraction: String,
}

impl Decimal {
    /// Reads a JSON number (RFC 8259 §6), with leading zeros or a plus sign too. `None` for any other
    /// text, and for an exponent that would unfold to more than 200 digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) {
            return None;
        }
        let (whole, fraction) = shift(whole, fraction, exponent)?;
        let significant = whole.trim_start_matches('0');
        let whole = if significant.is_empty() { "0" } else { significant }.to_owned();
        let zero = whole == "0" && fraction.bytes().all(|byte| byte == b'0');
        Some(Self { negative: negative && !zero, whole, fraction })
    }

    /// The number for a reader: the whole part in groups, and at least `digits` of fraction. What is
    /// more than that is kept, but for zeros at the end: an amount is never rounded.
    pub(super) fn write(&self, group: &Grouping<'_>, digits: usize) -> String {
        let mut text = String::with_capacity(self.whole.len() * 2);
        if self.negative {
            text.push('-');
        }
        group.write(&self.whole, &mut text);
        let significant = self.fraction.trim_end_matches('0').len().max(digits);
        if significant > 0 {
            text.push_str(group.point);
            text.extend(self.fraction.chars().chain(std::iter::repeat('0')).take(significant));
        }
        text
    }

    /// How many digits were written behind the point.
    pub(super) fn fraction_digits(&self) -> usize {
        self.fraction.len()
    }

    /// How many digits it has before the point.
    pub(super) fn whole_digits(&self) -> usize {
        self.whole.len()
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let size = |a: &Self, b: &Self| {
            (a.whole.len().cmp(&b.whole.len()))
                .then_with(|| a.whole.cmp(&b.whole))
                .then_with(|| a.fraction.trim_end_matches('0').cmp(b.fraction.trim_end_matches('0')))
        };
        match (self.negative, other.negative) {
            (false, false) => size(self, other),
            (true, true) => size(other, self),
            (negative, _) => {
                if negative {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Moves the point by `exponent` places to the right.
fn shift(whole: &str, fraction: &str, exponent: i32) -> Option<(String, String)> {
    let places = usize::try_from(exponent.unsigned_abs()).ok()?;
    if places > MOST_DIGITS {
        return None;
    }
    if exponent >= 0 {
        return Some(match fraction.split_at_checked(places) {
            Some((moved, rest)) => (format!("{whole}{moved}"), rest.to_owned()),
            None => (format!("{whole}{fraction}{}", "0".repeat(places - fraction.len())), String::new()),
        });
    }
    let digits = format!("{}{whole}", "0".repeat(places));
    let (whole, moved) = digits.split_at_checked(digits.len() - places)?;
    Some((whole.to_owned(), format!("{moved}{fraction}")))
}

/// How a locale writes a number.
pub(super) struct Grouping<'a> {
    /// The decimal point.
    pub(super) point: &'a str,
    /// What stands between groups; empty for none.
    pub(super) separator: &'a str,
    /// The sizes of the groups from the right; the last one repeats. Zero or less: no more groups.
    pub(super) sizes: &'a [i64],
}

impl Grouping<'_> {
    fn write(&self, digits: &str, text: &mut String) {
        let mut groups = Vec::new();
        let mut rest = digits;
        let mut sizes = self.sizes.iter().copied();
        let mut size = sizes.next().unwrap_or(0);
        while let Ok(width @ 1..) = usize::try_from(size)
            && let Some((left, group)) =
                rest.len().checked_sub(width).and_then(|at| rest.split_at_checked(at))
            && !left.is_empty()
        {
            groups.push(group);
            rest = left;
            size = sizes.next().unwrap_or(size);
        }
        text.push_str(rest);
        for group in groups.iter().rev() {
            text.push_str(self.separator);
            text.push_str(group);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str, sizes: &[i64], digits: usize) -> Option<String> {
        Some(Decimal::parse(text)?.write(&Grouping { point: ".", separator: ",", sizes }, digits))
    }

    #[test]
    fn numbers_are_read_and_grouped() {
        let cases = [
            ("2500", "2,500.00"),
            ("2500.00", "2,500.00"),
            ("2500.005", "2,500.005"),
            ("2500.5000", "2,500.50"),
            ("-0.00", "0.00"),
            ("-12", "-12.00"),
            ("007", "7.00"),
            ("1.5e3", "1,500.00"),
            ("25E-1", "2.50"),
            ("1e-3", "0.001"),
            ("123456789012345678901234567890.12", "123,456,789,012,345,678,901,234,567,890.12"),
        ];
        for (text, expected) in cases {
            assert_eq!(written(text, &[3, 3], 2).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(written("12345678.5", &[3, 2], 0).as_deref(), Some("1,23,45,678.5"));
        assert_eq!(written("1234567", &[-1], 0).as_deref(), Some("1234567"));
        assert_eq!(written("1234567", &[], 0).as_deref(), Some("1234567"));
    }

    #[test]
    fn what_is_no_number_is_told_apart() {
        for text in
            ["", "-", ".5", "5.", "1,000", "1e", "abc", "1e999999999", "1e99999999999", "NaN", "0x10", "१२"]
        {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_the_one_of_the_numbers(a in -10_000_000_i64..10_000_000, b in -10_000_000_i64..10_000_000) {
            let of = |n: i64| Decimal::parse(&format!("{n}e-3")).unwrap();
            prop_assert_eq!(of(a).cmp(&of(b)), a.cmp(&b));
        }

        #[test]
        fn no_digit_is_lost(text in "-?[1-9][0-9]{0,60}\\.[0-9]{0,20}[1-9]") {
            prop_assert_eq!(written(&text, &[3], 0).map(|t| t.replace(',', "")), Some(text));
        }
    }
}
