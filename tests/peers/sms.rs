//! An SMS gateway, in the three ways that gateways speak.

use std::{path::PathBuf, sync::Arc, time::Instant};

use serde_json::json;

use super::{
    Answers, Authority, Log,
    http::{HttpPeer, Reaction, Request},
};

/// How the gateway speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wording {
    Json,
    /// Fields in the body, or in the query of a GET.
    Form,
    Xml,
}

/// What it answers for a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatewayAnswer {
    Accepted,
    /// 200, refused for good.
    Rejected,
    /// 200, refused for now.
    Throttled,
    /// This status, refused.
    Status(u16),
    /// This status, refused for good.
    RejectedWith(u16),
    /// 429 with this `Retry-After`.
    TooMany(&'static str),
    /// 302 to somewhere else.
    Moved,
    /// 200 and something else.
    Nonsense,
    /// 200 and more than anyone wants to read.
    Endless,
    /// No HTTP.
    Garbage,
    /// 200, then a byte now and then.
    SlowLoris,
    /// This status, then a byte now and then.
    SlowRefusal(u16),
    /// 200, then half of an acceptance.
    Half,
    Silence,
    Drop,
}

/// A message as the gateway understood it.
#[derive(Clone)]
pub struct TextMessage {
    pub to: String,
    pub text: String,
    pub id: String,
    pub request: Request,
    /// What was answered.
    pub answer: GatewayAnswer,
    /// When it came.
    pub at: Instant,
}

struct State {
    wording: Wording,
    answers: Answers<GatewayAnswer>,
    messages: Log<TextMessage>,
}

/// The gateway.
pub struct SmsPeer {
    http: HttpPeer,
    authority: Option<Authority>,
    state: Arc<State>,
}

impl SmsPeer {
    pub fn start(wording: Wording) -> Self {
        Self::start_with(wording, None, 0)
    }

    /// HTTPS, where an authority is given; port 0 is a free one.
    pub fn start_with(wording: Wording, authority: Option<Authority>, port: u16) -> Self {
        let state = Arc::new(State { wording, answers: Answers::default(), messages: Log::new() });
        let shared = state.clone();
        let tls = authority.as_ref().map(Authority::server_config);
        let http = HttpPeer::start_at(port, tls, move |request| shared.react(request));
        Self { http, authority, state }
    }

    /// `sms.http.url`
    pub fn url(&self) -> String {
        format!("{}/send", self.http.url())
    }

    pub fn ca_file(&self) -> Option<PathBuf> {
        self.authority.as_ref().map(Authority::ca_file)
    }

    /// The `Content-Type` for `sms.http.headers`.
    pub fn content_type(&self) -> &'static str {
        match self.state.wording {
            Wording::Json => "application/json",
            Wording::Form => "application/x-www-form-urlencoded",
            Wording::Xml => "text/xml; charset=utf-8",
        }
    }

    /// `sms.http.body`
    pub fn body(&self) -> &'static str {
        match self.state.wording {
            Wording::Json => r#"{"to":"{{ to }}","text":"{{ text }}","id":"{{ id }}"}"#,
            Wording::Form => "to={{ to }}&text={{ text }}&id={{ id }}",
            Wording::Xml => "<sms to=\"{{ to }}\" id=\"{{ id }}\"><text>{{ text }}</text></sms>",
        }
    }

    /// `sms.http.accepted`
    pub fn accepted(&self) -> &'static str {
        match self.state.wording {
            Wording::Json => r#""status"\s*:\s*"accepted""#,
            Wording::Form => r"^0: Accepted",
            Wording::Xml => r"<status>accepted</status>",
        }
    }

    /// `sms.http.permanent`
    pub fn permanent(&self) -> &'static str {
        "rejected"
    }

    /// `sms.http.reference`
    pub fn reference(&self) -> &'static str {
        match self.state.wording {
            Wording::Json => r#""reference"\s*:\s*"([^"]+)""#,
            Wording::Form => r"ref=(\S+)",
            Wording::Xml => r"<reference>([^<]+)</reference>",
        }
    }

    /// What this number gets from now on.
    pub fn answer(&self, number: &str, answer: GatewayAnswer) {
        self.state.answers.always(number, answer);
    }

    /// What this number gets the next times only.
    pub fn answer_times(&self, times: usize, number: &str, answer: GatewayAnswer) {
        self.state.answers.times(times, number, answer);
    }

    /// From now on all is well.
    pub fn heal(&self) {
        self.state.answers.clear();
    }

    /// What came, whatever was answered.
    pub fn messages(&self) -> &Log<TextMessage> {
        &self.state.messages
    }
}

