//! What is measured of calls to Redis, of the connections, and of the servers; by the semantic conventions where they
//! have a word for it.
//!
//! A call costs two looks at the clock and two or three bound instruments, 100 ns. Source: docs/adr/0015-telemetry.md.

use crate::redis::Inner;
use crate::server::ServerHealth;
use crate::{BreakerState, Redis, RedisError, Reply};
use fred::types::Value;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};
use telemetry::metrics::{BoundCounter, BoundHistogram, DURATION_BOUNDS, Histogram, KeyValue, is_off, meter};
use telemetry::{Span, SpanKind};

/// A command, or a script by its name: what calls are told apart by. Never by their keys.
pub(crate) struct Operation {
    command: &'static str,
    script: Option<&'static str>,
    answered: BoundHistogram<f64>,
    failed: [OnceLock<BoundHistogram<f64>>; OUTCOMES.len()],
}

/// A call under way. Dropped without an answer, it is not measured.
pub(crate) struct Measure<'a> {
    operation: &'a Operation,
    /// None where nothing is measured.
    begun: Option<Instant>,
    span: Option<Span>,
}

impl Operation {
    pub(crate) fn of_script(name: &'static str) -> Self {
        Self::new("EVALSHA", Some(name))
    }

    fn new(command: &'static str, script: Option<&'static str>) -> Self {
        let answered = instruments().duration.bind(&labels(command, script, None));
        Self { command, script, answered, failed: Default::default() }
    }

    /// Begins a call; `sent` are its arguments.
    pub(crate) fn begin(&self, sent: &[Value]) -> Measure<'_> {
        let begun = (!is_off()).then(|| {
            instruments().sent.add(sent.iter().map(length).sum());
            Instant::now()
        });
        Measure { operation: self, begun, span: self.span() }
    }

    /// The span of a call, where the work that it is for is recorded.
    pub(crate) fn span(&self) -> Option<Span> {
        let name = || match self.script {
            Some(script) => format!("{} {script}", self.command),
            None => self.command.to_owned(),
        };
        let mut span = Span::child(name, SpanKind::Client)?;
        span.set("db.system.name", "redis");
        span.set("db.operation.name", self.command);
        if let Some(script) = self.script {
            span.set("db.stored_procedure.name", script);
        }
        Some(span)
    }

    fn failed(&self, outcome: usize) -> &BoundHistogram<f64> {
        let bind =
            || instruments().duration.bind(&labels(self.command, self.script, Some(OUTCOMES[outcome])));
        self.failed[outcome].get_or_init(bind)
    }
}

impl Measure<'_> {
    /// Ends it. An answer that makes us teach the server a script is no failure, and the next call is measured.
    pub(crate) fn end(self, answer: &Result<Reply, RedisError>) {
        let Some(begun) = self.begun else { return };
        let seconds = begun.elapsed().as_secs_f64();
        let failure = match answer {
            Ok(Reply::Error(text)) if text.starts_with("NOSCRIPT") => None,
            Ok(Reply::Error(text)) => Some(outcome(&RedisError::from_server(text))),
            Ok(reply) => {
                instruments().received.add(size(reply));
                None
            }
            Err(error) => Some(outcome(error)),
        };
        match failure {
            None => self.operation.answered.record(seconds),
            Some(failure) => {
                self.operation.failed(failure).record(seconds);
                if let Some(mut span) = self.span {
                    span.fail(OUTCOMES[failure]);
                }
            }
        }
    }
}

/// What is measured of a command.
pub(crate) fn command(name: &'static str) -> Arc<Operation> {
    static KNOWN: LazyLock<RwLock<HashMap<&'static str, Arc<Operation>>>> = LazyLock::new(RwLock::default);
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner).get(name).map(Arc::clone);
    known.unwrap_or_else(|| {
        let mut all = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(name).or_insert_with(|| Arc::new(Operation::new(name, None))))
    })
}

/// `GET`, which is on the path of a cached read.
pub(crate) fn get() -> &'static Operation {
    static GET: LazyLock<Operation> = LazyLock::new(|| Operation::new("GET", None));
    &GET
}

/// A connection that was up was lost, for this reason, and is made again.
pub(crate) fn reconnects(cause: &'static str) {
    let counter = || {
        let about = "Connections that were up and had to be made again, by cause";
        meter()
            .u64_counter("sluice.redis.reconnects")
            .with_unit("{connection}")
            .with_description(about)
            .build()
    };
    static COUNTER: OnceLock<telemetry::metrics::Counter<u64>> = OnceLock::new();
    COUNTER.get_or_init(counter).add(1, &[KeyValue::new("cause", cause)]);
}

