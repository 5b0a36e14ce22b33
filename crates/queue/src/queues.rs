//! All queues of one Redis, as one process sees them.

use crate::error::EnqueueError;
use crate::queue::Queue;
use crate::report::Reporter;
use crate::retry::Backoff;
use crate::tend::Tending;
use crate::{keys, scripts};
use domain::QueueName;
use redis_core::{Arg, Redis, RedisError, Reply};
use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What holds for all queues of a process.
#[derive(Clone, Debug)]
pub struct QueuesOptions {
    /// The most queues there may be.
    pub max_queues: usize,
    /// How many bytes all queues together may hold, as far as [`Queues::tend`] keeps count; no bound when `None`.
    pub max_bytes: Option<u64>,
    /// The backoff of tasks that have none of their own.
    pub backoff: Backoff,
    /// How long the outcome of a cancelled task can be read.
    pub keep: Duration,
}

impl Default for QueuesOptions {
    fn default() -> Self {
        Self {
            max_queues: 1000,
            max_bytes: None,
            backoff: Backoff::default(),
            keep: Duration::from_secs(3600),
        }
    }
}

/// All queues of one Redis. Cheap to clone; one per process, or per test.
#[derive(Clone, Debug)]
pub struct Queues(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    redis: Redis,
    options: QueuesOptions,
    /// Queues that this process has seen registered.
    known: Mutex<HashSet<QueueName>>,
    /// Bytes that the queues may still take, by the last count; negative before there was one.
    left: AtomicI64,
    /// Lease calls in flight: they outlive a caller that goes away, and give back what nobody takes.
    calls: TaskTracker,
}

impl Queues {
    /// The queues of this Redis. No round trip.
    pub fn new(redis: Redis, options: QueuesOptions) -> Self {
        Self(Arc::new(Inner {
            redis,
            options,
            known: Mutex::default(),
            left: AtomicI64::new(-1),
            calls: TaskTracker::new(),
        }))
    }

    /// One queue. No round trip; it comes into being with its first task.
    pub fn of(&self, name: &QueueName) -> Queue {
        Queue::new(self.clone(), name.clone())
    }

    /// Every queue that ever had a task, sorted by name.
    ///
    /// One round trip, O(queues).
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn list(&self) -> Result<Vec<QueueName>, RedisError> {
        let names =
            self.redis().command("HKEYS", &keys::queues(self.redis()), Vec::new()).await?.into_array()?;
        let mut queues = Vec::with_capacity(names.len());
        for name in names {
            let name = name.into_string()?;
            queues.push(name.parse().map_err(|_| RedisError::Protocol(format!("a queue called {name}")))?);
        }
        queues.sort();
        Ok(queues)
    }

    /// Whether there is such a queue: it ever had a task, or was made known.
    ///
    /// No round trip when this process has used it, else one, O(1).
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn exists(&self, name: &QueueName) -> Result<bool, RedisError> {
        if self.known().contains(name) {
            return Ok(true);
        }
        let field = vec![Arg::from(name.as_str().to_owned())];
        let found =
            self.redis().command("HEXISTS", &keys::queues(self.redis()), field).await?.into_int()? == 1;
        if found {
            self.known().insert(name.clone());
        }
        Ok(found)
    }

    /// Makes a queue known before it has a task. [`Queue::enqueue`] does so by itself.
    ///
    /// One round trip the first time in this process, then none.
    ///
    /// # Errors
    /// [`EnqueueError::TooManyQueues`]; Redis does not answer.
    pub async fn register(&self, name: &QueueName) -> Result<(), EnqueueError> {
        if self.known().contains(name) {
            return Ok(());
        }
        // Boxed: rare, and every enqueue's future would carry its size.
        Box::pin(async {
            let most = self.0.options.max_queues;
            let args = vec![Arg::from(name.as_str().to_owned()), Arg::from(most)];
            let answer = self.redis().run(&scripts::REGISTER, &[keys::queues(self.redis())], args).await?;
            if answer.word() != "ok" {
                return Err(EnqueueError::TooManyQueues(most));
            }
            self.known().insert(name.clone());
            Ok(())
        })
        .await
    }

