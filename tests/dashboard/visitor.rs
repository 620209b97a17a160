//! A person at a browser, by hand: a cookie, forms, redirects that are not followed.

use std::time::Duration;

use reqwest::Method;

use crate::harness::{Answer, Api, Herald, SOON, wait_until};

/// Somebody who is logged in, or not.
pub(crate) struct Visitor {
    api: Api,
    cookie: String,
}

/// The path of the login link that Herald printed last.
pub(crate) async fn link(herald: &Herald) -> String {
    wait_until(SOON, "the login link", async || {
        let lines = herald.output.lines();
        let line = lines.iter().rev().find_map(|line| line.split_once("Dashboard: "));
        let path = line?.1.trim().strip_prefix(&herald.base).expect("a link to this Herald");
        Some(path.to_owned())
    })
    .await
}

impl Visitor {
    pub(crate) fn stranger(herald: &Herald) -> Self {
        Self { api: herald.anonymous(), cookie: String::new() }
    }

    /// Somebody with a session's secret.
    pub(crate) fn with(herald: &Herald, secret: &str) -> Self {
        Self { api: herald.anonymous(), cookie: format!("herald_session={secret}") }
    }

    /// Logs in by the printed link.
    pub(crate) async fn by_link(herald: &Herald) -> Self {
        let mut visitor = Self::stranger(herald);
        let answer = visitor.get(&link(herald).await).await.expect(303);
        visitor.keep(&answer);
        visitor
    }

    /// Logs in with a new token.
    pub(crate) async fn by_token(herald: &Herald, scopes: &str) -> Self {
        let token = herald.api(scopes).await.token.unwrap();
        let mut visitor = Self::stranger(herald);
        let answer = visitor.post("/login", &[("token", &token)]).await.expect(303);
        assert_eq!(answer.header("location"), "/notifications");
        visitor.keep(&answer);
        visitor
    }

    /// Takes the cookie that an answer sets.
    pub(crate) fn keep(&mut self, answer: &Answer) {
        let cookie = answer.header("set-cookie");
        assert!(cookie.starts_with("herald_session="), "{cookie}");
        self.cookie = cookie.split(';').next().unwrap().to_owned();
    }

    /// The same browser at a Herald that has moved to another port.
    pub(crate) fn at(self, herald: &Herald) -> Self {
        Self { api: herald.anonymous(), cookie: self.cookie }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.api.send(Method::GET, path, &[("Cookie", &self.cookie)], "").await
    }

    /// Sends a form.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.post_from(path, fields, &[]).await
    }

    /// Sends a form with more headers.
    pub(crate) async fn post_from(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut all = vec![("Content-Type", "application/x-www-form-urlencoded"), ("Cookie", &self.cookie)];
        all.extend(headers);
        let mut url = reqwest::Url::parse("http://form").unwrap();
        url.query_pairs_mut().extend_pairs(fields);
        self.api.send(Method::POST, path, &all, url.query().unwrap_or_default()).await
    }

    /// The token that the page's forms carry.
    pub(crate) async fn csrf(&self) -> String {
        let page = self.get("/notifications").await.expect(200);
        let (_, rest) = page.text.split_once("name=\"csrf\" value=\"").expect("a form with its token");
        rest.split_once('"').unwrap().0.to_owned()
    }

    /// Opens the stream.
    pub(crate) async fn watch(&self, herald: &Herald) -> Stream {
        let answer = self.ask_for_stream(herald).await;
        assert_eq!(answer.status(), 200);
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
        let mut stream = Stream { answer, text: String::new() };
        stream.until(": open", SOON).await;
        stream
    }

    /// Whether there is room for one more who watches.
    pub(crate) async fn try_watch(&self, herald: &Herald) -> bool {
        self.ask_for_stream(herald).await.status() == 200
    }

    async fn ask_for_stream(&self, herald: &Herald) -> reqwest::Response {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/notifications/stream", herald.base);
        client.get(url).header("Cookie", &self.cookie).send().await.unwrap()
    }
}

/// An open stream of events.
pub(crate) struct Stream {
    answer: reqwest::Response,
    text: String,
}

impl Stream {
    /// Reads until this text comes, and forgets what came before it.
    pub(crate) async fn until(&mut self, what: &str, limit: Duration) {
        let read = async {
            loop {
                if let Some(at) = self.text.find(what) {
                    self.text.drain(..at + what.len());
                    return;
                }
                let chunk = self.answer.chunk().await.unwrap();
                let chunk =
                    chunk.unwrap_or_else(|| panic!("the stream ended before `{what}`: {}", self.text));
                self.text.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        };
        tokio::time::timeout(limit, read).await.unwrap_or_else(|_| panic!("no `{what}` within {limit:?}"));
    }

    /// What else comes until the stream ends or the time is up.
    pub(crate) async fn rest(mut self, limit: Duration) -> String {
        let read = async {
            while let Ok(Some(chunk)) = self.answer.chunk().await {
                self.text.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        };
        // That the time is up is one of the two ends.
        let _ = tokio::time::timeout(limit, read).await;
        self.text
    }
}
