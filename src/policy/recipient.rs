//! Who is told of an event (contract §2).

use crate::domain::NewEvent;

/// The accounts that an event is about, the more exact first: `payload.accountNumber`, then the
/// aggregate where it is an account.
pub fn accounts_of(event: &NewEvent) -> Vec<String> {
    let number = text(event.payload.get("/accountNumber"));
    let aggregate = (event.aggregate_type == "account").then(|| event.aggregate_id.clone());
    number.into_iter().chain(aggregate).collect()
}

/// The first that gives a positive integer: what the route points at, `payload.userId`, the known
/// owner of the account, the aggregate where it is a user, `metadata.userId`.
pub fn recipient_of(event: &NewEvent, pointer: Option<&str>, owner: impl Fn(&str) -> Option<i64>) -> Option<i64> {
    let by_route = || pointer.and_then(|pointer| integer(event.at(pointer)));
    let by_payload = || integer(event.payload.get("/userId"));
    let by_account = || accounts_of(event).iter().find_map(|number| owner(number));
    let by_aggregate = || (event.aggregate_type == "user").then(|| event.aggregate_id.parse().ok()).flatten();
    let positive = |id: &i64| *id > 0;
    by_route()
        .filter(positive)
        .or_else(|| by_payload().filter(positive))
        .or_else(|| by_account().filter(positive))
        .or_else(|| by_aggregate().filter(positive))
        .or_else(|| event.user_id.filter(positive))
}

/// The owner that an event tells of each account: `account.created` with both `payload.userId` and
/// `payload.accountNumber`.
pub fn owner_learned(event: &NewEvent) -> Vec<(String, i64)> {
    if event.kind != "account.created" || event.payload.get("/accountNumber").is_none() {
        return Vec::new();
    }
    match integer(event.payload.get("/userId")) {
        Some(user) if user > 0 => accounts_of(event).into_iter().map(|number| (number, user)).collect(),
        _ => Vec::new(),
    }
}

/// An integer, or a text of digits: publishers write ids both ways.
fn integer(value: Option<&str>) -> Option<i64> {
    let value = value?;
    let digits = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

fn text(value: Option<&str>) -> Option<String> {
    let value = value?;
    let text = serde_json::from_str::<String>(value).ok().or_else(|| integer(Some(value)).map(|id| id.to_string()));
    text.filter(|text| !text.is_empty() && text.chars().count() <= 100)
}
