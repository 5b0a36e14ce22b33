//! What queue-worker, its clients and its workers send each other about tasks.
//!
//! Payloads and results are the caller's own JSON and pass through as they are.

use crate::{
    CorrelationId, FencingToken, LaneName, LongPoll, OperationId, ProjectId, QueueName, TaskId, TaskState,
    Timestamp, WorkerName, progress,
};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::fmt;
use std::marker::PhantomData;

/// `POST …/tasks`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewTask {
    /// What the handler gets: any JSON, at most 256 KiB.
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub payload: Box<RawValue>,
    /// 0 is served first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(default = 100))]
    pub priority: Option<u8>,
    /// Not before this moment. Instead of `delay_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// Not before this long after the enqueue; at most 366 days. Instead of `run_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 31_622_400_000_u64))]
    pub delay_ms: Option<u64>,
    /// Not started at or after this moment, but cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// How many answered failures make it a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, default = 3))]
    pub max_attempts: Option<u8>,
    /// How long it waits before a retry; the queue's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// Where it stands after its backoff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_on_retry: Option<OrderOnRetry>,
    /// How long one attempt may take; the queue's own bound when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 86_400_000))]
    pub timeout_ms: Option<u64>,
    /// Its lane: tasks of one lane are served in order, and lanes of one priority take turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<LaneName>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
    /// Its life is shown as the operation `<queue>.<task id>` from its first lease on.
    #[serde(default)]
    pub progress: bool,
}

/// How long a task waits before attempt `n`: between 0 and `min(cap_ms, base_ms * 2^(n - 2))`, drawn at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// The longest wait before the second attempt.
    pub base_ms: u64,
    /// The longest wait before any attempt; at most a day.
    #[cfg_attr(feature = "openapi", schema(maximum = 86_400_000))]
    pub cap_ms: u64,
}

/// Where a task stands once its backoff is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OrderOnRetry {
    /// At its old place, before what came later.
    Keep,
    /// Behind everything that is ready by then.
    Tail,
}

/// `POST …/tasks/batch`: all of them or none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewTasks {
    /// 1 to 1,000 tasks with at most 1 MiB of payload in all.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 1000))]
    pub tasks: Vec<NewTask>,
}

/// The answer to an enqueue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Enqueued {
    /// The task.
    pub id: TaskId,
    /// The idempotency key was known: this is the first task of that key, and nothing was written.
    pub repeated: bool,
}

/// The answer to a batch, in its order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnqueuedAll {
    /// One for each task.
    pub tasks: Vec<Enqueued>,
}

/// A task as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Its queue.
    pub queue: QueueName,
    /// Where it is in its life.
    pub state: TaskState,
    /// What the handler gets. Left out in lists, and once the task has succeeded or was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub payload: Option<Box<RawValue>>,
    /// What the handler gave back, while it is kept. Left out in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub result: Option<Box<RawValue>>,
    /// Why it is dead or cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Answered failures so far.
    pub attempts: u8,
    /// How many of them make it dead.
    pub max_attempts: u8,
    /// Lost leases so far: a worker died, or did not answer in time.
    pub crashes: u8,
    /// 0 is served first.
    pub priority: u8,
    /// Its place in the order of its lane.
    pub place: u64,
    /// Its lane, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<LaneName>,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When it may or will run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// Not started at or after this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it succeeded, died or was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Its own backoff, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// Where it stands after its backoff.
    pub order_on_retry: OrderOnRetry,
    /// How long one attempt may take, if it says so itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
    /// What the request that enqueued it is followed by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<CorrelationId>,
    /// Where its progress is to be seen, when it asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
    /// Who has it, or had it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Holder>,
    /// Its last failures, oldest first; at most 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<PastError>,
    /// The states that it entered, oldest first; at most the last 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Entered>,
}

/// Who holds a task, or held it last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Holder {
    /// The fencing token of the lease.
    pub token: FencingToken,
    /// The worker, as it named itself.
    pub worker: WorkerName,
    /// When the lease runs out unless it is extended; left out once the task has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
}

/// One failure of the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PastError {
    /// When it was reported.
    pub at: Timestamp,
    /// Which attempt it ended, from 1 on.
    pub attempt: u8,
    /// What the worker said.
    pub message: String,
}

/// A state that a task entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Entered {
    /// The state.
    pub state: TaskState,
    /// When.
    pub at: Timestamp,
}

/// `POST …/tasks/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TaskIds {
    /// 1 to 1,000 ids.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 1000))]
    pub ids: Vec<TaskId>,
}

/// The answer to a status request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Statuses {
    /// Those that there are, in the order asked for, without payloads and results.
    pub tasks: Vec<Task>,
    /// Those that there are not, or no longer.
    pub missing: Vec<TaskId>,
}

/// One page of a list of tasks, without payloads and results.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskPage {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// Where the next page begins: `?after=`. Left out on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `POST …/leases`: give me work.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    /// How the worker calls itself; shown in a task's status, and no right.
    pub worker: WorkerName,
    /// At most this many tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 64, default = 1))]
    pub max: Option<u16>,
    /// How long each lease lasts unless it is extended; 1 s to 1 h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1000, maximum = 3_600_000, default = 30_000))]
    pub lease_ms: Option<u64>,
    /// How long to wait for the first task; what is over 30 s counts as 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>, default = 0))]
    pub wait_ms: Option<LongPoll>,
}

/// The answer to a lease request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeasedTasks {
    /// The tasks, in the order of the queue; none when there was no work in time.
    pub tasks: Vec<LeasedTask>,
}

