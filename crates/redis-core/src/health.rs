//! Whether this node should get requests, and how Redis is.

use crate::breaker::{BreakerReport, BreakerState};
use crate::connection::{blob, slot};
use crate::server::ServerHealth;
use crate::{Arg, Redis, RedisError, Reply, keys};
use domain::{Backend, BackendError, Readiness, Timestamp};
use fred::types::Value;
use serde::Serialize;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// All that is known of a Redis, as `/health` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RedisHealth {
    /// It answers and takes writes.
    pub ready: bool,
    /// Why not, with what the server said.
    pub reason: Option<String>,
    /// How long the last write took, there and back, in microseconds.
    pub latency_us: Option<u64>,
    /// Whether calls pass.
    pub breaker: BreakerReport,
    /// The connections for commands.
    pub pool: PoolUsage,
    /// Each server that holds keys; none when they did not answer.
    pub servers: Vec<ServerHealth>,
}

/// The connections for commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PoolUsage {
    /// At most so many.
    pub size: usize,
    /// Made so far: each thread makes its own when it first needs one.
    pub open: usize,
    /// Calls that wait for an answer.
    pub in_flight: usize,
}

/// What was found last, and when. Whoever holds a lock asks; the others wait and read.
#[derive(Default)]
pub(crate) struct LastFound {
    canary: Mutex<Option<(Instant, Canary)>>,
    servers: Mutex<Option<(Instant, Vec<ServerHealth>)>>,
}

/// What came of a write.
#[derive(Clone, Debug)]
struct Canary {
    latency: Option<Duration>,
    /// For anybody, and for an operator.
    refused: Option<(String, String)>,
}

impl Backend for Redis {
    const NAME: &'static str = "redis";

    /// The circuit breaker's word first, then what a write said within the last second: `SET` of a key that lives for
    /// some seconds, which is a ping and a canary in one.
    async fn readiness(&self) -> Readiness {
        if self.breaker().state != BreakerState::Closed {
            // Whoever asks keeps the question going whether it is back.
            self.probe_until_it_closes();
            return Readiness::NotReady(OPEN.to_owned());
        }
        match self.canary().await.refused {
            None => Readiness::Ready,
            Some((reason, _)) => Readiness::NotReady(reason),
        }
    }

    async fn health(&self) -> serde_json::Value {
        // It has no map with keys that are no text, and so always a JSON form.
        serde_json::to_value(self.health_report().await).unwrap_or_default()
    }

    /// One round trip, O(keys).
    async fn api_keys(&self) -> Result<Vec<String>, BackendError> {
        let records = self.command("HVALS", &keys::api_keys(self), Vec::new()).await?.into_array()?;
        Ok(records.into_iter().map(Reply::into_string).collect::<Result<_, _>>()?)
    }

    /// One round trip, O(uses).
    async fn note_last_uses(&self, uses: Vec<(String, Timestamp)>) -> Result<(), BackendError> {
        let fields = uses.into_iter().flat_map(|(id, at)| [id.into(), at.millis().to_string().into()]);
        self.command("HSET", &keys::last_uses(self), fields.collect()).await?;
        Ok(())
    }
}

impl Redis {
    /// All that is known of this Redis. At most two round trips a second (on a cluster three), however often it is asked.
    pub async fn health_report(&self) -> RedisHealth {
        let canary = self.canary().await;
        let breaker = self.breaker();
        let mut reason = canary.refused.map(|(_, detail)| detail);
        if breaker.state != BreakerState::Closed {
            reason = Some(OPEN.to_owned());
        }
        RedisHealth {
            ready: reason.is_none(),
            reason,
            latency_us: canary.latency.map(|it| u64::try_from(it.as_micros()).unwrap_or(u64::MAX)),
            breaker,
            pool: self.inner.pool.usage(),
            servers: self.servers().await,
        }
    }

    async fn canary(&self) -> Canary {
        let mut last = self.inner.last_found.canary.lock().await;
        if let Some((at, canary)) = &*last
            && at.elapsed() < FRESH
        {
            return canary.clone();
        }
        let canary = self.write_canary().await;
        *last = Some((Instant::now(), canary.clone()));
        canary
    }

    async fn write_canary(&self) -> Canary {
        let key = keys::canary(self, self.inner.instance);
        let life = Value::from(Arg::from(LIFE_MS));
        let args = vec![blob(&key.0), "1".into(), "PX".into(), life];
        let begin = Instant::now();
        let answer = async {
            let call = self.admit()?;
            self.inner.round_trips.fetch_add(1, Ordering::Relaxed);
            let slot = Some(slot(key.as_bytes()));
            let answer = self.inner.health.send("SET", slot, args, Some(DEADLINE)).await;
            self.settle(call, &answer);
            answer
        };
        let answer = answer.await;
        let latency = answer.is_ok().then(|| begin.elapsed());
        let refused = match answer {
            Ok(Reply::Error(text)) => Some((refusal(&text), text)),
            Ok(_) => None,
            Err(error) => Some((absence(&error), error.to_string())),
        };
        Canary { latency, refused }
    }

    pub(crate) async fn servers(&self) -> Vec<ServerHealth> {
        let mut last = self.inner.last_found.servers.lock().await;
        if let Some((at, servers)) = &*last
            && at.elapsed() < FRESH
        {
            return servers.clone();
        }
        let texts = self
            .info(&["server", "memory", "persistence", "replication", "stats", "clients"])
            .await
            .unwrap_or_default();
        let servers: Vec<_> = texts.iter().map(|text| ServerHealth::of(text)).collect();
        *last = Some((Instant::now(), servers.clone()));
        servers
    }
}

/// Why a server refuses a write, in words that tell a stranger nothing about this installation.
fn refusal(text: &str) -> String {
    let code = text.split(' ').next().unwrap_or_default();
    let why = match code {
        "OOM" => "redis is full",
        "READONLY" => "redis is a read-only replica",
        "MISCONF" => "redis cannot save to its disk and refuses writes",
        "LOADING" => "redis is loading its data",
        "MASTERDOWN" => "redis is a replica without its primary",
        "NOREPLICAS" => "redis has too few replicas and refuses writes",
        "CLUSTERDOWN" => "the redis cluster is down",
        "BUSY" => "redis is busy with a script",
        _ => "redis refuses the service",
    };
    format!("{why} ({code})")
}

/// The same for a call that had no answer.
fn absence(error: &RedisError) -> String {
    let why = match error {
        RedisError::Unavailable { .. } | RedisError::Overloaded => "redis is not reachable",
        RedisError::Unknown => "redis does not answer",
        RedisError::Full | RedisError::Reply(_) | RedisError::Protocol(_) => "redis refuses the service",
    };
    why.to_owned()
}

const OPEN: &str = "redis does not answer (its circuit breaker is open)";
const FRESH: Duration = Duration::from_secs(1);
/// Less than what a health check waits for.
const DEADLINE: Duration = Duration::from_millis(800);
const LIFE_MS: i64 = 5_000;