    /// The node's timer: runs [`Queue::tick`] on each queue when the next thing is due there, at the latest after a
    /// second. One of these per process suffices; any number of them agree.
    ///
    /// So liveness never rests on a message: due tasks, lost leases, expiries and old outcomes are seen to within a
    /// second though every publish were lost. Also counts the bytes that the queues hold, for `max_bytes`.
    /// One round trip a queue and second when nothing happens. Returns when `stop` fires.
    pub async fn tend(&self, stop: CancellationToken) {
        Tending::new(self.clone(), None).run(stop).await;
    }

    /// [`Queues::tend`] that also tells `reporter` of tasks that have ended with no worker to do so. Three round trips
    /// more a queue and second while there are such.
    pub async fn tend_and_tell(&self, reporter: Arc<dyn Reporter>, stop: CancellationToken) {
        Tending::new(self.clone(), Some(reporter)).run(stop).await;
    }

    /// Bytes that the queues may still take by the last count of [`Queues::tend`]; `None` without a bound or before
    /// the first count. No round trip.
    pub fn bytes_left(&self) -> Option<u64> {
        u64::try_from(self.0.left.load(Ordering::Relaxed)).ok()
    }

    /// Waits until no lease call of this process is in flight, so that none strands tasks at a shutdown.
    pub async fn close(&self) {
        self.0.calls.close();
        self.0.calls.wait().await;
    }

    /// The count of bytes that the queues hold is known anew.
    pub(crate) fn counted(&self, bytes: u64) {
        if let Some(most) = self.0.options.max_bytes {
            self.0
                .left
                .store(i64::try_from(most.saturating_sub(bytes)).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
    }

    /// A Redis that came back empty does not know our queues any more, though we use them.
    pub(crate) async fn register_lost(&self, listed: &[QueueName]) {
        let lost: Vec<_> =
            self.known().iter().filter(|name| listed.binary_search(name).is_err()).cloned().collect();
        for name in lost {
            self.known().remove(&name);
            if let Err(error) = self.register(&name).await {
                tracing::debug!(queue.name = %name, "could not register {name} again: {error}");
            }
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<QueueName>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn redis(&self) -> &Redis {
        &self.0.redis
    }

    pub(crate) fn options(&self) -> &QueuesOptions {
        &self.0.options
    }

    pub(crate) fn calls(&self) -> &TaskTracker {
        &self.0.calls
    }

    /// Bytes that the queues may still take, as an argument of the enqueue scripts: empty for no bound.
    pub(crate) fn left(&self) -> Arg {
        self.bytes_left().map_or(Arg::from(""), Arg::from)
    }
}

/// What a tick answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticked {
    /// How long until the next thing is due; zero when there may be more at once.
    pub next: Option<Duration>,
    /// Bytes that the queue holds: payloads, records, results, outcomes, keys, with what Redis adds to each.
    pub bytes: u64,
    /// Tasks that have ended with no worker to tell of it, at most 64.
    pub(crate) untold: Vec<u64>,
}

impl Ticked {
    pub(crate) fn from_reply(reply: Reply) -> Result<Self, RedisError> {
        let [next, bytes, untold] = reply.into_elements()?;
        let number = |reply: Reply| Ok(u64::try_from(reply.into_int()?).unwrap_or(0));
        Ok(Self {
            next: pause(&next)?,
            bytes: number(bytes)?,
            untold: untold.into_array()?.into_iter().map(number).collect::<Result<_, RedisError>>()?,
        })
    }
}

/// Milliseconds, or nothing as empty text.
pub(crate) fn pause(reply: &Reply) -> Result<Option<Duration>, RedisError> {
    match reply.word() {
        "" => Ok(None),
        text => match text.parse() {
            Ok(millis) => Ok(Some(Duration::from_millis(millis))),
            Err(_) => Err(RedisError::Protocol(format!("{text} instead of milliseconds"))),
        },
    }
}

/// However little there is to do, each queue is looked at this often.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(1);
