//! `herald check`: reaches everything that the configuration names, and sends nothing.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::channels::channels;
use super::{CommandError, say, serve};
use crate::actors::SandboxStore;
use crate::config::{Config, DatabaseUrl};
use crate::domain::Channel;
use crate::providers::sandbox::Sandbox;
use crate::store::{MigrationMode, Store};
use crate::templates::Templates;

struct Checked {
    what: String,
    problem: Option<String>,
}

/// Checks everything; the configuration itself has been read by now.
pub(super) async fn check(config: &Config, json: bool) -> Result<(), CommandError> {
    let mut checked = vec![Checked { what: "configuration".to_owned(), problem: None }];
    let mut note = |what: &str, result: Result<(), String>| {
        checked.push(Checked { what: what.to_owned(), problem: result.err() });
    };
    let location = serve::location(config);
    let store = Store::open(&location, tokio::runtime::Handle::current())?;
    match &config.database.url {
        // To ask it would make it.
        DatabaseUrl::Sqlite(path) if location.is_missing() => {
            note("database (does not exist yet; the first start makes it)", folder_is_there(path));
        }
        _ => note("database", store.ping().await.map_err(|error| CommandError::from(error).to_string())),
    }
    let mut pending_note = String::new();
    let migrations = match Store::migrate(&location, MigrationMode::Check).await {
        Ok(pending) => {
            if !pending.is_empty() {
                // Not wrong: the next start runs them. `herald migrate --check` fails on it.
                pending_note =
                    format!(" ({} pending: the next start, or `herald migrate`, runs them)", pending.len());
            }
            Ok(())
        }
        Err(error) => Err(CommandError::from(error).to_string()),
    };
    note(&format!("migrations{pending_note}"), migrations);
    if let Some(server) = serve::redis(config)? {
        note("redis", server.ping().await.map_err(|error| error.to_string()));
    }
    note(
        "templates",
        Templates::load(config.templates.dir.as_deref()).map(drop).map_err(|error| error.to_string()),
    );
    let sandbox = |_: Channel| Sandbox::new(Arc::new(SandboxStore(store.clone())), None);
    match channels(config, &sandbox) {
        Ok(channels) => {
            for channel in channels {
                let what = format!("{} by {}", channel.channel, channel.provider.name());
                note(&what, channel.provider.check().await.map_err(|error| error.to_string()));
            }
        }
        Err(error) => note("channels", Err(error.to_string())),
    }
    report(&checked, json)
}

/// Whether the folder of a file that is to be made is there.
fn folder_is_there(path: &Path) -> Result<(), String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.is_dir() {
        return Ok(());
    }
    Err(format!("the folder {} does not exist; make it, or change database.url", folder.display()))
}

fn report(checked: &[Checked], json: bool) -> Result<(), CommandError> {
    if json {
        let items: Vec<_> = checked
            .iter()
            .map(|one| json!({ "what": one.what, "ok": one.problem.is_none(), "problem": one.problem }))
            .collect();
        say(&json!({ "checks": items }).to_string())?;
    } else {
        for one in checked {
            match &one.problem {
                None => say(&format!("ok       {}", one.what))?,
                Some(problem) => say(&format!("problem  {}: {problem}", one.what))?,
            }
        }
    }
    if checked.iter().any(|one| one.problem.is_some()) { Err(CommandError::Said) } else { Ok(()) }
}
