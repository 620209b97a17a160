//! A Redis of a test's own: what is published reaches every subscriber of a server, so tests cannot
//! share one.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use futures_util::{Stream, StreamExt};
use redis::aio::MultiplexedConnection;

use super::{SOON, wait_until};

/// A server on a port of its own, stopped when this is dropped.
pub(crate) struct Redis {
    port: u16,
    process: Option<Child>,
}

impl Redis {
    /// A port, and no server on it yet.
    pub(crate) fn absent() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { port, process: None }
    }

    pub(crate) async fn start() -> Self {
        let mut redis = Self::absent();
        redis.up().await;
        redis
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts the server, and waits until it answers.
    pub(crate) async fn up(&mut self) {
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &self.port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            "/tmp",
        ]);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.process =
            Some(spawned.unwrap_or_else(|error| panic!("redis-server: {error}; run as `bash tests/run`")));
        wait_until(SOON, "Redis", async || self.connect().await.ok()).await;
    }

    /// Ends the server at once.
    pub(crate) fn down(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    async fn connect(&self) -> redis::RedisResult<MultiplexedConnection> {
        redis::Client::open(self.url())?.get_multiplexed_async_connection().await
    }

    /// Sends a command, and gives the answer as text.
    pub(crate) async fn command(&self, words: &[&str]) -> String {
        let mut connection = self.connect().await.unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let answer: redis::Value = command.query_async(&mut connection).await.unwrap();
        redis::from_redis_value(answer).unwrap()
    }

    /// Publishes once somebody listens; gives how many did.
    pub(crate) async fn publish(&self, channel: &str, message: &str) -> i64 {
        let mut connection = self.connect().await.unwrap();
        wait_until(SOON, &format!("a subscriber of {channel}"), async || {
            let command = redis::cmd("PUBLISH").arg(channel).arg(message).to_owned();
            let listeners: i64 = command.query_async(&mut connection).await.unwrap();
            (listeners > 0).then_some(listeners)
        })
        .await
    }

    /// What is published on the channels of events from now on: channel and message.
    pub(crate) async fn listen(&self) -> impl Stream<Item = (String, String)> + use<> {
        let mut listener = redis::Client::open(self.url()).unwrap().get_async_pubsub().await.unwrap();
        listener.psubscribe("events:*").await.unwrap();
        listener.into_on_message().map(|message| {
            let channel = message.get_channel_name().to_owned();
            (channel, message.get_payload::<String>().unwrap())
        })
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.down();
        }
    }
}
