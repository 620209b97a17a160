//! Amounts, numbers, dates and account numbers for one recipient on one channel.

use std::fmt::Write as _;

use chrono::format::StrftimeItems;
use chrono::{DateTime, NaiveDate, TimeZone, Utc};
use chrono_tz::{OffsetName, Tz};
use pure_rust_locales::locale_match;

use super::decimal::{Decimal, Grouping};
use super::{currency, locale, sms};
use crate::domain::Channel;

/// How one message writes numbers and moments.
#[derive(Clone, Copy)]
pub(super) struct Format {
    locale: locale::Formats,
    zone: Tz,
    channel: Channel,
}

impl Format {
    /// For a recipient's language tag and IANA time zone. What is unknown is British English and UTC.
    pub(super) fn new(tag: Option<&str>, zone: Option<&str>, channel: Channel) -> Self {
        let zone = zone.and_then(|name| name.trim().parse().ok()).unwrap_or(Tz::UTC);
        Self { locale: locale::formats(tag), zone, channel }
    }

    /// Whether it is for a text message, where plain characters are cheaper.
    const fn is_sms(self) -> bool {
        matches!(self.channel, Channel::Sms)
    }

    /// An amount with its currency's code, such as `MWK 2,500.00` or `2 500,00 MWK`: separators,
    /// groups and the code's place are the locale's, the digits of the fraction the currency's.
    pub(super) fn money(self, amount: &Decimal, code: &str) -> String {
        let point = match locale_match!(self.locale => LC_MONETARY::MON_DECIMAL_POINT) {
            "" => locale_match!(self.locale => LC_NUMERIC::DECIMAL_POINT),
            point => point,
        };
        let group = Grouping {
            point,
            separator: self.separator(locale_match!(self.locale => LC_MONETARY::MON_THOUSANDS_SEP)),
            sizes: locale_match!(self.locale => LC_MONETARY::MON_GROUPING),
        };
        let number = amount.write(&group, currency::minor_digits(code));
        match locale_match!(self.locale => LC_MONETARY::P_CS_PRECEDES) {
            0 => format!("{number} {code}"),
            _ => format!("{code} {number}"),
        }
    }

    /// A number with the locale's separators, and the digits of its fraction as they were written.
    pub(super) fn number(self, number: &Decimal) -> String {
        let group = Grouping {
            point: locale_match!(self.locale => LC_NUMERIC::DECIMAL_POINT),
            separator: self.separator(locale_match!(self.locale => LC_NUMERIC::THOUSANDS_SEP)),
            sizes: locale_match!(self.locale => LC_NUMERIC::GROUPING),
        };
        number.write(&group, number.fraction_digits())
    }

