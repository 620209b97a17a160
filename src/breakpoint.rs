//! Break points: places where a test makes a process fail exactly where it hurts.
//!
//! `HERALD_BREAKPOINTS=notifier=panic@10,after_send=exit@3` makes the tenth passage of `notifier`
//! panic, and the third of `after_send` end the process as `kill -9` would; `block` holds the thread
//! for ever. `panic@10+` means the tenth and every later one, and a point may be named several times.
//! A point that many things pass has a name for each: `notifier:e-7=panic@1+` makes the handling of event
//! `e-7` panic. In a release build the points compile to nothing.

/// A point that a test can make fail. It must be passed on the actor's own thread for its panic to be
/// the actor's.
#[macro_export]
macro_rules! breakpoint {
    ($name:literal) => {
        #[cfg(debug_assertions)]
        $crate::breakpoint::pass($name);
    };
    ($name:literal, $of:expr) => {
        #[cfg(debug_assertions)]
        $crate::breakpoint::pass_each($name, $of);
    };
}

#[cfg(debug_assertions)]
pub use enabled::{pass, pass_each};

#[cfg(debug_assertions)]
mod enabled {
    use std::collections::HashMap;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    enum Action {
        Panic,
        Exit,
        Block,
    }

    struct Failure {
        action: Action,
        at: u64,
        ever_after: bool,
    }

    #[derive(Default)]
    struct Point {
        passed: AtomicU64,
        failures: Vec<Failure>,
    }

    static POINTS: LazyLock<HashMap<String, Point>> = LazyLock::new(|| {
        let text = std::env::var("HERALD_BREAKPOINTS").unwrap_or_default();
        let mut points: HashMap<String, Point> = HashMap::new();
        for (name, failure) in text.split(',').filter_map(|part| parse(part.trim())) {
            points.entry(name).or_default().failures.push(failure);
        }
        points
    });

    fn parse(text: &str) -> Option<(String, Failure)> {
        let (name, rest) = text.split_once('=')?;
        let (action, at) = rest.split_once('@')?;
        let action = match action {
            "panic" => Action::Panic,
            "exit" => Action::Exit,
            "block" => Action::Block,
            _ => return None,
        };
        let ever_after = at.ends_with('+');
        let at = at.trim_end_matches('+').parse().ok()?;
        Some((name.to_owned(), Failure { action, at, ever_after }))
    }

    /// Passes a point for each of some things: its name, a colon, and the thing's.
    #[track_caller]
    pub fn pass_each<'a>(name: &str, of: impl Iterator<Item = &'a str>) {
        if !POINTS.is_empty() {
            for thing in of {
                pass(&format!("{name}:{thing}"));
            }
        }
    }

    /// Passes a point: counts, and fails where it is told to.
    #[track_caller]
    #[expect(clippy::panic, reason = "on purpose, where a test asks for it")]
    pub fn pass(name: &str) {
        let Some(point) = POINTS.get(name) else { return };
        let passage = point.passed.fetch_add(1, Relaxed) + 1;
        let hits = |failure: &&Failure| passage == failure.at || (failure.ever_after && passage > failure.at);
        match point.failures.iter().find(hits).map(|failure| &failure.action) {
            Some(Action::Panic) => panic!("a break point"),
            Some(Action::Exit) => std::process::abort(),
            Some(Action::Block) => loop {
                std::thread::park();
            },
            None => {}
        }
    }
}
