//! Tasks as the engine's callers see them. Pure: no I/O, no clock.

use crate::error::EnqueueError;
use crate::retry::Backoff;
use bytes::Bytes;
use domain::{
    CorrelationId, FencingToken, IdempotencyKey, LaneName, ProjectId, TaskId, TaskState, Timestamp,
    WorkerName,
};
use std::time::Duration;

/// The longest payload, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;
/// The longest result, in bytes.
pub const MAX_RESULT_BYTES: usize = 1024 * 1024;
/// The most tasks of one batch.
pub const MAX_BATCH_TASKS: usize = 1000;
/// The most payload of one batch, in bytes.
pub const MAX_BATCH_BYTES: usize = 1024 * 1024;
/// The shortest and the longest lease.
pub const LEASE_BOUNDS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3600);

/// A task to enqueue. Every value is valid by its type except for the bounds of sizes and times, which the enqueue
/// checks: `NewTask { priority: 5, ..NewTask::new(payload) }`.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// What the handler gets: JSON by convention, at most [`MAX_PAYLOAD_BYTES`].
    pub payload: Bytes,
    /// 0 is served first; 100 by default.
    pub priority: u8,
    /// Tasks of one lane are served in order; lanes of one priority take turns. On the wire `concurrency_key`.
    pub lane: Option<LaneName>,
    /// From when on it may run.
    pub start: Start,
    /// It is not started at or after this moment, but cancelled.
    pub expires_at: Option<Timestamp>,
    /// How many answered failures make it dead; 3 by default, at least 1.
    pub max_attempts: u8,
    /// How long it waits before a retry; the queue's default when `None`.
    pub backoff: Option<Backoff>,
    /// Where it stands after its backoff.
    pub order_on_retry: OrderOnRetry,
    /// How long one attempt may take; the worker's own bound when `None`.
    pub timeout: Option<Duration>,
    /// Whose it is.
    pub project: Option<ProjectId>,
    /// What it is followed by through all services.
    pub correlation: Option<CorrelationId>,
    /// W3C `traceparent` of the request that enqueued it. Anything but a version 00 header is dropped.
    pub traceparent: Option<String>,
    /// Its life is shown as an operation from its first lease on.
    pub progress: bool,
    /// A repeat with the same key and body answers with the first task.
    pub idempotency_key: Option<IdempotencyKey>,
}

impl NewTask {
    /// A task with this payload and the defaults.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self {
            payload: payload.into(),
            priority: 100,
            lane: None,
            start: Start::Now,
            expires_at: None,
            max_attempts: 3,
            backoff: None,
            order_on_retry: OrderOnRetry::Keep,
            timeout: None,
            project: None,
            correlation: None,
            traceparent: None,
            progress: false,
            idempotency_key: None,
        }
    }

    pub(crate) fn check(&self, index: usize) -> Result<(), EnqueueError> {
        let invalid =
            |field, detail: &str| Err(EnqueueError::Invalid { index, field, detail: detail.to_owned() });
        if self.payload.len() > MAX_PAYLOAD_BYTES {
            return Err(EnqueueError::TooLarge { what: "payload", limit: MAX_PAYLOAD_BYTES, unit: "bytes" });
        }
        if self.max_attempts == 0 {
            return invalid("max_attempts", "at least 1");
        }
        if self.timeout.is_some_and(|timeout| timeout.is_zero() || timeout > LONGEST_TIMEOUT) {
            return invalid("timeout_ms", "from 1 to 86400000");
        }
        if matches!(self.start, Start::After(delay) if delay > LONGEST_DELAY) {
            return invalid("delay_ms", "at most 31622400000, which is 366 days");
        }
        if self.backoff.is_some_and(|backoff| backoff.base > backoff.cap || backoff.cap > LONGEST_TIMEOUT) {
            return invalid("backoff", "base_ms at most cap_ms, cap_ms at most 86400000");
        }
        Ok(())
    }
}

const LONGEST_TIMEOUT: Duration = Duration::from_secs(86_400);
const LONGEST_DELAY: Duration = Duration::from_secs(366 * 86_400);

/// From when on a task may run, on the clock of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At once.
    Now,
    /// Not before this moment.
    At(Timestamp),
    /// Not before this long after the enqueue.
    After(Duration),
}

/// Where a task stands once its backoff is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderOnRetry {
    /// At its old place, before what came later.
    Keep,
    /// Behind everything that is ready by then.
    Tail,
}

/// What an enqueue answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// The task's id.
    pub id: TaskId,
    /// The idempotency key was known: this is the first task, and nothing was written.
    pub repeated: bool,
}

/// A task as Redis has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Where it is in its life.
    pub state: TaskState,
    /// What the handler gets. Empty in lists, and once the task has succeeded or was cancelled.
    pub payload: Bytes,
    /// 0 is served first.
    pub priority: u8,
    /// Its lane, if any.
    pub lane: Option<LaneName>,
    /// Its place in the order of its lane; what is not ready yet may have none of its own, and shows its number.
    pub place: u64,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When it may or will run: its `run_at`, or the end of its backoff.
    pub due_at: Option<Timestamp>,
    /// It is not started at or after this moment.
    pub expires_at: Option<Timestamp>,
    /// When it succeeded, died or was cancelled.
    pub ended_at: Option<Timestamp>,
    /// Answered failures so far.
    pub attempts: u8,
    /// How many of them make it dead.
    pub max_attempts: u8,
    /// Lost leases so far.
    pub crashes: u8,
    /// Its own backoff, if any.
    pub backoff: Option<Backoff>,
    /// Where it stands after its backoff.
    pub order_on_retry: OrderOnRetry,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// Whose it is.
    pub project: Option<ProjectId>,
    /// What it is followed by.
    pub correlation: Option<CorrelationId>,
    /// W3C `traceparent` of the request that enqueued it.
    pub traceparent: Option<String>,
    /// Its life is shown as an operation.
    pub progress: bool,
    /// Why it is dead or cancelled.
    pub reason: Option<String>,
    /// Its last failures, oldest first; at most 5, each cut to 1,000 bytes.
    pub errors: Vec<PastError>,
    /// The states it entered, oldest first; at most the last 20.
    pub history: Vec<Entered>,
    /// Who has it now, or had it when it ended.
    pub lease: Option<Holder>,
}

/// One failure of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastError {
    /// When it was reported.
    pub at: Timestamp,
    /// Which attempt it ended, from 1 on.
    pub attempt: u8,
    /// What the worker said, or `lease lost by <worker>`.
    pub message: String,
}

/// A state that a task entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered {
    /// The state.
    pub state: TaskState,
    /// When.
    pub at: Timestamp,
}

/// Who holds a task, or held it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The token of the lease.
    pub token: FencingToken,
    /// The worker, as it named itself.
    pub worker: WorkerName,
    /// When the lease runs out; `None` once the task has ended.
    pub ends_at: Option<Timestamp>,
}
