//! Many entries at once.

use crate::support::{Stack, sent};
use serde_json::json;
use testkit::expect_problem;

const PATH: &str = "/v1/projects/acme/entries/batch";

#[tokio::test]
async fn a_batch_puts_first_and_reads_then() {
    let stack = Stack::start().await;
    let body = json!({
        "put": [
            { "name": "text", "text": "grüße", "tags": ["t"], "ttl_ms": 60_000 },
            { "name": "bytes", "base64": "AP8=", "content_type": "image/png" },
        ],
        "get": ["bytes", "nope", "text"],
    });
    let answer = stack.admin.json(stack.admin.post(PATH, &body)).await;

    assert_eq!((&answer["put"][0]["name"], &answer["put"][1]["created"]), (&json!("text"), &json!(true)));
    let get = &answer["get"];
    assert_eq!((&get[0]["base64"], &get[0]["entry"]["content_type"]), (&json!("AP8="), &json!("image/png")));
    assert_eq!(get[1], json!({ "name": "nope", "outcome": "miss" }));
    assert_eq!((&get[2]["text"], &get[2]["outcome"]), (&json!("grüße"), &json!("hit")));
    assert_eq!(get[2]["entry"]["content_type"], "text/plain; charset=utf-8");
    assert_eq!(get[2]["entry"]["stamp"], answer["put"][0]["stamp"]);
    let got =
        sent(stack.get("text").header("Sluice-Min-Stamp", answer["put"][0]["stamp"].as_str().unwrap())).await;
    assert_eq!(got.text().await.unwrap(), "grüße");
}

#[tokio::test]
async fn what_does_not_fit_into_one_answer_is_said_to_be_there() {
    let stack = Stack::with(testkit::Keys::admin(), &[("SLUICE__CACHE_API__MAX_BATCH_BYTES", "1000")]).await;
    for name in ["a", "b", "c"] {
        sent(stack.put(name, "x".repeat(400))).await;
    }
    let answer = stack.admin.json(stack.admin.post(PATH, &json!({ "get": ["a", "b", "c"] }))).await;
    let outcomes: Vec<_> = (0..3).map(|at| answer["get"][at]["outcome"].clone()).collect();
    assert_eq!(outcomes, ["hit", "hit", "too_large"]);
    assert_eq!(answer["get"][2]["entry"]["size_bytes"], 400);

    let too_much = json!({ "put": [{ "name": "a", "text": "x".repeat(1000) }] });
    expect_problem(sent(stack.admin.post(PATH, &too_much)).await, 413, None).await;
}

#[tokio::test]
async fn each_mistake_is_named_and_nothing_is_put() {
    let stack = Stack::start().await;
    let good = json!({ "name": "good", "text": "1" });
    let many_tags: Vec<_> = (0..17).map(|tag| format!("t{tag}")).collect();
    let with = |entry: serde_json::Value| json!({ "put": [good, entry] });
    for (body, field) in [
        (with(json!({ "name": "" , "text": "" })), "/put/1/name"),
        (with(json!({ "name": "a\u{0}b" , "text": "" })), "/put/1/name"),
        (with(json!({ "name": "n".repeat(257) , "text": "" })), "/put/1/name"),
        (with(json!({ "name": "a" })), "/put/1"),
        (with(json!({ "name": "a", "text": "", "base64": "" })), "/put/1"),
        (with(json!({ "name": "a", "base64": "***" })), "/put/1/base64"),
        (with(json!({ "name": "a", "text": 1 })), "/put/1/text"),
        (with(json!({ "name": "a", "text": "", "ttl_ms": 0 })), "/put/1/ttl_ms"),
        (with(json!({ "name": "a", "text": "", "ttl_ms": 2_592_000_001_u64 })), "/put/1/ttl_ms"),
        (with(json!({ "name": "a", "text": "", "ttl_ms": -1 })), "/put/1/ttl_ms"),
        (with(json!({ "name": "a", "text": "", "tags": many_tags })), "/put/1/tags"),
        (with(json!({ "name": "a", "text": "", "tags": ["a b"] })), "/put/1/tags/0"),
        (with(json!({ "name": "a", "text": "", "content_type": "nonsense" })), "/put/1/content_type"),
        (with(json!({ "name": "a", "text": "", "colour": "red" })), "/put/1/colour"),
        (json!({ "put": vec![good.clone(); 101] }), "/put"),
        (json!({ "get": vec!["a"; 101] }), "/get"),
        (json!({ "get": [1] }), "/get/0"),
        (json!({ "got": [] }), "/got"),
    ] {
        expect_problem(sent(stack.admin.post(PATH, &body)).await, 422, field).await;
    }
    assert_eq!(sent(stack.get("good")).await.status(), 404);
}
