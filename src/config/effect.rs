//! Settings that are read and checked, and that nothing follows yet.

use super::{Config, tree::join};

/// The settings that are given here, away from their defaults, and have no effect yet: their whole
/// paths, such as `retention.days`, in alphabetical order.
///
/// Who sets one expects something of it, so it has to be told.
pub fn without_effect(config: &Config) -> Vec<String> {
    let mut names: Vec<String> = [
        ("caps", !config.caps.is_empty()),
        ("corebank.url", config.corebank.url.is_some()),
        ("quiet_hours", !config.quiet_hours.is_empty()),
    ]
    .into_iter()
    .filter(|(_, given)| *given)
    .map(|(name, _)| name.to_owned())
    .collect();
    let escalating = config.routes.iter().filter(|(_, route)| !route.escalate.is_empty());
    names.extend(escalating.map(|(event_type, _)| join(&join("routes", event_type), "escalate")));
    names.sort_unstable();
    names
}
