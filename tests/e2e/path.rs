//! The main path, by HTTP, through containers.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Client, until};

use crate::compose::{Compose, Stack};

const SOON: Duration = Duration::from_secs(30);
const TASKS: usize = 200;

pub(crate) async fn an_entry_a_task_and_an_operation_go_through(stack: &Stack) {
    put(&stack.cache, "hello", "hello, world").await;
    assert_eq!(get(&stack.cache, "hello").await, "hello, world");

    // Enqueued at one worker, leased at another, read at a third: they meet only in Redis.
    let [first, second, third] = &stack.queues[..] else { panic!("three workers") };
    let task = enqueue(first, json!({ "n": 1 })).await;
    let leased = lease(second).await;
    assert_eq!(leased["tasks"][0]["id"], task.as_str(), "{leased}");
    ack(second, &leased["tasks"][0], json!({ "done": 1 })).await;
    let ended = third.json(third.get(&format!("/v1/queues/e2e/tasks/{task}?wait_ms=5000"))).await;
    assert_eq!((&ended["state"], &ended["result"]), (&json!("succeeded"), &json!({ "done": 1 })), "{ended}");

    let progress = &stack.progress;
    let steps = json!({ "id": "e2e-1", "steps": [{ "name": "one" }, { "name": "two" }] });
    progress.json(progress.post("/v1/operations", &steps)).await;
    let half = json!({ "step": "one", "state": "completed" });
    progress.json(progress.post("/v1/operations/e2e-1/updates", &half)).await;
    progress.json(progress.post("/v1/operations/e2e-1/complete", &json!({}))).await;
    let stream = progress.get("/v1/operations/e2e-1/events").send().await.unwrap().text().await.unwrap();
    assert!(stream.contains("event: snapshot") && stream.contains("\"completed\""), "{stream}");
}

pub(crate) async fn nothing_acknowledged_is_lost_by_a_restart_of_redis(compose: &Compose, stack: &Stack) {
    let mut enqueued = BTreeSet::new();
    for n in 0..TASKS {
        enqueued.insert(enqueue(&stack.queues[n % 3], json!({ "n": n })).await);
    }

    compose.run(&["restart", "redis"]);

    for client in stack.queues.iter().chain([&stack.cache, &stack.progress]) {
        until(
            async || client.get("/health/ready").send().await.is_ok_and(|it| it.status().is_success()),
            SOON,
        )
        .await;
    }
    let mut done = BTreeSet::new();
    while done.len() < TASKS {
        let worker = &stack.queues[done.len() % 3];
        let leased = lease(worker).await;
        let tasks = leased["tasks"].as_array().unwrap();
        assert!(!tasks.is_empty(), "{} of {TASKS} tasks came back", done.len());
        for task in tasks {
            ack(worker, task, json!(null)).await;
            assert!(done.insert(task["id"].as_str().unwrap().to_owned()), "{task} twice");
        }
    }
    assert_eq!(done, enqueued);
}

pub(crate) async fn data_and_keys_survive_a_new_start(compose: &Compose, stack: &Stack) {
    put(&stack.cache, "kept", "over a new start").await;

    compose.run(&["down"]);
    compose.up(3);
    let again = compose.ready(3).await;

    // The client of the new stack, with the key of the old one: both are as they were.
    assert_eq!(get(&again.cache, "kept").await, "over a new start");
    let ended = again.queues[0].json(again.queues[0].get("/v1/queues/e2e/tasks?state=succeeded")).await;
    assert!(!ended["tasks"].as_array().unwrap().is_empty(), "{ended}");
}

async fn put(cache: &Client, name: &str, text: &'static str) {
    let request = cache.put(&format!("/v1/projects/e2e/entries/{name}")).header("Content-Type", "text/plain");
    let answer = request.body(text).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
}

async fn get(cache: &Client, name: &str) -> String {
    let answer = cache.get(&format!("/v1/projects/e2e/entries/{name}")).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    answer.text().await.unwrap()
}

async fn enqueue(worker: &Client, payload: Value) -> String {
    let enqueued = worker.json(worker.post("/v1/queues/e2e/tasks", &json!({ "payload": payload }))).await;
    enqueued["id"].as_str().unwrap().to_owned()
}

async fn lease(worker: &Client) -> Value {
    let request = json!({ "worker": "e2e", "max": 20, "lease_ms": 30_000, "wait_ms": 5_000 });
    worker.json(worker.post("/v1/queues/e2e/leases", &request)).await
}

async fn ack(worker: &Client, task: &Value, result: Value) {
    let body = json!({ "id": task["id"], "token": task["token"], "result": result });
    let answer = worker.post("/v1/queues/e2e/leases/ack", &body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}
