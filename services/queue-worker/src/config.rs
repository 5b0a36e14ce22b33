//! What can be set.

use domain::queue::Executor;
use domain::{QueueName, WorkerName};
use http_kit::{AuthConfig, ConfigError, HttpConfig, ServiceConfig};
use queue::{Backoff, LEASE_BOUNDS};
use redis_core::RedisConfig;
use reqwest::Url;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;
use telemetry::LogConfig;

/// The configuration of the service, a section each.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[redis]`
    pub redis: RedisConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[auth]`
    pub auth: AuthConfig,
    /// `[http]`
    pub http: HttpConfig,
    /// `[queue_worker]`
    pub queue_worker: QueueWorkerConfig,
}

/// `[queue_worker]` in `sluice.toml`, `SLUICE__QUEUE_WORKER__*` in the environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueWorkerConfig {
    /// Where it listens. Default 127.0.0.1:5243.
    pub bind: SocketAddr,
    /// Whether it listens at all; a process that only works needs no port. Default true.
    pub http: bool,
    /// How its workers call themselves. Default: host, process id and a random part, so that no two are alike.
    pub worker: Option<WorkerName>,
    /// The queues that this process works on, in the environment with commas between them. Default: all that have an
    /// executor.
    pub serve: Option<QueueNames>,
    /// What is special about single queues. `embeddings`, `agent_tasks` and `exports` exist without being named.
    pub queues: BTreeMap<QueueName, QueueConfig>,
    /// How long running tasks may go on after a stop before they are given back, in milliseconds. Default 20,000.
    pub grace_ms: u64,
    /// How many queues there may be. Default 1000.
    pub max_queues: usize,
    /// How many bytes all queues together may hold, tasks and results; 0 is no bound. Default 40 % of 512 MiB.
    pub max_bytes: u64,
    /// Where an export puts its archive while it is made. Default: the system's folder for temporary files.
    pub spool_dir: PathBuf,
}

impl Default for QueueWorkerConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 5243)),
            http: true,
            worker: None,
            serve: None,
            queues: BTreeMap::new(),
            grace_ms: 20_000,
            max_queues: 1000,
            max_bytes: 512 * 1024 * 1024 / 10 * 4,
            spool_dir: std::env::temp_dir(),
        }
    }
}

/// `[queue_worker.queues.<name>]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// How tasks are delivered: `none` (workers pull), `push` or `native`. Default `none`, but `native` for `exports`.
    pub executor: Option<Executor>,
    /// With `push`: where a task is sent to by POST.
    pub url: Option<Target>,
    /// With `push`: a file with the value of the `Authorization` header.
    pub authorization_file: Option<PathBuf>,
    /// With `native`: which handler. Default `export_project`.
    pub handler: HandlerName,
    /// How many tasks this process runs at once. Default 16.
    pub slots: NonZeroUsize,
    /// How long a lease lasts unless a heartbeat extends it, in milliseconds. Default 30,000.
    pub lease_ms: u64,
    /// How long an attempt may take when the task does not say, in milliseconds. Default 900,000.
    pub timeout_ms: u64,
    /// How many failures make a task dead when it does not say. Default 3.
    pub max_attempts: NonZeroU8,
    /// The longest wait before a second attempt when the task does not say, in milliseconds. Default 1000.
    pub backoff_base_ms: u64,
    /// The longest wait before any attempt when the task does not say, in milliseconds. Default 60,000.
    pub backoff_cap_ms: u64,
    /// How long the outcome of a task and its result can be read, in milliseconds. Default 3,600,000.
    pub result_ttl_ms: u64,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            executor: None,
            url: None,
            authorization_file: None,
            handler: HandlerName::ExportProject,
            slots: NonZeroUsize::new(16).expect("16 is not zero"),
            lease_ms: 30_000,
            timeout_ms: 900_000,
            max_attempts: NonZeroU8::new(3).expect("3 is not zero"),
            backoff_base_ms: 1000,
            backoff_cap_ms: 60_000,
            result_ttl_ms: 3_600_000,
        }
    }
}

/// The handlers that are built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandlerName {
    /// A project's cache entries become one `tar.zst`.
    ExportProject,
}

/// Where tasks are pushed to: an `http` or `https` URL without a user in it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Target(pub(crate) Url);

/// Text that is no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a target: a URL that begins with http:// or https:// and names no user")]
pub struct InvalidTarget;

impl TryFrom<String> for Target {
    type Error = InvalidTarget;

