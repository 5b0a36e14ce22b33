//! The executor `push`, against a real server.

use crate::support::{SOON, Stage, Target};
use serde_json::{Value, json};
use testkit::until;

/// A queue that pushes to this target, with hardly any backoff.
async fn pushing_to(target: &Target, more: &[(&str, &str)]) -> Stage {
    let mut settings = vec![
        ("QUEUES__MAIL__EXECUTOR", "push"),
        ("QUEUES__MAIL__URL", target.url.as_str()),
        ("QUEUES__MAIL__BACKOFF_BASE_MS", "1"),
        ("QUEUES__MAIL__BACKOFF_CAP_MS", "1"),
    ];
    settings.extend(more);
    Stage::with(&settings).await
}

#[tokio::test]
async fn a_task_is_posted_and_the_answer_is_its_result() {
    let target =
        Target::answering(&["200 OK\r\ncontent-type: application/json\r\n\r\n{\"sent\": 1.0}"]).await;
    let stage = pushing_to(&target, &[]).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = stage.api.post("/v1/queues/mail/tasks", &json!({"payload": {"to": "a@b"}}));
    let request = request.header("X-Correlation-ID", "order-7").header("traceparent", trace);
    let id = stage.api.json(request).await["id"].as_str().unwrap().to_owned();

    let ended = stage.ended("mail", &id).await;
    assert_eq!((&ended["state"], &ended["result"]), (&json!("succeeded"), &json!({"sent": 1.0})));
    let pushed = &target.seen()[0];
    assert_eq!(pushed.body, r#"{"to":"a@b"}"#);
    let token = ended["lease"]["token"].to_string();
    for (header, value) in [
        ("content-type", "application/json"),
        ("sluice-queue", "mail"),
        ("sluice-task-id", &id),
        ("sluice-attempt", "1"),
        ("sluice-token", &token),
        ("x-correlation-id", "order-7"),
        ("traceparent", trace),
        ("idempotency-key", &format!("mail.{id}")),
    ] {
        assert_eq!(pushed.header(header), Some(value), "{header}");
    }
}

#[tokio::test]
async fn what_is_logged_while_a_task_runs_names_its_correlation_id() {
    let target = Target::answering(&["200 OK"]).await;
    let stage = pushing_to(&target, &[("SLUICE__LOG__LEVEL", "info,queue_worker::push=debug")]).await;
    let request = stage.api.post("/v1/queues/mail/tasks", &json!({"payload": 1}));
    let request = request.header("X-Correlation-ID", "order-7");
    let id = stage.api.json(request).await["id"].as_str().unwrap().to_owned();

    let line = format!("the target answered task {id} with 200 OK");
    let logged =
        until(async || stage.service.log().lines().find(|it| it.contains(&line)).map(str::to_owned), SOON)
            .await;
    assert!(logged.contains("order-7"), "{logged}");
}

#[tokio::test]
async fn a_target_that_accepts_acks_later_with_the_same_token() {
    let target = Target::answering(&["202 Accepted"]).await;
    let stage = pushing_to(&target, &[]).await;
    let id = stage.enqueue("mail", json!({"payload": 1})).await;
    until(async || !target.seen().is_empty(), SOON).await;
    let token: u64 = target.seen()[0].header("sluice-token").unwrap().parse().unwrap();

    let ack = json!({"id": id, "token": token, "result": "later"});
    let acked = stage.say("mail", "ack", ack).await.json::<Value>().await.unwrap();

    assert_eq!(acked["state"], "succeeded");
    let ended = stage.ended("mail", &id).await;
    assert_eq!((&ended["result"], &ended["attempts"]), (&json!("later"), &json!(0)));
    assert_eq!(target.seen().len(), 1);
}

#[tokio::test]
async fn a_failing_target_is_tried_again_until_the_task_is_dead() {
    let target =
        Target::answering(&["500 Internal Server Error\r\n\r\nno disk", "503 Busy", "429 Slow"]).await;
    let stage = pushing_to(&target, &[]).await;
    let id = stage.enqueue("mail", json!({"payload": 1})).await;

    let ended = stage.ended("mail", &id).await;
    assert_eq!((&ended["state"], &ended["attempts"]), (&json!("dead"), &json!(3)));
    let errors: Vec<_> =
        ended["errors"].as_array().unwrap().iter().map(|error| error["message"].as_str().unwrap()).collect();
    assert!(errors[0].starts_with("answered 500") && errors[0].ends_with("no disk"), "{errors:?}");
    assert!(errors[1].starts_with("answered 503") && errors[2].starts_with("answered 429"), "{errors:?}");
    let attempts: Vec<_> =
        target.seen().iter().map(|pushed| pushed.header("sluice-attempt").unwrap().to_owned()).collect();
    assert_eq!(attempts, ["1", "2", "3"]);
}

#[tokio::test]
async fn a_refusal_is_final_and_a_redirect_is_not_followed() {
    for answer in ["404 Not Found", "422 No", "302 Found\r\nlocation: /elsewhere"] {
        let target = Target::answering(&[answer]).await;
        let stage = pushing_to(&target, &[]).await;
        let id = stage.enqueue("mail", json!({"payload": 1})).await;
        let ended = stage.ended("mail", &id).await;
        assert_eq!((&ended["state"], &ended["attempts"]), (&json!("dead"), &json!(1)), "{answer}");
        assert_eq!(target.seen().len(), 1, "{answer}");
    }
}

#[tokio::test]
async fn retry_after_is_the_pause() {
    let target = Target::answering(&["503 Busy\r\nretry-after: 3600", "200 OK"]).await;
    let stage = pushing_to(&target, &[]).await;
    let id = stage.enqueue("mail", json!({"payload": 1})).await;

    let retrying = stage.reaches("mail", &id, "retrying").await;
    let entered = retrying["history"].as_array().unwrap().last().unwrap()["at"].as_str().unwrap();
    let due = retrying["due_at"].as_str().unwrap();
    let parse = |text: &str| text.parse::<domain::Timestamp>().unwrap();
    assert_eq!(parse(due).since(parse(entered)).as_secs(), 3600);
}

#[tokio::test]
async fn a_target_that_hangs_costs_an_attempt_and_holds_up_no_other_task() {
    let target = Target::answering(&["", "200 OK\r\n\r\nquick"]).await;
    let stage = pushing_to(&target, &[("QUEUES__MAIL__SLOTS", "2")]).await;
    let stuck = stage.enqueue("mail", json!({"payload": 1, "timeout_ms": 1500, "max_attempts": 1})).await;
    until(async || target.seen().len() == 1, SOON).await;
    let quick = stage.enqueue("mail", json!({"payload": 2})).await;

    assert_eq!(stage.ended("mail", &quick).await["result"], "quick");
    assert_eq!(stage.task("mail", &stuck).await["state"], "leased", "the stuck one is still at it");
    let ended = stage.ended("mail", &stuck).await;
    assert_eq!(ended["state"], "dead");
    assert_eq!(ended["errors"][0]["message"], "no end within 1500 ms");
}

#[tokio::test]
async fn an_answer_over_the_bound_of_results_makes_the_task_dead() {
    let answer = format!("200 OK\r\n\r\n{}", "x".repeat(1024 * 1024 + 1));
    let target = Target::answering(&[&answer]).await;
    let stage = pushing_to(&target, &[]).await;
    let id = stage.enqueue("mail", json!({"payload": 1})).await;
    let ended = stage.ended("mail", &id).await;
    assert_eq!((&ended["state"], &ended["attempts"]), (&json!("dead"), &json!(1)));
    assert!(ended["errors"][0]["message"].as_str().unwrap().contains("more than 1048576 bytes"));
}

#[tokio::test]
async fn a_target_that_is_away_is_tried_again_and_its_address_stays_ours() {
    let nobody = testkit::free_port();
    let url = format!("http://127.0.0.1:{nobody}/secret-path");
    let settings = [
        ("QUEUES__MAIL__EXECUTOR", "push"),
        ("QUEUES__MAIL__URL", url.as_str()),
        ("QUEUES__MAIL__MAX_ATTEMPTS", "1"),
    ];
    let stage = Stage::with(&settings).await;
    let id = stage.enqueue("mail", json!({"payload": 1})).await;
    let ended = stage.ended("mail", &id).await;
    let message = ended["errors"][0]["message"].as_str().unwrap();
    assert_eq!(ended["state"], "dead");
    assert!(!message.contains("secret-path"), "{message}");
}

#[tokio::test]
async fn the_authorization_of_a_target_comes_from_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "Bearer for-the-target\n").unwrap();
    let target = Target::answering(&["204 No Content"]).await;
    let stage =
        pushing_to(&target, &[("QUEUES__MAIL__AUTHORIZATION_FILE", file.path().to_str().unwrap())]).await;
    let id = stage.enqueue("mail", json!({"payload": 1})).await;
    assert_eq!(stage.ended("mail", &id).await["state"], "succeeded");
    assert_eq!(target.seen()[0].header("authorization"), Some("Bearer for-the-target"));
}
