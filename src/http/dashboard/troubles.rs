//! Which providers fail, in words.

use crate::domain::Channel;
use crate::http::Api;

/// The providers of a channel that fail and are left alone for now.
pub(super) fn troubles(api: &Api, channel: Channel) -> Vec<String> {
    let views = api.carriers.iter().map(|carrier| carrier.view(api.instance.now()));
    let failing = views.filter(|view| view.channel == channel && view.breaker != "closed");
    failing
        .map(|view| match view.next_probe_at {
            Some(at) => format!("{} fails, next try at {}", view.provider, at.utc().format("%H:%M:%S")),
            None => format!("{} fails, trying again", view.provider),
        })
        .collect()
}
