//! What there is to say of templates: those of variants that are missing, and what text messages cost.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checked, Finding};
use crate::config::Config;
use crate::domain::Channel;
use crate::policy::{Mode, OverCap, Route};
use crate::templates::{SmsCost, Templates};

/// Variants whose template is neither built in nor one of the bank's own.
pub(super) fn variants(config: &Config, templates: &Templates) -> Vec<Checked> {
    let mut missing = Vec::new();
    for (event_type, route) in config.routes.iter() {
        for variant in route.variants.iter().filter(|variant| !templates.known(&variant.template)) {
            let problem = format!(
                "there is no template {}: its recipients would get the message that fits every event; add it to \
                 templates.dir",
                variant.template
            );
            missing.push(Checked {
                what: format!("variant {} of {event_type}", variant.name),
                finding: Finding::Problem(problem),
            });
        }
    }
    missing.sort_by(|one, other| one.what.cmp(&other.what));
    missing
}

/// A note for each template of text messages that may cost more than a segment: those that a route sends, and
/// all of the bank's own.
pub(super) fn costly(config: &Config, templates: &Templates, costs: &[SmsCost]) -> Vec<Checked> {
    let sent: BTreeSet<String> = config
        .routes
        .iter()
        .filter(|(_, route)| route.mode != Mode::Off && route.reaches_by(Channel::Sms))
        .flat_map(|(event_type, route)| names(event_type, route, templates))
        .collect();
    let mut by_name: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for cost in costs.iter().filter(|cost| cost.own || sent.contains(&cost.template)) {
        if cost.is_notable() {
            let words = format!("{} {}", cost.locale, cost.in_words());
            by_name.entry(&cost.template).or_default().push(words);
        }
    }
    by_name
        .into_iter()
        .map(|(name, languages)| Checked {
            what: format!("sms template {name}, at worst"),
            finding: Finding::Note(languages.join("; ")),
        })
        .collect()
}

/// The templates that a route's text messages are made from.
fn names(event_type: &str, route: &Route, templates: &Templates) -> Vec<String> {
    let own = route.template.as_deref().unwrap_or(event_type);
    let told_by = std::iter::once(own).chain(route.variants.iter().map(|variant| variant.template.as_str()));
    let digest = route.over_cap == OverCap::Digest;
    told_by
        .flat_map(|name| {
            let digest = digest.then(|| templates.digest_of(name));
            [Some(templates.sms_of(name).to_owned()), digest].into_iter().flatten()
        })
        .collect()
}
