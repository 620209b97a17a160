//! Herald's API as a caller sees it.

use std::time::Duration;

use reqwest::{Client, Method, header::HeaderMap, redirect::Policy};
use serde_json::Value;

/// One answer.
pub(crate) struct Answer {
    /// The request, for a failed test's message.
    asked: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// The body as JSON; null where it is none.
    pub(crate) body: Value,
}

impl Answer {
    /// Fails unless the answer has this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.asked, self.text);
        self
    }

    /// Fails unless the answer is a problem (RFC 9457) of this status, as the contract wants it.
    #[track_caller]
    pub(crate) fn problem(self, status: u16) -> Self {
        let answer = self.expect(status);
        let kind = answer.header("content-type");
        assert!(kind.starts_with("application/problem+json"), "{}: content type {kind}", answer.asked);
        let text = |key: &str| answer.body[key].as_str().unwrap_or_default();
        assert!(text("type").starts_with("/problems/"), "{}: {}", answer.asked, answer.text);
        assert!(!text("title").is_empty() && !text("detail").is_empty(), "{}: {}", answer.asked, answer.text);
        assert_eq!(answer.body["status"], status, "{}: {}", answer.asked, answer.text);
        answer
    }

    /// The pointers of a problem's errors.
    pub(crate) fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The items of a list.
    #[track_caller]
    pub(crate) fn items(&self) -> &[Value] {
        self.body["items"].as_array().unwrap_or_else(|| panic!("{}: no list: {}", self.asked, self.text))
    }

    /// One field of each item.
    #[track_caller]
    pub(crate) fn each(&self, field: &str) -> Vec<Value> {
        self.items().iter().map(|item| item[field].clone()).collect()
    }

    /// The `status` of each event that a `POST /v1/events` names.
    #[track_caller]
    pub(crate) fn statuses(&self) -> Vec<&str> {
        let events =
            self.body["events"].as_array().unwrap_or_else(|| panic!("{}: {}", self.asked, self.text));
        events.iter().map(|event| event["status"].as_str().unwrap()).collect()
    }

    /// Fails unless the answer says somewhere that this many things were done.
    #[track_caller]
    pub(crate) fn counts(&self, many: u64) {
        let told = self.body.as_object().is_some_and(|fields| fields.values().any(|value| *value == many));
        assert!(told, "{}: does not say {many}: {}", self.asked, self.text);
    }
}

/// A caller with a token, or with none.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    base: String,
    pub(crate) token: Option<String>,
}

impl Api {
    pub(crate) fn new(base: &str, token: Option<String>) -> Self {
        // Only the first of a process succeeds, and any of them will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder().no_proxy().redirect(Policy::none()).timeout(Duration::from_secs(30));
        // Sooner than the server, which closes an idle connection just as the next request begins.
        let builder = builder.pool_idle_timeout(Duration::from_secs(1));
        Self { client: builder.build().unwrap(), base: base.to_owned(), token }
    }

    /// Sends a request; an error where no answer came.
    pub(crate) async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Result<Answer, reqwest::Error> {
        let asked = format!("{method} {path}");
        let mut request = self.client.request(method, format!("{}{path}", self.base)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await?;
        let body = serde_json::from_str(&text).unwrap_or_default();
        Ok(Answer { asked, status, headers, text, body })
    }

    /// Sends a request with any body.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<String>,
    ) -> Answer {
        let answer = self.try_send(method, path, headers, body.into()).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], "").await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, JSON, body.to_string()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, body.to_string()).await
    }

    /// Sends JSON as it is spelled.
    pub(crate) async fn post_text(&self, path: &str, body: impl Into<String>) -> Answer {
        self.send(Method::POST, path, JSON, body).await
    }

    /// Every item of a list, page by page.
    pub(crate) async fn all(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        let glue = if path.contains('?') { '&' } else { '?' };
        loop {
            let page = self.get(&format!("{path}{glue}limit=200{cursor}")).await.expect(200);
            items.extend_from_slice(page.items());
            match page.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }
}

/// The content type of a JSON body.
pub(crate) const JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];
