//! tmp
#![allow(missing_docs)]
use std::time::Duration;
#[derive(Clone, Copy, Debug)]
pub struct Retry { pub retries: u32, pub base: Duration, pub factor: u32, pub max: Duration }
impl Retry { pub fn backoff(&self, n: u32, r: f64) -> Duration { self.base.saturating_mul(self.factor.saturating_pow(n)).min(self.max).mul_f64(r) } }
