//! `herald check`: reaches everything that the configuration names, and sends nothing.

mod templates;

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::channels::channels;
use super::{CommandError, say, serve};
use crate::actors::SandboxStore;
use crate::config::{Config, DatabaseUrl, without_effect};
use crate::domain::Channel;
use crate::providers::sandbox::Sandbox;
use crate::store::{MigrationMode, Store};
use crate::templates::{SmsCost, Templates};

struct Checked {
    what: String,
    finding: Finding,
}

enum Finding {
    Ok,
    /// It is well, and more is to be said.
    OkBut(String),
    /// Not wrong, but perhaps not what was meant.
    Note(String),
    Problem(String),
}

impl From<Result<(), String>> for Finding {
    fn from(result: Result<(), String>) -> Self {
        result.map_or_else(Self::Problem, |()| Self::Ok)
    }
}

/// Checks everything; the configuration itself has been read by now.
pub(super) async fn check(config: &Config, json: bool) -> Result<(), CommandError> {
    let mut checked = vec![Checked { what: "configuration".to_owned(), finding: Finding::Ok }];
    let mut note = |what: &str, finding: Finding| {
        checked.push(Checked { what: what.to_owned(), finding });
    };
    for setting in without_effect(config) {
        note(&setting, Finding::Note("is set, and has no effect yet".to_owned()));
    }
    let location = serve::location(config);
    let store = Store::open(&location, tokio::runtime::Handle::current())?;
    let reached = match &config.database.url {
        // To ask it would make it.
        DatabaseUrl::Sqlite(path) if location.is_missing() => folder_is_there(path)
            .map_or_else(Finding::Problem, |()| {
                Finding::OkBut("does not exist yet; the first start makes it".to_owned())
            }),
        _ => store.ping().await.map_err(|error| CommandError::from(error).to_string()).into(),
    };
    note("database", reached);
    let migrations = match Store::migrate(&location, MigrationMode::Check).await {
        Ok(pending) if pending.is_empty() => Finding::Ok,
        // Not wrong: the next start runs them. `herald migrate --check` fails on it.
        Ok(pending) => Finding::OkBut(format!(
            "{} pending: the next start, or `herald migrate`, runs them",
            pending.len()
        )),
        Err(error) => Finding::Problem(CommandError::from(error).to_string()),
    };
    note("migrations", migrations);
    if let Some(server) = serve::redis(config)? {
        note("redis", server.ping().await.map_err(|error| error.to_string()).into());
    }
    let mut costs = Vec::new();
    match Templates::load(config.templates.dir.as_deref()) {
        Ok(loaded) => {
            note("templates", Finding::Ok);
            costs = loaded.sms_costs();
            let more = templates::variants(config, &loaded).into_iter();
            for Checked { what, finding } in more.chain(templates::costly(config, &loaded, &costs)) {
                note(&what, finding);
            }
        }
        Err(error) => note("templates", Finding::Problem(error.to_string())),
    }
    let sandbox = |_: Channel| Sandbox::new(Arc::new(SandboxStore(store.clone())), None);
    match channels(config, &sandbox) {
        Ok(channels) => {
            for channel in channels {
                for carrier in channel.carriers.all() {
                    let role = if carrier.is_fallback() { ", the fallback" } else { "" };
                    let what = format!("{} by {}{role}", channel.channel, carrier.provider().name());
                    note(&what, carrier.provider().check().await.map_err(|error| error.to_string()).into());
                }
            }
        }
        Err(error) => note("channels", Finding::Problem(error.to_string())),
    }
    report(&checked, &costs, json)
}

/// Whether the folder of a file that is to be made is there.
fn folder_is_there(path: &Path) -> Result<(), String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.is_dir() {
        return Ok(());
    }
    Err(format!("the folder {} does not exist; make it, or change database.url", folder.display()))
}

fn report(checked: &[Checked], costs: &[SmsCost], json: bool) -> Result<(), CommandError> {
    let mut is_well = true;
    let mut items = Vec::new();
    for Checked { what, finding } in checked {
        let (line, note, problem) = match finding {
            Finding::Ok => (format!("ok       {what}"), None, None),
            Finding::OkBut(note) => (format!("ok       {what} ({note})"), Some(note), None),
            Finding::Note(note) => (format!("note     {what}: {note}"), Some(note), None),
            Finding::Problem(problem) => (format!("problem  {what}: {problem}"), None, Some(problem)),
        };
        is_well &= problem.is_none();
        if json {
            items.push(json!({ "what": what, "ok": problem.is_none(), "note": note, "problem": problem }));
        } else {
            say(&line)?;
        }
    }
    if json {
        say(&json!({ "checks": items, "sms_templates": costs }).to_string())?;
    }
    if is_well { Ok(()) } else { Err(CommandError::Said) }
}
