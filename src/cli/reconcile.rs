//! `herald reconcile`.

use serde_json::json;

use super::{CommandError, say, serve};
use crate::config::Config;
use crate::store::{MigrationMode, Store};

/// Asks whether everything adds up, and names the ids where it does not. Changes nothing.
pub(super) async fn reconcile(config: &Config, json: bool) -> Result<(), CommandError> {
    let location = serve::location(config);
    let pending = Store::migrate(&location, MigrationMode::Check).await?;
    if !pending.is_empty() {
        return Err(CommandError::Failed(format!(
            "{} migrations are pending ({}): nothing was asked; run `herald migrate` first",
            pending.len(),
            pending.join(", ")
        )));
    }
    let store = Store::open(&location, tokio::runtime::Handle::current())?;
    let found = store.reconcile().await?;
    if json {
        say(&json!({ "rules": Store::reconcile_rules(), "discrepancies": found }).to_string())?;
    } else {
        for discrepancy in &found {
            say(&format!("not so: {}\n  {}", discrepancy.rule, discrepancy.ids.join("\n  ")))?;
        }
        say(&format!("{} rules, {} broken", Store::reconcile_rules(), found.len()))?;
    }
    if found.is_empty() { Ok(()) } else { Err(CommandError::Said) }
}
