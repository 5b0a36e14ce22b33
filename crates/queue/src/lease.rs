//! Leases, and what a worker says about a task that it holds. Pure: no I/O, no clock.

use crate::task::Task;
use bytes::Bytes;
use domain::{FencingToken, TaskId, Timestamp, WorkerName};
use std::time::Duration;

/// What a worker shows with every write: which task, and the token of its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The task.
    pub task: TaskId,
    /// The fencing token: pass it on to what the task writes elsewhere, and refuse an older one there.
    pub token: FencingToken,
}

/// Who wants tasks, and how many.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    /// The worker's name, shown in a task's status; names no right.
    pub worker: WorkerName,
    /// At most this many tasks, 1 to 64; clamped.
    pub max: usize,
    /// How long each lease lasts unless it is extended; clamped to [`crate::LEASE_BOUNDS`].
    pub lease: Duration,
}

/// A task that was leased.
#[derive(Clone, Debug)]
pub struct Leased {
    /// What every later write must show.
    pub lease: Lease,
    /// When the lease runs out unless it is extended.
    pub ends_at: Timestamp,
    /// The task, with its payload.
    pub task: Task,
}

/// What a lease call answers.
#[derive(Clone, Debug, Default)]
pub struct LeasedBatch {
    /// The tasks, in the order of the queue.
    pub tasks: Vec<Leased>,
    /// Ask again at once: the call stopped at its bound of bytes, or of cancelled tasks that it passes over.
    pub more: bool,
    /// How long until the next task is due or the next lease ends, if any does.
    pub next: Option<Duration>,
}

/// Why a task failed, and what should follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For people; cut to 1,000 bytes.
    pub message: String,
    /// What follows.
    pub then: Then,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Another attempt after the backoff, or death when none is left.
    Retry,
    /// Another attempt after exactly this long (a `Retry-After`), or death when none is left.
    RetryAfter(Duration),
    /// Death: no attempt would help.
    Die,
}

impl Failure {
    /// A failure that another attempt may mend.
    pub fn retry(message: impl Into<String>) -> Self {
        Self { message: message.into(), then: Then::Retry }
    }

    /// A failure that asks for a pause of its own.
    pub fn retry_after(message: impl Into<String>, pause: Duration) -> Self {
        Self { message: message.into(), then: Then::RetryAfter(pause) }
    }

    /// A failure that no attempt would mend.
    pub fn die(message: impl Into<String>) -> Self {
        Self { message: message.into(), then: Then::Die }
    }
}

/// How a leased task ended, for [`crate::Queue::settle`].
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The lease.
    pub lease: Lease,
    /// How it ended.
    pub end: End,
}

/// How a lease ends.
#[derive(Clone, Debug)]
pub enum End {
    /// Done; the result is kept for `keep`.
    Ack {
        /// At most [`crate::MAX_RESULT_BYTES`]; may be empty.
        result: Bytes,
        /// How long the outcome can be read.
        keep: Duration,
    },
    /// Failed.
    Nack(Failure),
    /// Handed back untried; costs no attempt, and the task keeps its place.
    GiveBack,
}

/// What became of a task whose lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Succeeded.
    Succeeded,
    /// It will be tried again.
    Retrying,
    /// It is a dead letter.
    Dead,
    /// It is ready again.
    Ready,
}