    fn try_from(text: String) -> Result<Self, InvalidTarget> {
        let url = text.parse::<Url>().map_err(|_| InvalidTarget)?;
        // A password in a URL would be in logs and errors; `authorization_file` is its place.
        let plain = url.username().is_empty() && url.password().is_none();
        if plain && matches!(url.scheme(), "http" | "https") { Ok(Self(url)) } else { Err(InvalidTarget) }
    }
}

/// Names of queues: a list, or in the environment one text with commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueNames(pub Vec<QueueName>);

impl QueueWorkerConfig {
    /// The queues that exist by configuration, with what holds for them.
    pub(crate) fn all_queues(&self) -> BTreeMap<QueueName, QueueConfig> {
        let mut queues = self.queues.clone();
        for name in DEFAULT_QUEUES {
            queues.entry(name.parse().expect("its letters are allowed")).or_default();
        }
        queues
    }

    /// Those of them that this process works on.
    pub(crate) fn served(&self) -> BTreeMap<QueueName, QueueConfig> {
        let mut queues = self.all_queues();
        queues.retain(|name, queue| {
            let wanted = self.serve.as_ref().is_none_or(|served| served.0.contains(name));
            wanted && queue.executor_of(name) != Executor::None
        });
        queues
    }

    fn check(&self) -> Result<(), ConfigError> {
        for (name, queue) in &self.queues {
            queue.check(name).map_err(|(field, rule)| {
                ConfigError::value(format!("queue_worker.queues.{name}.{field}"), rule)
            })?;
        }
        let queues = self.all_queues();
        for name in self.serve.iter().flat_map(|served| &served.0) {
            let executor = queues.get(name).map_or(Executor::None, |queue| queue.executor_of(name));
            if executor == Executor::None {
                return Err(ConfigError::value(
                    "queue_worker.serve",
                    format!("the queue {name} has no executor"),
                ));
            }
        }
        if queues.len() > self.max_queues {
            return Err(ConfigError::value(
                "queue_worker.max_queues",
                format!("there are {} already", queues.len()),
            ));
        }
        Ok(())
    }
}

impl QueueConfig {
    /// How the tasks of this queue, which is called `name`, are delivered.
    pub(crate) fn executor_of(&self, name: &QueueName) -> Executor {
        let usual = if name.as_str() == EXPORTS { Executor::Native } else { Executor::None };
        self.executor.unwrap_or(usual)
    }

    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    /// How long outcomes are kept.
    pub(crate) fn keep(&self) -> Duration {
        Duration::from_millis(self.result_ttl_ms)
    }

    /// The backoff of tasks that have none, unless it is the engine's own.
    pub(crate) fn backoff(&self) -> Option<Backoff> {
        let base = Duration::from_millis(self.backoff_base_ms);
        let backoff = Backoff { base, cap: Duration::from_millis(self.backoff_cap_ms) };
        (backoff != Backoff::default()).then_some(backoff)
    }

    fn check(&self, name: &QueueName) -> Result<(), (&'static str, String)> {
        let pushes = self.executor_of(name) == Executor::Push;
        if pushes != self.url.is_some() {
            return Err(("url", "belongs to the executor `push`, which needs it".to_owned()));
        }
        if self.authorization_file.is_some() && !pushes {
            return Err(("authorization_file", "belongs to the executor `push`".to_owned()));
        }
        let bounds = LEASE_BOUNDS.start().as_millis()..=LEASE_BOUNDS.end().as_millis();
        if !bounds.contains(&u128::from(self.lease_ms)) {
            return Err(("lease_ms", format!("from {} to {}", bounds.start(), bounds.end())));
        }
        for (field, ms) in [("timeout_ms", self.timeout_ms), ("result_ttl_ms", self.result_ttl_ms)] {
            if ms == 0 {
                return Err((field, "at least 1".to_owned()));
            }
        }
        if self.backoff_base_ms > self.backoff_cap_ms || self.backoff_cap_ms > LONGEST_BACKOFF_MS {
            return Err(("backoff_cap_ms", format!("from backoff_base_ms to {LONGEST_BACKOFF_MS}")));
        }
        Ok(())
    }
}

impl ServiceConfig for Config {
    fn bind(&self) -> SocketAddr {
        self.queue_worker.bind
    }

    fn log(&self) -> &LogConfig {
        &self.log
    }

    fn auth(&self) -> &AuthConfig {
        &self.auth
    }

    fn http(&self) -> &HttpConfig {
        &self.http
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.queue_worker.check()
    }
}

