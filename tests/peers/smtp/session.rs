//! The server's side of one connection.

use std::time::Instant;

use base64::{Engine, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use super::{super::mime, Fault, ReceivedMail, Security, State, Step};

/// The connection is over.
pub struct Gone;

impl From<std::io::Error> for Gone {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

/// Until the client leaves, or a fault says otherwise.
pub async fn serve(state: &State, number: usize, tcp: TcpStream) -> Result<(), Gone> {
    let acceptor = TlsAcceptor::from(state.authority.server_config());
    if state.settings.security == Security::Implicit {
        let tls = acceptor.accept(tcp).await?;
        let mut session = Session { state, number, stream: BufReader::new(tls), encrypted: true };
        session.step(Step::Greeting, "", "220 peer ESMTP").await?;
        return session.run().await.map(drop);
    }
    let mut session = Session { state, number, stream: BufReader::new(tcp), encrypted: false };
    session.step(Step::Greeting, "", "220 peer ESMTP").await?;
    if session.run().await? == Ended::StartTls {
        let tls = acceptor.accept(session.stream.into_inner()).await?;
        let mut session = Session { state, number, stream: BufReader::new(tls), encrypted: true };
        session.run().await?;
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Ended {
    Quit,
    StartTls,
}

struct Session<'a, S> {
    state: &'a State,
    number: usize,
    stream: BufReader<S>,
    encrypted: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<'_, S> {
    /// Replies, unless a fault comes first; whether it was the usual reply.
    async fn step(&mut self, step: Step, recipient: &str, reply: &str) -> Result<bool, Gone> {
        self.state.steps.push((self.number, step));
        match self.state.fault(step, recipient) {
            None => self.reply(reply).await.map(|()| true),
            Some(Fault::Reply(reply)) => {
                self.reply(reply).await?;
                if reply.starts_with("421") { Err(Gone) } else { Ok(false) }
            }
            Some(Fault::Close) => Err(Gone),
            Some(Fault::Silence) => std::future::pending().await,
            Some(Fault::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                self.reply(reply).await.map(|()| true)
            }
        }
    }

    async fn reply(&mut self, reply: &str) -> Result<(), Gone> {
        self.stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        Ok(self.stream.flush().await?)
    }

    async fn line(&mut self) -> Result<String, Gone> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(Gone);
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    async fn run(&mut self) -> Result<Ended, Gone> {
        let settings = &self.state.settings;
        let mut logged_in = settings.login.is_none();
        let (mut from, mut to) = (None, None);
        loop {
            let line = self.line().await?;
            let upper = line.to_ascii_uppercase();
            if upper.starts_with("EHLO ") {
                let mut lines = vec!["peer".to_owned()];
                lines.extend(settings.keywords.iter().map(|word| (*word).to_owned()));
                if settings.security == Security::StartTls && !self.encrypted {
                    lines.push("STARTTLS".into());
                } else if settings.login.is_some() {
                    lines.push(format!("AUTH {}", settings.mechanisms));
                }
                let last = lines.len() - 1;
                let lines = lines
                    .iter()
                    .enumerate()
                    .map(|(n, line)| format!("250{}{line}", if n == last { ' ' } else { '-' }));
                let reply = lines.collect::<Vec<_>>().join("\r\n");
                self.step(Step::Ehlo, "", &reply).await?;
            } else if upper == "STARTTLS" {
                let reply = match settings.injects_after_start_tls {
                    true => "220 2.0.0 go ahead\r\n250 forged",
                    false => "220 2.0.0 go ahead",
                };
                if self.step(Step::StartTls, "", reply).await? {
                    return Ok(Ended::StartTls);
                }
            } else if upper.starts_with("AUTH ") {
                logged_in = self.auth(&line).await?;
            } else if upper == "NOOP" {
                self.step(Step::Noop, "", "250 2.0.0 ok").await?;
            } else if upper == "RSET" {
                (from, to) = (None, None);
                self.step(Step::Rset, "", "250 2.0.0 ok").await?;
            } else if upper == "QUIT" {
                self.step(Step::Quit, "", "221 2.0.0 bye").await?;
                return Ok(Ended::Quit);
            } else if settings.security == Security::StartTls && !self.encrypted {
                self.reply("530 5.7.0 encrypt first").await?;
            } else if !logged_in {
                self.reply("530 5.7.0 log in first").await?;
            } else if upper.starts_with("MAIL FROM:<") {
                if from.is_some() {
                    self.reply("503 5.5.1 nested MAIL").await?;
                } else if self.step(Step::Mail, "", "250 2.1.0 ok").await? {
                    from = address(&line);
                }
            } else if upper.starts_with("RCPT TO:<") && from.is_some() && to.is_none() {
                let recipient = address(&line).unwrap();
                if self.step(Step::Rcpt, &recipient, "250 2.1.5 ok").await? {
                    to = Some(recipient);
                }
            } else if upper == "DATA" {
                let (Some(sender), Some(recipient)) = (&from, &to) else {
                    self.reply("503 5.5.1 MAIL and RCPT first").await?;
                    continue;
                };
                if self.step(Step::Data, recipient, "354 go ahead").await? {
                    let raw = self.message().await?;
                    let id = format!("250 2.0.0 Ok: queued as Q{}", self.state.mails.len() + 1);
                    let mail = self.received(sender, recipient, raw);
                    // What it loses after it has taken it, it has taken.
                    if !matches!(self.state.fault_kind(recipient), Some(Fault::Reply(_))) {
                        self.state.mails.push(mail);
                    }
                    self.step(Step::Dot, recipient, &id).await?;
                    (from, to) = (None, None);
                }
            } else {
                self.reply("503 5.5.1 not now").await?;
            }
        }
    }

    async fn auth(&mut self, line: &str) -> Result<bool, Gone> {
        let decode = |text: &str| {
            String::from_utf8(STANDARD.decode(text.trim()).unwrap_or_default()).unwrap_or_default()
        };
        let mut words = line.split_whitespace().skip(1);
        let (mechanism, initial) =
            (words.next().unwrap_or_default().to_owned(), words.next().map(str::to_owned));
        let given = match (&*mechanism.to_ascii_uppercase(), initial) {
            ("PLAIN", Some(initial)) => {
                let text = decode(&initial);
                let mut fields = text.split('\0').skip(1).map(str::to_owned);
                (fields.next().unwrap_or_default(), fields.next().unwrap_or_default())
            }
            ("LOGIN", None) => {
                self.reply("334 VXNlcm5hbWU6").await?;
                let user = decode(&self.line().await?);
                self.reply("334 UGFzc3dvcmQ6").await?;
                (user, decode(&self.line().await?))
            }
            _ => {
                self.reply("504 5.5.4 unknown mechanism").await?;
                return Ok(false);
            }
        };
        if self.state.settings.login.as_ref() == Some(&given) {
            self.step(Step::Auth, "", "235 2.7.0 welcome").await
        } else {
            self.step(Step::Auth, "", "535 5.7.8 wrong user or password").await.map(|_| false)
        }
    }

    async fn message(&mut self) -> Result<String, Gone> {
        let mut message = String::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).await? == 0 {
                return Err(Gone);
            }
            if line == ".\r\n" {
                return Ok(message);
            }
            message.push_str(line.strip_prefix('.').unwrap_or(&line));
        }
    }

    fn received(&self, from: &str, to: &str, raw: String) -> ReceivedMail {
        let (headers, body) = mime::split(&raw);
        let part = |kind| mime::part(&headers, &body, kind).unwrap_or_default();
        let (text, html) = (part("text/plain"), part("text/html"));
        let (from, to) = (from.to_owned(), to.to_owned());
        ReceivedMail { from, to, text, html, headers, raw, connection: self.number, at: Instant::now() }
    }
}

fn address(line: &str) -> Option<String> {
    Some(line.split_once('<')?.1.split_once('>')?.0.to_owned())
}
