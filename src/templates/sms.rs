//! How many segments a text message takes, and whether it fits the cheap alphabet.

/// What one message holds: septets of the GSM alphabet, or UTF-16 code units.
struct Alphabet {
    /// In a message that stands alone.
    single: usize,
    /// In each part of a longer one, whose header takes the rest.
    part: usize,
}

/// 140 octets of seven-bit septets; a part's header takes six octets (3GPP TS 23.040 §9.2.3.24.1).
const GSM7: Alphabet = Alphabet { single: 160, part: 153 };
/// 140 octets of sixteen-bit units.
const UCS2: Alphabet = Alphabet { single: 70, part: 67 };

/// How many septets of the GSM 7-bit default alphabet a character takes (3GPP TS 23.038 §6.2.1):
/// one, two for those of the extension table, which need an escape, none if it is not in it.
const fn septets(c: char) -> Option<usize> {
    match c {
        '\u{c}' | '^' | '{' | '}' | '\\' | '[' | '~' | ']' | '|' | '€' => Some(2),
        '\n' | '\r' | ' '..='_' | 'a'..='z' => Some(1),
        '£' | '¥' | 'è' | 'é' | 'ù' | 'ì' | 'ò' | 'Ç' | 'Ø' | 'ø' | 'Å' | 'å' | 'Δ' | 'Φ' | 'Γ' | 'Λ'
        | 'Ω' | 'Π' | 'Ψ' | 'Σ' | 'Θ' | 'Ξ' | 'Æ' | 'æ' | 'ß' | 'É' | '¤' | '¡' | 'Ä' | 'Ö' | 'Ñ' | 'Ü'
        | '§' | '¿' | 'ä' | 'ö' | 'ñ' | 'ü' | 'à' => Some(1),
        _ => None,
    }
}

/// Whether every character is in the GSM 7-bit default alphabet or its extension table. If not, the
/// whole message goes as UCS-2, which holds less than half as much.
pub fn is_gsm7(text: &str) -> bool {
    text.chars().all(|c| septets(c).is_some())
}

/// The alphabet of a text, and how many of its units a character takes.
fn alphabet(text: &str) -> (Alphabet, fn(char) -> usize) {
    match is_gsm7(text) {
        true => (GSM7, |c| septets(c).unwrap_or(2)),
        false => (UCS2, char::len_utf16),
    }
}

/// How many segments the text takes; an empty text takes one.
///
/// An escape pair or a surrogate pair is never split over two parts: the part before it ends one
/// unit short (3GPP TS 23.040 §9.2.3.24.1).
pub fn segments(text: &str) -> u16 {
    let (alphabet, width) = alphabet(text);
    if text.chars().map(width).sum::<usize>() <= alphabet.single {
        return 1;
    }
    let (mut parts, mut used) = (1_u16, 0);
    for width in text.chars().map(width) {
        used += width;
        if used > alphabet.part {
            parts = parts.saturating_add(1);
            used = width;
        }
    }
    parts
}

/// The longest beginning of a text that takes at most `limit` segments, with `...` where something
/// was cut off.
pub(super) fn shorten(text: &str, limit: u16) -> String {
    if segments(text) <= limit {
        return text.to_owned();
    }
    let (alphabet, width) = alphabet(text);
    let room = alphabet.part * usize::from(limit) - usize::from(limit) - 3;
    let mut used = 0;
    let kept: String = text
        .chars()
        .take_while(|&c| {
            used += width(c);
            used <= room
        })
        .collect();
    format!("{}...", kept.trim_end())
}

