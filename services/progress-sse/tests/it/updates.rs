//! Reports and ends over HTTP.

use crate::support::Stand;
use serde_json::json;
use testkit::expect_problem;

#[tokio::test]
async fn one_update_or_many_move_an_operation() {
    let stand = Stand::start().await;
    let id = stand.create(json!({"steps": [{"name": "a"}, {"name": "b", "weight": 3, "total": 8}]})).await;

    let one = stand.update(&id, json!({"step": "a", "state": "completed"})).await;
    let many = stand
        .update(&id, json!([{"step": "b", "current": 2, "message": "two"}, {"step": "b", "current": 4, "data": {"n": 1}}]))
        .await;

    assert_eq!((&one["percent"], &one["state"]), (&json!(25.0), &json!("running")));
    assert_eq!(many["percent"], json!(62.5));
    assert!(many["cursor"].as_str().unwrap().ends_with(".3"));
    let snapshot = stand.snapshot(&id).await;
    assert_eq!(
        (&snapshot["cursor"], &snapshot["message"], &snapshot["data"]),
        (&many["cursor"], &json!("two"), &json!({"n": 1}))
    );
}

#[tokio::test]
async fn an_end_needs_no_body_and_can_be_said_twice() {
    let stand = Stand::start().await;
    for (verb, state) in [("complete", "completed"), ("fail", "failed"), ("cancel", "cancelled")] {
        let id = stand.create(json!({})).await;
        let path = format!("/v1/operations/{id}/{verb}");
        let bare = stand.api.request(reqwest::Method::POST, &path);
        assert_eq!(stand.api.json(bare).await["state"], state);
        let again = stand.api.post(&path, &json!({"message": "done"}));
        assert_eq!(stand.api.json(again).await["state"], state);

        let other = if verb == "fail" { "complete" } else { "fail" };
        let other = stand.api.post(&format!("/v1/operations/{id}/{other}"), &json!({})).send().await.unwrap();
        expect_problem(other, 409, None).await;
        let late = stand
            .api
            .post(&format!("/v1/operations/{id}/updates"), &json!({"percent": 1}))
            .send()
            .await
            .unwrap();
        let problem = expect_problem(late, 409, None).await;
        assert!(problem["detail"].as_str().unwrap().contains(state), "{problem}");
    }
}

#[tokio::test]
async fn an_end_says_its_last_words_and_only_the_latest_token_may() {
    let stand = Stand::start().await;
    let id = stand.create(json!({"id": "q.1-0a0b0c0d"})).await;
    let path = format!("/v1/operations/{id}/fail");
    let words = json!({"message": "disk full", "data": {"free": 0}});
    let end = |token: Option<&str>| {
        let request = stand.api.post(&path, &words);
        token.into_iter().fold(request, |request, token| request.header("Sluice-Fencing-Token", token))
    };

    assert_eq!(stand.api.json(end(Some("7"))).await["state"], "failed");
    for stale in [Some("6"), None] {
        let problem = expect_problem(end(stale).send().await.unwrap(), 409, None).await;
        assert!(problem["type"].as_str().unwrap().ends_with("lease-lost"), "{problem}");
    }
    let snapshot = stand.snapshot(&id).await;
    assert_eq!((&snapshot["message"], &snapshot["data"]), (&words["message"], &words["data"]));
}

#[tokio::test]
async fn an_illegal_step_names_the_update() {
    let stand = Stand::start().await;
    let id = stand.create(json!({"steps": [{"name": "a"}]})).await;
    stand.update(&id, json!({"step": "a", "state": "failed"})).await;
    let body = json!([{"step": "a", "message": "x"}, {"step": "a", "state": "completed"}]);
    let refused = stand.api.post(&format!("/v1/operations/{id}/updates"), &body).send().await.unwrap();
    expect_problem(refused, 409, "/1/state").await;
}

#[tokio::test]
async fn only_the_latest_fencing_token_is_heard() {
    let stand = Stand::start().await;
    let id = stand.create(json!({"id": "q.1-0a0b0c0d", "open_steps": true})).await;
    let say = |token: Option<&str>| {
        let request =
            stand.api.post(&format!("/v1/operations/{id}/updates"), &json!({"step": "s", "percent": 10}));
        let request =
            token.into_iter().fold(request, |request, token| request.header("Sluice-Fencing-Token", token));
        async move { request.send().await.unwrap() }
    };

    assert_eq!(say(Some("20")).await.status(), 200);
    assert_eq!(say(Some("20")).await.status(), 200);
    for stale in [Some("10"), None] {
        let problem = expect_problem(say(stale).await, 409, None).await;
        assert!(problem["type"].as_str().unwrap().ends_with("lease-lost"), "{problem}");
    }
    expect_problem(say(Some("-1")).await, 422, "Sluice-Fencing-Token").await;
}
