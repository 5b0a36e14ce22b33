//! The main path, by HTTP, over two of each service: what one of them wrote is read at the other.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::{Client, until};

use crate::compose::Compose;
use crate::stack::Stack;

const SOON: Duration = Duration::from_secs(30);
const TASKS: usize = 200;

/// Everything that holds on any stack, in containers or not.
pub(crate) async fn holds_on(stack: &Stack) {
    an_entry_a_task_and_an_operation_go_through(stack).await;
    a_session_is_one_session_everywhere(stack).await;
    one_correlation_id_goes_from_the_gateway_to_the_progress(stack).await;
    a_limit_is_one_limit_over_all_gateways(stack).await;
}

async fn an_entry_a_task_and_an_operation_go_through(stack: &Stack) {
    put(&stack.caches[0], "hello", "hello, world").await;
    assert_eq!(get(&stack.caches[1], "hello").await, "hello, world");

    // Enqueued at one worker, leased at another: they meet only in Redis.
    let task = enqueue(&stack.queues[0], json!({ "n": 1 })).await;
    let leased = lease(&stack.queues[1]).await;
    assert_eq!(leased["tasks"][0]["id"], task.as_str(), "{leased}");
    ack(&stack.queues[1], &leased["tasks"][0], json!({ "done": 1 })).await;
    let asked = stack.queues[0].get(&format!("/v1/queues/e2e/tasks/{task}?wait_ms=5000"));
    let ended = stack.queues[0].json(asked).await;
    assert_eq!((&ended["state"], &ended["result"]), (&json!("succeeded"), &json!({ "done": 1 })), "{ended}");

    let [writer, reader] = &stack.progress[..] else { panic!("two of progress-sse") };
    let steps = json!({ "id": "e2e-1", "steps": [{ "name": "one" }, { "name": "two" }] });
    writer.json(writer.post("/v1/operations", &steps)).await;
    let half = json!({ "step": "one", "state": "completed" });
    writer.json(writer.post("/v1/operations/e2e-1/updates", &half)).await;
    writer.json(writer.post("/v1/operations/e2e-1/complete", &json!({}))).await;
    let stream = reader.get("/v1/operations/e2e-1/events").send().await.unwrap().text().await.unwrap();
    assert!(stream.contains("event: snapshot") && stream.contains("\"completed\""), "{stream}");
}

async fn a_session_is_one_session_everywhere(stack: &Stack) {
    let [here, there] = &stack.caches[..] else { panic!("two of cache-api") };
    let made =
        here.json(here.post("/v1/sessions", &json!({ "user_id": "ada", "attributes": { "n": 1 } }))).await;
    let token = made["token"].as_str().unwrap();
    let current = async |at: &Client| {
        at.get("/v1/sessions/current").header("Sluice-Session", token).send().await.unwrap()
    };
    assert_eq!(current(there).await.json::<Value>().await.unwrap()["user_id"], "ada");

    let log_out =
        here.request(reqwest::Method::DELETE, "/v1/sessions/current").header("Sluice-Session", token);
    assert!(log_out.send().await.unwrap().status().is_success());

    assert_eq!(current(there).await.status(), StatusCode::UNAUTHORIZED);
}

