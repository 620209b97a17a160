//! Numbers as decimals, exactly.

/// The powers of ten of a number. `NUMERIC` goes from -16,383 to 131,072; the margin is for zeros,
/// which count there but not here.
const POWERS: std::ops::RangeInclusive<i64> = -15_000..=130_000;
/// The most characters of a number.
const LONGEST: usize = 1_000;

/// A decimal in one spelling: `-25.10` is negative, `251`, -1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) negative: bool,
    /// Without zeros on either side; empty for zero.
    pub(super) digits: String,
    /// The power of ten of the last digit.
    pub(super) exponent: i64,
}

impl Decimal {
    /// Splits a JSON number; `None` where an exponent is beyond 64 bits.
    pub(super) fn read(number: &str) -> Option<Self> {
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let significant = digits.trim_end_matches('0');
        if significant.is_empty() {
            return Some(Self { negative: false, digits: String::new(), exponent: 0 });
        }
        let dropped = i64::try_from(digits.len() - significant.len()).ok()?;
        let scale = i64::try_from(fraction.len()).ok()?;
        let exponent = exponent.parse::<i64>().ok()?.checked_add(dropped - scale)?;
        Some(Self { negative, digits: significant.to_owned(), exponent })
    }

    /// The power of ten above the first digit.
    fn top(&self) -> Option<i64> {
        self.exponent.checked_add(i64::try_from(self.digits.len()).ok()?)
    }
}

/// How many characters a JSON number takes without an exponent, as PostgreSQL gives it back; `None`
/// for a number that its `NUMERIC` cannot hold or that is longer than anything sensible.
pub(super) fn written_out(number: &str) -> Option<usize> {
    if number.len() > LONGEST {
        return None;
    }
    if number.len() <= 18 && !number.contains(['e', 'E']) {
        return Some(number.len());
    }
    // `0e99999` is zero, but PostgreSQL reads the exponent first, and a scale is kept for zeros too.
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let exponent: i64 = exponent.parse().ok().filter(|exponent| POWERS.contains(exponent))?;
    let decimal = Decimal::read(number)?;
    let top = decimal.top()?;
    if !POWERS.contains(&decimal.exponent) || !POWERS.contains(&top) {
        return None;
    }
    Some(mantissa.len() + usize::try_from(exponent.unsigned_abs()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_outside_numeric_is_told_by_its_text() {
        let long = "9".repeat(LONGEST);
        let longer = "9".repeat(LONGEST + 1);
        let cases = [
            ("0", true),
            ("-0.0", true),
            ("1e130000", false), // one digit above the power
            ("1e129999", true),
            ("1e-15000", true),
            ("1e-15001", false),
            ("0e-99999999", false),
            ("0e999999999999999999999", false),
            ("1e200000", false),
            (long.as_str(), true),
            (longer.as_str(), false),
        ];
        for (number, fits) in cases {
            assert_eq!(written_out(number).is_some(), fits, "{number}");
        }
        assert_eq!(written_out("2.5e3"), Some(6));
    }
}
