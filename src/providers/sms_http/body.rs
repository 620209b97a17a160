//! The template of a request, whose values cannot break out of the body's form.

use std::fmt::Write as _;

use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

use crate::providers::percent;

/// Steps of the template engine: plenty for any body, and an end to a loop.
const FUEL: u64 = 100_000;

/// The only template in its environment.
const ONLY: &str = "template";

/// How values are escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escape {
    /// Within a JSON string (RFC 8259 §7).
    Json,
    /// Within a form or a URL.
    Form,
    /// Within XML text or an attribute.
    Xml,
}

impl Escape {
    /// The form that a `Content-Type` stands for.
    pub(super) fn of(content_type: &str) -> Result<Self, String> {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "application/x-www-form-urlencoded" => Ok(Self::Form),
            json if json.ends_with("/json") || json.ends_with("+json") => Ok(Self::Json),
            xml if xml.ends_with("/xml") || xml.ends_with("+xml") => Ok(Self::Xml),
            _ => Err("sms.http.headers: the Content-Type is none of JSON, form (application/x-www-form-urlencoded) and XML, so that values cannot be escaped".into()),
        }
    }

    fn escape(self, value: &str) -> String {
        match self {
            Self::Form => percent::encode(value),
            Self::Json => {
                let quoted = serde_json::Value::from(value).to_string();
                quoted
                    .strip_prefix('"')
                    .and_then(|rest| rest.strip_suffix('"'))
                    .unwrap_or_default()
                    .to_owned()
            }
            Self::Xml => escape_xml(value),
        }
    }
}

fn escape_xml(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // An attribute would lose these.
            '\'' | '\n' | '\r' | '\t' => {
                // Writing to a string does not fail.
                let _ = write!(escaped, "&#{};", u32::from(c));
            }
            // XML 1.0 §2.2 has no way to write the other control characters, nor these two.
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// What a template may use.
pub(super) struct Values<'a> {
    /// The number, E.164 with the plus.
    pub(super) to: &'a str,
    /// The text.
    pub(super) text: &'a str,
    /// The delivery's id, the same at each attempt.
    pub(super) id: &'a str,
}

/// A compiled template.
pub(super) struct Template {
    key: &'static str,
    environment: Environment<'static>,
}

impl Template {
    /// Compiles the value of a configuration key, and tries it; the error names the key.
    pub(super) fn compile(key: &'static str, escape: Escape, source: &str) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        // Whatever a template prints is escaped: no filter declares a value safe.
        environment.set_formatter(move |out, _state, value| {
            if value.is_undefined() {
                return Err(minijinja::Error::from(minijinja::ErrorKind::UndefinedError));
            }
            out.write_str(&escape.escape(&value.to_string())).map_err(minijinja::Error::from)
        });
        environment.add_template_owned(ONLY, source.to_owned()).map_err(|error| {
            format!("{key} is no template: {} in line {}", error.kind(), error.line().unwrap_or(1))
        })?;
        let template = Self { key, environment };
        let sample = template.render(&Values { to: "+265991000001", text: "\"<&>' \\ \n", id: "1" })?;
        if escape == Escape::Json && serde_json::from_str::<serde::de::IgnoredAny>(&sample).is_err() {
            return Err(format!(
                "{key} does not make JSON: placeholders stand inside quotes, as in \"{{{{ text }}}}\""
            ));
        }
        Ok(template)
    }

    /// The text for these values; the error quotes none of them.
    pub(super) fn render(&self, values: &Values<'_>) -> Result<String, String> {
        let render = self.environment.get_template(ONLY).and_then(|template| {
            template.render(context! { to => values.to, text => values.text, id => values.id })
        });
        render.map_err(|error| {
            let line = error.line().unwrap_or(1);
            format!(
                "{} cannot be rendered: {} in line {line}; it may use to, text and id",
                self.key,
                error.kind()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NASTY: &str = "\"q\" 'a' <b> & \\ {{ id }} \r\n\t\u{1}\u{7f} ü 😀 \u{2028}";

    fn values() -> Values<'static> {
        Values { to: "+265991", text: NASTY, id: "n:sms" }
    }

    #[test]
    fn json_reads_back() {
        let template =
            Template::compile("k", Escape::Json, r#"{"to":"{{ to }}","m":["{{ text }}"]}"#).unwrap();
        let read: serde_json::Value = serde_json::from_str(&template.render(&values()).unwrap()).unwrap();
        assert_eq!(read["to"], "+265991");
        assert_eq!(read["m"][0], NASTY);
        assert_eq!(read.as_object().unwrap().len(), 2);
    }

    #[test]
    fn a_form_reads_back() {
        let template = Template::compile("k", Escape::Form, "to={{ to }}&text={{ text }}").unwrap();
        let rendered = template.render(&values()).unwrap();
        let pairs: Vec<_> = rendered.split('&').map(|pair| pair.split_once('=').unwrap()).collect();
        assert_eq!(pairs.len(), 2);
        assert_eq!(percent::decode(pairs[0].1).unwrap(), "+265991");
        assert_eq!(percent::decode(pairs[1].1).unwrap(), NASTY);
    }

    #[test]
    fn xml_stays_text() {
        let template = Template::compile("k", Escape::Xml, "<m to='{{ to }}'>{{ text | safe }}</m>").unwrap();
        assert_eq!(
            template.render(&values()).unwrap(),
            "<m to='+265991'>&quot;q&quot; &#39;a&#39; &lt;b&gt; &amp; \\ {{ id }} &#13;&#10;&#9;\u{7f} ü 😀 \u{2028}</m>"
        );
    }

    #[test]
    fn a_filter_may_change_a_value_and_not_its_escaping() {
        let template = Template::compile("k", Escape::Form, "to={{ to | replace('+', '00') }}").unwrap();
        assert_eq!(template.render(&values()).unwrap(), "to=00265991");
        let template = Template::compile("k", Escape::Json, r#"{"t":"{{ text | safe }}"}"#).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&template.render(&values()).unwrap()).is_ok());
    }

    #[test]
    fn mistakes_are_found_when_it_is_compiled() {
        let cases = [
            (Escape::Form, "to={{ number }}", "to, text and id"),
            (Escape::Form, "to={{ to", "line 1"),
            (Escape::Json, "{\"to\": {{ text }}}", "inside quotes"),
            (
                Escape::Form,
                "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
                "fuel",
            ),
        ];
        for (form, source, part) in cases {
            let problem = Template::compile("sms.http.body", form, source).err().unwrap();
            assert!(problem.starts_with("sms.http.body") && problem.contains(part), "{problem}");
        }
        assert!(Escape::of("text/plain").is_err());
        assert_eq!(Escape::of("Application/JSON; charset=utf-8"), Ok(Escape::Json));
        assert_eq!(Escape::of("application/soap+xml"), Ok(Escape::Xml));
    }
}
