//! One connection: opened, encrypted, logged in, and used for one mail after another.

use std::{future::Future, io, net::SocketAddr, time::Duration};

use lettre::transport::smtp::{
    authentication::Mechanism,
    client::AsyncSmtpConnection,
    commands::{Data, Mail as MailFrom, Quit, Rcpt, Rset},
    extension::{Extension, MailBodyParameter, MailParameter},
    response::Response,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    SmtpDeadlines,
    endpoint::{Endpoint, Security},
    mail::Mail,
    reply::{Enhanced, Fault, Phase},
    wire::{Socket, Wire},
};
use crate::providers::tls;

/// A reply of more bytes is none (lettre has the same bound).
const REPLY_LIMIT: u64 = 100_000;

/// How long a server may take to say goodbye to a connection that nobody needs.
const GOODBYE: Duration = Duration::from_secs(2);

/// A connection that is ready for a mail. Whoever drops it in the middle of a command loses it, and
/// nobody else gets the rest of its dialogue.
pub(super) struct Connection {
    smtp: AsyncSmtpConnection,
    /// A transaction was begun and neither ended nor reset.
    in_transaction: bool,
}

impl Connection {
    /// Connects, encrypts, greets and logs in.
    pub(super) async fn open(endpoint: &Endpoint, deadlines: &SmtpDeadlines) -> Result<Self, Fault> {
        let tcp = connect(endpoint, deadlines).await?;
        let wire = match endpoint.security {
            Security::None => Wire::new(Socket::Plain(tcp), b""),
            Security::Implicit => Wire::new(encrypt(endpoint, deadlines, tcp).await?, b""),
            Security::StartTls => {
                let (tcp, reply) =
                    within(deadlines.greeting, Phase::Greeting, start_tls(endpoint, tcp)).await?;
                // After STARTTLS the dialogue begins anew, but without a greeting (RFC 3207 §4.2). lettre
                // waits for one: the reply to STARTTLS stands in.
                Wire::new(encrypt(endpoint, deadlines, tcp).await?, reply.as_bytes())
            }
        };
        let greet = AsyncSmtpConnection::connect_with_transport(Box::new(wire), &endpoint.hello);
        let smtp = within(deadlines.greeting, Phase::Greeting, async {
            greet.await.map_err(|error| Fault::of(Phase::Greeting, &error))
        })
        .await?;
        let mut connection = Self { smtp, in_transaction: false };
        if let Some(credentials) = &endpoint.credentials {
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            if connection.smtp.server_info().get_auth_mechanism(&mechanisms).is_none() {
                return Err(Fault::Connect {
                    problem: "email.smtp.url has a user, but the server offers neither AUTH PLAIN nor LOGIN"
                        .into(),
                    misconfigured: true,
                });
            }
            within(deadlines.command, Phase::Auth, async {
                connection
                    .smtp
                    .auth(&mechanisms, credentials)
                    .await
                    .map_err(|error| Fault::of(Phase::Auth, &error))
            })
            .await?;
        }
        Ok(connection)
    }

    /// Sends one mail; gives the server's id of it, where the reply tells one.
    pub(super) async fn deliver(
        &mut self,
        mail: &Mail,
        deadlines: &SmtpDeadlines,
    ) -> Result<Option<String>, Fault> {
        let mut parameters = Vec::new();
        if mail.needs_utf8 {
            if !self.smtp.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(Fault::Unable(
                    "the address is outside ASCII, and the server does not speak SMTPUTF8",
                ));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if !mail.bytes.is_ascii() && self.smtp.server_info().supports_feature(Extension::EightBitMime) {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        if self.in_transaction {
            self.command(Phase::Reset, Rset, deadlines).await?;
        }
        self.in_transaction = true;
        self.command(Phase::Sender, MailFrom::new(Some(mail.from.clone()), parameters), deadlines).await?;
        self.command(Phase::Recipient, Rcpt::new(mail.to.clone(), Vec::new()), deadlines).await?;
        if !self.command(Phase::Data, Data, deadlines).await?.has_code(354) {
            return Err(Fault::Broken(Phase::Data));
        }
        let reply = within(deadlines.message, Phase::Message, async {
            self.smtp.message(&mail.bytes).await.map_err(|error| Fault::of(Phase::Message, &error))
        })
        .await?;
        if u16::from(reply.code()) / 100 != 2 {
            return Err(Fault::Broken(Phase::Message));
        }
        self.in_transaction = false;
        Ok(queue_id(&reply))
    }

    async fn command(
        &mut self,
        phase: Phase,
        command: impl std::fmt::Display,
        deadlines: &SmtpDeadlines,
    ) -> Result<Response, Fault> {
        within(deadlines.command, phase, async {
            self.smtp.command(command).await.map_err(|error| Fault::of(phase, &error))
        })
        .await
    }

    /// Says goodbye and hears the answer.
    pub(super) async fn quit(&mut self, deadlines: &SmtpDeadlines) -> Result<(), Fault> {
        self.command(Phase::Reset, Quit, deadlines).await.map(drop)
    }

    /// Says goodbye to a server that may be gone.
    pub(super) async fn leave(mut self) {
        if timeout(GOODBYE, self.smtp.command(Quit)).await.is_err() {
            tracing::debug!("an idle SMTP connection was closed without the server's goodbye");
        }
    }
}

async fn within<T>(
    limit: Duration,
    phase: Phase,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    timeout(limit, work).await.unwrap_or(Err(Fault::TimedOut(phase)))
}

/// Opens a socket without Nagle's delay: body and final dot are written apart, and the dot would wait
/// for the peer's delayed acknowledgement.
async fn connect(endpoint: &Endpoint, deadlines: &SmtpDeadlines) -> Result<TcpStream, Fault> {
    let fault = |problem: String| Fault::Connect { problem, misconfigured: false };
    let found = timeout(deadlines.connect, tokio::net::lookup_host((&*endpoint.host, endpoint.port))).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(_)) => return Err(fault("the server's name cannot be resolved".into())),
        Err(_) => return Err(fault("the server's name was not resolved within the deadline".into())),
    };
    let mut problem = "the server's name has no address that may be used".to_owned();
    for address in addresses {
        if endpoint.security == Security::None && !address.ip().is_loopback() {
            continue;
        }
        match timeout(deadlines.connect, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => match tcp.set_nodelay(true) {
                Ok(()) => return Ok(tcp),
                Err(error) => problem = error.kind().to_string(),
            },
            Ok(Err(error)) => problem = error.kind().to_string(),
            Err(_) => problem = "no connection within the deadline".into(),
        }
    }
    Err(fault(problem))
}

