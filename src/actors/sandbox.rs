//! The sandbox provider keeps what it was given in the store.

use crate::providers::sandbox::SandboxSink;
use crate::providers::{Outgoing, Sending};
use crate::store::Store;

/// The store as the sandbox's sink.
pub struct SandboxStore(pub Store);

impl SandboxSink for SandboxStore {
    fn keep<'a>(&'a self, message: &'a Outgoing) -> Sending<'a, Result<(), String>> {
        Box::pin(async move {
            let Outgoing { delivery, event_id, event_type, to, content, .. } = message;
            let kept = self.0.keep_sandbox_message(delivery, event_id, event_type, to, content).await;
            kept.map_err(|error| error.to_string())
        })
    }
}
