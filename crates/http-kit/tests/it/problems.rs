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
    assert_eq!(allowed, ["GET", "PATCH", "POST"]);
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
async fn every_status_has_its_problem_and_an_unusual_one_the_nearest() {
    let service = start();
    for (status, answered, kind) in [
        (400, 400, "malformed-request"),
        (401, 401, "unauthenticated"),
        (403, 403, "forbidden"),
        (404, 404, "not-found"),
        (405, 405, "method-not-allowed"),
        (406, 406, "not-acceptable"),
        (408, 408, "request-timeout"),
        (409, 409, "conflict"),
        (412, 412, "precondition-failed"),
        (413, 413, "too-large"),
        (414, 414, "uri-too-long"),
        (415, 415, "unsupported-media-type"),
        (422, 422, "invalid-input"),
        (429, 429, "rate-limited"),
        (431, 431, "head-too-large"),
        (500, 500, "internal"),
        (501, 501, "not-implemented"),
        (502, 502, "bad-gateway"),
        (503, 503, "unavailable"),
        (504, 504, "gateway-timeout"),
        (410, 400, "malformed-request"),
        (507, 500, "internal"),
    ] {
        service.get(&format!("/v1/bare/{status}")).await.problem(answered, kind);
    }
}

#[tokio::test]
async fn what_a_client_sent_comes_back_shortened() {
    let service = start();
    let long = "ü".repeat(450);
    for (body, pointer) in [
        (format!(r#"{{"queue":"a","priority":"{long}"}}"#), "/priority"),
        (format!(r#"{{"queue":"a","{long}":1}}"#), "/üüü"),
    ] {
        let problem = service.post_json("/v1/tasks", body).await.problem(422, "invalid-input");
        let error = &problem["errors"][0];
        assert!(error["pointer"].as_str().unwrap().starts_with(pointer), "{problem}");
        for text in [&error["pointer"], &error["detail"]].map(|text| text.as_str().unwrap()) {
            assert!(text.chars().count() <= 301, "{text}");
        }
    }
}

#[tokio::test]
async fn an_error_that_a_handler_wrote_itself_stays() {
    let answer = start().get("/v1/own").await;
    assert_eq!((answer.status, &*answer.body), (409, "mine"));
    assert!(answer.header("x-correlation-id").is_some());
}
