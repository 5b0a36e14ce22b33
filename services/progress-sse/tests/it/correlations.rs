//! `/v1/correlations/{id}`: where a request went.

use crate::support::{SOON, Stand};
use serde_json::{Value, json};
use testkit::{expect_problem, until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The trail, once it has so many hops.
async fn trail(stand: &Stand, id: &str, hops: usize) -> Value {
    let path = format!("/v1/correlations/{id}");
    let look = async || {
        let answer = stand.api.get(&path).send().await.unwrap();
        let trail: Value = if answer.status() == 200 { answer.json().await.unwrap() } else { return None };
        (trail["hops"].as_array().unwrap().len() == hops).then_some(trail)
    };
    until(look, SOON).await
}

#[tokio::test]
async fn a_correlation_shows_what_it_touched_until_it_is_deleted() {
    let stand = Stand::start().await;
    let trace = format!("00-{TRACE}-00f067aa0ba902b7-00");
    let made = stand.api.post("/v1/operations", &json!({"id": "job"}));
    made.header("X-Correlation-ID", "order-7").header("traceparent", &trace).send().await.unwrap();
    let ended = stand.api.post("/v1/operations/job/complete", &json!({}));
    ended.header("X-Correlation-ID", "order-7").send().await.unwrap();

    let trail = trail(&stand, "order-7", 2).await;
    assert_eq!((&trail["correlation_id"], &trail["operations"]), (&json!("order-7"), &json!(["job"])));
    assert_eq!(trail["trace_ids"], json!([TRACE]));
    let hops: Vec<_> = trail["hops"].as_array().unwrap().iter().collect();
    assert_eq!((&hops[0]["what"], &hops[0]["outcome"]), (&json!("POST /v1/operations"), &json!("201")));
    assert_eq!(hops[1]["what"], "POST /v1/operations/{id}/complete");
    assert_eq!((&hops[1]["service"], &hops[1]["operation_id"]), (&json!("progress-sse"), &json!("job")));
    assert!(hops[1]["at"].as_str().unwrap().ends_with('Z') && hops[1]["duration_ms"].is_u64(), "{trail}");

    let path = "/v1/correlations/order-7";
    assert_eq!(stand.api.delete(path).send().await.unwrap().status(), 204);
    expect_problem(stand.api.get(path).send().await.unwrap(), 404, None).await;
    expect_problem(stand.api.delete(path).send().await.unwrap(), 404, None).await;
}

#[tokio::test]
async fn a_request_that_touches_nothing_is_a_hop_only_when_its_trace_is_sampled() {
    let stand = Stand::start().await;
    for flags in ["00", "01"] {
        let trace = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
        let read = stand.api.get("/v1/operations/none").header("traceparent", trace);
        read.header("X-Correlation-ID", "order-7").send().await.unwrap();
    }
    let probe = stand.api.get("/health/live").header("X-Correlation-ID", "order-7");
    probe.header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01")).send().await.unwrap();
    // Written after all that came before it.
    stand.api.post("/v1/operations", &json!({})).header("X-Correlation-ID", "order-7").send().await.unwrap();

    let trail = trail(&stand, "order-7", 2).await;
    assert_eq!(trail["hops"][0]["what"], "GET /v1/operations/{id}", "{trail}");
    assert_eq!(trail["hops"][0]["outcome"], "404", "{trail}");
}

#[tokio::test]
async fn a_correlation_is_shown_to_operators_and_forgotten_by_whoever_may_change_everything() {
    let mut stand = Stand::start().await;
    let operator = stand.keys.add("operator", &["ops:read"]);
    let writer = stand.keys.add("writer", &["progress:write", "progress:read"]);
    let of_one = stand.keys.add("one", &["progress:write@acme", "progress:read@acme"]);
    stand.service.restart().await;
    stand.api = stand.service.client(&stand.key);
    stand.api.post("/v1/operations", &json!({})).header("X-Correlation-ID", "order-7").send().await.unwrap();
    trail(&stand, "order-7", 1).await;

    let path = "/v1/correlations/order-7";
    for (key, read, delete) in
        [("", 401, 401), (&operator, 200, 403), (&of_one, 403, 403), (&writer, 403, 204)]
    {
        let client = testkit::Client::new(&stand.service.base_url());
        let client = if key.is_empty() { client } else { client.with_key(key) };
        assert_eq!(client.get(path).send().await.unwrap().status(), read, "{key}");
        assert_eq!(client.delete(path).send().await.unwrap().status(), delete, "{key}");
    }
    expect_problem(stand.api.get("/v1/correlations/two%20words").send().await.unwrap(), 422, None).await;
}
