//! What is measured. One entry of the table is one line of the report.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::http_case::{Asked, HttpCase};
use crate::judge::Goal;
use crate::limiter_case::LimiterCase;
use crate::report::Measure;
use crate::request::{Body, Caller, forwarded, noise};
use crate::server::Server;

/// The cases that ask over HTTP.
pub(crate) const HTTP: [HttpCase; 12] = [
    HttpCase {
        name: "smoke/cache_get_vs_bare",
        measure: Measure::Throughput,
        goal: Goal::AtLeast(0.7),
        ours: Server::Service("cache-api"),
        reference: Some(Server::Bare),
        prepare: Some(Asked { requests: entries, status: ANY_SUCCESS }),
        ask: Asked { requests: reads, status: 200..=200 },
    },
    HttpCase {
        name: "smoke/enqueue_vs_bare",
        measure: Measure::Throughput,
        goal: Goal::AtLeast(0.6),
        ours: Server::Service("queue-worker"),
        reference: Some(Server::Bare),
        prepare: None,
        ask: Asked { requests: tasks, status: 201..=201 },
    },
    HttpCase {
        name: "smoke/update_vs_bare",
        measure: Measure::Throughput,
        goal: Goal::AtLeast(0.6),
        ours: Server::Service("progress-sse"),
        reference: Some(Server::Bare),
        prepare: Some(Asked { requests: operations, status: ANY_SUCCESS }),
        ask: Asked { requests: updates, status: 200..=200 },
    },
    HttpCase {
        name: "cache/session_validate_vs_bare",
        measure: Measure::Throughput,
        goal: Goal::AtLeast(0.7),
        ours: Server::Service("cache-api"),
        reference: Some(Server::Bare),
        prepare: Some(Asked { requests: sessions, status: 201..=201 }),
        ask: Asked { requests: validations, status: 200..=200 },
    },
    HttpCase {
        name: "ratelimit/check_vs_bare",
        measure: Measure::Throughput,
        goal: Goal::AtLeast(0.8),
        ours: Server::Admin,
        reference: Some(Server::Bare),
        prepare: None,
        ask: Asked { requests: checks, status: 200..=200 },
    },
    HttpCase {
        name: "ratelimit/check_p99_ms",
        measure: Measure::P99,
        goal: Goal::Below(2.0),
        ours: Server::Admin,
        reference: None,
        prepare: None,
        ask: Asked { requests: checks, status: 200..=200 },
    },
    HttpCase {
        name: "ratelimit/denied_http_vs_hello",
        measure: Measure::Throughput,
        goal: Goal::AtLeast(0.7),
        ours: Server::Door,
        reference: Some(Server::Hello),
        prepare: Some(Asked { requests: used_up, status: ANY }),
        ask: Asked { requests: denied, status: 429..=429 },
    },
    HttpCase {
        name: "ratelimit/proxy_cpu_vs_nginx",
        measure: Measure::CpuSeconds,
        goal: Goal::AtMost(1.8),
        ours: Server::Door,
        reference: Some(Server::Nginx),
        prepare: None,
        ask: Asked { requests: unlimited, status: 200..=200 },
    },
    HttpCase {
        name: "ratelimit/proxy_cpu_vs_envoy",
        measure: Measure::CpuSeconds,
        goal: Goal::AtMost(0.5),
        ours: Server::Door,
        reference: Some(Server::Envoy),
        prepare: None,
        ask: Asked { requests: unlimited, status: 200..=200 },
    },
    HttpCase {
        name: "ratelimit/limited_proxy_cpu_vs_envoy",
        measure: Measure::CpuSeconds,
        goal: Goal::AtMost(1.0),
        ours: Server::Door,
        reference: Some(Server::Envoy),
        prepare: None,
        ask: Asked { requests: limited, status: 200..=200 },
    },
    HttpCase {
        name: "metrics/cost_of_a_cached_read_cpu",
        measure: Measure::CpuSeconds,
        goal: Goal::AtMost(1.03),
        ours: Server::Service("cache-api"),
        reference: Some(Server::Unmeasured("cache-api")),
        prepare: Some(Asked { requests: entries, status: ANY_SUCCESS }),
        ask: Asked { requests: reads, status: 200..=200 },
    },
    HttpCase {
        name: "metrics/cost_of_an_enqueue_cpu",
        measure: Measure::CpuSeconds,
        goal: Goal::AtMost(1.03),
        ours: Server::Service("queue-worker"),
        reference: Some(Server::Unmeasured("queue-worker")),
        prepare: None,
        ask: Asked { requests: tasks, status: 201..=201 },
    },
];

/// How fast one worker process drains a queue.
pub(crate) const DRAIN: (&str, Goal) = ("smoke/drain_vs_bullmq", Goal::AtLeast(2.0));

/// The limiter as a library.
pub(crate) const LIMITERS: [LimiterCase; 2] = [
    LimiterCase { name: "ratelimit/limiter_vs_limitador", goal: Goal::AtLeast(1.2), spent: 0 },
    LimiterCase { name: "ratelimit/limiter_vs_limitador_denied90", goal: Goal::AtLeast(8.0), spent: 900 },
];

/// Whether `--only` means this case: an area, a whole name, or nothing for all.
pub(crate) fn is_meant(name: &str, only: Option<&str>) -> bool {
    only.is_none_or(|only| name == only || name.strip_prefix(only).is_some_and(|rest| rest.starts_with('/')))
}

