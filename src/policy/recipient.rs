//! Who is told of an event (contract §2).

use serde_json::value::RawValue;

use crate::domain::json::{as_integer, as_string};
use crate::domain::{Document, NewEvent};

/// What the owner of an account is known by, for the account that an event is about, the more exact
/// first: `payload.accountNumber`; where the aggregate is an account, its id, which need not be its
/// number (the contract's own example has account `1001` as aggregate `ACC-1001`).
pub fn accounts_of(event: &NewEvent) -> Vec<String> {
    let number = text(event.payload.get("/accountNumber"));
    let aggregate =
        (event.aggregate_type == "account").then(|| [aggregate(event), event.aggregate_id.clone()]);
    number.into_iter().chain(aggregate.into_iter().flatten()).collect()
}

/// Apart from the numbers: one account's number may be another's aggregate id.
fn aggregate(event: &NewEvent) -> String {
    format!("aggregate:{}", event.aggregate_id)
}

/// The first that gives a positive integer, and which that was: what the route points at,
/// `payload.userId`, the known owner of the account, the aggregate where it is a user,
/// `metadata.userId`.
pub fn recipient_of(
    event: &NewEvent,
    pointer: Option<&str>,
    owner: impl Fn(&str) -> Option<i64>,
) -> Option<(i64, &'static str)> {
    let by_route = || match pointer? {
        "/aggregateId" => event.aggregate_id.parse().ok(),
        pointer => integer(at(event, pointer)),
    };
    let by_payload = || integer(event.payload.get("/userId"));
    let by_account = || accounts_of(event).iter().find_map(|number| owner(number));
    let by_aggregate = || (event.aggregate_type == "user").then(|| event.aggregate_id.parse().ok()).flatten();
    let positive = |id: Option<i64>, rule| id.filter(|id| *id > 0).map(|id| (id, rule));
    positive(by_route(), "the route's pointer")
        .or_else(|| positive(by_payload(), "payload.userId"))
        .or_else(|| positive(by_account(), "the account's owner"))
        .or_else(|| positive(by_aggregate(), "aggregateId"))
        .or_else(|| positive(event.user_id, "metadata.userId"))
}

/// The owner that an event tells of each account: `account.created` with both `payload.userId` and
/// `payload.accountNumber`.
pub fn owner_learned(event: &NewEvent) -> Vec<(String, i64)> {
    let learned = || {
        let number = text(event.payload.get("/accountNumber")).filter(|_| event.kind == "account.created")?;
        let owner = integer(event.payload.get("/userId")).filter(|user| *user > 0)?;
        let aggregate = (event.aggregate_type == "account").then(|| aggregate(event));
        Some([Some(number), aggregate].into_iter().flatten().map(|key| (key, owner)).collect())
    };
    learned().unwrap_or_default()
}

/// An integer, or a text of digits: publishers write ids both ways.
fn integer(value: Option<&RawValue>) -> Option<i64> {
    let value = value?;
    as_integer(value).or_else(|| {
        let text = as_string(value)?;
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    })
}

fn text(value: Option<&RawValue>) -> Option<String> {
    let value = value?;
    let text = as_string(value).or_else(|| as_integer(value).map(|number| number.to_string()));
    text.filter(|text| !text.is_empty() && text.chars().count() <= 100)
}

/// What a JSON pointer points at in an event. The fields that are no documents are texts.
fn at<'a>(event: &'a NewEvent, pointer: &str) -> Option<&'a RawValue> {
    let whole = |document: &'a Document, rest: &str| document.get(rest);
    match pointer.strip_prefix("/payload") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => return whole(&event.payload, rest),
        _ => {}
    }
    pointer
        .strip_prefix("/metadata")
        .filter(|rest| rest.starts_with('/'))
        .and_then(|rest| whole(&event.metadata, rest))
}
