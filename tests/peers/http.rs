//! A small HTTP/1.1 server that can misbehave.

use std::{sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use super::server::Server;

/// A request as it came.
#[derive(Clone)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// What the server does with it.
#[derive(Clone)]
pub enum Reaction {
    /// Answers.
    Answer { status: u16, headers: Vec<(String, String)>, body: String },
    /// Closes the connection.
    Drop,
    /// Never answers.
    Silence,
    /// Sends the headers, and a byte of the body now and then.
    Trickle { status: u16, body: String },
    /// Sends the headers and half of the body, and closes.
    Half { status: u16, body: String },
    /// Sends something that is no HTTP.
    Garbage,
}

impl Reaction {
    pub fn answer(status: u16, body: impl Into<String>) -> Self {
        Self::Answer { status, headers: Vec::new(), body: body.into() }
    }

    pub fn with_header(self, name: &str, value: &str) -> Self {
        match self {
            Self::Answer { status, mut headers, body } => {
                headers.push((name.to_owned(), value.to_owned()));
                Self::Answer { status, headers, body }
            }
            other => other,
        }
    }
}

type Handler = dyn Fn(Request) -> Reaction + Send + Sync;

/// The server.
pub struct HttpPeer {
    server: Server,
    scheme: &'static str,
}

impl HttpPeer {
    pub fn start(handler: impl Fn(Request) -> Reaction + Send + Sync + 'static) -> Self {
        Self::start_at(0, None, handler)
    }

    pub fn start_at(
        port: u16,
        tls: Option<Arc<ServerConfig>>,
        handler: impl Fn(Request) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        let handler: Arc<Handler> = Arc::new(handler);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let server = Server::start(port, move |tcp: TcpStream| {
            let (tls, handler) = (tls.clone(), handler.clone());
            async move {
                match tls {
                    Some(tls) => {
                        // A client that does not trust us leaves during the handshake.
                        if let Ok(tls) = TlsAcceptor::from(tls).accept(tcp).await {
                            serve(tls, &*handler).await;
                        }
                    }
                    None => serve(tcp, &*handler).await,
                }
            }
        });
        Self { server, scheme }
    }

    /// The base URL, without a slash at its end.
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port())
    }

    pub fn port(&self) -> u16 {
        self.server.address.port()
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, handler: &Handler) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        let is_head = request.method == "HEAD";
        let written = match handler(request) {
            Reaction::Answer { status, headers, body } => {
                let mut answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    answer.push_str(&format!("{name}: {value}\r\n"));
                }
                let body = if is_head { "" } else { &*body };
                stream.write_all(format!("{answer}\r\n{body}").as_bytes()).await
            }
            Reaction::Drop => return,
            Reaction::Silence => std::future::pending().await,
            Reaction::Trickle { status, body } => {
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
                let mut written = stream.write_all(head.as_bytes()).await;
                for byte in body.bytes() {
                    if written.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    written = stream.write_all(&[byte]).await;
                }
                written
            }
            Reaction::Half { status, body } => {
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
                let half = &body[..body.len() / 2];
                let _ = stream.write_all(format!("{head}{half}").as_bytes()).await;
                return;
            }
            Reaction::Garbage => stream.write_all(b"\x00\x01 what?\r\n\r\n").await,
        };
        if written.is_err() {
            return;
        }
    }
}

/// One request; `None` when the client is gone.
async fn read(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { method, path, headers, body })
}
