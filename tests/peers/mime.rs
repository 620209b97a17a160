//! Reading a mail as a mail program would (RFC 5322, 2045, 2047).

use base64::{Engine, engine::general_purpose::STANDARD};

/// Headers in order, folded lines joined, encoded words decoded; then the body.
pub fn split(raw: &str) -> (Vec<(String, String)>, String) {
    let (head, body) = raw.split_once("\r\n\r\n").unwrap_or((raw, ""));
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in head.split("\r\n") {
        match (line.starts_with([' ', '\t']), headers.last_mut()) {
            (true, Some((_, value))) => {
                value.push(' ');
                value.push_str(line.trim_start());
            }
            _ => {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
    }
    for (_, value) in &mut headers {
        *value = decode_words(value);
    }
    (headers, body.to_owned())
}

pub fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
}

/// The decoded part of this type, looked for in all the parts.
pub fn part(headers: &[(String, String)], body: &str, wanted: &str) -> Option<String> {
    let kind = header(headers, "content-type").unwrap_or("text/plain");
    if let Some((_, boundary)) = kind.split_once("boundary=") {
        let boundary = boundary.trim_matches('"').split('"').next().unwrap();
        let separator = format!("--{boundary}");
        let mut parts = body.split(&separator).skip(1);
        return parts.by_ref().take_while(|part| !part.starts_with("--")).find_map(|text| {
            let (headers, body) = split(text.trim_start_matches("\r\n"));
            part(&headers, body.strip_suffix("\r\n").unwrap_or(&body), wanted)
        });
    }
    kind.starts_with(wanted).then(|| match header(headers, "content-transfer-encoding") {
        Some("base64") => {
            let packed: String = body.split_whitespace().collect();
            String::from_utf8(STANDARD.decode(packed).unwrap()).unwrap()
        }
        Some("quoted-printable") => quoted(&body.replace("=\r\n", ""), false),
        _ => body.to_owned(),
    })
}

fn decode_words(value: &str) -> String {
    let mut decoded = String::new();
    let mut rest = value;
    while let Some((before, tail)) = rest.split_once("=?") {
        let mut fields = tail.splitn(3, '?');
        let (Some(_charset), Some(encoding), Some(text)) = (fields.next(), fields.next(), fields.next())
        else {
            break;
        };
        let Some((text, after)) = text.split_once("?=") else { break };
        // White space between two encoded words is not shown.
        if !before.trim().is_empty() || decoded.is_empty() {
            decoded.push_str(before);
        }
        decoded.push_str(&match encoding {
            "b" | "B" => String::from_utf8(STANDARD.decode(text).unwrap()).unwrap(),
            _ => quoted(text, true),
        });
        rest = after;
    }
    decoded.push_str(rest);
    decoded
}

fn quoted(text: &str, underscore_is_space: bool) -> String {
    let mut decoded = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'=' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                decoded.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
            }
            b'_' if underscore_is_space => decoded.push(b' '),
            byte => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).unwrap()
}
