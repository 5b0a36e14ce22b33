//! Tasks as operations, by their ids.

use crate::support::Stage;
use domain::{OperationState, StepState, Timestamp};
use redis_core::Clock;
use serde_json::{Value, json};
use testkit::expect_problem;

#[tokio::test]
async fn a_task_that_wants_to_be_seen_is_an_operation_before_any_worker_has_it() {
    let stage = Stage::new().await;
    let seen = json!({"payload": 1, "progress": true, "project": "acme"});
    let alone = stage.enqueue("agent_tasks", seen.clone()).await;
    let batch = json!({"tasks": [seen, {"payload": 2}]});
    let batch = stage.api.json(stage.api.post("/v1/queues/agent_tasks/tasks/batch", &batch)).await;
    let together = batch["tasks"][0]["id"].as_str().unwrap();

    for id in [&alone, together] {
        let shown = stage.operation("agent_tasks", id, |_| true).await;
        assert_eq!((shown.state, shown.project.unwrap().as_str()), (OperationState::Pending, "acme"), "{id}");
    }

    let path = format!("/v1/queues/agent_tasks/tasks/{alone}");
    stage.api.delete(&path).send().await.unwrap();
    let shown = stage.operation("agent_tasks", &alone, |_| true).await;
    assert_eq!(shown.state, OperationState::Cancelled);
}

#[tokio::test]
async fn the_operation_of_a_scheduled_task_waits_a_day_longer_than_its_task() {
    const DAY_MS: u64 = 24 * 3600 * 1000;
    let stage = Stage::new().await;
    let run_at = Timestamp::from_millis(Clock::redis().now().millis() + 3 * DAY_MS as i64);

    for start in [json!({"delay_ms": 3 * DAY_MS}), json!({"run_at": run_at})] {
        let mut task = json!({"payload": 1, "progress": true});
        task.as_object_mut().unwrap().extend(start.as_object().unwrap().clone());
        let id = stage.enqueue("agent_tasks", task).await;

        let shown = stage.operation("agent_tasks", &id, |_| true).await;
        let waits_ms = shown.deadline.unwrap().since(shown.created_at).as_millis() as u64;
        // The time of the enqueue's own round trips is not in `run_at` alone.
        assert!((4 * DAY_MS - 60_000..=4 * DAY_MS + 1_000).contains(&waits_ms), "{start}: {waits_ms}");
    }
}

