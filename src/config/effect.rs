//! Settings that are read and checked, and that nothing follows yet.

use super::Config;

/// The settings that are given here, away from their defaults, and have no effect yet: their whole
/// paths, such as `retention.days`, in alphabetical order.
///
/// Who sets one expects something of it, so it has to be told.
pub fn without_effect(config: &Config) -> Vec<String> {
    let settings = [("corebank.url", config.corebank.url.is_some())];
    settings.into_iter().filter(|(_, given)| *given).map(|(name, _)| name.to_owned()).collect()
}