/// Shows the state of this handle for as long as it lives. Handles on the same Redis are shown together.
pub(crate) fn show(inner: &Arc<Inner>) {
    static SHOWN: OnceLock<()> = OnceLock::new();
    SHOWN.get_or_init(show_handles);
    let mut handles = handles();
    handles.retain(|handle| handle.strong_count() > 0);
    handles.push(Arc::downgrade(inner));
}

impl Redis {
    /// Reads what the servers say of themselves every few seconds, for the metrics, until [`close`](Self::close). One task
    /// for all handles of a process on the same Redis. Called within a Tokio runtime.
    pub fn observe(&self) {
        let Some(claimed) = Claimed::of(self.inner.target()) else { return };
        let redis = self.clone();
        self.tasks().spawn(async move {
            let _claimed = claimed;
            let closing = redis.inner.closing.clone();
            while !closing.is_cancelled() {
                let servers = redis.servers().await;
                redis.inner.shown.store(Some(Arc::new(servers)));
                tokio::select! {
                    () = closing.cancelled() => break,
                    () = tokio::time::sleep(OBSERVED_EVERY) => {}
                }
            }
        });
    }
}

/// The right to ask the servers of one target.
struct Claimed(String);

impl Claimed {
    fn of(target: String) -> Option<Self> {
        // Made only when it is ours: one that is dropped gives the right back.
        let is_first = claims().insert(target.clone());
        is_first.then(|| Self(target))
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        claims().remove(&self.0);
    }
}

fn claims() -> MutexGuard<'static, HashSet<String>> {
    static CLAIMS: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
    CLAIMS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn handles() -> MutexGuard<'static, Vec<Weak<Inner>>> {
    static HANDLES: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());
    HANDLES.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Instruments {
    duration: Histogram<f64>,
    sent: BoundCounter<u64>,
    received: BoundCounter<u64>,
}

fn instruments() -> &'static Instruments {
    static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();
    INSTRUMENTS.get_or_init(|| {
        let bytes = meter()
            .u64_counter("sluice.redis.io")
            .with_unit("By")
            .with_description(
                "Arguments that were sent, and answers that were received, without their framing",
            )
            .build();
        let towards = |direction| bytes.bind(&[KeyValue::new("network.io.direction", direction)]);
        Instruments {
            duration: meter()
                .f64_histogram("db.client.operation.duration")
                .with_unit("s")
                .with_description("From a call to its answer, or to the end of its patience (error.type)")
                .with_boundaries(DURATION_BOUNDS.to_vec())
                .build(),
            sent: towards("transmit"),
            received: towards("receive"),
        }
    })
}

fn labels(command: &'static str, script: Option<&'static str>, error: Option<&'static str>) -> Vec<KeyValue> {
    let mut labels =
        vec![KeyValue::new("db.system.name", "redis"), KeyValue::new("db.operation.name", command)];
    labels.extend(script.map(|script| KeyValue::new("db.stored_procedure.name", script)));
    labels.extend(error.map(|error| KeyValue::new("error.type", error)));
    labels
}

/// Where in [`OUTCOMES`] an error stands.
fn outcome(error: &RedisError) -> usize {
    match error {
        RedisError::Unavailable { .. } => 0,
        RedisError::Overloaded => 1,
        RedisError::Unknown => 2,
        RedisError::Full => 3,
        RedisError::Reply(_) => 4,
        RedisError::Protocol(_) => 5,
    }
}

const OUTCOMES: [&str; 6] = ["unavailable", "overloaded", "unknown", "full", "refused", "protocol"];

fn length(value: &Value) -> u64 {
    match value {
        Value::Bytes(bytes) => bytes.len() as u64,
        Value::String(text) => text.len() as u64,
        _ => 8,
    }
}

fn size(reply: &Reply) -> u64 {
    match reply {
        Reply::Text(bytes) => bytes.len() as u64,
        Reply::Array(all) => all.iter().map(size).sum(),
        Reply::Nil | Reply::Int(_) | Reply::Error(_) => 8,
    }
}