impl<'de> Deserialize<'de> for QueueNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = QueueNames;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("queue names, in a list or with commas between them")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<QueueNames, E> {
                let names = text.split(',').map(|name| name.trim().parse().map_err(E::custom));
                names.collect::<Result<_, E>>().map(QueueNames)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<QueueNames, A::Error> {
                let mut all = Vec::new();
                while let Some(name) = names.next_element()? {
                    all.push(name);
                }
                Ok(QueueNames(all))
            }
        }
        deserializer.deserialize_any(Names)
    }
}

/// There from the start, for the two kinds of slow work that every such team has, and for exports.
const DEFAULT_QUEUES: [&str; 3] = ["embeddings", "agent_tasks", EXPORTS];
const EXPORTS: &str = "exports";
const LONGEST_BACKOFF_MS: u64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;
    use http_kit::{Sources, load_config};

    fn load(environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let pairs = environment.iter().map(|(key, value)| (format!("SLUICE__{key}"), (*value).to_owned()));
        load_config(&Sources { file: None, environment: pairs.collect() })
    }

    fn names(queues: &BTreeMap<QueueName, QueueConfig>) -> Vec<&str> {
        queues.keys().map(QueueName::as_str).collect()
    }

    #[test]
    fn three_queues_exist_and_exports_has_a_handler() {
        let config = load(&[]).unwrap().queue_worker;
        assert_eq!(names(&config.all_queues()), ["agent_tasks", "embeddings", "exports"]);
        assert_eq!(names(&config.served()), ["exports"]);
    }

    #[test]
    fn a_process_may_work_on_one_queue_of_its_own() {
        let config = load(&[
            ("QUEUE_WORKER__QUEUES__DEMO-EXPORTS__EXECUTOR", "native"),
            ("QUEUE_WORKER__QUEUES__DEMO-EXPORTS__LEASE_MS", "2000"),
            ("QUEUE_WORKER__SERVE", "demo-exports"),
            ("QUEUE_WORKER__HTTP", "false"),
        ]);
        let config = config.unwrap().queue_worker;
        assert_eq!(names(&config.served()), ["demo-exports"]);
        assert_eq!(config.all_queues().len(), 4);
        assert!(!config.http);
    }

    #[test]
    fn what_is_set_for_a_default_queue_leaves_its_executor() {
        let config = load(&[("QUEUE_WORKER__QUEUES__EXPORTS__SLOTS", "2")]).unwrap().queue_worker;
        assert_eq!(names(&config.served()), ["exports"]);
    }

    #[test]
    fn a_wrong_value_names_itself() {
        for (key, value, named) in [
            ("QUEUE_WORKER__PORT", "1", "queue_worker.port"),
            ("QUEUE_WORKER__BIND", "here", "queue_worker.bind"),
            ("QUEUE_WORKER__SERVE", "a,B", "queue_worker.serve"),
            ("QUEUE_WORKER__SERVE", "embeddings", "queue_worker.serve"),
            ("QUEUE_WORKER__MAX_QUEUES", "2", "queue_worker.max_queues"),
            ("QUEUE_WORKER__QUEUES__MAIL__EXECUTOR", "push", "queue_worker.queues.mail.url"),
            ("QUEUE_WORKER__QUEUES__MAIL__URL", "ftp://a/", "queue_worker.queues.mail.url"),
            ("QUEUE_WORKER__QUEUES__MAIL__URL", "http://me:secret@a/", "queue_worker.queues.mail.url"),
            ("QUEUE_WORKER__QUEUES__MAIL__EXECUTOR", "shell", "queue_worker.queues.mail.executor"),
            ("QUEUE_WORKER__QUEUES__MAIL__URL", "http://a/", "queue_worker.queues.mail.url"),
            ("QUEUE_WORKER__QUEUES__MAIL__LEASE_MS", "999", "queue_worker.queues.mail.lease_ms"),
            ("QUEUE_WORKER__QUEUES__MAIL__SLOTS", "0", "queue_worker.queues.mail.slots"),
            ("QUEUE_WORKER__QUEUES__MAIL__TIMEOUT_MS", "0", "queue_worker.queues.mail.timeout_ms"),
            ("QUEUE_WORKER__QUEUES__MAIL__MAX_ATTEMPTS", "0", "queue_worker.queues.mail.max_attempts"),
            ("QUEUE_WORKER__QUEUES__MAIL__BACKOFF_CAP_MS", "1", "queue_worker.queues.mail.backoff_cap_ms"),
        ] {
            let error = load(&[(key, value)]).unwrap_err();
            assert_eq!(error.key, named, "{key}={value}: {error}");
        }
    }
}