/// A task for a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeasedTask {
    /// Its id.
    pub id: TaskId,
    /// Belongs to every write about this task. Pass it on to what you write elsewhere, and refuse an older one there.
    pub token: FencingToken,
    /// When the lease runs out unless it is extended.
    pub lease_ends_at: Timestamp,
    /// What is to be done.
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub payload: Box<RawValue>,
    /// Which attempt this is, from 1 on. Lost leases and returns do not count.
    pub attempt: u8,
    /// How many failed attempts make it dead.
    pub max_attempts: u8,
    /// How often a worker was lost over it.
    pub crashes: u8,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// How long the attempt may take, if the task says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
    /// Send it on as `X-Correlation-ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<CorrelationId>,
    /// Send it on as `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// `POST …/leases/ack`: the task is done. Safe to repeat: the same token gets the same answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// The task.
    pub id: TaskId,
    /// The token of its lease.
    pub token: FencingToken,
    /// Any JSON, at most 1 MiB; kept for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub result: Option<Box<RawValue>>,
}

/// `POST …/leases/nack`: the task is not done. Safe to repeat.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Nack {
    /// The task.
    pub id: TaskId,
    /// The token of its lease.
    pub token: FencingToken,
    /// Why, for people; cut to 1,000 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What follows.
    #[serde(default)]
    pub then: Then,
    /// Wait exactly this long instead of the backoff; with `retry` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 31_622_400_000_u64))]
    pub retry_after_ms: Option<u64>,
}

/// What follows a nack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// Another attempt after the backoff, or death when none is left.
    #[default]
    Retry,
    /// Death: no attempt would help.
    Die,
    /// Back to its place, untried: the worker shuts down. Costs no attempt.
    GiveBack,
}

/// `POST …/leases/extend`: the worker lives and needs longer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Extend {
    /// The task.
    pub id: TaskId,
    /// The token of its lease.
    pub token: FencingToken,
    /// How long from now; 1 s to 1 h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1000, maximum = 3_600_000, default = 30_000))]
    pub lease_ms: Option<u64>,
}

/// `POST …/leases/progress`: what the worker has done so far, to be seen as the operation `<queue>.<task id>`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The task.
    pub id: TaskId,
    /// The token of its lease.
    pub token: FencingToken,
    /// 1 to 100 updates, applied all or not at all. A step that is new is added.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 100))]
    pub updates: Vec<progress::Update>,
}

/// What became of one item of a call about leases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeaseAnswer {
    /// The task.
    pub id: TaskId,
    /// The state of the task after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<TaskState>,
    /// When the lease runs out now, after an extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ends_at: Option<Timestamp>,
    /// Why this item was refused; left out when it was done. The kind of a problem, such as `lease-lost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The same for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The answer to an array of items, in its order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeaseAnswers {
    /// One for each item.
    pub results: Vec<LeaseAnswer>,
}

/// A body that is one item, or an array of them.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One: its refusal is the answer's status.
    One(T),
    /// Many: each has an answer of its own.
    Many(Vec<T>),
}

// Read by hand: `untagged` would say "did not match any variant" instead of naming the field.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrManyVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or an array of objects")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(OneOrMany::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(OneOrMany::Many)
            }
        }
        deserializer.deserialize_any(OneOrManyVisitor(PhantomData))
    }
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Queue {
    /// Its name.
    pub name: QueueName,
    /// How its tasks are delivered.
    pub executor: Executor,
    /// How many tasks there are in each state.
    pub depth: Depth,
    /// How old the oldest ready task is; left out when none is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ready_ms: Option<u64>,
}

/// How the tasks of a queue are delivered, as the process that answers is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Executor {
    /// They wait for workers that pull.
    #[default]
    None,
    /// To a URL.
    Push,
    /// To a handler inside of the process.
    Native,
}

/// How many tasks of a queue are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Depth {
    /// They wait for their time.
    pub scheduled: u64,
    /// They wait for other tasks.
    pub blocked: u64,
    /// They wait for a worker.
    pub ready: u64,
    /// Workers have them.
    pub leased: u64,
    /// They wait for their backoff.
    pub retrying: u64,
    /// Dead letters.
    pub dead: u64,
    /// Succeeded or cancelled, and still to be seen.
    pub ended: u64,
}

/// `GET /v1/queues`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Queues {
    /// Those that the key may read, by name.
    pub queues: Vec<Queue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_or_many_names_what_is_wrong_inside() {
        let one: OneOrMany<Ack> =
            serde_json::from_str(r#"{"id":"1-00000000","token":7,"result":{"n": 1.50}}"#).unwrap();
        assert!(matches!(one, OneOrMany::One(ack) if ack.result.as_ref().unwrap().get() == r#"{"n": 1.50}"#));
        let many: OneOrMany<Ack> = serde_json::from_str(r#"[{"id":"1-00000000","token":7}]"#).unwrap();
        assert!(matches!(many, OneOrMany::Many(acks) if acks.len() == 1));

        for (wrong, says) in [
            (r#"[{"id":"1-00000000"}]"#, "missing field `token`"),
            (r#"{"id":"1-00000000","token":7,"why":1}"#, "unknown field `why`"),
            (r#"{"id":"x","token":7}"#, "not a task id"),
            ("7", "an object or an array of objects"),
        ] {
            let error = serde_json::from_str::<OneOrMany<Ack>>(wrong).unwrap_err().to_string();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }
}
