//! `/v1/queues`

use crate::support::{SOON, Stage};
use serde_json::{Value, json};
use testkit::{expect_problem, key_record, until};

fn names(queues: &Value) -> Vec<&str> {
    queues["queues"].as_array().unwrap().iter().map(|queue| queue["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn three_queues_exist_before_their_first_task() {
    let stage = Stage::new().await;
    let look = async || {
        let queues = stage.api.json(stage.api.get("/v1/queues")).await;
        (names(&queues) == ["agent_tasks", "embeddings", "exports"]).then_some(queues)
    };
    let queues = until(look, SOON).await;
    assert_eq!(queues["queues"][0]["executor"], "none");
    assert_eq!(queues["queues"][2]["executor"], "native");
}

#[tokio::test]
async fn a_queue_tells_how_deep_it_is() {
    let stage = Stage::new().await;
    let dead = stage.enqueue("mail", json!({"payload": 0})).await;
    let token = stage.lease("mail").await["token"].clone();
    stage.say("mail", "nack", json!({"id": dead, "token": token, "then": "die"})).await;
    let done = stage.enqueue("mail", json!({"payload": 1})).await;
    let token = stage.lease("mail").await["token"].clone();
    stage.say("mail", "ack", json!({"id": done, "token": token})).await;
    stage.enqueue("mail", json!({"payload": 2, "priority": 0})).await;
    stage.enqueue("mail", json!({"payload": 3})).await;
    stage.enqueue("mail", json!({"payload": 4, "delay_ms": 60_000})).await;
    stage.lease("mail").await;

    let queue = stage.api.json(stage.api.get("/v1/queues/mail")).await;
    let depth =
        json!({"scheduled": 1, "blocked": 0, "ready": 1, "leased": 1, "retrying": 0, "dead": 1, "ended": 1});
    assert_eq!(queue["depth"], depth);
    assert_eq!(queue["executor"], "none");
    assert!(queue["oldest_ready_ms"].is_u64());
}

#[tokio::test]
async fn a_key_sees_the_queues_that_it_may_read() {
    let mut stage = Stage::new().await;
    stage.enqueue("mail-a", json!({"payload": 1})).await;
    stage.enqueue("mail-b", json!({"payload": 1})).await;
    let reader = stage.client_with(&["queue:read@mail-a"]).await;
    assert_eq!(names(&reader.json(reader.get("/v1/queues")).await), ["mail-a"]);
    expect_problem(reader.get("/v1/queues/mail-b").send().await.unwrap(), 403, None).await;
}

#[tokio::test]
async fn a_key_that_is_made_at_run_time_opens_and_a_revoked_one_no_longer_does() {
    let stage = Stage::new().await;
    stage.enqueue("mail", json!({"payload": 1})).await;
    let key = format!("sk_made_{}", "A".repeat(43));
    let record = key_record("made", &key, &["queue:read@mail"], None).to_string();
    let client = stage.service.client(&key);
    let status = async || client.get("/v1/queues/mail").send().await.unwrap().status();

    stage.redis.cli(&["HSET", "sluice:keys", "made", &record]).await;
    until(async || status().await == 200, SOON).await;
    stage.redis.cli(&["HDEL", "sluice:keys", "made"]).await;
    until(async || status().await.is_client_error(), SOON).await;
}
