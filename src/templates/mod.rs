//! tmp
#![allow(missing_docs)]
use crate::domain::{Channel, Content, Instant};
use std::path::Path;
pub struct Templates;
#[derive(Debug, thiserror::Error)]
#[error("template")]
pub struct TemplateError;
pub struct Variables { pub event_id: String, pub event_type: String, pub occurred_at: Instant, pub aggregate_id: String, pub aggregate_type: String, pub payload: String, pub name: Option<String>, pub locale: Option<String>, pub time_zone: Option<String> }
pub struct Rendered { pub content: Content, pub version: String }
impl Templates { pub fn load(_d: Option<&Path>) -> Result<Self, TemplateError> { Ok(Self) }
 pub fn render(&self, _t: &str, c: Channel, v: &Variables) -> Result<Rendered, TemplateError> { let t = v.event_type.clone(); Ok(Rendered { content: match c { Channel::Push => Content::Push { title: t, body: v.payload.clone() }, Channel::Email => Content::Email { subject: t, text: v.payload.clone(), html: String::new() }, Channel::Sms => Content::Sms { text: v.payload.clone(), segments: 1 } }, version: "x".into() }) } }