impl State {
    fn react(&self, request: Request) -> Reaction {
        if request.method == "HEAD" {
            return Reaction::answer(405, "");
        }
        let Some((to, text, id)) = self.read(&request) else {
            return Reaction::answer(400, "unreadable");
        };
        let answer = self.answers.next(&to).unwrap_or(GatewayAnswer::Accepted);
        // A gateway may well repeat the message in its answer.
        let echo = format!("{to} {text}");
        self.messages.push(TextMessage { to, text, id, request, answer, at: Instant::now() });
        let reference = format!("G{}", self.messages.len());
        let accepted = self.word("accepted", &reference, "");
        match answer {
            GatewayAnswer::Accepted => Reaction::answer(200, accepted),
            GatewayAnswer::Rejected => Reaction::answer(200, self.word("rejected", &reference, &echo)),
            GatewayAnswer::Throttled => Reaction::answer(200, self.word("throttled", &reference, &echo)),
            GatewayAnswer::Status(status) => Reaction::answer(status, self.word("failed", &reference, &echo)),
            GatewayAnswer::RejectedWith(status) => {
                Reaction::answer(status, self.word("rejected", &reference, &echo))
            }
            GatewayAnswer::TooMany(after) => Reaction::answer(429, self.word("throttled", &reference, ""))
                .with_header("Retry-After", after),
            GatewayAnswer::Moved => Reaction::answer(302, "").with_header("Location", "/elsewhere"),
            GatewayAnswer::Nonsense => Reaction::answer(200, "<html>It works!</html>"),
            GatewayAnswer::Endless => Reaction::answer(200, "x".repeat(200_000) + &accepted),
            GatewayAnswer::Garbage => Reaction::Garbage,
            GatewayAnswer::SlowLoris => Reaction::Trickle { status: 200, body: accepted },
            GatewayAnswer::SlowRefusal(status) => Reaction::Trickle { status, body: accepted },
            GatewayAnswer::Half => Reaction::Half { status: 200, body: accepted.repeat(2) },
            GatewayAnswer::Silence => Reaction::Silence,
            GatewayAnswer::Drop => Reaction::Drop,
        }
    }

    fn word(&self, status: &str, reference: &str, echo: &str) -> String {
        match (self.wording, status) {
            (Wording::Json, _) => json!({"status": status, "reference": reference, "echo": echo}).to_string(),
            (Wording::Form, "accepted") => format!("0: Accepted ref={reference} {echo}"),
            (Wording::Form, _) => format!("1: {status} ref={reference} {echo}"),
            (Wording::Xml, _) => {
                format!("<r><status>{status}</status><reference>{reference}</reference><!-- {echo} --></r>")
            }
        }
    }

    /// Number, text and id of a request.
    fn read(&self, request: &Request) -> Option<(String, String, String)> {
        match self.wording {
            Wording::Json => {
                let body: serde_json::Value = serde_json::from_slice(&request.body).ok()?;
                let field = |name: &str| Some(body.get(name)?.as_str()?.to_owned());
                Some((field("to")?, field("text")?, field("id")?))
            }
            Wording::Form => {
                let query = request.path.split_once('?').map_or("", |(_, query)| query);
                let form = if request.method == "GET" { query.to_owned() } else { request.text() };
                let field = |name: &str| {
                    let mut pairs = form.split('&').filter_map(|pair| pair.split_once('='));
                    unpercent(pairs.find(|(known, _)| *known == name)?.1)
                };
                Some((field("to")?, field("text")?, field("id")?))
            }
            Wording::Xml => {
                let body = request.text();
                let between = |from: &str, to: &str| Some(unxml(body.split_once(from)?.1.split_once(to)?.0));
                Some((between("to=\"", "\"")?, between("<text>", "</text>")?, between("id=\"", "\"")?))
            }
        }
    }
}

fn unpercent(text: &str) -> Option<String> {
    let mut decoded = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        (rest, _) = match byte {
            b'%' => (
                &tail[2..],
                decoded.push(u8::from_str_radix(std::str::from_utf8(&tail[..2]).ok()?, 16).ok()?),
            ),
            b'+' => (tail, decoded.push(b' ')),
            byte => (tail, decoded.push(byte)),
        };
    }
    String::from_utf8(decoded).ok()
}

fn unxml(text: &str) -> String {
    let mut decoded = String::new();
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once('&') {
        let (entity, after) = tail.split_once(';').unwrap();
        decoded.push_str(before);
        decoded.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            number => char::from_u32(number.trim_start_matches('#').parse().unwrap()).unwrap(),
        });
        rest = after;
    }
    decoded.push_str(rest);
    decoded
}
