//! Calls to a running Herald.

use std::io::Read as _;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode, Url, redirect};
use serde_json::Value;

use super::{CommandError, Input, Remote};

/// How often a call is tried again that Herald had no room for.
const TRIES: u32 = 10;

/// A client for a running Herald.
pub(super) struct Calls {
    client: Client,
    url: Url,
    token: String,
}

impl Calls {
    /// A client with the token that was given.
    ///
    /// # Errors
    ///
    /// There is no token.
    pub(super) fn new(remote: &Remote) -> Result<Self, CommandError> {
        let token = remote.token()?.ok_or_else(|| {
            CommandError::Usage(
                "a token is needed: --token, HERALD_TOKEN or HERALD_TOKEN_FILE (see `herald token create`)"
                    .to_owned(),
            )
        })?;
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(60));
        let client = match remote.url.scheme() {
            "https" => client,
            // No certificate is asked for, so a system without any is fine.
            _ => client.tls_certs_only([]),
        };
        let client =
            client.build().map_err(|error| CommandError::Failed(format!("no HTTP client: {error}")))?;
        Ok(Self { client, url: remote.url.clone(), token: token.expose().to_owned() })
    }

    /// Makes a call with a JSON body and gives the answer, trying again while Herald has no room.
    pub(super) async fn call(&self, method: Method, path: &str, body: String) -> Result<Value, CommandError> {
        let url = self.url.join(path).map_err(|error| CommandError::Usage(format!("--url: {error}")))?;
        let mut tries = 0;
        loop {
            let request = self
                .client
                .request(method.clone(), url.clone())
                .bearer_auth(&self.token)
                .header("content-type", "application/json")
                .body(body.clone());
            let answer = request.send().await.map_err(|error| {
                let why = if error.is_connect() { "it cannot be reached" } else { "it did not answer" };
                CommandError::Failed(format!("{}: {why}", self.url))
            })?;
            let status = answer.status();
            let text = answer.text().await.unwrap_or_default();
            tries += 1;
            if status == StatusCode::SERVICE_UNAVAILABLE && tries < TRIES {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            let value: Value = serde_json::from_str(&text).unwrap_or_default();
            if status.is_success() {
                return Ok(value);
            }
            return Err(CommandError::Failed(refusal(status, &value)));
        }
    }
}

/// What a problem document says, in lines.
fn refusal(status: StatusCode, problem: &Value) -> String {
    let detail = problem.get("detail").and_then(Value::as_str).unwrap_or("it was refused");
    let mut text = format!("{detail} ({status})");
    for error in problem.get("errors").and_then(Value::as_array).into_iter().flatten() {
        let part = |name| error.get(name).and_then(Value::as_str).unwrap_or_default();
        text.push_str(&format!("\n  {}: {}", part("pointer"), part("detail")));
    }
    text
}

/// Reads a whole input.
pub(super) fn read(input: &Input) -> Result<Vec<u8>, CommandError> {
    match input {
        Input::Stdin => {
            let mut bytes = Vec::new();
            let read = std::io::stdin().read_to_end(&mut bytes);
            read.map_err(|cause| CommandError::Io { what: "cannot read standard input".into(), cause })?;
            Ok(bytes)
        }
        Input::File(path) => std::fs::read(path)
            .map_err(|cause| CommandError::Io { what: format!("cannot read {}", path.display()), cause }),
    }
}
