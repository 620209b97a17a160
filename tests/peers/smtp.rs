//! A mail server (RFC 5321) that fails where it is told to.

mod session;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

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
    /// When it came.
    pub at: Instant,
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
                let _ = session::serve(&state, number, tcp).await;
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

    /// The next times only, for one recipient; for the steps from `Rcpt` to `Dot`.
    pub fn fault_times_for(&self, times: usize, recipient: &str, step: Step, fault: Fault) {
        self.rule(step, Some(recipient), fault, Some(times));
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
