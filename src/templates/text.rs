//! Making text fit its place.

/// A single line: control characters, line and paragraph separators and runs of space become one
/// space. So nothing of a payload can start a header of its own.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_whitespace() && !is_no_break(c) || c.is_control()) {
        if !word.is_empty() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    line
}

/// A space that holds two words, or the groups of a number, together.
const fn is_no_break(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{202f}')
}

/// A value of a payload as a line that is safe to show: also without the characters that turn the
/// direction of what follows, by which one text can pass for another.
pub(super) fn value(text: &str) -> String {
    one_line(&text.replace(
        [
            '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}',
            '\u{2069}',
        ],
        "",
    ))
}

/// Lines without control characters, without blank ones at the ends, and never two blank ones in a row.
pub(super) fn lines(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut blank = 0;
    for line in text.replace("\r\n", "\n").replace('\r', "\n").split('\n') {
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        match line.trim_end() {
            "" => blank += 1,
            line => {
                if !kept.is_empty() {
                    kept.push_str(if blank > 0 { "\n\n" } else { "\n" });
                }
                blank = 0;
                kept.push_str(line);
            }
        }
    }
    kept
}

/// At most `limit` characters, the last of them `mark` where something was cut off.
pub(super) fn shorten(text: &str, limit: usize, mark: &str) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit.saturating_sub(mark.chars().count())).collect();
    format!("{}{mark}", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(one_line(" a\r\nBcc: x\u{2028}y\tz\u{85}\0 "), "a Bcc: x y z");
        assert_eq!(one_line("1\u{202f}234 EUR"), "1\u{202f}234 EUR");
        assert_eq!(value("ab\u{202e}cd"), "abcd");
    }

    #[test]
    fn blank_lines_do_not_pile_up() {
        assert_eq!(lines("\n\n a \r\n\r\n\n\nb\u{7}\nc\n\n"), " a\n\nb\nc");
    }

    #[test]
    fn a_cut_is_marked() {
        assert_eq!(shorten("äöü", 3, "…"), "äöü");
        assert_eq!(shorten("ab cd", 4, "…"), "ab…");
    }
}
