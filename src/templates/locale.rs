//! Language tags, and the locales of glibc that give number and date formats.

pub(super) use chrono::format::Locale as Formats;

/// The language that a recipient without one is written to, and the last resort of every look-up.
pub(super) const FALLBACK: &str = "en";

/// A language tag (BCP 47) or a POSIX locale in one spelling: lower case, hyphens, no encoding.
pub(super) fn normalized(tag: &str) -> String {
    let tag = tag.split(['.', '@']).next().unwrap_or_default();
    tag.trim().to_ascii_lowercase().replace('_', "-")
}

/// Whether a folder's name can be a language tag.
pub(super) fn is_tag(tag: &str) -> bool {
    let mut subtags = tag.split(['-', '_']);
    let language = subtags.next().unwrap_or_default();
    (2..=8).contains(&language.len())
        && language.bytes().all(|byte| byte.is_ascii_alphabetic())
        && subtags
            .all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// The tag, then ever shorter ones (RFC 4647 §3.4): `de-CH-1996` → `de-ch-1996`, `de-ch`, `de`.
pub(super) fn chain(tag: Option<&str>) -> Vec<String> {
    let mut tag = normalized(tag.unwrap_or(FALLBACK));
    let mut chain = Vec::new();
    while !tag.is_empty() {
        chain.push(tag.clone());
        tag.truncate(tag.rfind('-').unwrap_or(0));
    }
    chain
}

/// The formats of the nearest locale: the language in its region, else the language where it is
/// mainly spoken, else British English (day before month, 24 hours: what banks outside America use).
pub(super) fn formats(tag: Option<&str>) -> Formats {
    let tag = normalized(tag.unwrap_or(FALLBACK));
    let mut subtags = tag.split('-');
    let language = subtags.next().unwrap_or_default();
    let region = subtags.find(|part| part.len() == 2).map(str::to_ascii_uppercase);
    region
        .and_then(|region| Formats::try_from(format!("{language}_{region}").as_str()).ok())
        .or_else(|| Formats::try_from(home(language).as_str()).ok())
        .unwrap_or(Formats::en_GB)
}

/// The glibc locale of a language without a region: a few are named here, the others are spoken in
/// the country of the same code.
fn home(language: &str) -> String {
    let region = match language {
        "en" | "cy" | "gd" => "GB",
        "af" | "nr" | "nso" | "ss" | "st" | "tn" | "ts" | "ve" | "xh" | "zu" => "ZA",
        "am" | "om" | "ti" => "ET",
        "ar" => "EG",
        "be" => "BY",
        "bem" => "ZM",
        "bn" => "BD",
        "bs" => "BA",
        "ca" | "eu" | "gl" => "ES",
        "cs" => "CZ",
        "da" => "DK",
        "el" => "GR",
        "et" => "EE",
        "fa" => "IR",
        "fil" | "tl" => "PH",
        "ga" => "IE",
        "gu" | "hi" | "kn" | "ml" | "mr" | "pa" | "ta" | "te" => "IN",
        "ha" | "ig" | "yo" => "NG",
        "he" => "IL",
        "hy" => "AM",
        "ja" => "JP",
        "ka" => "GE",
        "kk" => "KZ",
        "km" => "KH",
        "ko" => "KR",
        "lb" => "LU",
        "lg" => "UG",
        "ln" => "CD",
        "lo" => "LA",
        "ms" => "MY",
        "my" => "MM",
        "nb" | "no" => return "nb_NO".to_owned(),
        "ne" => "NP",
        "nn" => "NO",
        "ps" => "AF",
        "si" => "LK",
        "sl" => "SI",
        "sq" => "AL",
        "sr" => "RS",
        "sv" => "SE",
        "sw" => "TZ",
        "tg" => "TJ",
        "tk" => "TM",
        "uk" => "UA",
        "ur" => "PK",
        "vi" => "VN",
        "wo" => "SN",
        "zh" => "CN",
        _ => return format!("{language}_{}", language.to_ascii_uppercase()),
    };
    format!("{language}_{region}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_lead_to_the_nearest_locale() {
        let cases = [
            ("en-GB", "en_GB"),
            ("en_US.UTF-8", "en_US"),
            ("EN", "en_GB"),
            ("en-MW", "en_GB"),
            ("fr", "fr_FR"),
            ("fr-CD", "fr_FR"),
            ("de-DE", "de_DE"),
            ("de-CH", "de_CH"),
            ("zh-Hans-CN", "zh_CN"),
            ("sw", "sw_TZ"),
            ("pt", "pt_PT"),
            ("pt-BR", "pt_BR"),
            ("no", "nb_NO"),
            ("ny", "en_GB"),
            ("", "en_GB"),
            ("../../etc", "en_GB"),
        ];
        for (tag, expected) in cases {
            assert_eq!(formats(Some(tag)).to_string(), expected, "{tag}");
        }
    }

    #[test]
    fn a_chain_gets_shorter() {
        assert_eq!(chain(Some("de_CH-1996")), ["de-ch-1996", "de-ch", "de"]);
        assert_eq!(chain(None), ["en"]);
        assert_eq!(chain(Some("")), [""; 0]);
    }
}
