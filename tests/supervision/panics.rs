//! The panic hook: whose panic, where, and no data.

use std::{
    io::Write,
    process::Stdio,
    sync::{Arc, Mutex},
};

use crate::common::*;
use actix::clock::sleep;
use herald::supervision::{PanicText, attributed, install_hook};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Everything that is logged while a child comes across `secret` and panics.
fn log_of(policy: PanicText, panic: fn(&str)) -> (String, String) {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(lines.clone()).finish();
    let shown = paused(async {
        install_hook(policy);
        let _default = tracing::subscriber::set_default(subscriber);
        let (spec, addr) = Probe::spec("frail", &Record::default());
        let tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        addr.do_send(Do::that(move |_, _| panic("jane@example.org")));
        sleep(MS).await;
        tree.last_error("frail")
    });
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    (log, shown)
}

/// All in one test, in a process of its own: there is only one hook in a process.
#[test]
fn a_panic_is_logged_with_actor_message_and_place_but_without_data() {
    if !is_own_process() {
        let test = "panics::a_panic_is_logged_with_actor_message_and_place_but_without_data";
        let output = own_process(test).stdout(Stdio::piped()).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && told.contains("1 passed"), "{told}");
        return;
    }
    literal_texts_are_kept();
    formatted_texts_are_withheld();
    tasks_outside_a_context_are_nobodys_but_can_carry_a_name();
}

fn literal_texts_are_kept() {
    let (log, shown) = log_of(PanicText::Literal, |_| panic!("a literal"));
    assert!(log.contains("panic: a literal"), "{log}");
    assert!(log.contains(r#"actor="frail""#), "{log}");
    assert!(log.contains(r#"handling="supervision::common::Do""#), "{log}");
    assert!(log.contains(r#"location="tests/supervision/panics.rs:"#), "{log}");
    assert!(log.contains(r#"supervisor=root child=frail"#), "{log}");
    assert!(shown.starts_with("panicked: a literal at tests/supervision/panics.rs:"), "{shown}");
    assert!(shown.ends_with("while handling supervision::common::Do"), "{shown}");
}

fn formatted_texts_are_withheld() {
    for panic in [(|secret| panic!("bad address {secret}")) as fn(&str), |secret| {
        secret.parse::<u32>().map_err(|_| secret.to_owned()).unwrap();
    }] {
        let (log, shown) = log_of(PanicText::Literal, panic);
        assert!(!log.contains("jane") && !shown.contains("jane"), "{log} {shown}");
        assert!(log.contains("(formatted text withheld)"), "{log}");
        assert!(log.contains(r#"location="tests/supervision/panics.rs:"#), "{log}");
        let (log, _) = log_of(PanicText::Full, panic);
        assert!(log.contains("jane@example.org"), "{log}");
    }
}

fn tasks_outside_a_context_are_nobodys_but_can_carry_a_name() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(lines.clone()).finish();
    paused(async {
        let _default = tracing::subscriber::set_default(subscriber);
        let (spec, addr) = Probe::spec("frail", &Record::default());
        let _tree = run(supervisor("root", tolerant()).child(spec).unwrap());
        assert!(addr.send(Detached).await.is_err());
        let task = attributed("frail".into(), async {
            tokio::task::yield_now().await;
            panic!("in a task")
        });
        assert!(actix::spawn(task).await.unwrap_err().is_panic());
    });
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains(r#"panic: in a ResponseFuture actor="-" handling="-""#), "{log}");
    assert!(log.contains(r#"panic: in a task actor="frail" handling="-""#), "{log}");
}
