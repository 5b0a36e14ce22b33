//! A service on a Redis of its own, and a server to push tasks to.

use domain::progress::Snapshot;
use progress::{Lifetimes, Operations};
use redis_core::{Redis, RedisConfig};
use reqwest::Response;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::{Client, Keys, Proxy, RedisServer, Service, until};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A generous bound for a state to come; nothing waits that long when it works.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// queue-worker, its Redis, and a client that may do everything.
pub(crate) struct Stage {
    pub(crate) api: Client,
    pub(crate) service: Service,
    pub(crate) keys: Keys,
    pub(crate) key: String,
    pub(crate) redis: RedisServer,
}

impl Stage {
    /// With the defaults.
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With settings of `[queue_worker]`, named as in the environment: `("GRACE_MS", "0")`.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start().await;
        let url = redis.url();
        Self::at(redis, url, settings).await
    }

    /// With a proxy before Redis. What is held there is waited for: the service's own deadline is a minute.
    pub(crate) async fn behind_a_proxy() -> (Self, Proxy) {
        let redis = RedisServer::start().await;
        let proxy = Proxy::to(&redis).await;
        let stage = Self::at(redis, proxy.url(), &[("SLUICE__REDIS__COMMAND_TIMEOUT_MS", "60000")]).await;
        (stage, proxy)
    }

    async fn at(redis: RedisServer, url: String, settings: &[(&str, &str)]) -> Self {
        let (keys, key) = Keys::admin();
        let service = Service::start("queue-worker", &pairs(&environment(url, &keys, settings))).await;
        Self { api: service.client(&key), service, keys, key, redis }
    }

    /// Another process of the same installation, ready to work.
    pub(crate) async fn another(&self, settings: &[(&str, &str)]) -> Service {
        Service::start("queue-worker", &pairs(&environment(self.redis.url(), &self.keys, settings))).await
    }

    /// A client with these scopes only, known after a restart of the service.
    pub(crate) async fn client_with(&mut self, scopes: &[&str]) -> Client {
        let key = self.keys.add("some", scopes);
        self.service.restart().await;
        self.service.client(&key)
    }

    /// Enqueues and answers with the id.
    pub(crate) async fn enqueue(&self, queue: &str, task: Value) -> String {
        let enqueued = self.api.json(self.api.post(&format!("/v1/queues/{queue}/tasks"), &task)).await;
        enqueued["id"].as_str().unwrap().to_owned()
    }

    /// Leases one task, waiting for it.
    pub(crate) async fn lease(&self, queue: &str) -> Value {
        let request = json!({"worker": "w", "wait_ms": 20_000});
        let leased = self.api.json(self.api.post(&format!("/v1/queues/{queue}/leases"), &request)).await;
        leased["tasks"][0].clone()
    }

    /// A write about leases: `ack`, `nack`, `extend`, `progress`.
    pub(crate) async fn say(&self, queue: &str, verb: &str, body: Value) -> Response {
        self.api.post(&format!("/v1/queues/{queue}/leases/{verb}"), &body).send().await.unwrap()
    }

    /// The task as it is.
    pub(crate) async fn task(&self, queue: &str, id: &str) -> Value {
        self.api.json(self.api.get(&format!("/v1/queues/{queue}/tasks/{id}"))).await
    }

    /// The task at its end.
    pub(crate) async fn ended(&self, queue: &str, id: &str) -> Value {
        let path = format!("/v1/queues/{queue}/tasks/{id}?wait_ms=30000");
        self.api.json(self.api.get(&path)).await
    }

    /// The task, once it is in this state.
    pub(crate) async fn reaches(&self, queue: &str, id: &str, state: &str) -> Value {
        let look = async || Some(self.task(queue, id).await).filter(|task| task["state"] == state);
        until(look, SOON).await
    }

    /// A handle on the same Redis, for what this service writes and another one shows.
    pub(crate) fn handle(&self) -> Redis {
        Redis::connect(&RedisConfig::at(self.redis.url()))
    }

    /// The operation of a task, once it is as wanted.
    pub(crate) async fn operation(
        &self,
        queue: &str,
        id: &str,
        is_wanted: impl Fn(&Snapshot) -> bool,
    ) -> Snapshot {
        let operations = Operations::new(self.handle(), Lifetimes::default());
        let operation = format!("{queue}.{id}").parse().unwrap();
        let look = async || operations.snapshot(&operation).await.unwrap().filter(|shown| is_wanted(shown));
        until(look, SOON).await
    }
}

fn environment(redis: String, keys: &Keys, settings: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all = vec![
        ("SLUICE__REDIS__URL".to_owned(), redis),
        ("SLUICE__AUTH__KEYS_FILE".to_owned(), keys.path().to_str().unwrap().to_owned()),
    ];
    let whole = |name: &str| match name.starts_with("SLUICE__") || name.starts_with("OTEL_") {
        true => name.to_owned(),
        false => format!("SLUICE__QUEUE_WORKER__{name}"),
    };
    all.extend(settings.iter().map(|(name, value)| (whole(name), (*value).to_owned())));
    all
}

fn pairs(environment: &[(String, String)]) -> Vec<(&str, &str)> {
    environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// A server that gets pushed tasks, answers as it was told, and remembers what it got.
pub(crate) struct Target {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Pushed>>>,
    _serving: JoinSet<()>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Pushed {
    head: String,
    pub(crate) body: String,
}

impl Pushed {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

impl Target {
    /// Each answer is the rest of a response after `HTTP/1.1 `; the last one is given again and again. An empty one is no
    /// answer at all.
    pub(crate) async fn answering(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/work", listener.local_addr().unwrap());
        let seen = Arc::default();
        let answers: VecDeque<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, Arc::new(Mutex::new(answers)), Arc::clone(&seen)));
        Self { url, seen, _serving: serving }
    }

    pub(crate) fn seen(&self) -> Vec<Pushed> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(listener: TcpListener, answers: Arc<Mutex<VecDeque<String>>>, seen: Arc<Mutex<Vec<Pushed>>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (answers, seen) = (Arc::clone(&answers), Arc::clone(&seen));
        connections.spawn(async move {
            let mut stream = BufReader::new(stream);
            let Some(pushed) = read(&mut stream).await else { return };
            seen.lock().unwrap().push(pushed);
            let answer = {
                let mut answers = answers.lock().unwrap();
                if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() }
            };
            if answer.is_empty() {
                std::future::pending::<()>().await;
            }
            let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
            let length = body.len();
            let text =
                format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            let _ = stream.write_all(text.as_bytes()).await;
        });
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Pushed> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let pushed = Pushed { head, body: String::new() };
    let mut body = vec![0; pushed.header("content-length")?.parse().ok()?];
    stream.read_exact(&mut body).await.ok()?;
    Some(Pushed { body: String::from_utf8(body).ok()?, ..pushed })
}