async fn encrypt(endpoint: &Endpoint, deadlines: &SmtpDeadlines, tcp: TcpStream) -> Result<Socket, Fault> {
    let fault = |problem: String, misconfigured| Fault::Connect { problem, misconfigured };
    let Some(config) = &endpoint.tls else {
        return Err(fault("TLS is not set up".into(), true));
    };
    let handshake = TlsConnector::from(config.clone()).connect(endpoint.server_name.clone(), tcp);
    match timeout(deadlines.connect, handshake).await {
        Ok(Ok(tls)) => Ok(Socket::Tls(Box::new(tls))),
        Ok(Err(error)) => Err(match tls::cause(&error) {
            Some(tls) => fault(format!("TLS: {tls}"), tls::needs_an_operator(tls)),
            None => fault(format!("TLS: {}", error.kind()), false),
        }),
        Err(_) => Err(fault("no TLS handshake within the deadline".into(), false)),
    }
}

/// The dialogue up to STARTTLS, in the clear; gives the socket and the last reply.
///
/// It reads no byte beyond that reply: what an attacker puts behind it must not be taken for an answer
/// that came encrypted (CVE-2011-0411 and its like).
async fn start_tls(endpoint: &Endpoint, tcp: TcpStream) -> Result<(TcpStream, String), Fault> {
    let mut tcp = BufReader::new(tcp);
    expect_positive(&read_reply(&mut tcp).await?)?;
    write(&mut tcp, &format!("EHLO {}\r\n", endpoint.hello)).await?;
    let offer = read_reply(&mut tcp).await?;
    expect_positive(&offer)?;
    let offered = offer
        .lines()
        .filter_map(|line| line.get(4..))
        .any(|word| word.trim().eq_ignore_ascii_case("STARTTLS"));
    let refuse = |problem: &str| Err(Fault::Connect { problem: problem.into(), misconfigured: true });
    if !offered {
        return refuse(
            "the server does not offer STARTTLS: use smtps://, or ?tls=none to a loopback address",
        );
    }
    write(&mut tcp, "STARTTLS\r\n").await?;
    let ready = read_reply(&mut tcp).await?;
    expect_positive(&ready)?;
    if !tcp.buffer().is_empty() {
        return refuse("something was sent in the clear after the reply to STARTTLS");
    }
    Ok((tcp.into_inner(), ready))
}

const BROKEN: Fault = Fault::Broken(Phase::Greeting);

async fn write(tcp: &mut BufReader<TcpStream>, command: &str) -> Result<(), Fault> {
    tcp.write_all(command.as_bytes()).await.map_err(|_: io::Error| BROKEN)
}

/// All lines of one reply.
async fn read_reply(tcp: &mut BufReader<TcpStream>) -> Result<String, Fault> {
    let mut reply = String::new();
    let mut limited = tcp.take(REPLY_LIMIT);
    loop {
        let start = reply.len();
        let read = limited.read_line(&mut reply).await.map_err(|_: io::Error| BROKEN)?;
        if read == 0 || !reply.ends_with('\n') {
            return Err(BROKEN);
        }
        if reply.as_bytes().get(start + 3) != Some(&b'-') {
            return Ok(reply);
        }
    }
}

fn expect_positive(reply: &str) -> Result<(), Fault> {
    let code = reply.get(..3).and_then(|code| code.parse::<u16>().ok()).ok_or(BROKEN)?;
    match code {
        200..400 => Ok(()),
        400..600 => {
            let enhanced = reply.get(4..).and_then(Enhanced::parse);
            Err(Fault::Refused { phase: Phase::Greeting, code, enhanced })
        }
        _ => Err(BROKEN),
    }
}

/// `queued as X` (Postfix, Sendmail's kin) or `id=X` (Exim).
fn queue_id(reply: &Response) -> Option<String> {
    let text = reply.message().collect::<Vec<_>>().join(" ");
    let after = |mark: &str| Some(text.split_once(mark)?.1.trim_start().to_owned());
    let id = after("queued as").or_else(|| after("id="))?;
    let id: String =
        id.chars().take_while(|c| c.is_ascii_alphanumeric() || ".-_".contains(*c)).take(100).collect();
    (!id.is_empty()).then_some(id)
}
