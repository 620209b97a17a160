//! A mail server (RFC 5321) that fails where it is told to.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use super::{Authority, Log, mime, server::Server};

/// How the server encrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    Plain,
    StartTls,
    Implicit,
}

/// The server's settings.
pub struct SmtpSettings {
    pub security: Security,
    /// Who may log in; nobody has to where this is none.
    pub login: Option<(String, String)>,
    /// The AUTH mechanisms that are offered.
    pub mechanisms: &'static str,
    /// 0 for a free one.
    pub port: u16,
    /// Certificate names.
    pub names: Vec<&'static str>,
    /// Puts a forged reply behind the one to STARTTLS, in the clear.
    pub injects_after_start_tls: bool,
    /// Further EHLO keywords.
    pub keywords: Vec<&'static str>,
}

impl Default for SmtpSettings {
    fn default() -> Self {
        Self {
            security: Security::Plain,
            login: None,
            mechanisms: "PLAIN LOGIN",
            port: 0,
            names: vec!["localhost", "127.0.0.1"],
            injects_after_start_tls: false,
            keywords: vec!["8BITMIME", "ENHANCEDSTATUSCODES"],
        }
    }
}

/// A step of the dialogue; a fault comes in place of its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Greeting,
    Ehlo,
    StartTls,
    Auth,
    Rset,
    Mail,
    Rcpt,
    Data,
    /// After the final dot. The mail is kept only if the server accepts it, or fails after it did.
    Dot,
    Noop,
    Quit,
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Replies with this, such as `550 5.1.1 no such user`. After 421 it closes.
    Reply(&'static str),
    /// Closes without a reply.
    Close,
    /// Never replies.
    Silence,
    /// Replies as usual, but later.
    Delay(Duration),
}

struct Rule {
    step: Step,
    recipient: Option<String>,
    fault: Fault,
    /// How often it still applies; none is always.
    left: Option<usize>,
}

/// A mail that the server took.
#[derive(Debug, Clone)]
pub struct ReceivedMail {
    pub from: String,
    pub to: String,
    /// As it came, without the dots that the transfer adds.
    pub raw: String,
    /// Names in lower case, values decoded.
    pub headers: Vec<(String, String)>,
    pub text: String,
    pub html: String,
    /// Which connection it came by, from 1.
    pub connection: usize,
}

impl ReceivedMail {
    pub fn header(&self, name: &str) -> Option<&str> {
        mime::header(&self.headers, name)
    }
}

struct State {
    settings: SmtpSettings,
    authority: Authority,
    rules: Mutex<Vec<Rule>>,
    mails: Log<ReceivedMail>,
    /// The steps in order, as `(connection, step)`.
    steps: Log<(usize, Step)>,
    opened: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

/// The server.
pub struct SmtpPeer {
    state: Arc<State>,
    server: Server,
}

impl SmtpPeer {
    /// Without encryption and log-in.
    pub fn plain() -> Self {
        Self::start(SmtpSettings::default())
    }

    pub fn start(settings: SmtpSettings) -> Self {
        let port = settings.port;
        let state = Arc::new(State {
            authority: Authority::for_names(&settings.names),
            settings,
            rules: Mutex::default(),
            mails: Log::new(),
            steps: Log::new(),
            opened: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
        });
        let shared = state.clone();
        let server = Server::start(port, move |tcp| {
            let state = shared.clone();
            async move {
                let number = state.opened.fetch_add(1, Ordering::SeqCst) + 1;
                let open = state.open.fetch_add(1, Ordering::SeqCst) + 1;
                state.most_open.fetch_max(open, Ordering::SeqCst);
                // The client may leave at any point; that ends the connection and is no fault.
                let _ = serve(&state, number, tcp).await;
                state.open.fetch_sub(1, Ordering::SeqCst);
            }
        });
        Self { state, server }
    }

    pub fn port(&self) -> u16 {
        self.server.address.port()
    }

    /// What `email.smtp.url` has to be.
    pub fn url(&self) -> String {
        let login = match &self.state.settings.login {
            Some((user, password)) => format!("{user}:{password}@"),
            None => String::new(),
        };
        let (scheme, end) = match self.state.settings.security {
            Security::Plain => ("smtp", "?tls=none"),
            Security::StartTls => ("smtp", ""),
            Security::Implicit => ("smtps", ""),
        };
        format!("{scheme}://{login}127.0.0.1:{}{end}", self.port())
    }

    /// What a client has to trust.
    pub fn ca_file(&self) -> PathBuf {
        self.state.authority.ca_file()
    }

    pub fn mails(&self) -> &Log<ReceivedMail> {
        &self.state.mails
    }

    pub fn steps(&self) -> &Log<(usize, Step)> {
        &self.state.steps
    }

    /// Connections ever opened.
    pub fn opened(&self) -> usize {
        self.state.opened.load(Ordering::SeqCst)
    }

    /// The most that were open at once.
    pub fn most_open(&self) -> usize {
        self.state.most_open.load(Ordering::SeqCst)
    }

    /// From now on, for everyone.
    pub fn fault(&self, step: Step, fault: Fault) {
        self.rule(step, None, fault, None);
    }

    /// From now on, for one recipient; for the steps from `Rcpt` to `Dot`.
    pub fn fault_for(&self, recipient: &str, step: Step, fault: Fault) {
        self.rule(step, Some(recipient), fault, None);
    }

    /// The next times only.
    pub fn fault_times(&self, times: usize, step: Step, fault: Fault) {
        self.rule(step, None, fault, Some(times));
    }

    /// From now on all is well.
    pub fn heal(&self) {
        self.state.rules.lock().unwrap().clear();
    }

    fn rule(&self, step: Step, recipient: Option<&str>, fault: Fault, left: Option<usize>) {
        let recipient = recipient.map(str::to_owned);
        self.state.rules.lock().unwrap().push(Rule { step, recipient, fault, left });
    }
}

impl State {
    fn fault(&self, step: Step, recipient: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|rule| {
            rule.step == step
                && rule.left != Some(0)
                && rule.recipient.as_deref().is_none_or(|to| to == recipient)
        })?;
        if let Some(left) = &mut rule.left {
            *left -= 1;
        }
        Some(rule.fault.clone())
    }
}

/// The connection is over.
struct Gone;

impl From<std::io::Error> for Gone {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

async fn serve(state: &State, number: usize, tcp: TcpStream) -> Result<(), Gone> {
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
        ReceivedMail { from, to, text, html, headers, raw, connection: self.number }
    }
}

impl State {
    /// What will happen after the final dot, without using it up.
    fn fault_kind(&self, recipient: &str) -> Option<Fault> {
        let rules = self.rules.lock().unwrap();
        let applies = |rule: &&Rule| {
            rule.step == Step::Dot
                && rule.left != Some(0)
                && rule.recipient.as_deref().is_none_or(|to| to == recipient)
        };
        rules.iter().find(applies).map(|rule| rule.fault.clone())
    }
}

fn address(line: &str) -> Option<String> {
    Some(line.split_once('<')?.1.split_once('>')?.0.to_owned())
}
