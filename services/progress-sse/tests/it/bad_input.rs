//! Whatever is wrong is answered with a problem that names it.

use crate::support::Stand;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::expect_problem;

#[tokio::test]
async fn a_wrong_body_names_its_field() {
    let stand = Stand::start().await;
    stand.create(json!({"id": "job", "steps": [{"name": "a"}]})).await;
    let (create, update, end) = ("/v1/operations", "/v1/operations/job/updates", "/v1/operations/job/fail");
    let long = "x".repeat(5_000);
    let steps =
        |count: usize| Value::from((0..count).map(|n| json!({"name": format!("s{n}")})).collect::<Vec<_>>());
    let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
    for (path, body, status, field) in [
        (create, json!([]), 422, ""),
        (create, json!({"id": "has space"}), 422, "/id"),
        (create, json!({"id": "{tag}"}), 422, "/id"),
        (create, json!({"id": "nul\u{0}"}), 422, "/id"),
        (create, json!({"id": "root~1"}), 422, "/id"),
        (create, json!({"id": "x".repeat(129)}), 422, "/id"),
        (create, json!({"id": 7}), 422, "/id"),
        (create, json!({"project": "a/b"}), 422, "/project"),
        (create, json!({"parent": "x"}), 422, "/parent"),
        (create, json!({"title": "x".repeat(257)}), 422, "/title"),
        (create, json!({"steps": steps(101)}), 422, "/steps"),
        (create, json!({"steps": [{"name": "a"}, {"name": "a"}]}), 422, "/steps/1/name"),
        (create, json!({"steps": [{"name": "a b"}]}), 422, "/steps/0/name"),
        (create, json!({"steps": [{"name": "a", "weight": 0}]}), 422, "/steps/0/weight"),
        (create, json!({"steps": [{"name": "a", "weight": 1.5}]}), 422, "/steps/0/weight"),
        (create, json!({"steps": [{"name": "a", "total": -1}]}), 422, "/steps/0/total"),
        (create, json!({"steps": [{"name": "a", "colour": 1}]}), 422, "/steps/0/colour"),
        (update, json!({}), 422, ""),
        (update, json!([]), 422, ""),
        (update, json!("x"), 422, ""),
        (update, Value::from(vec![json!({"message": "x"}); 101]), 422, ""),
        (update, json!({"percent": 101}), 422, "/percent"),
        (update, json!({"percent": "1"}), 422, "/percent"),
        (update, json!([{"message": "x"}, {"percent": -1}]), 422, "/1/percent"),
        (update, json!([{"message": "x"}, {"pct": 1}]), 422, "/1/pct"),
        (update, json!({"step": "nope", "percent": 1}), 422, "/step"),
        (update, json!({"step": "a", "state": "done"}), 422, "/state"),
        (update, json!({"percent": 1}), 422, "/step"),
        (update, json!({"step": "a", "current": -1}), 422, "/current"),
        (update, json!({"message": "x".repeat(1_025)}), 422, "/message"),
        (update, json!({"data": long}), 413, "/data"),
        (update, json!([{"message": "x"}, {"data": long}]), 413, "/1/data"),
        (
            update,
            json!({"data": deep}),
            422,
            &"/data".chars().chain("/0".repeat(31).chars()).collect::<String>(),
        ),
        (end, json!({"message": 1}), 422, "/message"),
        (end, json!({"data": long}), 413, "/data"),
        (end, json!({"reason": "x"}), 422, "/reason"),
    ] {
        let answer = stand.api.post(path, &body).send().await.unwrap();
        let shown: String = body.to_string().chars().take(80).collect();
        assert_eq!(answer.status().as_u16(), status, "{path} {shown}");
        let problem = expect_problem(answer, status, None).await;
        let pointer = problem["errors"][0]["pointer"].as_str().unwrap();
        assert!(
            pointer == field || (field.starts_with("/data/0") && pointer.starts_with("/data/0")),
            "{shown}: {problem}"
        );
    }
    let state = &stand.snapshot("job").await["state"];
    assert_eq!(state, "pending", "nothing of it was applied");
}

#[tokio::test]
async fn what_is_no_json_at_all_is_refused_before_it_is_read() {
    let stand = Stand::start().await;
    stand.create(json!({"id": "job"})).await;
    let path = "/v1/operations/job/updates";
    let send = async |body: Vec<u8>, kind: Option<&str>| {
        let request = stand.api.request(Method::POST, path).body(body);
        let request = kind.into_iter().fold(request, |request, kind| request.header("Content-Type", kind));
        request.send().await.unwrap()
    };
    let json = Some("application/json");
    expect_problem(send(b"{\"percent\":".to_vec(), json).await, 400, None).await;
    expect_problem(send(b"{\"message\":\"\xff\"}".to_vec(), json).await, 400, None).await;
    expect_problem(send(b"{\"message\":\"a\0b\"}".to_vec(), json).await, 400, None).await;
    expect_problem(send(b"{} {}".to_vec(), json).await, 400, None).await;
    expect_problem(send(Vec::new(), json).await, 400, None).await;
    expect_problem(send(b"{}".to_vec(), Some("text/plain")).await, 415, None).await;
    expect_problem(send(b"{}".to_vec(), None).await, 415, None).await;
    expect_problem(send(vec![b' '; 257 * 1024], json).await, 413, None).await;
    let wrong_method = stand.api.request(Method::PUT, path).send().await.unwrap();
    expect_problem(wrong_method, 405, None).await;
}

#[tokio::test]
async fn a_wrong_address_names_its_parameter() {
    let stand = Stand::start().await;
    let id = stand.create(json!({})).await;
    for (path, status, field) in [
        ("/v1/operations/a%20b".to_owned(), 422, Some("id")),
        (format!("/v1/operations/{}", "x".repeat(129)), 422, Some("id")),
        ("/v1/operations/a%00b".to_owned(), 400, Some("id")),
        ("/v1/operations/%ff/events".to_owned(), 400, Some("id")),
        ("/watch/a%20b".to_owned(), 422, Some("id")),
        (format!("/v1/operations/{id}?wait_ms=soon"), 422, Some("wait_ms")),
        (format!("/v1/operations/{id}?wait=1"), 422, Some("wait")),
        (format!("/v1/operations/{id}/events?cursor=1"), 422, Some("cursor")),
        ("/v1/operations/unknown/events".to_owned(), 404, None),
        ("/v1/nothing".to_owned(), 404, None),
    ] {
        let answer = stand.api.get(&path).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        expect_problem(answer, status, field).await;
    }
}

#[tokio::test]
async fn what_lies_just_within_its_bound_passes() {
    let stand = Stand::start().await;
    let steps: Vec<_> = (0..100).map(|n| json!({"name": format!("s{n}"), "weight": 10_000})).collect();
    let id = stand.create(json!({"id": "x".repeat(128), "title": "t".repeat(256), "steps": steps})).await;
    let most = json!({"step": "s99", "message": "m".repeat(1_024), "data": "d".repeat(4_094)});
    stand.update(&id, Value::from(vec![most; 40])).await;
    stand.update(&id, Value::from(vec![json!({"step": "s0", "percent": 100}); 100])).await;
    let snapshot = stand.snapshot(&id).await;
    assert_eq!((&snapshot["percent"], snapshot["steps"].as_array().unwrap().len()), (&json!(1.0), 100));
}