/// Makes the gauges that read the handles whenever somebody reads the metrics.
fn show_handles() {
    let about = "Connections for commands that are open";
    each("db.client.connection.count", "{connection}", about, |inner, name| {
        let open = inner.pool.usage().open;
        vec![(open as f64, vec![name])]
    });
    each("db.client.connection.max", "{connection}", "Connections for commands at most", |inner, name| {
        vec![(inner.pool.usage().size as f64, vec![name])]
    });
    let about = "Calls that wait for an answer";
    each("db.client.connection.pending_requests", "{request}", about, |inner, name| {
        vec![(inner.pool.usage().in_flight as f64, vec![name])]
    });
    let about = "Items that wait for the batch before theirs";
    each("sluice.redis.batch.waiting", "{item}", about, |inner, name| {
        vec![(inner.batchers().waiting() as f64, vec![name])]
    });
    let about = "1 for the state that the circuit breaker is in, 0 for the others";
    each("sluice.redis.breaker.state", NONE, about, |inner, name| {
        let is = inner.breaker.report().state;
        let states = [
            (BreakerState::Closed, "closed"),
            (BreakerState::Open, "open"),
            (BreakerState::HalfOpen, "half_open"),
        ];
        let state = |(state, word)| {
            (f64::from(u8::from(state == is)), vec![name.clone(), KeyValue::new("state", word)])
        };
        states.into_iter().map(state).collect()
    });
    let about = "Openings of the circuit breaker since the start";
    each("sluice.redis.breaker.openings", "{opening}", about, |inner, name| {
        vec![(inner.breaker.report().opened as f64, vec![name])]
    });
    let about = "Calls that the circuit breaker has refused since the start";
    each("sluice.redis.breaker.refusals", "{request}", about, |inner, name| {
        vec![(inner.breaker.report().refused as f64, vec![name])]
    });
    server("memory.used", "By", "Memory in use", |it| it.memory.used_bytes as f64);
    server("memory.max", "By", "maxmemory; 0 is no bound", |it| it.memory.max_bytes as f64);
    let about = "Memory of the process by memory in use";
    server("memory.fragmentation", "1", about, |it| it.memory.fragmentation_ratio);
    let about = "Keys that were evicted since the server's start";
    server("keys.evicted", "{key}", about, |it| it.activity.evicted_keys as f64);
    let about = "Keys that have expired since the server's start";
    server("keys.expired", "{key}", about, |it| it.activity.expired_keys as f64);
    server("clients.connected", "{client}", "Clients that are connected", |it| it.activity.clients as f64);
    let about = "1 while it reads its files and answers nothing";
    server("loading", NONE, about, |it| flag(it.persistence.loading));
    server("aof.enabled", NONE, "1 where the append-only file is on", |it| flag(it.persistence.aof_enabled));
    let about = "1 where the last write to the append-only file succeeded";
    server("aof.ok", NONE, about, |it| flag(it.persistence.aof_ok));
    server("rdb.ok", NONE, "1 where the last snapshot succeeded", |it| flag(it.persistence.rdb_ok));
    let about = "Changes since the last snapshot";
    server("rdb.unsaved_changes", "{change}", about, |it| it.persistence.rdb_unsaved_changes as f64);
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// A gauge of what the servers said last.
fn server(
    name: &'static str,
    unit: &'static str,
    about: &'static str,
    read: impl Fn(&ServerHealth) -> f64 + Send + Sync + 'static,
) {
    each(format!("sluice.redis.server.{name}"), unit, about, move |inner, name| {
        let Some(servers) = inner.shown.load_full() else { return Vec::new() };
        let one = |(number, server)| {
            (
                read(server),
                vec![name.clone(), KeyValue::new("server", i64::try_from(number).unwrap_or(i64::MAX))],
            )
        };
        servers.iter().enumerate().map(one).collect()
    });
}

/// A gauge over all handles: the sum of those on the same Redis.
fn each(
    name: impl Into<std::borrow::Cow<'static, str>>,
    unit: &'static str,
    about: &'static str,
    read: impl Fn(&Inner, KeyValue) -> Vec<(f64, Vec<KeyValue>)> + Send + Sync + 'static,
) {
    let gauge = meter().f64_observable_gauge(name).with_unit(unit).with_description(about);
    let _kept_by_the_meter = gauge
        .with_callback(move |observer| {
            // Not under the lock: a handle that is dropped here may be the last.
            let handles: Vec<_> = handles().iter().filter_map(Weak::upgrade).collect();
            let mut sums: Vec<(Vec<KeyValue>, f64)> = Vec::new();
            for inner in &handles {
                let target = KeyValue::new("db.client.connection.pool.name", inner.target());
                for (value, labels) in read(inner, target) {
                    match sums.iter_mut().find(|(known, _)| *known == labels) {
                        Some((_, sum)) => *sum += value,
                        None => sums.push((labels, value)),
                    }
                }
            }
            for (labels, sum) in sums {
                observer.observe(sum, &labels);
            }
        })
        .build();
}

/// The unit of a flag; "1" would make a ratio of it.
const NONE: &str = "";
/// More often tells nobody more, and INFO is not free.
const OBSERVED_EVERY: Duration = Duration::from_secs(5);