/// Gateway, enqueue, worker, progress: whoever looks finds the id that the caller chose.
async fn one_correlation_id_goes_from_the_gateway_to_the_progress(stack: &Stack) {
    const ID: &str = "e2e-correlation-7";
    let [one, other] = &stack.gateways[..] else { panic!("two gateways") };
    let body = json!({ "payload": { "n": 7 }, "progress": true });
    let enqueued = one.post("/v1/queues/e2e-followed/tasks", &body).header("X-Correlation-ID", ID);
    let enqueued = enqueued.send().await.unwrap();
    assert_eq!(
        (enqueued.status(), &enqueued.headers()["x-correlation-id"]),
        (StatusCode::CREATED, &ID.parse().unwrap())
    );
    let task = enqueued.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();

    let request = json!({ "worker": "e2e", "max": 1, "lease_ms": 30_000, "wait_ms": 5_000 });
    let leased = other.json(other.post("/v1/queues/e2e-followed/leases", &request)).await;
    let leased = &leased["tasks"][0];
    assert_eq!((&leased["id"], &leased["correlation_id"]), (&json!(task), &json!(ID)), "{leased}");
    let update =
        json!({ "id": task, "token": leased["token"], "updates": [{ "step": "one", "percent": 50 }] });
    other.json(other.post("/v1/queues/e2e-followed/leases/progress", &update)).await;
    let done = json!({ "id": task, "token": leased["token"], "result": null });
    other.json(other.post("/v1/queues/e2e-followed/leases/ack", &done)).await;

    let operation = one.json(one.get(&format!("/v1/operations/e2e-followed.{task}"))).await;
    assert_eq!(
        (&operation["correlation_id"], &operation["state"]),
        (&json!(ID), &json!("completed")),
        "{operation}"
    );
}

/// The shipped rules let a caller invalidate 20 times in 10 seconds.
async fn a_limit_is_one_limit_over_all_gateways(stack: &Stack) {
    let invalidate =
        async |at: &Client| at.post("/v1/projects/e2e-limited/invalidate", &json!({})).send().await.unwrap();
    let mut admitted = 0;
    let refused = loop {
        let answer = invalidate(&stack.gateways[admitted % 2]).await;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            break answer;
        }
        assert!(answer.status().is_success(), "{answer:?}");
        admitted += 1;
        assert!(admitted <= 20, "two gateways admitted more than one may");
    };
    assert_eq!(admitted, 20, "nor fewer");
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    assert!(refused.headers().contains_key("retry-after"), "{refused:?}");
    assert!(refused.headers()["ratelimit"].to_str().unwrap().contains("r=0"), "{refused:?}");
}

pub(crate) async fn nothing_acknowledged_is_lost_by_a_restart_of_redis(compose: &Compose, stack: &Stack) {
    let mut enqueued = BTreeSet::new();
    for n in 0..TASKS {
        enqueued.insert(enqueue(&stack.queues[n % 2], json!({ "n": n })).await);
    }

    compose.run(&["restart", "redis"]);

    for client in stack.with_health() {
        until(
            async || client.get("/health/ready").send().await.is_ok_and(|it| it.status().is_success()),
            SOON,
        )
        .await;
    }
    let mut done = BTreeSet::new();
    while done.len() < TASKS {
        let worker = &stack.queues[done.len() % 2];
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

/// By the user of Redis who may do that; no service may.
pub(crate) async fn api_keys_are_made_and_revoked_by_hand(compose: &Compose, stack: &Stack) {
    let made = compose.run(&["run", "--rm", "keys", "create", "e2e-by-hand", "--scope", "*"]);
    let client = stack.caches[1].with_key(made.split_whitespace().last().unwrap());
    let status = async || client.get("/v1/projects/e2e/entries").send().await.unwrap().status();
    until(async || status().await == StatusCode::OK, SOON).await;

    compose.run(&["run", "--rm", "keys", "revoke", "e2e-by-hand"]);
    until(async || status().await.is_client_error(), SOON).await;
}

/// Each service has worked within what its user may.
pub(crate) fn redis_refused_nothing(compose: &Compose) {
    let log = compose.run(&["logs", "--no-color"]);
    let refused = log.lines().find(|line| line.contains("NOPERM") || line.contains("WRONGPASS"));
    assert_eq!(refused, None);
}

pub(crate) async fn data_and_keys_survive_a_new_start(compose: &Compose, stack: &Stack) {
    put(&stack.caches[0], "kept", "over a new start").await;

    compose.run(&["down"]);
    compose.up();
    let again = compose.ready().await;

    // The client of the new stack, with the key of the old one: both are as they were.
    assert_eq!(get(&again.caches[0], "kept").await, "over a new start");
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
