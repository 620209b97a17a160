//! The scanner finds what it is for.

use super::{Source, assert_none};

fn violations(name: &str, text: &str) -> Vec<String> {
    let mut found = Source::new(name, text).violations();
    found.dedup();
    found
}

#[test]
fn a_layer_that_reaches_up_or_aside_is_found() {
    let text = "//! Uses crate::http in words only.\nuse crate::domain::Lane;\nuse crate::store::Store;\n";
    assert_eq!(violations("policy/caps.rs", text), ["src/policy/caps.rs:3: `policy` may not use `store`"]);
    let text =
        "use std::fmt;\n\nuse crate::{\n    domain::{Lane, State},\n    http::{self, api::Problem},\n};\n";
    let expected = ["src/store/events.rs:3: `store` may not use `http`"; 2];
    assert_eq!(Source::new("store/events.rs", text).violations(), expected);
    let text = "fn f() {\n    crate::providers::sandbox()\n}\n";
    assert_eq!(violations("store/mod.rs", text), ["src/store/mod.rs:2: `store` may not use `providers`"]);
    let text = "use super::store::Store;\n";
    assert_eq!(violations("domain/mod.rs", text), ["src/domain/mod.rs:1: `domain` may not use `store`"]);
    let text = "use super::super::store::Store;\n";
    assert_eq!(violations("domain/ids.rs", text), ["src/domain/ids.rs:1: `domain` may not use `store`"]);
    assert_eq!(
        violations("http/mod.rs", "use crate::*;\n"),
        ["src/http/mod.rs:1: `crate::*` hides what it uses"]
    );
}

#[test]
fn what_a_layer_may_use_is_not_found() {
    for (name, text) in [
        ("cli/serve.rs", "use crate::{config::Config, http, store::Store, supervision::Tree};\n"),
        ("actors/notifier.rs", "use crate::{policy::decide, store::Store, supervision::ChildSpec};\n"),
        ("store/events.rs", "use super::Store;\nuse crate::{domain::Event, store::error::StoreError};\n"),
        (
            "domain/ids.rs",
            "use super::{lane::Lane, store};\nuse std::{fmt, net::IpAddr, time::Duration};\nuse uuid::Uuid;\n",
        ),
        ("config/mod.rs", "use crate::{domain::Channel, policy::Cap};\n"),
        ("main.rs", "use herald::cli;\n"),
        ("domain/state.rs", "#[cfg(test)]\nmod tests {\n    use crate::store::Store;\n    use std::fs;\n}\n"),
    ] {
        assert_none(&violations(name, text));
    }
}

#[test]
fn what_stands_beside_the_layers_is_kept_apart() {
    let found = |name, text| violations(name, text).len();
    assert_eq!(found("supervision/tree.rs", "use crate::domain::Lane;\n"), 1);
    assert_eq!(found("supervision/tree.rs", "use crate::supervision::Exit;\n"), 0);
    assert_eq!(found("providers/smtp.rs", "use crate::supervision::Exit;\n"), 1);
    assert_eq!(found("actors/janitor.rs", "use crate::config::Config;\n"), 1);
    assert_eq!(found("config/mod.rs", "use crate::store::Store;\n"), 1);
    assert_eq!(found("helpers.rs", ""), 1, "a module without a layer");
}

#[test]
fn a_pure_layer_that_is_not_pure_is_found() {
    for (text, impure) in [
        ("use std::{fmt, fs};\n", "std::fs"),
        ("use std::net::{IpAddr, TcpStream};\n", "std::net"),
        ("use std::time::{Duration, SystemTime};\n", "std::time::SystemTime"),
        ("fn f() {\n    std::env::var(\"HOME\");\n}\n", "std::env"),
        ("use chrono::Utc;\nfn f() {\n    let now = Utc::now();\n}\n", "Utc::now"),
        ("fn f() {\n    let now = std::time::Instant::now();\n}\n", "Instant::now"),
        ("use tokio::sync::mpsc;\n", "tokio"),
        ("fn f() {\n    rand::random::<u8>();\n}\n", "rand::random"),
        ("fn f() {\n    uuid::Uuid::now_v7();\n}\n", "Uuid::now_v7"),
    ] {
        let found = violations("policy/quiet.rs", text);
        let expected = format!("`policy` is pure, it is given what it needs from `{impure}`");
        assert!(found.iter().any(|found| found.ends_with(&expected)), "{text}: {found:?}");
        assert_none(&violations("store/events.rs", text));
    }
}

#[test]
fn a_panic_is_found_outside_tests_only() {
    let text = "\
#[cfg(test)]
mod tests;
#[cfg(test)]
use std::fs;

fn f(x: Option<u8>) -> u8 {
    // x.unwrap() would panic!
    x.unwrap_or(1);
    x.unwrap()
}

impl X {
    #[cfg(test)]
    fn sample() -> Self {
        if true {
            panic!();
        }
        X::new().expect(\"\")
    }

    fn g() {
        h().expect(\"it is there\");
    }
}

#[cfg(test)]
mod more {
    #[test]
    fn t() {
        x.unwrap();
    }
}

fn last() {
    panic!(\"no\");
}
";
    let found = Source::new("store/mod.rs", text).panics();
    let expected = [
        "src/store/mod.rs:9: x.unwrap()",
        "src/store/mod.rs:22: h().expect(\"it is there\");",
        "src/store/mod.rs:35: panic!(\"no\");",
    ];
    assert_eq!(found, expected);
}
