//! tmp
#![allow(missing_docs)]
use super::*;
use serde::Serialize;
use serde_json::value::RawValue;
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct Document(Box<RawValue>);
#[derive(Debug)]
pub struct JsonProblem;
impl Document {
    pub fn parse(text: &str) -> Result<Self, JsonProblem> { RawValue::from_string(text.to_owned()).map(Self).map_err(|_| JsonProblem) }
    pub fn as_str(&self) -> &str { self.0.get() }
    pub fn same_content(&self, o: &Self) -> bool { self.as_str() == o.as_str() }
}
impl std::fmt::Debug for Document { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("Document") } }
#[derive(Clone, Debug)]
pub struct NewEvent { pub id: String, pub kind: String, pub aggregate_id: String, pub aggregate_type: String, pub payload: Document, pub metadata: Document, pub timestamp: Option<Instant>, pub source: String, pub user_id: Option<i64>, pub correlation_id: Option<String>, pub causation_id: Option<String> }
impl NewEvent {
    pub fn made(id: String, kind: &str, aggregate: (&str, &str), payload: Document, now: Instant, cause: &str, correlation_id: Option<String>) -> Self {
        let metadata = Document::parse(&serde_json::json!({"source":"herald","causationId":cause,"correlationId":correlation_id}).to_string()).unwrap();
        Self { id, kind: kind.to_owned(), aggregate_id: aggregate.1.to_owned(), aggregate_type: aggregate.0.to_owned(), payload, metadata, timestamp: Some(now), source: "herald".into(), user_id: None, correlation_id, causation_id: Some(cause.into()) }
    }
}
#[derive(Clone)]
pub struct Device { pub token: String, pub platform: Platform }
#[derive(Clone)]
pub struct Recipient { pub id: i64, pub name: Option<String>, pub email: Option<String>, pub phone: Option<String>, pub locale: Option<String>, pub time_zone: Option<String>, pub devices: Vec<Device> }
impl Document { pub fn get(&self, _p: &str) -> Option<&str> { None } }
impl NewEvent { pub fn at(&self, _p: &str) -> Option<&str> { None } 
 pub fn check_row(_id: &str) -> Result<NewEvent, Vec<String>> { Err(vec![]) } }
