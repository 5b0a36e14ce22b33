//! What is measured. One entry of the table is one line of the report.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::http_case::{Asked, HttpCase};
use crate::judge::Goal;
use crate::request::{Body, Caller, noise};

/// The cases against a bare handler.
pub(crate) const HTTP: [HttpCase; 3] = [
    HttpCase {
        name: "smoke/cache_get_vs_bare",
        goal: Goal(0.7),
        service: "cache-api",
        prepare: Asked { requests: entries_and_a_read, status: ANY_SUCCESS },
        measure: Asked { requests: reads, status: 200..=200 },
    },
    HttpCase {
        name: "smoke/enqueue_vs_bare",
        goal: Goal(0.6),
        service: "queue-worker",
        prepare: Asked { requests: a_task, status: 201..=201 },
        measure: Asked { requests: tasks, status: 201..=201 },
    },
    HttpCase {
        name: "smoke/update_vs_bare",
        goal: Goal(0.6),
        service: "progress-sse",
        prepare: Asked { requests: operations_and_an_update, status: ANY_SUCCESS },
        measure: Asked { requests: updates, status: 200..=200 },
    },
];

/// How fast one worker process drains a queue.
pub(crate) const DRAIN: (&str, Goal) = ("smoke/drain_vs_bullmq", Goal(2.0));

/// Whether `--only` means this case: an area, a whole name, or nothing for all.
pub(crate) fn is_meant(name: &str, only: Option<&str>) -> bool {
    only.is_none_or(|only| name == only || name.strip_prefix(only).is_some_and(|rest| rest.starts_with('/')))
}

/// 1,000 entries of 1 KiB, then one read.
fn entries_and_a_read(caller: Caller<'_>) -> Vec<Bytes> {
    let put = |number| {
        let payload = noise(ENTRY_BYTES, number);
        caller.request("PUT", &entry(number), number, Some(Body::plain(&payload)))
    };
    (0..MANY).map(put).chain(reads(caller).into_iter().take(1)).collect()
}

fn reads(caller: Caller<'_>) -> Vec<Bytes> {
    (0..MANY).map(|number| caller.request("GET", &entry(number), number, None)).collect()
}

fn entry(number: usize) -> String {
    format!("/v1/projects/bench/entries/entry-{number}")
}

fn a_task(caller: Caller<'_>) -> Vec<Bytes> {
    tasks(caller).into_iter().take(1).collect()
}

/// Tasks with 256 bytes of payload, each with a correlation id and a trace of its own.
fn tasks(caller: Caller<'_>) -> Vec<Bytes> {
    let task = |number| {
        let body = format!(r#"{{"payload":"{}"}}"#, noise(TASK_BYTES - 2, number));
        caller.request("POST", "/v1/queues/embeddings/tasks", number, Some(Body::json(&body)))
    };
    (0..MANY).map(task).collect()
}

/// 1,000 running operations of three steps, and one update.
fn operations_and_an_update(caller: Caller<'_>) -> Vec<Bytes> {
    let create = |number| {
        let body = format!(
            r#"{{"id":"{}","steps":[{{"name":"read"}},{{"name":"embed"}},{{"name":"write"}}]}}"#,
            operation(number)
        );
        caller.request("POST", "/v1/operations", number, Some(Body::json(&body)))
    };
    (0..MANY).map(create).chain(updates(caller).into_iter().take(1)).collect()
}

fn updates(caller: Caller<'_>) -> Vec<Bytes> {
    let update = |number| {
        let body = format!(
            r#"{{"step":"embed","percent":{}.5,"message":"embedded {number} of {MANY} chunks"}}"#,
            number % 100
        );
        let path = format!("/v1/operations/{}/updates", operation(number));
        caller.request("POST", &path, number, Some(Body::json(&body)))
    };
    (0..MANY).map(update).collect()
}

fn operation(number: usize) -> String {
    format!("bench-{number}")
}

const MANY: usize = 1000;
const ENTRY_BYTES: usize = 1024;
/// Of a task's payload, the quotes included.
pub(crate) const TASK_BYTES: usize = 256;
const ANY_SUCCESS: RangeInclusive<u16> = 200..=299;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_takes_an_area_or_a_case() {
        for (only, meant) in [
            (None, true),
            (Some("smoke"), true),
            (Some("smoke/drain_vs_bullmq"), true),
            (Some("smoke/drain"), false),
            (Some("smo"), false),
            (Some("queue"), false),
        ] {
            assert_eq!(is_meant("smoke/drain_vs_bullmq", only), meant, "{only:?}");
        }
    }

    #[test]
    fn a_payload_has_the_size_that_the_peers_get() {
        let task = &tasks(Caller { key: "k" })[0];
        let body = task.split(|byte| *byte == b'\n').next_back().unwrap();
        assert_eq!(body.len(), r#"{"payload":}"#.len() + TASK_BYTES);
    }
}
