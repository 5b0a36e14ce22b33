//! A headless Chromium, for pages whose truth is what their scripts made of them.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

use crate::guardian::{Guarded, Program};
use crate::wait::within;

/// No answer of the browser may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

const FLAGS: [&str; 13] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-first-run",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--window-size=1280,800",
    // Commands over two pipes: no port, and the browser ends when they close.
    "--remote-debugging-pipe",
];

/// One page of a headless Chromium with an empty profile. Dropping it kills the browser.
///
/// It ends with the test's process, however that ends.
#[derive(Debug)]
pub struct Browser {
    process: Guarded,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    session: Option<String>,
    calls: u64,
    is_loaded: bool,
    errors: Vec<String>,
    profile: TempDir,
}

impl Browser {
    /// Whether this machine has one: `SLUICE_TEST_BROWSER`, or Chromium or Chrome on `PATH`.
    pub fn is_installed() -> bool {
        binary().is_some()
    }

    /// Starts it with an empty page of 1280 × 800. Takes about half a second.
    ///
    /// # Panics
    /// When there is none, or it does not answer.
    pub async fn start() -> Self {
        let profile = tempfile::Builder::new().prefix("sluice-browser-").tempdir().expect("a temp folder");
        let mut args: Vec<OsString> = FLAGS.iter().map(OsString::from).collect();
        args.push(format!("--user-data-dir={}", profile.path().display()).into());
        args.push("about:blank".into());
        let mut process = Guarded::with_channels(&Program {
            path: binary().expect("tests of pages need chromium on PATH, or SLUICE_TEST_BROWSER"),
            args,
            env: vec![("HOME".into(), profile.path().into())],
            folder: profile.path().to_owned(),
            log: profile.path().join("browser.log"),
        });
        let (input, output) = process.channels.take().expect("it was started with channels");
        let input = ChildStdin::from_std(input).expect("a pipe");
        let output = BufReader::new(ChildStdout::from_std(output.into_inner()).expect("a pipe"));
        let (session, errors) = (None, Vec::new());
        let mut browser =
            Self { process, input, output, session, calls: 0, is_loaded: false, errors, profile };
        browser.attach().await;
        browser
    }

    /// Loads an address and returns after its load event; what the page fetches by script may come later.
    ///
    /// # Panics
    /// When there is no answer at this address.
    pub async fn open(&mut self, address: &str) {
        self.is_loaded = false;
        let answer = self.call("Page.navigate", json!({ "url": address })).await;
        assert!(answer["errorText"].is_null(), "{address}: {}", answer["errorText"]);
        while !self.is_loaded {
            self.receive().await;
        }
    }

    /// From the next [`Browser::open`] on, pages run no script of their own, as in a browser where that is switched off.
    pub async fn without_scripts(&mut self) {
        self.call("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    }

    /// From the next [`Browser::open`] on, runs this before any script of a page.
    pub async fn before_scripts(&mut self, script: &str) {
        self.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    }

    /// The page as it is now, as HTML: after its scripts, not as it was sent.
    pub async fn html(&mut self) -> String {
        self.evaluate("document.documentElement.outerHTML").await.as_str().unwrap_or_default().to_owned()
    }

    /// The visible text of the page.
    pub async fn text(&mut self) -> String {
        self.evaluate("document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    /// The value of a JavaScript expression (a promise's result); `undefined` is null.
    ///
    /// # Panics
    /// When it throws.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.call("Runtime.evaluate", params).await;
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].take()
    }

    /// Waits until a JavaScript expression is true (`"document.title === 'done'"`).
    ///
    /// # Panics
    /// When it was not within `deadline`; the message holds the page's text.
    pub async fn until(&mut self, expression: &str, deadline: Duration) {
        let start = Instant::now();
        while self.evaluate(&format!("Boolean({expression})")).await != true {
            if start.elapsed() >= deadline {
                panic!("{expression} was not true within {deadline:?}; the page says: {}", self.text().await);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the window shows, as PNG.
    pub async fn screenshot(&mut self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
        let data = answer["data"].as_str().unwrap_or_default();
        BASE64.decode(data.as_bytes()).expect("the browser sends base64")
    }

    /// Uncaught exceptions and failed loads of the page so far, one line each.
    pub async fn errors(&mut self) -> &[String] {
        // What is on its way comes before this answer.
        self.evaluate("0").await;
        &self.errors
    }

    /// What stands in the environment of all its processes and no other.
    #[doc(hidden)]
    pub fn mark(&self) -> String {
        self.profile.path().display().to_string()
    }

    async fn attach(&mut self) {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let params = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.call("Target.attachToTarget", params).await;
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            self.call(domain, json!({})).await;
        }
    }

    /// One command of the DevTools protocol, and its result.
    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        if let Err(error) = self.input.write_all(&bytes).await {
            panic!("{method}: {error}; the browser's log:\n{}", self.process.log());
        }
        loop {
            let mut message = self.receive().await;
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
        }
    }

    /// The next message; notes what events tell.
    async fn receive(&mut self) -> Value {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.output.read_until(0, &mut bytes)).await;
        if bytes.pop() != Some(0) {
            panic!("the browser says nothing more ({read:?}); its log:\n{}", self.process.log());
        }
        let message: Value = serde_json::from_slice(&bytes).expect("the browser sends JSON");
        let details = &message["params"];
        match message["method"].as_str() {
            Some("Page.loadEventFired") => self.is_loaded = true,
            Some("Runtime.exceptionThrown") => {
                let thrown = &details["exceptionDetails"];
                let text = thrown["exception"]["description"].as_str().or(thrown["text"].as_str());
                self.errors.push(text.unwrap_or("an exception").to_owned());
            }
            Some("Log.entryAdded") if details["entry"]["level"] == "error" => {
                let entry = &details["entry"];
                let (text, source) = (entry["text"].as_str(), entry["url"].as_str());
                self.errors.push(format!("{} {}", source.unwrap_or_default(), text.unwrap_or_default()));
            }
            _ => {}
        }
        message
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.process.kill();
        // Its helper processes end by themselves a moment later, and write into the profile until then.
        let folder = self.profile.path();
        within(Duration::from_secs(5), || std::fs::remove_dir_all(folder).is_ok() || !folder.exists());
    }
}

fn binary() -> Option<PathBuf> {
    if let Some(path) = env::var_os("SLUICE_TEST_BROWSER") {
        return Some(PathBuf::from(path));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
        .iter()
        .flat_map(|name| env::split_paths(&path).map(move |folder| folder.join(name)))
        .find(|file| file.is_file())
}
