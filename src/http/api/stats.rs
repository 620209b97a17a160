//! `/v1/stats`: counts.

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::TimeDelta;
use serde::Serialize;

use super::json;
use crate::domain::{Instant, Scope};
use crate::http::query::Query;
use crate::http::{Api, Caller, Problem};
use crate::store::VariantTotals;

/// How far back is counted where no `from` is given.
const DAYS: i64 = 30;

/// What is counted by: the variants of templates.
const BY_VARIANT: &str = "variant";

#[derive(Serialize)]
struct Counts {
    by: &'static str,
    from: Instant,
    to: Instant,
    items: Vec<Item>,
}

#[derive(Serialize)]
struct Item {
    #[serde(flatten)]
    totals: VariantTotals,
    /// Between 0 and 1, of what was tried to the end.
    success_rate: Option<f64>,
}

/// Counts of deliveries. Whole hours are counted, by when the notifications were made.
pub(super) async fn read(
    api: web::Data<Api>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.needs(Scope::Read)?;
    let mut query = Query::of(&request, &["by", "from", "to"])?;
    let by = query.text("by");
    let (from, to) = (query.moment("from"), query.moment("to"));
    query.finish()?;
    if by.as_deref() != Some(BY_VARIANT) {
        return Err(Problem::field("/by", format!("must be given, and be {BY_VARIANT}")));
    }
    let to = to.unwrap_or_else(|| api.instance.now());
    let from = from.unwrap_or_else(|| Instant::from(to.utc() - TimeDelta::days(DAYS)));
    let found = api.instance.store.variant_totals(from, to).await?;
    let item = |totals: VariantTotals| Item { success_rate: totals.totals.success_rate(), totals };
    json(&Counts { by: BY_VARIANT, from, to, items: found.into_iter().map(item).collect() })
}
