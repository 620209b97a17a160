//! A gateway for text messages that is called by HTTP.

use std::collections::BTreeMap;

use regex::Regex;
use reqwest::{
    Method, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};

use super::{
    channels::needed,
    error::Problems,
    macros::section,
    read::{Read, from_text},
    secret::Secret,
    sections::is_http,
    tree::{Node, join},
};

/// A gateway that is called by HTTP.
#[derive(Debug, Clone)]
pub struct SmsHttp {
    /// Where it is: a template over `to`, `text` and `id`, which a parsed URL would percent-encode.
    pub url: Secret,
    /// `GET`, `POST` or `PUT`.
    pub method: Method,
    /// The headers; their values are marked as sensitive, and `Debug` hides them.
    pub headers: HeaderMap,
    /// A template over `to`, `text` and `id`. It may hold a password; empty for a `GET` without one.
    pub body: Secret,
    /// What the body of a 2xx answer matches where the gateway took the message.
    pub accepted: Regex,
    /// What the body of a refusal matches that is permanent; `None`: any 4xx but 408, 425 and 429 is.
    pub permanent: Option<Regex>,
    /// What the body of an answer matches; its first group is the gateway's id.
    pub reference: Option<Regex>,
}

section! {
    /// The keys of `sms.http`.
    #[derive(Default)]
    pub(super) struct SmsHttpKeys {
        /// Where it is.
        pub url: Option<Secret>,
        /// The method.
        pub method: Option<Method>,
        /// The headers.
        pub headers: BTreeMap<String, Secret>,
        /// The template of the body.
        pub body: Option<Secret>,
        /// What an acceptance matches.
        pub accepted: Option<Regex>,
        /// What a permanent refusal matches.
        pub permanent: Option<Regex>,
        /// What holds the gateway's id.
        pub reference: Option<Regex>,
    }
    check = check_gateway;
}

impl SmsHttpKeys {
    pub(super) fn resolve(self, at: &str, problems: &mut Problems) -> Option<SmsHttp> {
        let key = |key: &str| format!("{at}.http.{key}");
        let (url_key, body_key, accepted_key) = (key("url"), key("body"), key("accepted"));
        let url = needed(self.url, &url_key, at, "http", problems);
        let method = self.method.unwrap_or(Method::POST);
        // A GET carries the message in its URL.
        let body = match self.body {
            None if method == Method::GET => Some(Secret::from(String::new())),
            body => needed(body, &body_key, at, "http", problems),
        };
        let accepted = needed(self.accepted, &accepted_key, at, "http", problems);
        let headers = self.headers.iter().filter_map(|(name, value)| header(name, value)).collect();
        Some(SmsHttp {
            url: url?,
            method,
            headers,
            body: body?,
            accepted: accepted?,
            permanent: self.permanent,
            reference: self.reference,
        })
    }
}

/// A header whose value is hidden; `None` where it is none.
fn header(name: &str, value: &Secret) -> Option<(HeaderName, HeaderValue)> {
    let name = name.parse().ok()?;
    let mut value = HeaderValue::from_str(value.expose()).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

fn check_gateway(keys: &SmsHttpKeys, at: &str, problems: &mut Problems) {
    if let Some(url) = &keys.url {
        match Url::parse(url.expose()) {
            Ok(url) if is_http(&url) => {}
            Ok(_) => problems.at(join(at, "url"), "expected http://… or https://…"),
            Err(error) => problems.at(join(at, "url"), format!("not a URL: {error}")),
        }
    }
    for (name, value) in &keys.headers {
        if header(name, value).is_none() {
            problems.at(join(&join(at, "headers"), name), "not a header of HTTP");
        }
    }
    if keys.reference.as_ref().is_some_and(|reference| reference.captures_len() < 2) {
        problems.at(join(at, "reference"), "needs a group (…) around the gateway's id");
    }
}

impl Read for Method {
    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        from_text(node, at, problems, |text| match text.to_ascii_uppercase().as_str() {
            "GET" => Ok(Self::GET),
            "POST" => Ok(Self::POST),
            "PUT" => Ok(Self::PUT),
            _ => Err("expected GET, POST or PUT".into()),
        })
    }
}

impl Read for Regex {
    fn read(node: Node, at: &str, problems: &mut Problems) -> Option<Self> {
        from_text(node, at, problems, |text| {
            Self::new(text).map_err(|error| {
                // The error's last line says what is wrong; those before draw the expression.
                let error = error.to_string();
                let reason = error.lines().last().unwrap_or_default();
                format!("not a regular expression: {}", reason.trim_start_matches("error: "))
            })
        })
    }
}
