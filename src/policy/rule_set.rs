//! All rules as one document, and its version: so that a decision can be read with the rules of its day.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Bank, Route, Routes};
use crate::domain::format_duration;

/// The rules that decisions are made by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSet {
    /// The first 16 hex digits of the document's SHA-256.
    pub version: String,
    /// The rules, JSON.
    pub document: String,
}

/// Writes the rules down. `defaults` are the locale and the zone of recipients without their own; `program`
/// is the program's version, since a rule is its code, too.
pub fn rule_set(routes: &Routes, bank: &Bank, defaults: (&str, &str), program: &str) -> RuleSet {
    let by_type: serde_json::Map<String, Value> = {
        let mut all: Vec<(&str, &Route)> = routes.iter().collect();
        all.sort_unstable_by_key(|(event_type, _)| *event_type);
        all.into_iter().map(|(event_type, route)| (event_type.to_owned(), route_of(route))).collect()
    };
    let caps: Vec<Value> = bank
        .caps
        .iter()
        .map(|cap| {
            json!({"channel": cap.channel, "category": cap.category, "limit": cap.limit,
                   "window": format_duration(cap.window)})
        })
        .collect();
    let document = json!({
        "program": program,
        "defaults": {"locale": defaults.0, "time_zone": defaults.1},
        "routes": by_type,
        "caps": caps,
        "quiet_hours": bank.quiet_hours,
    })
    .to_string();
    let digest = Sha256::digest(document.as_bytes());
    let version = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    RuleSet { version, document }
}

fn route_of(route: &Route) -> Value {
    let escalate: Vec<Value> = route
        .escalate
        .iter()
        .map(|escalation| json!({"after": format_duration(escalation.after), "channel": escalation.channel}))
        .collect();
    let variants: Vec<Value> = route
        .variants
        .iter()
        .map(|one| json!({"name": one.name, "template": one.template, "share": one.share}))
        .collect();
    json!({
        "channels": route.channels,
        "priority": route.priority,
        "template": route.template,
        "variants": variants,
        "category": route.category,
        "mandatory": route.mandatory,
        "recipient": route.recipient,
        "quiet_hours": route.quiet_hours,
        "over_cap": route.over_cap,
        "expires_after": route.expires_after.map(format_duration),
        "escalate": escalate,
        "mode": route.mode,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Variant;
    use super::super::route::tests::route;
    use super::*;
    use crate::domain::Lane;

    #[test]
    fn variants_are_rules() {
        let of = |variants: Vec<Variant>| {
            let route = Route { variants, ..route(Lane::Normal) };
            let routes: Routes = [("a.b".to_owned(), route)].into_iter().collect();
            rule_set(&routes, &Bank::default(), ("en", "UTC"), "1")
        };
        let b = |share| vec![Variant { name: "b".to_owned(), template: "t.b".to_owned(), share }];
        assert_eq!(of(b(20)), of(b(20)));
        assert!(of(b(20)).document.contains(r#"[{"name":"b","share":20,"template":"t.b"}]"#));
        assert_ne!(of(b(20)).version, of(b(21)).version);
        assert_ne!(of(b(20)).version, of(Vec::new()).version);
    }
}
