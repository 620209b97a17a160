//! The log: lines on standard error, with times in UTC.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::{
    fmt::{MakeWriter, SubscriberBuilder},
    util::SubscriberInitExt,
};

use crate::config::{ConfigError, ConfigProblem, Log, LogFormat, Source};

/// Sets the log up for the whole process.
///
/// # Errors
///
/// `log.level` cannot be read, or there is a log already.
pub fn init(config: &Log) -> Result<(), ConfigError> {
    let is_terminal = io::stderr().is_terminal();
    let format = config.format.unwrap_or(if is_terminal { LogFormat::Text } else { LogFormat::Json });
    // https://no-color.org
    let has_colour = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    subscriber(config, format, has_colour, io::stderr)?
        .try_init()
        .map_err(|error| problem("log", error.to_string()))
}

/// What writes the lines.
///
/// A line in JSON has no spans: their fields are not repeated on each line within them.
fn subscriber<W>(
    config: &Log,
    format: LogFormat,
    has_colour: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, ConfigError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = config.filter().map_err(|text| problem("log.level", text))?;
    // Its times are in UTC unless told otherwise.
    let builder: SubscriberBuilder = tracing_subscriber::fmt();
    let builder = builder.with_env_filter(filter).with_writer(writer);
    Ok(match format {
        LogFormat::Text => Box::new(builder.with_ansi(has_colour).finish()),
        LogFormat::Json => Box::new(
            builder.json().flatten_event(true).with_current_span(false).with_span_list(false).finish(),
        ),
    })
}

fn problem(key: &str, problem: String) -> ConfigError {
    ConfigError { problems: vec![ConfigProblem { key: key.to_owned(), problem, source: Source::Default }] }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, format: LogFormat) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let config = Log { format: None, level: level.to_owned() };
        let subscriber = subscriber(&config, format, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let _span = tracing::info_span!("span", person = "hidden").entered();
            tracing::info!(target: "herald::store", rows = 3, "stored");
            tracing::debug!(target: "herald::store", "detail");
            tracing::warn!(target: "herald::http", "late");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn json_lines_have_time_level_and_fields_but_no_spans() {
        let lines = logged("info", LogFormat::Json);
        assert_eq!(lines.len(), 2);
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(
            (&line["level"], &line["message"], &line["rows"]),
            (&"INFO".into(), &"stored".into(), &3.into())
        );
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
        assert!(!lines[0].contains("hidden"));
    }

    #[test]
    fn text_lines_are_plain() {
        let lines = logged("info", LogFormat::Text);
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].contains(" INFO ") && lines[0].contains("stored rows=3") && lines[0].contains("Z "),
            "{lines:?}"
        );
        assert!(!lines[0].contains('\u{1b}'));
    }

    #[test]
    fn directives_choose_what_is_logged() {
        for (level, count) in [
            ("off", 0),
            ("warn", 1),
            ("debug", 3),
            ("warn,herald::store=debug", 3),
            ("herald::http=trace", 1),
        ] {
            assert_eq!(logged(level, LogFormat::Json).len(), count, "{level}");
        }
        let config = Log { format: None, level: "loud".to_owned() };
        let error = subscriber(&config, LogFormat::Text, false, io::sink).err().unwrap();
        assert!(error.to_string().starts_with("log.level: "));
    }
}
