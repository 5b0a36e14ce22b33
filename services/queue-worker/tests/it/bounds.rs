//! The bounds of sizes and numbers: what is within passes, one more does not.

use crate::support::Stage;
use serde_json::{Value, json};
use testkit::expect_problem;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A JSON text of so many bytes.
fn text(bytes: usize) -> Value {
    json!("x".repeat(bytes - 2))
}

#[tokio::test]
async fn a_payload_has_at_most_256_kib() {
    let stage = Stage::new().await;
    stage.enqueue("mail", json!({"payload": text(256 * KIB)})).await;
    for beyond in [256 * KIB + 1, 3 * MIB] {
        let request = stage.api.post("/v1/queues/mail/tasks", &json!({"payload": text(beyond)}));
        expect_problem(request.send().await.unwrap(), 413, None).await;
    }
}

#[tokio::test]
async fn a_batch_has_at_most_1000_tasks_and_1_mib() {
    let stage = Stage::new().await;
    let send =
        |tasks: Vec<Value>| stage.api.post("/v1/queues/mail/tasks/batch", &json!({"tasks": tasks})).send();
    let small = |count: usize| vec![json!({"payload": 1}); count];
    assert_eq!(send(small(1000)).await.unwrap().status(), 201);
    expect_problem(send(small(1001)).await.unwrap(), 413, None).await;

    let large = |last: usize| {
        let mut tasks = vec![json!({"payload": text(256 * KIB)}); 3];
        tasks.push(json!({"payload": text(last)}));
        tasks
    };
    assert_eq!(send(large(256 * KIB)).await.unwrap().status(), 201);
    let mut beyond = large(256 * KIB);
    beyond.push(json!({"payload": 1}));
    expect_problem(send(beyond).await.unwrap(), 413, None).await;
    expect_problem(send(vec![json!({"payload": text(256 * KIB)}); 12]).await.unwrap(), 413, None).await;
}

#[tokio::test]
async fn a_result_has_at_most_1_mib() {
    let stage = Stage::new().await;
    let id = stage.enqueue("mail", json!({"payload": 1})).await;
    let token = stage.lease("mail").await["token"].clone();
    let ack = |result: Value| stage.say("mail", "ack", json!({"id": id, "token": token, "result": result}));

    expect_problem(ack(text(MIB + 1)).await, 413, "/result").await;
    expect_problem(ack(text(3 * MIB)).await, 413, None).await;
    assert_eq!(ack(text(MIB)).await.status(), 200);
    assert_eq!(stage.task("mail", &id).await["result"], text(MIB));
}

#[tokio::test]
async fn a_lease_lasts_from_a_second_to_an_hour() {
    let stage = Stage::new().await;
    stage.enqueue("mail", json!({"payload": 1})).await;
    let lease =
        |ms: u64| stage.api.post("/v1/queues/mail/leases", &json!({"worker": "w", "lease_ms": ms})).send();
    for beyond in [999, 3_600_001] {
        expect_problem(lease(beyond).await.unwrap(), 422, "/lease_ms").await;
    }
    for within in [3_600_000, 1000] {
        assert_eq!(lease(within).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn names_have_their_lengths() {
    let stage = Stage::new().await;
    stage.enqueue(&"q".repeat(64), json!({"payload": 1, "concurrency_key": "l".repeat(64)})).await;
    let too_long = format!("/v1/queues/{}/tasks", "q".repeat(65));
    let request = stage.api.post(&too_long, &json!({"payload": 1}));
    expect_problem(request.send().await.unwrap(), 422, "queue").await;
    let lane = json!({"payload": 1, "concurrency_key": "l".repeat(65)});
    let request = stage.api.post("/v1/queues/mail/tasks", &lane);
    expect_problem(request.send().await.unwrap(), 422, "/concurrency_key").await;
}

#[tokio::test]
async fn there_are_no_more_queues_than_configured() {
    let stage = Stage::with(&[("MAX_QUEUES", "4")]).await;
    let registered = async || {
        let queues = stage.api.json(stage.api.get("/v1/queues")).await;
        queues["queues"].as_array().unwrap().len() == 3
    };
    testkit::until(registered, crate::support::SOON).await;
    stage.enqueue("fourth", json!({"payload": 1})).await;
    let request = stage.api.post("/v1/queues/fifth/tasks", &json!({"payload": 1}));
    expect_problem(request.send().await.unwrap(), 422, "queue").await;
    stage.enqueue("fourth", json!({"payload": 2})).await;
}

#[tokio::test]
async fn full_queues_refuse_tasks_and_still_give_them_out() {
    let stage = Stage::with(&[("MAX_BYTES", "20000")]).await;
    stage.enqueue("mail", json!({"payload": text(15_000)})).await;
    let refused = async || {
        let answer =
            stage.api.post("/v1/queues/mail/tasks", &json!({"payload": text(15_000)})).send().await.unwrap();
        (answer.status() == 503).then_some(answer)
    };
    let answer = testkit::until(refused, crate::support::SOON).await;
    assert!(answer.headers().contains_key("retry-after"));
    let problem = expect_problem(answer, 503, None).await;
    assert_eq!(problem["type"], "https://sluice.dev/problems/full");

    // A second's tasks came in before the node counted.
    let request = json!({"worker": "w", "max": 64});
    let leased = stage.api.json(stage.api.post("/v1/queues/mail/leases", &request)).await;
    let tasks = leased["tasks"].as_array().unwrap().iter();
    let acks: Vec<_> = tasks.map(|task| json!({"id": task["id"], "token": task["token"]})).collect();
    assert_eq!(stage.say("mail", "ack", json!(acks)).await.status(), 200);
    let accepted = async || {
        stage.api.post("/v1/queues/mail/tasks", &json!({"payload": 1})).send().await.unwrap().status() == 201
    };
    testkit::until(accepted, crate::support::SOON).await;
}

#[tokio::test]
async fn an_array_of_lease_items_and_a_list_of_ids_have_at_most_1000() {
    let stage = Stage::new().await;
    stage.enqueue("mail", json!({"payload": 1})).await;
    let items = |count: usize| json!(vec![json!({"id": "9-00000000", "token": 1}); count]);
    assert_eq!(stage.say("mail", "extend", items(1000)).await.status(), 200);
    expect_problem(stage.say("mail", "extend", items(1001)).await, 422, "").await;

    let ids = |count: usize| json!({"ids": vec!["9-00000000"; count]});
    let status = |ids: Value| stage.api.post("/v1/queues/mail/tasks/status", &ids).send();
    let answer = |body| async move { status(body).await.unwrap() };
    assert_eq!(answer(ids(1000)).await.status(), 200);
    expect_problem(answer(ids(1001)).await, 422, "/ids").await;
}

#[tokio::test]
async fn a_head_and_a_url_have_their_bounds() {
    let stage = Stage::new().await;
    let long = format!("/v1/queues/mail?{}", "x".repeat(9 * KIB));
    expect_problem(stage.api.get(&long).send().await.unwrap(), 414, None).await;
    let wide = stage.api.get("/v1/queues/mail").header("x-wide", "x".repeat(20 * KIB));
    expect_problem(wide.send().await.unwrap(), 431, None).await;
}
