//! The nearest known word to one that was mistyped.

/// The nearest of `known`, where one is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|known| (distance(word, known), *known))
        .min()
        .filter(|(distance, known)| *distance <= known.chars().count().max(3) / 3)
        .map(|(_, known)| known)
}

/// The optimal string alignment distance: how many insertions, deletions, substitutions and swaps
/// of neighbours turn one word into the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) =
        (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let swap = if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    rows[i - 2][j - 2] + 1
                } else {
                    usize::MAX
                };
                let substitution = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(substitution).min(swap)
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested() {
        let known = ["url", "from", "concurrency", "provider"];
        for (word, expected) in [
            ("ulr", Some("url")),
            ("URL", Some("url")),
            ("form", Some("from")),
            ("concurency", Some("concurrency")),
            ("provder", Some("provider")),
            ("password", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &known), expected, "{word}");
        }
        assert_eq!(nearest("url", &[]), None);
    }
}
