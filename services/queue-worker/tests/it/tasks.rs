//! `/v1/queues/{queue}/tasks`

use crate::support::Stage;
use serde_json::{Value, json};
use testkit::{expect_problem, until};

#[tokio::test]
async fn a_task_goes_from_enqueue_over_pull_and_ack_to_its_result() {
    let stage = Stage::new().await;
    let answer = stage
        .api
        .post("/v1/queues/embeddings/tasks", &json!({"payload": {"text": "hello", "n": 1.0}}))
        .header("X-Correlation-ID", "order-7");
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let enqueued: Value = answer.json().await.unwrap();
    let id = enqueued["id"].as_str().unwrap();
    assert_eq!(location, format!("/v1/queues/embeddings/tasks/{id}"));
    assert_eq!(enqueued["repeated"], false);

    let waiting = stage.ended("embeddings", id);
    let working = async {
        let task = stage.lease("embeddings").await;
        assert_eq!(task["id"], id);
        assert_eq!(task["payload"], json!({"text": "hello", "n": 1.0}));
        assert_eq!((&task["attempt"], &task["crashes"]), (&json!(1), &json!(0)));
        assert_eq!(task["correlation_id"], "order-7");
        let done = json!({"id": id, "token": task["token"], "result": {"vector": [1, 2.50]}});
        let done = stage.say("embeddings", "ack", done).await;
        assert_eq!(done.json::<Value>().await.unwrap(), json!({"id": id, "state": "succeeded"}));
        task["token"].clone()
    };
    let (ended, token) = tokio::join!(waiting, working);

    assert_eq!(ended["state"], "succeeded");
    assert_eq!(ended["result"], json!({"vector": [1, 2.50]}));
    assert_eq!(ended["lease"]["token"], token);
    assert_eq!(ended["lease"]["worker"], "w");
    assert_eq!(ended["correlation_id"], "order-7");
    let read_by_location = stage.api.json(stage.api.get(&location)).await;
    assert_eq!(read_by_location["state"], "succeeded");
}

#[tokio::test]
async fn an_idempotency_key_answers_a_repeat_with_the_first_task() {
    let stage = Stage::new().await;
    let enqueue = |payload: Value| {
        let request = stage.api.post("/v1/queues/exports-2/tasks", &json!({"payload": payload}));
        request.header("Idempotency-Key", "order-7").send()
    };
    let first = enqueue(json!(1)).await.unwrap();
    assert_eq!(first.status(), 201);
    let first: Value = first.json().await.unwrap();

    let repeat = enqueue(json!(1)).await.unwrap();
    assert_eq!(repeat.status(), 200);
    assert_eq!(repeat.json::<Value>().await.unwrap(), json!({"id": first["id"], "repeated": true}));

    let other = expect_problem(enqueue(json!(2)).await.unwrap(), 422, "Idempotency-Key").await;
    assert!(other["type"].as_str().unwrap().ends_with("/idempotency-mismatch"));
}

#[tokio::test]
async fn a_batch_is_taken_in_as_a_whole_or_not_at_all() {
    let stage = Stage::new().await;
    let send = |tasks: Value| {
        let request = stage.api.post("/v1/queues/mail/tasks/batch", &json!({"tasks": tasks}));
        request.header("Idempotency-Key", "night-run").send()
    };
    let bad = json!([{"payload": 1}, {"payload": 2, "max_attempts": 0}]);
    expect_problem(send(bad).await.unwrap(), 422, "/tasks/1/max_attempts").await;
    expect_problem(stage.api.get("/v1/queues/mail").send().await.unwrap(), 404, "queue").await;

    let good = json!([{"payload": 1}, {"payload": 2, "priority": 0}]);
    let answer = send(good.clone()).await.unwrap();
    assert_eq!(answer.status(), 201);
    let first: Value = answer.json().await.unwrap();
    assert_eq!(first["tasks"].as_array().unwrap().len(), 2);
    let repeat = send(good).await.unwrap();
    assert_eq!(repeat.status(), 200);
    assert_eq!(repeat.json::<Value>().await.unwrap()["tasks"][1]["id"], first["tasks"][1]["id"]);

    // Priority 0 is served first.
    assert_eq!(stage.lease("mail").await["payload"], 2);
    assert_eq!(stage.lease("mail").await["payload"], 1);
}

#[tokio::test]
async fn status_tells_of_many_and_names_what_is_missing() {
    let stage = Stage::new().await;
    let id = stage.enqueue("mail", json!({"payload": 1})).await;
    let body = json!({"ids": [id, "999-00000000"]});
    let status = stage.api.json(stage.api.post("/v1/queues/mail/tasks/status", &body)).await;
    assert_eq!(status["tasks"][0]["id"], id.as_str());
    assert_eq!(status["tasks"][0]["state"], "ready");
    assert_eq!(status["tasks"][0].get("payload"), None);
    assert_eq!(status["missing"], json!(["999-00000000"]));
}