#[tokio::test]
async fn a_pulled_task_with_progress_is_an_operation_from_its_lease_to_its_end() {
    let stage = Stage::new().await;
    let request = stage
        .api
        .post("/v1/queues/agent_tasks/tasks", &json!({"payload": 1, "progress": true, "project": "acme"}));
    let enqueued = stage.api.json(request.header("X-Correlation-ID", "order-7")).await;
    let id = enqueued["id"].as_str().unwrap();
    let operation = format!("agent_tasks.{id}");
    assert_eq!(stage.task("agent_tasks", id).await["operation"], operation.as_str());

    let token = stage.lease("agent_tasks").await["token"].clone();
    let begun = stage.operation("agent_tasks", id, |_| true).await;
    assert_eq!(begun.id.as_str(), operation);
    assert_eq!(begun.correlation_id.unwrap().as_str(), "order-7");
    assert_eq!(begun.project.unwrap().as_str(), "acme");

    let updates = json!([{"step": "think", "state": "running", "percent": 50}, {"message": "hm"}]);
    let report = json!({"id": id, "token": token, "updates": updates});
    let taken = stage.say("agent_tasks", "progress", report).await;
    assert_eq!(taken.json::<Value>().await.unwrap(), json!({"id": id, "state": "leased"}));
    let shown = stage.operation("agent_tasks", id, |_| true).await;
    assert_eq!((shown.percent, shown.steps[0].state), (50.0, StepState::Running));
    assert_eq!(shown.message.as_deref(), Some("hm"));

    stage.say("agent_tasks", "ack", json!({"id": id, "token": token})).await;
    let ended = stage.operation("agent_tasks", id, |_| true).await;
    assert_eq!((ended.state, ended.percent), (OperationState::Completed, 100.0));
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_cannot_speak_any_more() {
    let stage = Stage::new().await;
    let id = stage.enqueue("agent_tasks", json!({"payload": 1, "progress": true})).await;
    let lost = stage.lease("agent_tasks").await["token"].clone();
    stage.say("agent_tasks", "nack", json!({"id": id, "token": lost, "then": "give_back"})).await;
    stage.lease("agent_tasks").await;

    let report = json!({"id": id, "token": lost, "updates": [{"message": "I am still here"}]});
    let problem = expect_problem(stage.say("agent_tasks", "progress", report).await, 409, None).await;
    assert_eq!(problem["type"], "https://sluice.dev/problems/lease-lost");
}

#[tokio::test]
async fn an_operation_ends_as_its_task_does() {
    let stage = Stage::new().await;
    let leased = async |queue: &str| {
        let id = stage.enqueue(queue, json!({"payload": 1, "progress": true})).await;
        let token = stage.lease(queue).await["token"].clone();
        (id, token)
    };

    let (dead, token) = leased("q-dead").await;
    stage.say("q-dead", "nack", json!({"id": dead, "token": token, "then": "die", "error": "no"})).await;
    let shown = stage.operation("q-dead", &dead, |_| true).await;
    assert_eq!((shown.state, shown.message.as_deref()), (OperationState::Failed, Some("no")));

    let (cancelled, _) = leased("q-cancelled").await;
    let path = format!("/v1/queues/q-cancelled/tasks/{cancelled}");
    stage.api.delete(&path).send().await.unwrap();
    let shown = stage.operation("q-cancelled", &cancelled, |_| true).await;
    assert_eq!(shown.state, OperationState::Cancelled);

    let (retrying, token) = leased("q-retrying").await;
    stage.say("q-retrying", "nack", json!({"id": retrying, "token": token, "error": "busy"})).await;
    let shown = stage.operation("q-retrying", &retrying, |_| true).await;
    assert_eq!(shown.state, OperationState::Running);
    assert!(shown.message.unwrap().contains("busy"));
}

#[tokio::test]
async fn a_worker_that_reports_makes_any_task_an_operation_until_its_end() {
    let stage = Stage::new().await;
    let id = stage.enqueue("mail", json!({"payload": 1})).await;
    let token = stage.lease("mail").await["token"].clone();
    let report = json!({"id": id, "token": token, "updates": [{"percent": 30}]});
    assert_eq!(stage.say("mail", "progress", report).await.status(), 200);
    assert_eq!(stage.operation("mail", &id, |_| true).await.percent, 30.0);
    assert_eq!(stage.task("mail", &id).await["operation"], format!("mail.{id}"));

    stage.say("mail", "ack", json!({"id": id, "token": token})).await;
    assert_eq!(stage.operation("mail", &id, |_| true).await.state, OperationState::Completed);
}

#[tokio::test]
async fn an_update_that_breaks_a_rule_is_named_where_it_stands() {
    let stage = Stage::new().await;
    let id = stage.enqueue("mail", json!({"payload": 1})).await;
    let token = stage.lease("mail").await["token"].clone();
    let report = json!({"id": id, "token": token, "updates": [{"percent": 1}, {"percent": 101}]});
    expect_problem(stage.say("mail", "progress", report.clone()).await, 422, "/updates/1/percent").await;
    let array = stage.say("mail", "progress", json!([report])).await.json::<Value>().await.unwrap();
    assert_eq!(array["results"][0]["problem"], "invalid-input");
}

#[tokio::test]
async fn an_operation_ends_though_its_task_ends_with_no_worker_to_tell_of_it() {
    let stage = Stage::new().await;
    let poison = stage.enqueue("agent_tasks", json!({"payload": 1, "progress": true})).await;
    let request = json!({"worker": "doomed", "lease_ms": 1000, "wait_ms": 20_000});
    for crash in 0..3 {
        let leased = stage.api.json(stage.api.post("/v1/queues/agent_tasks/leases", &request)).await;
        assert_eq!(leased["tasks"][0]["crashes"], crash);
    }
    let shown = stage.operation("agent_tasks", &poison, |shown| shown.state.is_final()).await;
    assert_eq!(shown.state, OperationState::Failed);
    assert_eq!(shown.message.as_deref(), Some("lease lost by doomed"));

    let soon = Timestamp::from_millis(Clock::redis().now().millis() + 1500);
    let watched = json!({"payload": 2, "progress": true, "expires_at": soon});
    let expired = stage.enqueue("agent_tasks", watched).await;
    let shown = stage.operation("agent_tasks", &expired, |shown| shown.state.is_final()).await;
    assert_eq!(shown.state, OperationState::Cancelled);
}
