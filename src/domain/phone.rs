//! Phone numbers.

/// The two-digit country codes (ITU-T E.164, list of assigned country codes). 1 and 7 have one digit.
const TWO: &[u16] = &[
    20, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41, 43, 44, 45, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56, 57, 58,
    60, 61, 62, 63, 64, 65, 66, 81, 82, 84, 86, 90, 91, 92, 93, 94, 95, 98,
];

/// The three-digit codes, as ranges: countries, and the codes that are shared or global (800 freephone,
/// 808 shared cost, 870 Inmarsat, 878 personal numbers, 881 satellites, 882 and 883 networks, 979
/// premium rate). 970 is in use though only reserved.
const THREE: &[(u16, u16)] = &[
    (211, 213),
    (216, 216),
    (218, 218),
    (220, 258),
    (260, 269),
    (290, 291),
    (297, 299),
    (350, 359),
    (370, 383),
    (385, 387),
    (389, 389),
    (420, 421),
    (423, 423),
    (500, 509),
    (590, 599),
    (670, 670),
    (672, 683),
    (685, 692),
    (800, 800),
    (808, 808),
    (850, 850),
    (852, 853),
    (855, 856),
    (870, 870),
    (878, 878),
    (880, 883),
    (886, 886),
    (960, 968),
    (970, 977),
    (979, 979),
    (992, 996),
    (998, 998),
];

/// What keeps a text from being a phone number in E.164: a plus, then 8 to 15 digits that begin with
/// an assigned country code. `None` if nothing does.
pub(crate) fn problem(text: &str) -> Option<&'static str> {
    let shape = "must be E.164: a plus and 8 to 15 digits, without blanks, such as `+265991234567`";
    let Some(digits) = text.strip_prefix('+') else { return Some(shape) };
    if !(8..=15).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(shape);
    }
    let code = |length: usize| digits.get(..length).and_then(|code| code.parse::<u16>().ok()).unwrap_or(0);
    let assigned = matches!(code(1), 1 | 7)
        || TWO.contains(&code(2))
        || THREE.iter().any(|(first, last)| (*first..=*last).contains(&code(3)));
    (!assigned).then_some("must begin with a country code that the ITU has assigned")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_number_is_e164() {
        let good = [
            "+265991234567",
            "+12025550123",
            "+4915112345678",
            "+12345678",
            "+123456789012345",
            "+77012345678",
        ];
        for number in good {
            assert_eq!(problem(number), None, "{number}");
        }
        let bad = [
            "",
            "+",
            "265991234567",
            "00265991234567",
            "+1234567",
            "+1234567890123456",
            "+265 991 234 567",
            "+265-99123456",
            "+26599123456a",
            "+٢٦٥٩٩١٢٣٤٥٦٧",
            "+265991234567\r",
            "++26599123456",
            "0991234567",
        ];
        for number in bad {
            assert!(problem(number).is_some_and(|problem| problem.contains("E.164")), "{number}");
        }
        for number in
            ["+0991234567", "+99912345678", "+21012345678", "+25912345678", "+38412345678", "+68412345678"]
        {
            assert!(problem(number).is_some_and(|problem| problem.contains("ITU")), "{number}");
        }
    }

    #[test]
    fn no_two_codes_begin_alike() {
        for (first, last) in THREE {
            assert!(
                first <= last && !TWO.iter().any(|two| (first / 10..=last / 10).contains(two)),
                "{first}"
            );
            assert!(!matches!(first / 100, 1 | 7));
        }
    }
}
