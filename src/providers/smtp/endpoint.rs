//! `email.smtp.url`.

use std::{fmt, net::IpAddr, sync::Arc};

use lettre::transport::smtp::{authentication::Credentials, extension::ClientId};
use reqwest::Url;
use rustls::{ClientConfig, pki_types::ServerName};

use crate::providers::percent;

/// How the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    /// By STARTTLS (RFC 3207), required.
    StartTls,
    /// From the first byte (RFC 8314).
    Implicit,
    /// Not at all, which a loopback address alone may have.
    None,
}

impl Security {
    pub(super) const fn is_encrypted(self) -> bool {
        matches!(self, Self::StartTls | Self::Implicit)
    }
}

/// The server, and how to talk to it.
pub(super) struct Endpoint {
    /// A name or an address.
    pub(super) host: String,
    /// The TCP port.
    pub(super) port: u16,
    /// The encryption.
    pub(super) security: Security,
    /// The name that the certificate has to be for.
    pub(super) server_name: ServerName<'static>,
    /// Whom to trust, where it is encrypted.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// Who logs in.
    pub(super) credentials: Option<Credentials>,
    /// What EHLO says.
    pub(super) hello: ClientId,
}

/// Host and port alone: the URL may hold a password.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Endpoint {
    /// Reads the URL; the error says what to change, and quotes nothing.
    pub(super) fn parse(url: &str, from_domain: &str) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|error| {
            format!("email.smtp.url is no URL ({error}): write smtp://user:password@host:port, with special characters of the password percent-encoded")
        })?;
        let mut security = match url.scheme() {
            "smtp" => Security::StartTls,
            "smtps" => Security::Implicit,
            other => return Err(format!("email.smtp.url has the scheme `{other}`: use smtp or smtps")),
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err("email.smtp.url names no host".into());
        }
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err("email.smtp.url has a path, which means nothing here: remove it".into());
        }
        for (key, value) in url.query_pairs() {
            match (&*key, &*value) {
                ("tls", "none") if security == Security::Implicit => {
                    return Err("smtps:// with ?tls=none contradicts itself: use smtp://".into());
                }
                ("tls", "none") if is_loopback(&host) => security = Security::None,
                ("tls", "none") => {
                    return Err(format!(
                        "?tls=none is for a loopback address alone, and `{host}` is none: remove it"
                    ));
                }
                _ => {
                    return Err(format!(
                        "email.smtp.url has an unknown setting `{key}`: only tls=none exists"
                    ));
                }
            }
        }
        let port = url.port().unwrap_or(match security {
            Security::StartTls => 587,
            Security::Implicit => 465,
            Security::None => 25,
        });
        let server_name = ServerName::try_from(host.clone())
            .map_err(|_| format!("`{host}` in email.smtp.url is neither a name nor an address"))?;
        let decoded = |text| {
            percent::decode(text).ok_or("email.smtp.url: the user or password is badly percent-encoded")
        };
        let credentials = match (decoded(url.username())?, url.password()) {
            (user, None) if user.is_empty() => None,
            (_, None) => return Err("email.smtp.url has a user without a password".into()),
            (user, Some(password)) => Some(Credentials::new(user, decoded(password)?)),
        };
        // RFC 5321 §4.1.1.1 wants the client's own name, which a container does not have; what a relay
        // looks at is whether the name is a plausible one.
        let hello = match from_domain.is_ascii() && !from_domain.starts_with('[') {
            true => ClientId::Domain(from_domain.to_owned()),
            false => ClientId::default(),
        };
        Ok(Self { host, port, security, server_name, tls: None, credentials, hello })
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parse(url: &str) -> Result<Endpoint, String> {
        Endpoint::parse(url, "bank.example")
    }

    #[test]
    fn urls_that_work() {
        let cases = [
            ("smtp://mail.example", "mail.example:587", Security::StartTls, false),
            ("smtps://u:p@mail.example", "mail.example:465", Security::Implicit, true),
            ("smtp://u%40x:p%2Fw@mail.example:2525", "mail.example:2525", Security::StartTls, true),
            ("smtp://127.0.0.1?tls=none", "127.0.0.1:25", Security::None, false),
            ("smtp://[::1]:1025?tls=none", "::1:1025", Security::None, false),
            ("smtp://localhost:1025/?tls=none", "localhost:1025", Security::None, false),
        ];
        for (url, shown, security, has_credentials) in cases {
            let endpoint = parse(url).unwrap();
            assert_eq!(endpoint.to_string(), shown, "{url}");
            assert_eq!(endpoint.security, security, "{url}");
            assert_eq!(endpoint.credentials.is_some(), has_credentials, "{url}");
        }
        let expected = Credentials::new("u@x".into(), "p/w".into());
        assert!(parse("smtp://u%40x:p%2Fw@mail.example").unwrap().credentials == Some(expected));
    }

    #[test]
    fn urls_that_do_not() {
        let cases = [
            ("mail.example:25", "scheme"),
            ("http://mail.example", "scheme"),
            ("smtp://", "host"),
            ("smtp://mail.example/inbox", "path"),
            ("smtp://mail.example?tls=none", "loopback"),
            ("smtp://10.0.0.1?tls=none", "loopback"),
            ("smtp://localhost.example?tls=none", "loopback"),
            ("smtp://127.0.0.1.example?tls=none", "loopback"),
            ("smtp://2130706433?tls=none", "loopback"),
            ("smtps://127.0.0.1?tls=none", "contradicts"),
            ("smtp://mail.example?tls=maybe", "unknown setting"),
            ("smtp://mail.example?ssl=1", "unknown setting"),
            ("smtp://user@mail.example", "without a password"),
            ("smtp://user:p%zz@mail.example", "percent-encoded"),
        ];
        for (url, part) in cases {
            let problem = parse(url).err().unwrap();
            assert!(problem.contains(part), "{url}: {problem}");
            assert!(!problem.contains("p%zz"), "{problem}");
        }
    }
}
