//! What a gateway's answer means, by the operator's expressions.

use regex::{Regex, RegexBuilder};

use crate::{
    domain::AttemptOutcome::{Accepted, Permanent, Transient, Unknown},
    policy::Sign,
    providers::{Report, http_client::Answer},
};

/// A compiled expression is at most this big.
const EXPRESSION_LIMIT: usize = 1 << 20;

/// The longest reference that is kept.
const REFERENCE_LIMIT: usize = 200;

/// The expressions.
pub(super) struct Rules {
    accepted: Regex,
    permanent: Option<Regex>,
    reference: Option<Regex>,
}

impl Rules {
    /// Compiles them; the error names the key.
    pub(super) fn compile(
        accepted: &str,
        permanent: Option<&str>,
        reference: Option<&str>,
    ) -> Result<Self, String> {
        if accepted.is_empty() {
            return Err("sms.http.accepted is required: an expression that the body of an accepted answer matches; a 2xx alone says nothing".into());
        }
        let reference = reference.map(|text| expression("reference", text)).transpose()?;
        if reference.as_ref().is_some_and(|reference| reference.captures_len() < 2) {
            return Err("sms.http.reference has no group: put what is the gateway's id into (…)".into());
        }
        let accepted = expression("accepted", accepted)?;
        Ok(Self {
            accepted,
            permanent: permanent.map(|text| expression("permanent", text)).transpose()?,
            reference,
        })
    }

    /// The report of an answer. Its text quotes nothing of the body, which may repeat the message.
    pub(super) fn report(&self, answer: &Answer) -> Report {
        let body = String::from_utf8_lossy(&answer.body);
        let failed = |outcome, error: &str| {
            Report::failed(outcome, answer.code(), error).and_retry_after(answer.retry_after)
        };
        if answer.status.is_success() {
            if !answer.whole {
                return failed(Unknown, "the answer did not end within the deadline and 64 KiB");
            }
            if self.accepted.is_match(&body) {
                return Report {
                    reference: self.reference(&body),
                    code: Some(answer.code()),
                    ..Report::of(Accepted)
                };
            }
            return match self.permanent.as_ref().is_some_and(|permanent| permanent.is_match(&body)) {
                true => failed(Permanent, "refused: the answer matches sms.http.permanent"),
                false => failed(Transient, "refused: the answer does not match sms.http.accepted"),
            };
        }
        let http = answer.status.as_u16();
        let by_account = matches!(http, 300..=399 | 401..=405 | 407);
        let report = match (&self.permanent, http) {
            (_, 500..) => failed(Transient, "the gateway has a fault of its own"),
            (Some(permanent), 400..) if permanent.is_match(&body) => {
                return failed(Permanent, "refused: the answer matches sms.http.permanent");
            }
            (Some(_), 400..) => failed(Transient, "refused: the answer does not match sms.http.permanent"),
            (None, 408 | 425 | 429) => failed(Transient, "the gateway asks to come back later"),
            (None, 400..) => failed(Permanent, "the gateway refuses the message"),
            _ => failed(Transient, "the gateway's URL leads elsewhere: check sms.http.url"),
        };
        // Any other 4xx that is not for good may be about this one message.
        let about_message = matches!(http, 400..=499) && !matches!(http, 408 | 425 | 429);
        let sign = if about_message && report.outcome == Transient { Sign::Nothing } else { report.sign };
        report.and_sign(sign).and_misconfigured(by_account)
    }

    fn reference(&self, body: &str) -> Option<String> {
        let group = self.reference.as_ref()?.captures(body)?.get(1)?.as_str();
        (!group.is_empty()).then(|| group.chars().filter(|c| !c.is_control()).take(REFERENCE_LIMIT).collect())
    }
}

fn expression(key: &str, text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text)
        .size_limit(EXPRESSION_LIMIT)
        .build()
        .map_err(|error| format!("sms.http.{key} is no regular expression: {error}"))
}