/// 1,000 entries of 1 KiB.
fn entries(caller: Caller<'_>, _: &[Bytes]) -> Vec<Bytes> {
    let put = |number| {
        let payload = noise(ENTRY_BYTES, number);
        caller.request("PUT", &entry(number), number, Some(Body::plain(&payload)))
    };
    (0..MANY).map(put).collect()
}

fn reads(caller: Caller<'_>, _: &[Bytes]) -> Vec<Bytes> {
    (0..MANY).map(|number| caller.request("GET", &entry(number), number, None)).collect()
}

fn entry(number: usize) -> String {
    format!("/v1/projects/bench/entries/entry-{number}")
}

/// Tasks with 256 bytes of payload, each with a correlation id and a trace of its own.
fn tasks(caller: Caller<'_>, _: &[Bytes]) -> Vec<Bytes> {
    let task = |number| {
        let body = format!(r#"{{"payload":"{}"}}"#, noise(TASK_BYTES - 2, number));
        caller.request("POST", "/v1/queues/embeddings/tasks", number, Some(Body::json(&body)))
    };
    (0..MANY).map(task).collect()
}

/// 1,000 running operations of three steps.
fn operations(caller: Caller<'_>, _: &[Bytes]) -> Vec<Bytes> {
    let create = |number| {
        let body = format!(
            r#"{{"id":"{}","steps":[{{"name":"read"}},{{"name":"embed"}},{{"name":"write"}}]}}"#,
            operation(number)
        );
        caller.request("POST", "/v1/operations", number, Some(Body::json(&body)))
    };
    (0..MANY).map(create).collect()
}

fn updates(caller: Caller<'_>, _: &[Bytes]) -> Vec<Bytes> {
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

/// Checks that pass, each of 1,000 users in turn.
fn checks(caller: Caller<'_>, _: &[Bytes]) -> Vec<Bytes> {
    let check = |number| {
        let body = format!(r#"{{"policy":"bench","user":"{number}"}}"#);
        caller.request("POST", "/v1/ratelimit/check", number, Some(Body::json(&body)))
    };
    (0..MANY).map(check).collect()
}

/// Of 1,000 addresses in turn, as each of the next.
fn unlimited(_: Caller<'_>, _: &[Bytes]) -> Vec<Bytes> {
    visits("open")
}

/// Limited, and never denied.
fn limited(_: Caller<'_>, _: &[Bytes]) -> Vec<Bytes> {
    visits("limited")
}

/// Limited to one in an hour.
fn denied(_: Caller<'_>, _: &[Bytes]) -> Vec<Bytes> {
    visits("once")
}

/// Until every address is known to be denied.
fn used_up(_: Caller<'_>, _: &[Bytes]) -> Vec<Bytes> {
    [visits("once"), visits("once")].concat()
}

fn visits(route: &str) -> Vec<Bytes> {
    (0..MANY).map(|number| forwarded(&format!("/{route}/item-{number}"), number)).collect()
}

/// 1,000 sessions of as many users.
fn sessions(caller: Caller<'_>, _: &[Bytes]) -> Vec<Bytes> {
    let create = |number| {
        let body = format!(
            r#"{{"user_id":"user-{number}","attributes":{{"name":"{}","roles":["reader"]}}}}"#,
            noise(ATTRIBUTE_BYTES, number)
        );
        caller.request("POST", "/v1/sessions", number, Some(Body::json(&body)))
    };
    (0..MANY).map(create).collect()
}

fn validations(caller: Caller<'_>, created: &[Bytes]) -> Vec<Bytes> {
    let validate = |(number, answer): (usize, &Bytes)| {
        caller.in_session(token(answer)).request("GET", "/v1/sessions/current", number, None)
    };
    created.iter().enumerate().map(validate).collect()
}

/// The token in the answer to a creation; text that is no token when there is none.
fn token(answer: &Bytes) -> &str {
    let text = std::str::from_utf8(answer).unwrap_or_default();
    text.split_once(r#""token":""#).and_then(|(_, rest)| rest.split('"').next()).unwrap_or("none")
}

const MANY: usize = 1000;
const ENTRY_BYTES: usize = 1024;
/// Of a task's payload, the quotes included.
pub(crate) const TASK_BYTES: usize = 256;
const ATTRIBUTE_BYTES: usize = 200;
const ANY_SUCCESS: RangeInclusive<u16> = 200..=299;
const ANY: RangeInclusive<u16> = 200..=499;

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
    fn a_session_is_validated_by_the_token_of_its_creation() {
        let created = Bytes::from(r#"HTTP/1.1 201 Created\r\n\r\n{"id":"1","token":"ab.cd","user_id":"u"}"#);
        let request = &validations(Caller::of("k"), &[created])[0];
        assert!(String::from_utf8_lossy(request).contains("\r\nsluice-session: ab.cd\r\n"), "{request:?}");
    }

    #[test]
    fn a_payload_has_the_size_that_the_peers_get() {
        let task = &tasks(Caller::of("k"), &[])[0];
        let body = task.split(|byte| *byte == b'\n').next_back().unwrap();
        assert_eq!(body.len(), r#"{"payload":}"#.len() + TASK_BYTES);
    }
}
