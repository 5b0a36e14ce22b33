//! Between the wire and the engine: the same words, other types. Pure.

use bytes::Bytes;
use domain::{QueueName, queue as wire};
use serde_json::value::{RawValue, to_raw_value};
use std::time::Duration;

use crate::reporter::operation_of;

/// A task as it is told, with its result where one was asked for.
pub(crate) fn task(queue: &QueueName, task: queue::Task, result: Option<&Bytes>) -> wire::Task {
    wire::Task {
        id: task.id,
        queue: queue.clone(),
        state: task.state,
        payload: json(&task.payload),
        result: result.and_then(json),
        reason: task.reason,
        attempts: task.attempts,
        max_attempts: task.max_attempts,
        crashes: task.crashes,
        priority: task.priority,
        place: task.place,
        concurrency_key: task.lane,
        created_at: task.created_at,
        due_at: task.due_at,
        expires_at: task.expires_at,
        ended_at: task.ended_at,
        backoff: task
            .backoff
            .map(|backoff| wire::Backoff { base_ms: ms(backoff.base), cap_ms: ms(backoff.cap) }),
        order_on_retry: match task.order_on_retry {
            queue::OrderOnRetry::Keep => wire::OrderOnRetry::Keep,
            queue::OrderOnRetry::Tail => wire::OrderOnRetry::Tail,
        },
        timeout_ms: task.timeout.map(ms),
        project: task.project,
        correlation_id: task.correlation,
        operation: task.progress.then(|| operation_of(queue, task.id)),
        lease: task.lease.map(|holder| wire::Holder {
            token: holder.token,
            worker: holder.worker,
            ends_at: holder.ends_at,
        }),
        errors: task.errors.into_iter().map(past_error).collect(),
        history: task
            .history
            .into_iter()
            .map(|past| wire::Entered { state: past.state, at: past.at })
            .collect(),
    }
}

/// A task for a worker that pulls.
pub(crate) fn leased(leased: queue::Leased) -> wire::LeasedTask {
    let queue::Leased { lease, ends_at, task } = leased;
    wire::LeasedTask {
        id: task.id,
        token: lease.token,
        lease_ends_at: ends_at,
        payload: json(&task.payload).unwrap_or_else(|| RawValue::NULL.to_owned()),
        attempt: task.attempts.saturating_add(1),
        max_attempts: task.max_attempts,
        crashes: task.crashes,
        created_at: task.created_at,
        timeout_ms: task.timeout.map(ms),
        project: task.project,
        correlation_id: task.correlation,
        traceparent: task.traceparent,
    }
}

/// A queue and how it stands.
pub(crate) fn queue(name: QueueName, executor: wire::Executor, stats: &queue::Stats) -> wire::Queue {
    wire::Queue {
        name,
        executor,
        depth: wire::Depth {
            scheduled: stats.scheduled,
            blocked: stats.blocked,
            ready: stats.ready,
            leased: stats.leased,
            retrying: stats.retrying,
            dead: stats.dead,
            ended: stats.done,
        },
        oldest_ready_ms: stats.oldest_ready.map(ms),
    }
}

/// A raw value as bytes, without a copy.
pub(crate) fn bytes(json: Box<RawValue>) -> Bytes {
    Bytes::from(String::from(Box::<str>::from(json)))
}

/// Bytes as JSON: as they are when they are JSON, else as text. None when there are none.
fn json(bytes: &Bytes) -> Option<Box<RawValue>> {
    if bytes.is_empty() {
        return None;
    }
    let text = String::from_utf8_lossy(bytes);
    let as_it_is = RawValue::from_string(text.clone().into_owned()).ok();
    // A target or a program may give back what is no JSON.
    as_it_is.or_else(|| to_raw_value(&text).ok())
}

fn past_error(past: queue::PastError) -> wire::PastError {
    wire::PastError { at: past.at, attempt: past.attempt, message: past.message }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_json_stays_as_it_is_and_the_rest_becomes_text() {
        for (bytes, shown) in [
            (&br#"{"n": 1.50}"#[..], Some(r#"{"n": 1.50}"#)),
            (b"null", Some("null")),
            (b"done", Some(r#""done""#)),
            (b"\xff", Some("\"\u{fffd}\"")),
            (b"", None),
        ] {
            let value = json(&Bytes::from_static(bytes));
            assert_eq!(value.as_ref().map(|value| value.get()), shown, "{bytes:?}");
        }
    }
}
