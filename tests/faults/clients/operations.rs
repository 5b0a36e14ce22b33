//! Reports messages to an operation, and watches it: the watcher begins anew wherever its stream ends.

use super::Asking;
use crate::history::{Answer, Fact, Service};
use reqwest::Response;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::Client;
use tokio::sync::oneshot;

pub(super) async fn run(mut asking: Asking, progress: Client, name: String) {
    let operation = format!("faults-{name}");
    until_taken(&asking, &progress, "/v1/operations", &json!({ "id": operation })).await;
    let watcher = Asking::new(&asking.notes, &asking.stop, 0);
    // Who comes late is shown the state alone, and none of the messages before it.
    let (began, watched) = oneshot::channel();
    let reporting = async {
        let _ = watched.await;
        let mut number = 0;
        while asking.goes_on().await {
            number += 1;
            let path = format!("/v1/operations/{operation}/updates");
            let update = json!({ "message": "on its way", "data": { "number": number } });
            let reported = Fact::Reported { operation: operation.clone(), number };
            // Never repeated: what had no answer may have been taken.
            asking.ask(Service::ProgressSse, progress.post(&path, &update), &[200], |_| Some(reported)).await;
        }
        let path = format!("/v1/operations/{operation}/complete");
        until_taken(&asking, &progress, &path, &json!({})).await;
    };
    tokio::join!(reporting, watch(&watcher, &progress, &operation, began));
}

/// Repeats it until it was done; 409: an earlier try without an answer did it.
async fn until_taken(asking: &Asking, progress: &Client, path: &str, body: &Value) {
    for _ in 0..MOST_TRIES {
        if asking
            .ask(Service::ProgressSse, progress.post(path, body), &[200, 201, 409], |_| None)
            .await
            .is_some()
        {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// To the operation's end.
async fn watch(asking: &Asking, progress: &Client, operation: &str, began: oneshot::Sender<()>) {
    let (mut cursor, mut began) = (String::new(), Some(began));
    for _ in 0..MOST_TRIES {
        let path = format!("/v1/operations/{operation}/events");
        let mut request = progress.get(&path);
        if !cursor.is_empty() {
            request = request.header("Last-Event-ID", &cursor);
        }
        let sent = asking.notes.begin.elapsed();
        match tokio::time::timeout(super::PATIENCE, request.send()).await {
            Ok(Ok(answer)) if answer.status() == 204 => return,
            Ok(Ok(answer)) if answer.status() == 200 => {
                asking.note(Service::ProgressSse, sent, Answer::Good, None);
                drop(began.take());
                if read(asking, answer, operation, &mut cursor).await {
                    return;
                }
                let what = "a stream ended before its operation".to_owned();
                asking.note(Service::ProgressSse, sent, Answer::Wrong { what }, None);
            }
            Ok(Ok(answer)) => {
                let what = format!("{} to a watcher", answer.status());
                asking.note(Service::ProgressSse, sent, Answer::Wrong { what }, None);
            }
            Ok(Err(_)) | Err(_) => asking.note(Service::ProgressSse, sent, Answer::None, None),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Notes each message; true when the operation has ended.
async fn read(asking: &Asking, mut answer: Response, operation: &str, cursor: &mut String) -> bool {
    let (mut text, mut event, mut data) = (String::new(), String::new(), String::new());
    while let Ok(Some(piece)) = answer.chunk().await {
        text.push_str(&String::from_utf8_lossy(&piece));
        while let Some(end) = text.find('\n') {
            let line: String = text.drain(..=end).collect();
            match line.trim_end_matches('\n').split_once(": ") {
                Some(("event", kind)) => event = kind.to_owned(),
                Some(("id", id)) => id.clone_into(cursor),
                Some(("data", part)) => data.push_str(part),
                Some(_) => {}
                // A blank line: the event is whole.
                None => {
                    let whole = serde_json::from_str::<Value>(&std::mem::take(&mut data)).unwrap_or_default();
                    if let Some(number) = whole["data"]["number"].as_u64() {
                        let operation = operation.to_owned();
                        asking
                            .note_fact(Service::ProgressSse, Fact::Watched { watcher: 0, operation, number });
                    }
                    if std::mem::take(&mut event) == "completed" {
                        return true;
                    }
                }
            }
        }
    }
    false
}

const AGAIN: Duration = Duration::from_millis(200);
const MOST_TRIES: usize = 100;