/// The text with typographic spaces, quotation marks and dashes replaced by plain ones, where that
/// makes it fit the GSM alphabet; else the text as it is.
pub(super) fn plain(text: &str) -> String {
    if is_gsm7(text) {
        return text.to_owned();
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => plain.push('\n'),
            '’' | '‘' | 'ʼ' => plain.push('\''),
            '“' | '”' | '„' => plain.push('"'),
            '–' | '—' | '−' | '\u{2011}' => plain.push('-'),
            '…' => plain.push_str("..."),
            c if c.is_whitespace() => plain.push(' '),
            c => plain.push(c),
        }
    }
    if is_gsm7(&plain) { plain } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The alphabet as the specification's table lists it, apart from the code above.
    const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡\
        ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
    const EXTENSION: &str = "\u{c}^{}\\[~]|€";

    /// Cuts by hand: a list of the widths, from which a part takes what fits.
    fn by_hand(text: &str) -> u16 {
        let gsm = text.chars().all(|c| BASIC.contains(c) || EXTENSION.contains(c));
        let mut units: Vec<usize> = text
            .chars()
            .map(|c| {
                if gsm {
                    1 + usize::from(EXTENSION.contains(c))
                } else {
                    c.to_string().encode_utf16().count()
                }
            })
            .collect();
        let (single, part) = if gsm { (160, 153) } else { (70, 67) };
        if units.iter().sum::<usize>() <= single {
            return 1;
        }
        let mut parts = 0;
        while !units.is_empty() {
            let mut fits = 0;
            while fits < units.len() && units.iter().take(fits + 1).sum::<usize>() <= part {
                fits += 1;
            }
            units.drain(..fits);
            parts += 1;
        }
        parts
    }

    #[test]
    fn the_alphabet_is_the_one_of_the_specification() {
        for code in 0..=0x1_ffff_u32 {
            if let Some(c) = char::from_u32(code) {
                let expected = if EXTENSION.contains(c) { Some(2) } else { BASIC.contains(c).then_some(1) };
                assert_eq!(septets(c), expected, "U+{code:04X}");
            }
        }
        assert!(!is_gsm7("ç"));
    }

    #[test]
    fn lengths_at_the_limits() {
        assert_eq!(segments(""), 1);
        assert_eq!(segments(&"a".repeat(160)), 1);
        assert_eq!(segments(&"a".repeat(161)), 2);
        assert_eq!(segments(&"a".repeat(306)), 2);
        assert_eq!(segments(&"a".repeat(307)), 3);
        assert_eq!(segments(&"€".repeat(80)), 1);
        assert_eq!(segments(&"€".repeat(81)), 2);
        assert_eq!(segments(&"я".repeat(70)), 1);
        assert_eq!(segments(&"я".repeat(71)), 2);
        assert_eq!(segments(&"я".repeat(134)), 2);
        assert_eq!(segments(&"я".repeat(135)), 3);
    }

    #[test]
    fn pairs_are_not_split() {
        // 152 + 2 would be 154: the first part ends at 152, so 306 septets do not fit into two.
        assert_eq!(segments(&format!("{}€{}", "a".repeat(152), "a".repeat(152))), 3);
        assert_eq!(segments(&format!("{}€{}", "a".repeat(152), "a".repeat(151))), 2);
        assert_eq!(segments(&format!("{}😀{}", "я".repeat(66), "я".repeat(66))), 3);
        assert_eq!(segments(&format!("{}😀{}", "я".repeat(66), "я".repeat(65))), 2);
    }

    #[test]
    fn typography_is_plain_only_where_that_helps() {
        assert_eq!(plain("2\u{202f}500,00 – l’eau…"), "2 500,00 - l'eau...");
        assert_eq!(plain("Привет – мир"), "Привет – мир");
    }

    proptest! {
        #[test]
        fn segments_are_counted_as_by_hand(text in "[a-z€\\[\\]|^ ]{0,700}|[яa-z😀€ ]{0,300}|\\PC{0,300}") {
            prop_assert_eq!(segments(&text), by_hand(&text));
        }

        #[test]
        fn what_is_shortened_fits(text in "[a-z€|]{0,900}|[яa-z😀 ]{0,500}", limit in 1_u16..4) {
            let short = shorten(&text, limit);
            prop_assert!(segments(&short) <= limit);
            prop_assert!(short == text || short.ends_with("..."));
        }
    }
}
