//! The stack as the demo uses it: plain HTTP through the gateway, with an API key, like anybody's program.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use domain::TaskId;
use domain::queue::{Enqueued, Task};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// An answer that takes longer is none. (Streams have no such bound.)
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Where a stack is, and a key to it.
#[derive(Clone, Debug)]
pub struct Stack {
    /// The gateway's public port, such as `http://127.0.0.1:5242`: all services are behind it.
    pub url: String,
    /// An API key with the rights of the demo.
    pub key: SecretString,
}

pub(crate) struct Client {
    http: reqwest::Client,
    stack: Stack,
}

impl Client {
    pub(crate) fn new(stack: Stack) -> Self {
        Self { http: reqwest::Client::new(), stack }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.stack.url))
            .bearer_auth(self.stack.key.expose_secret())
    }

    fn entry(&self, method: Method, project: &str, name: &str) -> RequestBuilder {
        let path = format!("/v1/projects/{project}/entries/{}", encoded(name));
        self.request(method, &path).timeout(ANSWER_WITHIN)
    }

    pub(crate) async fn put_entry(&self, project: &str, name: &str, bytes: Bytes) -> anyhow::Result<()> {
        let request =
            self.entry(Method::PUT, project, name).header("Content-Type", "application/octet-stream");
        answered(request.body(bytes).send().await?, name).await?;
        Ok(())
    }

    pub(crate) async fn entry_bytes(&self, project: &str, name: &str) -> anyhow::Result<Bytes> {
        let answer = self.entry(Method::GET, project, name).send().await?;
        Ok(answered(answer, name).await?.bytes().await?)
    }

    /// Forgets all entries of a project; the answer may be that it is too often.
    pub(crate) async fn invalidate(&self, project: &str) -> anyhow::Result<Response> {
        let request = self.request(Method::POST, &format!("/v1/projects/{project}/invalidate"));
        let answer = request.timeout(ANSWER_WITHIN).json(&json!({})).send().await?;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            return Ok(answer);
        }
        answered(answer, project).await
    }

    /// Enqueues a task that shows its progress; returns its id.
    pub(crate) async fn enqueue(
        &self,
        queue: &str,
        project: &str,
        payload: &Value,
    ) -> anyhow::Result<TaskId> {
        let request = self.request(Method::POST, &format!("/v1/queues/{queue}/tasks"));
        let body = json!({ "payload": payload, "project": project, "progress": true });
        let enqueued: Enqueued =
            read(answered(request.timeout(ANSWER_WITHIN).json(&body).send().await?, queue).await?).await?;
        Ok(enqueued.id)
    }

    pub(crate) async fn task(&self, queue: &str, id: TaskId) -> anyhow::Result<Task> {
        let request = self.request(Method::GET, &format!("/v1/queues/{queue}/tasks/{id}"));
        read(answered(request.timeout(ANSWER_WITHIN).send().await?, "the task").await?).await
    }

    /// Opens the event stream of an operation after the event `last`; `None` when there is nothing
    /// (yet, or any more).
    pub(crate) async fn events(
        &self,
        operation: &str,
        last: Option<&str>,
    ) -> anyhow::Result<Option<Response>> {
        let path = format!("/v1/operations/{operation}/events");
        let mut request = self.request(Method::GET, &path);
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let answer = request.send().await?;
        if matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::NO_CONTENT) {
            return Ok(None);
        }
        answered(answer, operation).await.map(Some)
    }
}

/// The answer if it is a good one, else its problem as an error.
async fn answered(answer: Response, what: &str) -> anyhow::Result<Response> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let text = answer.text().await.unwrap_or_default();
    let detail = serde_json::from_str::<Value>(&text)
        .ok()
        .and_then(|problem| Some(problem.get("detail")?.to_string()));
    bail!("{what}: {status} {}", detail.unwrap_or(text))
}

async fn read<T: DeserializeOwned>(answer: Response) -> anyhow::Result<T> {
    let bytes = answer.bytes().await?;
    ensure!(!bytes.is_empty(), "an empty answer");
    serde_json::from_slice(&bytes).with_context(|| format!("cannot read {}", String::from_utf8_lossy(&bytes)))
}

/// An entry's name as the rest of a path: its slashes stay.
fn encoded(name: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const IN_A_PATH: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(name, IN_A_PATH).to_string()
}
