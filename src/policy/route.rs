//! tmp
#![allow(missing_docs)]
use crate::domain::{Channel, Lane};
use std::{collections::BTreeMap, time::Duration};
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode { Live, Shadow, Off }
#[derive(Clone, Debug)]
pub struct Route { pub channels: Vec<Channel>, pub priority: Lane, pub template: Option<String>, pub category: String, pub mandatory: bool, pub recipient: Option<String>, pub expires_after: Option<Duration>, pub mode: Mode }
#[derive(Clone, Debug, Default)]
pub struct Routes(pub BTreeMap<String, Route>);
impl Routes {
    pub fn get(&self, kind: &str) -> Option<&Route> { self.0.get(kind) }
    pub fn types_of(&self, lane: Lane) -> Vec<String> { self.0.iter().filter(|(_, r)| r.priority == lane).map(|(k, _)| k.clone()).collect() }
    pub fn retry(&self, _kind: &str, _channel: Channel) -> super::retry::Retry { super::retry::Retry { retries: 3, base: Duration::from_secs(5), factor: 5, max: Duration::from_secs(3600) } }
}
