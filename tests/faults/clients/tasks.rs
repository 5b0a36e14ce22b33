//! Enqueues tasks, works on whatever is due, and looks at the end at what became of each.

use super::{Asking, Reply};
use crate::history::{Fact, Service};
use serde_json::{Value, json};
use std::time::Duration;
use testkit::Client;

pub(super) async fn run(mut asking: Asking, queue: Client, name: String) {
    let mut enqueued = Vec::new();
    let mut number = 0;
    while asking.goes_on().await {
        number += 1;
        enqueued.extend(enqueue(&mut asking, &queue, &name, number).await);
        work(&asking, &queue, &name).await;
    }
    // What is left waits for no longer than a lease that was lost.
    for task in enqueued {
        end(&asking, &queue, &name, task).await;
    }
}

/// Until it is taken: the key makes a repetition the same task.
async fn enqueue(asking: &mut Asking, queue: &Client, name: &str, number: u64) -> Option<String> {
    loop {
        let body = json!({ "payload": { "number": number } });
        let request = queue.post(TASKS, &body).header("Idempotency-Key", format!("\"{name}-{number}\""));
        let id = |reply: &Reply| reply.json()["id"].as_str().map(str::to_owned);
        let learned = |reply: &Reply| id(reply).map(|task| Fact::Enqueued { task });
        if let Some(reply) = asking.ask(Service::QueueWorker, request, &[200, 201], learned).await {
            return id(&reply);
        }
        if !asking.goes_on().await {
            return None;
        }
    }
}

async fn work(asking: &Asking, queue: &Client, name: &str) {
    let request = json!({ "worker": name, "max": 8, "lease_ms": LEASE_MS, "wait_ms": 0 });
    let leased = asking.ask(Service::QueueWorker, queue.post(LEASES, &request), &[200], |_| None).await;
    let Some(leased) = leased else { return };
    for task in leased.json()["tasks"].as_array().into_iter().flatten() {
        acknowledge(asking, queue, task).await;
    }
}

/// Some times, as a repetition gets the first answer. 409: the lease was lost meanwhile, and another does it.
async fn acknowledge(asking: &Asking, queue: &Client, task: &Value) {
    for _ in 0..3 {
        let (id, token) = (&task["id"], &task["token"]);
        let done = queue.post(&format!("{LEASES}/ack"), &json!({ "id": id, "token": token }));
        let learned = |reply: &Reply| {
            let task = id.as_str()?.to_owned();
            (reply.status == 200).then_some(Fact::Acknowledged { task, token: token.as_u64()? })
        };
        if asking.ask(Service::QueueWorker, done, &[200, 409], learned).await.is_some() {
            return;
        }
    }
}

/// Works on until the task has ended, and notes how.
async fn end(asking: &Asking, queue: &Client, name: &str, task: String) {
    let path = format!("{TASKS}/{task}");
    for _ in 0..MOST_LOOKS {
        let state = |reply: &Reply| reply.json()["state"].as_str().map(str::to_owned);
        let reply = asking.ask(Service::QueueWorker, queue.get(&path), &[200], |_| None).await;
        let state = reply.as_ref().and_then(state).unwrap_or_default();
        if matches!(state.as_str(), "succeeded" | "dead" | "cancelled") {
            let ended = Fact::Ended { task, succeeded: state == "succeeded" };
            return asking.note_fact(Service::QueueWorker, ended);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        work(asking, queue, name).await;
    }
}

const TASKS: &str = "/v1/queues/faults/tasks";
const LEASES: &str = "/v1/queues/faults/leases";
const LEASE_MS: u64 = 3_000;
/// Over three leases long.
const MOST_LOOKS: usize = 50;
