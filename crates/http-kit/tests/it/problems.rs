//! Every error is a problem, whoever made it.

use crate::support::{Answer, start};

#[tokio::test]
async fn an_unknown_path_is_a_problem() {
    let service = start();
    let problem = service.get("/v1/nothing?with=query").await.problem(404, "not-found");
    assert_eq!(problem["instance"], "/v1/nothing");
    assert_eq!(problem["detail"], "there is nothing at this path");
}

#[tokio::test]
async fn a_wrong_method_is_a_problem_with_allow() {
    let service = start();
    let answer = Answer::of(service.client.delete(service.url("/v1/tasks"))).await;
    answer.problem(405, "method-not-allowed");
    let mut allowed: Vec<&str> = answer.header("allow").unwrap().split(", ").collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "POST"]);
}

#[tokio::test]
async fn a_problem_of_a_head_request_has_no_body() {
    let service = start();
    let head = "HEAD /v1/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = service.raw(head).await;
    assert_eq!((answer.status, &*answer.body), (404, ""));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert!(answer.header("x-correlation-id").is_some());
}

#[tokio::test]
async fn a_panic_is_500_and_the_service_lives_on() {
    let service = start();
    for _ in 0..3 {
        let problem = service.get("/v1/panic").await.problem(500, "internal");
        assert_eq!(problem["instance"], "/v1/panic");
        assert!(!problem.to_string().contains("on purpose"), "{problem}");
    }
    assert_eq!(service.get("/health/live").await.status, 200);
}

#[tokio::test]
async fn a_mistake_of_ours_is_not_told_to_the_client() {
    let service = start();
    let problem = service.get("/v1/mistake").await.problem(500, "internal");
    assert!(!problem.to_string().contains("hunter2"), "{problem}");
}

#[tokio::test]
async fn an_error_of_the_library_is_a_problem() {
    let service = start();
    service.post_json("/v1/foreign", "{").await.problem(400, "malformed-request");
    let huge = format!("\"{}\"", "x".repeat(3 << 20));
    service.post_json("/v1/foreign", huge).await.problem(413, "too-large");
}

#[tokio::test]
async fn an_error_that_a_handler_wrote_itself_stays() {
    let answer = start().get("/v1/own").await;
    assert_eq!((answer.status, &*answer.body), (409, "mine"));
    assert!(answer.header("x-correlation-id").is_some());
}
