//! What operators have set for every instance: dispatch held, channels paused.

use std::collections::HashSet;

use diesel::sql_types::Text;

use super::{Bind, Statement, Store, StoreError};
use crate::domain::Channel;

/// The controls as they are set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Controls {
    /// Events are stored, and neither handled nor sent.
    pub held: bool,
    /// Channels on which nothing is sent.
    pub paused: HashSet<Channel>,
}

impl Store {
    /// Reads the controls.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn controls(&self) -> Result<Controls, StoreError> {
        let statement = Statement::<(Text, Text)>::same("SELECT name, value FROM controls", vec![]);
        let found: Vec<(String, String)> = self.read(statement).await?;
        let mut controls = Controls::default();
        for (name, value) in found {
            match (name.as_str(), value.as_str()) {
                ("dispatch", "held") => controls.held = true,
                (name, "paused") => {
                    controls
                        .paused
                        .extend(name.strip_prefix("channel:").and_then(|name| name.parse::<Channel>().ok()));
                }
                _ => {}
            }
        }
        Ok(controls)
    }

    /// Holds the handling of events, or lets it go on.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn hold_dispatch(&self, held: bool) -> Result<(), StoreError> {
        self.set_control("dispatch".to_owned(), if held { "held" } else { "running" }).await
    }

    /// Pauses a channel, or lets it go on.
    ///
    /// # Errors
    ///
    /// Transient ones only.
    pub async fn pause_channel(&self, channel: Channel, paused: bool) -> Result<(), StoreError> {
        self.set_control(format!("channel:{channel}"), if paused { "paused" } else { "running" }).await
    }

    async fn set_control(&self, name: String, value: &str) -> Result<(), StoreError> {
        let statement = Statement::new(
            "INSERT INTO controls (name, value) VALUES (?, ?)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value, set_at = statement_timestamp()",
            "INSERT INTO controls (name, value) VALUES (?, ?)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value, set_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')",
            vec![Bind::Text(name), Bind::Text(value.to_owned())],
        );
        self.execute(statement).await.map(drop)
    }
}
