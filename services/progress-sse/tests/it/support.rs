//! What the tests of this service share.

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{Client, Keys, RedisServer, Service};

pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A service on a Redis of its own.
pub(crate) struct Stand {
    pub(crate) api: Client,
    pub(crate) service: Service,
    pub(crate) keys: Keys,
    pub(crate) key: String,
    pub(crate) redis: RedisServer,
    others: Vec<Service>,
}

impl Stand {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With further variables of `SLUICE__PROGRESS_SSE__`.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let redis = RedisServer::persistent().await;
        let (keys, key) = Keys::admin();
        let service = Self::node(&redis, &keys, settings).await;
        Self { api: service.client(&key), service, keys, key, redis, others: Vec::new() }
    }

    /// A client of one more node of the same installation.
    pub(crate) async fn another(&mut self) -> Client {
        let node = Self::node(&self.redis, &self.keys, &[]).await;
        let client = node.client(&self.key);
        self.others.push(node);
        client
    }

    pub(crate) async fn node(redis: &RedisServer, keys: &Keys, settings: &[(&str, &str)]) -> Service {
        let (url, keys_file) = (redis.url(), keys.path().to_str().unwrap());
        let settings: Vec<(String, &str)> =
            settings.iter().map(|(key, value)| (format!("SLUICE__PROGRESS_SSE__{key}"), *value)).collect();
        let mut env = vec![("SLUICE__REDIS__URL", &*url), ("SLUICE__AUTH__KEYS_FILE", keys_file)];
        env.extend(settings.iter().map(|(key, value)| (&**key, *value)));
        Service::start("progress-sse", &env).await
    }

    pub(crate) async fn create(&self, operation: Value) -> String {
        let made = self.api.json(self.api.post("/v1/operations", &operation)).await;
        made["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn update(&self, id: &str, update: Value) -> Value {
        self.api.json(self.api.post(&format!("/v1/operations/{id}/updates"), &update)).await
    }

    pub(crate) async fn complete(&self, id: &str) -> Value {
        self.api.json(self.api.post(&format!("/v1/operations/{id}/complete"), &json!({}))).await
    }

    pub(crate) async fn snapshot(&self, id: &str) -> Value {
        self.api.json(self.api.get(&format!("/v1/operations/{id}"))).await
    }

    pub(crate) async fn watchers(&self) -> u64 {
        self.api.json(self.api.get("/health")).await["checks"]["watchers"].as_u64().unwrap()
    }

    pub(crate) fn events(&self, id: &str) -> RequestBuilder {
        self.api.get(&format!("/v1/operations/{id}/events"))
    }
}

/// One event as an EventSource dispatches it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) data: Value,
    /// The last event id after it.
    pub(crate) cursor: String,
}

impl Event {
    pub(crate) fn seq(&self) -> u64 {
        self.cursor.split_once('.').unwrap().1.parse().unwrap()
    }
}

/// Reads a stream as the WHATWG says: fields, comments, blank lines; pieces may end anywhere.
pub(crate) struct EventReader {
    answer: Response,
    text: String,
    pub(crate) cursor: String,
    pub(crate) retry: Option<u64>,
    pub(crate) comments: usize,
}

impl EventReader {
    pub(crate) fn new(answer: Response) -> Self {
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, text: String::new(), cursor: String::new(), retry: None, comments: 0 }
    }

    pub(crate) async fn open(request: RequestBuilder) -> Self {
        Self::new(request.send().await.unwrap())
    }

    /// The next event, heartbeats too; none when the stream has ended, or broke.
    pub(crate) async fn any(&mut self) -> Option<Event> {
        let (mut kind, mut data) = ("message".to_owned(), Vec::new());
        loop {
            let line = self.line().await?;
            match line.split_once(':') {
                Some(("", _)) => self.comments += 1,
                Some((field, value)) => {
                    let value = value.strip_prefix(' ').unwrap_or(value);
                    match field {
                        "event" => kind = value.to_owned(),
                        "data" => data.push(value.to_owned()),
                        "id" => self.cursor = value.to_owned(),
                        "retry" => self.retry = Some(value.parse().unwrap()),
                        other => panic!("an unknown field: {other}"),
                    }
                }
                None if line.is_empty() && data.is_empty() => {}
                None if line.is_empty() => {
                    let data = serde_json::from_str(&data.join("\n")).unwrap();
                    return Some(Event { kind, data, cursor: self.cursor.clone() });
                }
                None => panic!("a line without a field: {line:?}"),
            }
        }
    }

    /// The next event besides heartbeats.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        let next = async {
            loop {
                let event = self.any().await?;
                if event.kind != "heartbeat" {
                    return Some(event);
                }
            }
        };
        // Around the loop: heartbeats come for ever.
        tokio::time::timeout(SOON, next).await.expect("nothing came")
    }

    pub(crate) async fn rest(&mut self) -> Vec<Event> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.find('\n') {
                let line = self.text[..end].to_owned();
                self.text.drain(..=end);
                return Some(line);
            }
            let piece = self.answer.chunk().await.ok()??;
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }
}
