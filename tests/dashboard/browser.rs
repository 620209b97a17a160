//! A headless Chromium, told what to do through its debugging pipe: JSON with a NUL after each
//! message, on file descriptors 3 and 4 (<https://chromedevtools.github.io/devtools-protocol/>).

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);

/// A browser with one page. It is killed when this is dropped.
pub(crate) struct Browser {
    child: Child,
    commands: File,
    messages: Receiver<Value>,
    session: Value,
    last: u64,
    complaints: Vec<String>,
    _dir: TempDir,
}

impl Browser {
    /// Opens a page.
    pub(crate) fn open(url: &str) -> Self {
        let program = std::env::var("HERALD_TEST_CHROMIUM")
            .unwrap_or_else(|_| panic!("HERALD_TEST_CHROMIUM is not set: run as `bash tests/run`"));
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let pipes = Command::new("mkfifo").args([path("in"), path("out")]).status().unwrap();
        assert!(pipes.success(), "mkfifo");
        let line = format!(
            "exec {program} --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking \
             --disable-component-update --disable-sync --disable-dev-shm-usage --no-proxy-server \
             --remote-debugging-pipe --user-data-dir={} 3<{} 4>{}",
            path("profile").display(),
            path("in").display(),
            path("out").display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &line]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        // Each waits for the other end; the shell opens them in this order.
        let commands = File::options().write(true).open(path("in")).unwrap();
        let from = BufReader::new(File::open(path("out")).unwrap());
        let (send, messages) = channel();
        std::thread::spawn(move || {
            for message in from.split(0).map_while(Result::ok) {
                // Nobody reads any more when the test is over.
                let _ = send.send(serde_json::from_slice(&message).unwrap());
            }
        });
        let mut browser = Self {
            child,
            commands,
            messages,
            session: Value::Null,
            last: 0,
            complaints: Vec::new(),
            _dir: dir,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attach = json!({"targetId": target, "flatten": true});
        browser.session = browser.call("Target.attachToTarget", attach)["sessionId"].clone();
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            browser.call(domain, json!({}));
        }
        browser.call("Page.navigate", json!({"url": url}));
        browser.until("document.readyState === 'complete'");
        browser
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.commands.write_all(&bytes).unwrap();
        loop {
            let answer = self.messages.recv_timeout(LIMIT);
            let answer = answer.unwrap_or_else(|error| panic!("{method}: {error}"));
            self.note(&answer);
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// Keeps what the page complains about.
    fn note(&mut self, message: &Value) {
        let text = match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => &message["params"]["exceptionDetails"],
            Some("Log.entryAdded") if message["params"]["entry"]["level"] == "error" => {
                &message["params"]["entry"]
            }
            _ => return,
        };
        self.complaints.push(text.to_string());
    }

    /// The value of an expression in the page.
    pub(crate) fn ask(&mut self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", parameters);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression in the page is true.
    #[track_caller]
    pub(crate) fn until(&mut self, expression: &str) {
        let begun = Instant::now();
        // While one page gives way to the next there is none to be asked, and that is false too.
        while self.ask(&format!("Boolean(document.body) && ({expression})")) != true {
            let late = begun.elapsed() > LIMIT;
            assert!(!late, "not within {LIMIT:?}: {expression}\n{}", self.ask("document.body.outerHTML"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Errors of the page's script and what its policy refused.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.complaints.clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its other processes end when this one does.
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}
