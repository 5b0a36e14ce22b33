//! Helpers for the gate's tests: the real binary with rules of the test, and an upstream that answers with what it got.

use crate::door_support::Wire;
use redis_core::{Redis, RedisConfig};
use serde_json::{Value, json};
use session::{SessionConfig, SessionKeys, Sessions};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use testkit::{Client, Keys, RedisServer, Service};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The gateway on a Redis of its own, its upstream, and an almighty key.
pub(crate) struct Gateway {
    pub(crate) service: Service,
    pub(crate) redis: RedisServer,
    pub(crate) key: String,
    /// A key that may only read.
    pub(crate) reader: String,
    _keys: Keys,
    /// Without a key.
    pub(crate) public: Client,
    /// With the almighty key.
    pub(crate) admin: Client,
    folder: TempDir,
    pub(crate) upstream: u16,
    _upstreams: JoinSet<()>,
}

impl Gateway {
    /// These rules, and the upstream `app`.
    pub(crate) async fn start(rules: &str) -> Self {
        Self::with(rules, &[]).await
    }

    /// With further files beside the rules.
    pub(crate) async fn with(rules: &str, files: &[(&str, &str)]) -> Self {
        Self::launch(rules, files, &[]).await
    }

    /// With further variables.
    pub(crate) async fn with_variables(rules: &str, variables: &[(&str, &str)]) -> Self {
        Self::launch(rules, &[], variables).await
    }

    async fn launch(rules: &str, files: &[(&str, &str)], variables: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start().await;
        let (mut keys, key) = Keys::admin();
        let reader = keys.add("reader", &["ops:read", "cache:read"]);
        let (upstream, upstreams) = echo("app").await;
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        std::fs::write(folder.path().join("gateway.toml"), rules_text(upstream, rules)).unwrap();
        let path_of = |name: &str| folder.path().join(name).display().to_string();
        let (user_key, session_keys) = (path_of("session.user.key"), path_of("session.keys"));
        std::fs::write(&user_key, USER_KEY).unwrap();
        std::fs::write(&session_keys, SESSION_KEYS).unwrap();
        let (url, keys_file) = (redis.url(), keys.path().display().to_string());
        let rules_file = path_of("gateway.toml");
        let env = [
            ("SLUICE__REDIS__URL", &*url),
            ("SLUICE__AUTH__KEYS_FILE", &*keys_file),
            ("SLUICE__RATELIMIT_GATEWAY__RULES_FILE", &*rules_file),
            ("SLUICE__SESSION__USER_KEY_FILE", &*user_key),
            ("SLUICE__SESSION__KEYS_FILE", &*session_keys),
            ("SLUICE__HTTP__WORKERS", "1"),
            // A busy machine is no Redis that is away: who counts by itself after a hiccup counts less.
            ("SLUICE__RATELIMIT_GATEWAY__CHECK_TIMEOUT_MS", "10000"),
        ];
        let env = [&env, variables].concat();
        let service = Service::start_with_admin("ratelimit-gateway", &env).await;
        let admin = Client::new(&service.admin_url()).with_key(&key);
        let public = Client::new(&service.base_url());
        Self {
            service,
            redis,
            key,
            reader,
            _keys: keys,
            public,
            admin,
            folder,
            upstream,
            _upstreams: upstreams,
        }
    }

    /// Writes other rules in place of those in the file.
    pub(crate) fn rewrite(&self, rules: &str) {
        std::fs::write(self.rules_file(), rules_text(self.upstream, rules)).unwrap();
    }

    /// Writes another file beside the rules.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    pub(crate) fn rules_file(&self) -> PathBuf {
        self.folder.path().join("gateway.toml")
    }

    /// The head of `GET` as the upstream got it, with these fields sent.
    pub(crate) async fn seen(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let mut request = self.public.get(path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path} {fields:?}");
        answer.text().await.unwrap()
    }

    /// The status of `GET`, with these fields sent.
    pub(crate) async fn status(&self, path: &str, fields: &[(&str, &str)]) -> u16 {
        let mut request = self.public.get(path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status().as_u16()
    }

    /// How many units count against a policy; `whose` is more of the query.
    pub(crate) async fn used(&self, policy: &str, whose: &str) -> u64 {
        let state = self.admin.get(&format!("/v1/ratelimit/state?policy={policy}&{whose}"));
        self.admin.json(state).await["limits"][0]["used"].as_u64().unwrap()
    }

    /// The sessions that cache-api would make.
    pub(crate) fn sessions(&self) -> Sessions {
        let redis = Redis::connect(&RedisConfig::at(self.redis.url()));
        let keys = SessionKeys::parse(USER_KEY, SESSION_KEYS).unwrap();
        Sessions::new(redis, keys, SessionConfig::default())
    }

    /// A client that speaks in bytes.
    pub(crate) async fn connect(&self) -> Wire {
        Wire::new(TcpStream::connect(("127.0.0.1", self.service.port())).await.unwrap())
    }

    /// Head and body of the answer to `GET` of a path that no client would send as it stands.
    pub(crate) async fn raw(&self, path: &str) -> (String, String) {
        let mut client = self.connect().await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")).await;
        client.message().await
    }

    /// The answer of the check API.
    pub(crate) async fn check(&self, body: Value) -> reqwest::Response {
        self.admin.post("/v1/ratelimit/check", &body).send().await.unwrap()
    }
}

/// The line of the file in which the rules of a test begin.
pub(crate) const FIRST_LINE: usize = 3;

fn rules_text(upstream: u16, rules: &str) -> String {
    format!("[upstreams.app]\ntargets = [\"http://127.0.0.1:{upstream}\"]\n{rules}")
}

/// Answers each request with its head, with its name, and with limits of its own.
pub(crate) async fn echo(name: &'static str) -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(Wire::new(stream), name));
        }
    });
    (port, tasks)
}

async fn serve(mut wire: Wire, name: &str) {
    while let Some(head) = wire.next_head().await {
        let fields = format!(
            "Server: {name}\r\nRateLimit: \"own\";r=1\r\nRateLimit-Policy: \"own\";q=2;w=3\r\nContent-Type: text/plain"
        );
        let length = head.len();
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{fields}\r\n\r\n{head}")).await;
    }
}

/// A field of an answer; several are joined.
pub(crate) fn of(answer: &reqwest::Response, name: &str) -> String {
    let values = answer.headers().get_all(name).iter().map(|value| value.to_str().unwrap());
    values.collect::<Vec<_>>().join(", ")
}

/// A route to `app` of everything, under these terms.
pub(crate) fn all(terms: &str) -> String {
    format!("[[routes]]\nname = \"all\"\npath = \"/\"\nupstream = \"app\"\n{terms}\n")
}

/// A route to `app` of `/<name>`, under these terms.
pub(crate) fn route(name: &str, terms: &str) -> String {
    format!("[[routes]]\nname = \"{name}\"\npath = \"/{name}\"\nupstream = \"app\"\n{terms}\n")
}

/// A policy of one window.
pub(crate) fn policy(name: &str, scope: &str, limit: u32, window: &str) -> String {
    format!("[policies.{name}]\nscope = {scope}\nwindows = [{{ limit = {limit}, window = \"{window}\" }}]\n")
}

/// What `POST /v1/ratelimit/check` takes.
pub(crate) fn of_user(policy: &str, user: &str) -> Value {
    json!({ "policy": policy, "user": user })
}

const USER_KEY: &str = "0707070707070707070707070707070707070707070707070707070707070707";
const SESSION_KEYS: &str = "1 0909090909090909090909090909090909090909090909090909090909090909";
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