    /// In a text message a typographic separator would more than halve what a segment holds.
    fn separator(self, separator: &'static str) -> &'static str {
        match separator {
            "’" if self.is_sms() => "'",
            "" => "",
            other if self.is_sms() && !sms::is_gsm7(other) => " ",
            other => other,
        }
    }

    /// Date and time with the zone's abbreviation, without seconds: `Tue 24 Nov 2026 11:15 CAT`. In a
    /// text message in figures: `24/11/2026 11:15 CAT`.
    pub(super) fn datetime(self, at: DateTime<Utc>) -> String {
        let local = at.with_timezone(&self.zone);
        let zone = zone_name(&local);
        if self.is_sms() {
            return format!("{} {} {zone}", self.date(local.date_naive()), self.time(at));
        }
        let pattern = self.pattern(locale_match!(self.locale => LC_TIME::D_T_FMT));
        let pattern = match pattern.contains("%Z") {
            true => pattern.replace("%Z", &zone),
            false => format!("{pattern} {zone}"),
        };
        self.write(&local, &pattern, "%Y-%m-%d %H:%M UTC%:z")
    }

    /// The moment's date where the recipient is.
    pub(super) fn date_of(self, at: DateTime<Utc>) -> String {
        self.date(at.with_timezone(&self.zone).date_naive())
    }

    /// A date in figures with a year of four digits: `24/11/2026`.
    pub(super) fn date(self, date: NaiveDate) -> String {
        let noon = Utc.from_utc_datetime(&date.and_time(chrono::NaiveTime::MIN));
        self.write(&noon, &self.pattern(locale_match!(self.locale => LC_TIME::D_FMT)), "%Y-%m-%d")
    }

    /// The time of day where the recipient is, without seconds: `11:15`.
    pub(super) fn time(self, at: DateTime<Utc>) -> String {
        let pattern = self.pattern(locale_match!(self.locale => LC_TIME::T_FMT)).replace("%Z", "");
        self.write(&at.with_timezone(&self.zone), pattern.trim(), "%H:%M")
    }

    /// A format of glibc, brought to what chrono knows and to what a message needs: no seconds, no
    /// padding, years of four digits.
    fn pattern(self, format: &str) -> String {
        let mut pattern =
            format.replace("%O", "%").replace("%E", "%").replace("%z", "%Z").replace("%C%y", "%Y");
        for (from, to) in [
            ("%T", "%R"),
            ("%S秒", ""),
            (" %S초", ""),
            (":%S", ""),
            (".%S", ""),
            ("%y", "%Y"),
            ("%e", "%-d"),
            ("%l", "%-I"),
            ("%k", "%-H"),
        ] {
            pattern = pattern.replace(from, to);
        }
        let halves = locale_match!(self.locale => LC_TIME::AM_PM);
        let names_halves = halves.len() == 2 && halves.iter().all(|half| !half.trim().is_empty());
        if !names_halves {
            for (from, to) in [("%-I", "%-H"), ("%I", "%H"), (" %p", ""), ("%p", ""), (" %P", ""), ("%P", "")]
            {
                pattern = pattern.replace(from, to);
            }
        }
        pattern
    }

    /// Writes a moment, with the fallback where chrono does not know the pattern.
    fn write<Z: TimeZone>(self, at: &DateTime<Z>, pattern: &str, fallback: &str) -> String
    where
        Z::Offset: std::fmt::Display,
    {
        let mut text = String::new();
        let items = StrftimeItems::new_with_locale(pattern, self.locale);
        if write!(text, "{}", at.format_localized_with_items(items, self.locale)).is_err() {
            text.clear();
            // `DelayedFormat` fails on nothing else than an unknown pattern.
            let _known = write!(text, "{}", at.format(fallback));
        }
        text
    }

    /// The last four characters of an account number: `••1001`, in a text message `*1001`.
    pub(super) fn mask(self, number: &str) -> String {
        let mut last: Vec<char> = number.chars().rev().filter(|c| c.is_alphanumeric()).take(4).collect();
        last.reverse();
        let mark = if self.is_sms() { "*" } else { "••" };
        last.into_iter().fold(mark.to_owned(), |mut text, c| {
            text.push(c);
            text
        })
    }
}

/// The abbreviation of the zone, such as `CEST`; `UTC+03:00` where it has none but its offset.
fn zone_name(local: &DateTime<Tz>) -> String {
    match local.offset().abbreviation() {
        Some(name) if name.starts_with(|c: char| c.is_ascii_alphabetic()) => name.to_owned(),
        _ => local.format("UTC%:z").to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn format(tag: &str, zone: &str, channel: Channel) -> Format {
        Format::new(Some(tag), Some(zone), channel)
    }

    #[test]
    fn money_follows_locale_and_currency() {
        let cases = [
            ("en-GB", "2500", "MWK", "MWK 2,500.00", "MWK 2,500.00"),
            ("en-US", "2500", "JPY", "JPY 2,500", "JPY 2,500"),
            ("en", "1234.5", "KWD", "KWD 1,234.500", "KWD 1,234.500"),
            ("en-IN", "1234567.8", "INR", "INR 12,34,567.80", "INR 12,34,567.80"),
            ("fr-FR", "1234567.8", "EUR", "1\u{202f}234\u{202f}567,80 EUR", "1 234 567,80 EUR"),
            ("de-DE", "-1234.5", "EUR", "-1.234,50 EUR", "-1.234,50 EUR"),
            ("de-CH", "1234.5", "CHF", "CHF 1’234.50", "CHF 1'234.50"),
            ("ny", "2500.00", "MWK", "MWK 2,500.00", "MWK 2,500.00"),
            (
                "en",
                "123456789012345678901234567890.12",
                "MWK",
                "MWK 123,456,789,012,345,678,901,234,567,890.12",
                "MWK 123,456,789,012,345,678,901,234,567,890.12",
            ),
        ];
        for (tag, amount, code, mail, text) in cases {
            let amount = Decimal::parse(amount).unwrap();
            assert_eq!(format(tag, "UTC", Channel::Email).money(&amount, code), mail, "{tag}");
            assert_eq!(format(tag, "UTC", Channel::Sms).money(&amount, code), text, "{tag}");
        }
    }

    #[test]
    fn numbers_keep_their_fraction() {
        let number = Decimal::parse("12345.50").unwrap();
        assert_eq!(format("en", "UTC", Channel::Push).number(&number), "12,345.50");
        assert_eq!(format("de", "UTC", Channel::Push).number(&number), "12.345,50");
        assert_eq!(format("fr", "UTC", Channel::Push).number(&number), "12\u{202f}345,50");
    }

    #[test]
    fn moments_are_told_where_the_recipient_is() {
        let (winter, summer) = (at("2026-11-24T09:15:30Z"), at("2026-07-01T22:30:00Z"));
        let cases = [
            ("en", "Africa/Blantyre", winter, "Tue 24 Nov 2026 11:15 CAT", "24/11/2026 11:15 CAT"),
            ("en-US", "America/New_York", winter, "Tue 24 Nov 2026 04:15 AM EST", "11/24/2026 04:15 AM EST"),
            ("fr", "Europe/Paris", winter, "mar. 24 nov. 2026 10:15 CET", "24/11/2026 10:15 CET"),
            ("de", "Europe/Berlin", summer, "Do 02 Jul 2026 00:30 CEST", "02.07.2026 00:30 CEST"),
            ("en", "Asia/Dubai", winter, "Tue 24 Nov 2026 13:15 UTC+04:00", "24/11/2026 13:15 UTC+04:00"),
            ("en", "Mars/Olympus", winter, "Tue 24 Nov 2026 09:15 UTC", "24/11/2026 09:15 UTC"),
        ];
        for (tag, zone, moment, mail, text) in cases {
            assert_eq!(format(tag, zone, Channel::Email).datetime(moment), mail, "{tag} {zone}");
            assert_eq!(format(tag, zone, Channel::Sms).datetime(moment), text, "{tag} {zone}");
        }
        let berlin = format("de", "Europe/Berlin", Channel::Push);
        assert_eq!(berlin.date_of(summer), "02.07.2026");
        assert_eq!(berlin.time(summer), "00:30");
        assert_eq!(berlin.date(NaiveDate::from_ymd_opt(2026, 12, 1).unwrap()), "01.12.2026");
    }

    /// Every locale of a language and a region: what chrono does not know must neither panic nor leak
    /// into a message.
    #[test]
    fn every_locale_writes_a_moment() {
        let letters = || 'a'..='z';
        let mut seen = 0;
        for (a, b) in letters().flat_map(|a| letters().map(move |b| (a, b))) {
            for (c, d) in ('A'..='Z').flat_map(|c| ('A'..='Z').map(move |d| (c, d))) {
                let Ok(locale) = locale::Formats::try_from(format!("{a}{b}_{c}{d}").as_str()) else {
                    continue;
                };
                seen += 1;
                for channel in [Channel::Push, Channel::Sms] {
                    let format = Format { locale, zone: Tz::Africa__Blantyre, channel };
                    let moment = at("2026-11-24T19:15:30Z");
                    let texts = [format.datetime(moment), format.date_of(moment), format.time(moment)];
                    assert!(
                        texts.iter().all(|text| !text.is_empty() && !text.contains('%')),
                        "{locale}: {texts:?}"
                    );
                    assert!(texts[0].contains("CAT"), "{locale}: {texts:?}");
                    let amount = format.money(&Decimal::parse("1234567.89").unwrap(), "MWK");
                    assert_eq!(amount.chars().filter(char::is_ascii_digit).collect::<String>(), "123456789");
                }
            }
        }
        assert!(seen > 200, "{seen}");
    }

    #[test]
    fn an_account_shows_its_last_four() {
        assert_eq!(format("en", "UTC", Channel::Push).mask("0012-3410-01"), "••1001");
        assert_eq!(format("en", "UTC", Channel::Sms).mask("ACC-1001"), "*1001");
        assert_eq!(format("en", "UTC", Channel::Email).mask(""), "••");
    }
}