#[tokio::test]
async fn a_list_is_paged_by_cursor() {
    let stage = Stage::new().await;
    let tasks: Vec<_> = (0..5).map(|n| json!({"payload": n, "delay_ms": 3_600_000})).collect();
    let batch = stage.api.post("/v1/queues/mail/tasks/batch", &json!({"tasks": tasks}));
    let enqueued = stage.api.json(batch).await;

    let mut seen = Vec::new();
    let mut path = "/v1/queues/mail/tasks?state=scheduled&limit=2".to_owned();
    loop {
        let page = stage.api.json(stage.api.get(&path)).await;
        seen.extend(page["tasks"].as_array().unwrap().iter().map(|task| task["id"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/queues/mail/tasks?state=scheduled&limit=2&after={next}");
    }
    let ids: Vec<_> = enqueued["tasks"].as_array().unwrap().iter().map(|task| task["id"].clone()).collect();
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn a_task_that_was_taken_back_is_gone_for_its_worker() {
    let stage = Stage::new().await;
    let id = stage.enqueue("mail", json!({"payload": 1})).await;
    let task = stage.lease("mail").await;

    let path = format!("/v1/queues/mail/tasks/{id}");
    for _ in 0..2 {
        assert_eq!(stage.api.delete(&path).send().await.unwrap().status(), 204);
    }
    let late = stage.say("mail", "ack", json!({"id": id, "token": task["token"]})).await;
    let problem = expect_problem(late, 409, None).await;
    assert!(problem["type"].as_str().unwrap().ends_with("/lease-lost"));
    assert_eq!(stage.task("mail", &id).await["state"], "cancelled");
}

#[tokio::test]
async fn what_has_ended_is_not_taken_back() {
    let stage = Stage::new().await;
    let id = stage.enqueue("mail", json!({"payload": 1})).await;
    let token = stage.lease("mail").await["token"].clone();
    stage.say("mail", "ack", json!({"id": id, "token": token})).await;

    let path = format!("/v1/queues/mail/tasks/{id}");
    let problem = expect_problem(stage.api.delete(&path).send().await.unwrap(), 409, None).await;
    assert!(problem["type"].as_str().unwrap().ends_with("/finished"));
}

#[tokio::test]
async fn a_dead_letter_shows_its_errors_and_lives_again_when_retried() {
    let stage = Stage::new().await;
    let id = stage.enqueue("mail", json!({"payload": 1, "max_attempts": 1})).await;
    let retry = format!("/v1/queues/mail/tasks/{id}/retry");
    let alive = stage.api.request(reqwest::Method::POST, &retry).send().await.unwrap();
    expect_problem(alive, 409, None).await;

    let token = stage.lease("mail").await["token"].clone();
    let failed = json!({"id": id, "token": token, "error": "no such mailbox"});
    let failed = stage.say("mail", "nack", failed).await.json::<Value>().await.unwrap();
    assert_eq!(failed["state"], "dead");
    let dead = stage.api.json(stage.api.get("/v1/queues/mail/dead")).await;
    assert_eq!(dead["tasks"][0]["id"], id.as_str());
    assert_eq!(dead["tasks"][0]["errors"][0]["message"], "no such mailbox");

    let answer = stage.api.request(reqwest::Method::POST, &retry).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(stage.lease("mail").await["attempt"], 1);
}

#[tokio::test]
async fn a_delayed_task_starts_at_its_time_and_an_expired_one_never() {
    let stage = Stage::new().await;
    let expired = stage.enqueue("mail", json!({"payload": 1, "expires_at": "2020-01-01T00:00:00Z"})).await;
    let id = stage.enqueue("mail", json!({"payload": 2, "delay_ms": 300})).await;
    assert_eq!(stage.task("mail", &id).await["state"], "scheduled");

    assert_eq!(stage.lease("mail").await["payload"], 2);
    assert_eq!(stage.ended("mail", &expired).await["state"], "cancelled");
}

#[tokio::test]
async fn an_enqueue_without_redis_is_refused_at_once_and_works_again_after() {
    let mut stage = Stage::new().await;
    stage.enqueue("mail", json!({"payload": 1})).await;

    stage.redis.kill();
    let request = stage.api.post("/v1/queues/mail/tasks", &json!({"payload": 2}));
    let away = request.send().await.unwrap();
    assert!(away.headers().contains_key("retry-after"));
    expect_problem(away, 503, None).await;

    stage.redis.restart().await;
    let request = || stage.api.post("/v1/queues/mail/tasks", &json!({"payload": 3})).send();
    until(async || request().await.unwrap().status() == 201, crate::support::SOON).await;
}
