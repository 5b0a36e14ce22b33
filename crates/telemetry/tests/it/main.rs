//! What a line of log looks like, read back from the writer.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::io;
use std::sync::{Arc, Mutex};
use telemetry::{LogConfig, LogFormat, correlated, subscriber};

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(config: &LogConfig, terminal: bool, act: impl FnOnce()) -> String {
    let written = Written::default();
    let writer = written.clone();
    tracing::subscriber::with_default(subscriber(config, terminal, move || writer.clone()), act);
    written.text()
}

fn json() -> LogConfig {
    LogConfig { format: LogFormat::Json, ..LogConfig::default() }
}

#[test]
fn a_json_line_has_time_level_message_target_and_fields() {
    let text = logged(&json(), false, || {
        tracing::info!(queue.name = "exports", task.count = 3, "gave back \"3\" tasks");
    });

    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["level"], "info");
    assert_eq!(line["message"], "gave back \"3\" tasks");
    assert_eq!(line["target"], "it");
    assert_eq!(line["fields"], serde_json::json!({"queue.name": "exports", "task.count": 3}));
    assert_eq!(line.get("correlation_id"), None);
    assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(text.matches('\n').count(), 1);
}

#[tokio::test]
async fn a_line_carries_the_correlation_id_of_its_request() {
    let written = Written::default();
    let writer = written.clone();
    let _log = tracing::subscriber::set_default(subscriber(&json(), false, move || writer.clone()));

    correlated("checkout-42".parse().unwrap(), async { tracing::warn!("slow") }).await;
    tracing::warn!("outside");

    let lines: Vec<serde_json::Value> =
        written.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["correlation_id"], "checkout-42");
    assert_eq!(lines[1].get("correlation_id"), None);
}

#[test]
fn an_error_is_logged_with_its_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot load keys")]
    struct Outer(#[source] io::Error);
    let error = Outer(io::Error::other("disk on fire"));

    let text = logged(&json(), false, || {
        tracing::error!(error = &error as &dyn std::error::Error, "kept the old keys");
    });
    assert!(text.contains(r#""error":"cannot load keys: disk on fire""#), "{text}");
}

#[test]
fn auto_is_pretty_on_a_terminal_and_json_elsewhere() {
    let act = || tracing::info!(port = 5241, "listening");
    assert!(logged(&LogConfig::default(), false, act).starts_with('{'));
    let pretty = logged(&LogConfig::default(), true, act);
    assert!(pretty.contains("listening  port=5241") && pretty.contains("\u{1b}[32m"), "{pretty}");
}

#[test]
fn a_line_for_people_is_one_line_whatever_the_message() {
    let text = logged(&LogConfig::default(), true, || tracing::warn!("left\n  right\u{1b}[2J"));
    assert!(text.contains(r"left\n  right\u{1b}[2J") && text.matches('\n').count() == 1, "{text:?}");
}

#[test]
fn a_worker_of_the_server_library_is_not_worth_a_line() {
    let text = logged(&LogConfig::default(), false, || {
        tracing::info!(target: "actix_server::worker", "starting worker");
        tracing::warn!(target: "actix_server::worker", "worker died");
    });
    assert!(text.contains("worker died") && !text.contains("starting"), "{text}");
}

#[test]
fn a_level_by_target_lets_only_that_target_through() {
    let config = LogConfig { level: "off,loud=debug".parse().unwrap(), ..json() };
    let text = logged(&config, false, || {
        tracing::error!("not this");
        tracing::debug!(target: "loud", "but this");
    });
    assert_eq!(text.lines().count(), 1);
    assert!(text.contains("but this"), "{text}");
}
