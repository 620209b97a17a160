//! CloudEvents attributes in HTTP headers (HTTP Protocol Binding 1.0.2 §3.1.3).

/// The attribute that a header carries, in lower case; `None` for a header of another kind.
pub(super) fn attribute(header: &str) -> Option<String> {
    let name = header.get(..3).filter(|prefix| prefix.eq_ignore_ascii_case("ce-"))?;
    header.strip_prefix(name).map(str::to_ascii_lowercase)
}

/// The text of a header's value: quotes are taken off first, then one round of percent-decoding.
///
/// # Errors
///
/// The rule that the value breaks.
pub(super) fn decode(value: &[u8]) -> Result<String, &'static str> {
    let value = value.trim_ascii();
    if value.iter().any(|byte| !matches!(byte, b'\t' | b' '..=b'~')) {
        return Err("must be ASCII: any other character is percent-encoded as UTF-8");
    }
    let unquoted = match value {
        [b'"', ..] => unquote(value).ok_or("begins with a quote and is no quoted string")?,
        _ => value.to_vec(),
    };
    let mut bytes = Vec::with_capacity(unquoted.len());
    let mut rest = unquoted.as_slice();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = tail else { return Err(PERCENT) };
        rest = tail;
        bytes.push(digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low).ok_or(PERCENT)?);
    }
    String::from_utf8(bytes).map_err(|_| "has percent-encoded bytes that are not UTF-8")
}

const PERCENT: &str = "has a `%` without two hexadecimal digits behind it";

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Takes the quotes and backslashes off a quoted string (RFC 7230 §3.2.6).
fn unquote(value: &[u8]) -> Option<Vec<u8>> {
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut text = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => text.push(*bytes.next()?),
            b'"' => return None,
            _ => text.push(*byte),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_unquoted_and_then_percent_decoded_once() {
        let cases: &[(&[u8], Option<&str>)] = &[
            (b"plain", Some("plain")),
            (b"  trimmed\t", Some("trimmed")),
            (b"Euro%20%E2%82%AC%20%f0%9f%98%80", Some("Euro \u{20ac} \u{1f600}")),
            (b"%2525", Some("%25")),
            (b"%41", Some("A")),
            (b"\"a b\"", Some("a b")),
            (br#""a \"b\" \\ %20""#, Some("a \"b\" \\  ")),
            (b"a \"b\" c", Some("a \"b\" c")),
            (b"", Some("")),
            (b"\"\"", Some("")),
            (b"%C0%A0", None),
            (b"%ff", None),
            (b"%ED%A0%80", None),
            (b"%", None),
            (b"%4", None),
            (b"%zz", None),
            (b"%+1", None),
            (b"\"open", None),
            (b"\"", None),
            (b"\"ends\\\"", None),
            (b"\"a\"b\"", None),
            ("é".as_bytes(), None),
            (b"a\x00", None),
        ];
        for (value, expected) in cases {
            assert_eq!(decode(value).ok().as_deref(), *expected, "{value:?}");
        }
    }

    #[test]
    fn an_attribute_is_named_by_its_header() {
        assert_eq!(attribute("CE-Subject").as_deref(), Some("subject"));
        assert_eq!(attribute("ce-").as_deref(), Some(""));
        assert_eq!(attribute("cee-x"), None);
        assert_eq!(attribute("cé-x"), None);
        assert_eq!(attribute("x"), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_as_the_binding_says_reads_back(text in "\\PC{0,40}") {
            let encoded: String = text.bytes().map(|byte| match byte {
                b'!' | b'#'..=b'$' | b'&'..=b'~' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            }).collect();
            prop_assert_eq!(decode(encoded.as_bytes()).unwrap(), text);
        }

        #[test]
        fn no_bytes_make_it_panic(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode(&value);
        }
    }
}
