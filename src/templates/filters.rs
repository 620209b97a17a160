//! The filters and tests that templates have beyond the engine's own, and the environments.

use std::cell::Cell;
use std::cmp::Ordering;

use chrono::{DateTime, NaiveDate, Utc};
use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior};

use super::decimal::Decimal;
use super::error::{FUEL, Refused};
use super::format::Format;
use super::{currency, text};
use crate::domain::{Channel, Instant};

thread_local! {
    /// How the message that is being rendered on this thread writes numbers and moments. The engine
    /// shows a filter that is called within a macro none of the render's variables; and rendering
    /// never waits, so a thread renders one message at a time.
    static CURRENT: Cell<Option<Format>> = const { Cell::new(None) };
}

/// Runs `render` with the filters writing as `format` says.
pub(super) fn with_format<R>(format: Format, render: impl FnOnce() -> R) -> R {
    struct Restore(Option<Format>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _restore = Restore(CURRENT.replace(Some(format)));
    render()
}

fn format() -> Format {
    CURRENT.get().unwrap_or_else(|| Format::new(None, None, Channel::Email))
}

/// An environment with Herald's filters. Files that end in `.html` are escaped, others are not.
pub(super) fn environment(undefined: UndefinedBehavior) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(undefined);
    environment.set_auto_escape_callback(|name| match name.ends_with(".html") {
        true => AutoEscape::Html,
        false => AutoEscape::None,
    });
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(100);
    // Only so does the engine say which variable is undefined.
    environment.set_debug(true);
    if let Ok(syntax) =
        minijinja::syntax::SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()
    {
        environment.set_syntax(syntax);
    }
    // These would take a payload's number through binary floating point.
    for lossy in ["abs", "float", "int", "round", "sum"] {
        environment.remove_filter(lossy);
    }
    environment.add_filter("money", money);
    environment.add_filter("number", number);
    environment.add_filter("date", date);
    environment.add_filter("time", time);
    environment.add_filter("datetime", datetime);
    environment.add_filter("mask", |account: String| format().mask(&account));
    environment.add_filter("one_line", |value: String| text::one_line(&value));
    for (names, accept) in ORDERS {
        for name in *names {
            environment.add_test(*name, move |a: String, b: String| compare(&a, &b).map(accept));
        }
    }
    environment
}

/// The engine's names of a test, and the order that it accepts.
type Order = (&'static [&'static str], fn(Ordering) -> bool);

/// The tests that compare numbers.
const ORDERS: &[Order] = &[
    (&["gt", "greaterthan"], Ordering::is_gt),
    (&["ge"], Ordering::is_ge),
    (&["lt", "lessthan"], Ordering::is_lt),
    (&["le"], Ordering::is_le),
];

fn compare(a: &str, b: &str) -> Result<Ordering, Error> {
    match (Decimal::parse(a), Decimal::parse(b)) {
        (Some(a), Some(b)) => Ok(a.cmp(&b)),
        _ => Err(Refused("`gt`, `ge`, `lt` and `le` compare two decimal numbers").into()),
    }
}

fn money(amount: String, code: String) -> Result<String, Error> {
    let amount = Decimal::parse(&amount).ok_or(Refused("`money` needs a decimal number, such as 2500.00"))?;
    let code =
        currency::code(&code).ok_or(Refused("`money` needs a currency of three letters, such as MWK"))?;
    Ok(format().money(&amount, &code))
}

fn number(number: String) -> Result<String, Error> {
    let number =
        Decimal::parse(&number).ok_or(Refused("`number` needs a decimal number, such as 2500.00"))?;
    Ok(format().number(&number))
}

fn date(at: String) -> Result<String, Error> {
    if let Ok(date) = NaiveDate::parse_from_str(&at, "%Y-%m-%d") {
        return Ok(format().date(date));
    }
    moment(&at, Refused("`date` needs a date, such as 2026-11-24, or RFC 3339 with an offset"))
        .map(|at| format().date_of(at))
}

fn time(at: String) -> Result<String, Error> {
    moment(&at, Refused("`time` needs RFC 3339 with an offset, such as 2026-11-24T09:15:00Z"))
        .map(|at| format().time(at))
}

fn datetime(at: String) -> Result<String, Error> {
    moment(&at, Refused("`datetime` needs RFC 3339 with an offset, such as 2026-11-24T09:15:00Z"))
        .map(|at| format().datetime(at))
}

fn moment(text: &str, refused: Refused) -> Result<DateTime<Utc>, Error> {
    Instant::parse(text).map(Instant::utc).map_err(|_| refused.into())
}
