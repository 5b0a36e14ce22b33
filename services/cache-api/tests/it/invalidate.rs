//! Invalidation over HTTP.

use crate::support::{Stack, header, sent};
use serde_json::json;
use testkit::expect_problem;

const PATH: &str = "/v1/projects/acme/invalidate";

#[tokio::test]
async fn a_project_a_tag_or_names_become_a_miss() {
    let stack = Stack::start().await;
    let put_all = async || {
        for (name, tag) in [("a", "x"), ("b", "y"), ("c", "y")] {
            sent(stack.put(name, "1").header("Sluice-Tags", tag)).await;
        }
    };
    for (body, whole_project, left) in [
        (json!({}), true, [404, 404, 404]),
        (json!({ "tags": ["y", "unused"] }), false, [200, 404, 404]),
        (json!({ "names": ["a", "b"] }), false, [404, 404, 200]),
    ] {
        put_all().await;
        let answer = sent(stack.admin.post(PATH, &body)).await;
        let stamp = header(&answer, "sluice-stamp");
        let answer: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(answer, json!({ "stamp": stamp, "whole_project": whole_project }), "{body}");
        for (name, status) in ["a", "b", "c"].into_iter().zip(left) {
            let got = sent(stack.get(name).header("Sluice-Min-Stamp", &stamp)).await;
            assert_eq!(got.status(), status, "{name} after {body}");
        }
    }
}

#[tokio::test]
async fn too_many_tags_to_remember_invalidate_the_project() {
    let env = [("SLUICE__CACHE_API__MAX_INVALIDATED_TAGS", "3")];
    let stack = Stack::with(testkit::Keys::admin(), &env).await;
    sent(stack.put("untagged", "1")).await;
    let tags =
        |number: usize| json!({ "tags": (0..number).map(|tag| format!("t{tag}")).collect::<Vec<_>>() });
    let answer = stack.admin.json(stack.admin.post(PATH, &tags(3))).await;
    assert_eq!(
        (&answer["whole_project"], sent(stack.get("untagged")).await.status().as_u16()),
        (&json!(false), 200)
    );
    let answer = stack.admin.json(stack.admin.post(PATH, &tags(4))).await;
    assert_eq!(
        (&answer["whole_project"], sent(stack.get("untagged")).await.status().as_u16()),
        (&json!(true), 404)
    );
}

#[tokio::test]
async fn a_body_that_is_not_quite_right_invalidates_nothing() {
    let stack = Stack::start().await;
    sent(stack.put("a", "1")).await;
    for (body, field) in [
        (json!({ "names": [] }), "/names"),
        (json!({ "tags": [] }), "/tags"),
        (json!({ "tags": ["x"], "names": ["a"] }), "/tags"),
        (json!({ "names": vec!["a"; 1001] }), "/names"),
        (json!({ "tags": vec!["a"; 1001] }), "/tags"),
        (json!({ "tags": "x" }), "/tags"),
        (json!({ "tags": [null] }), "/tags/0"),
        (json!({ "tags": ["no blanks"] }), "/tags/0"),
        (json!({ "names": ["tab\t"] }), "/names/0"),
        (json!({ "all": true }), "/all"),
        (json!([]), ""),
        (json!("all"), ""),
    ] {
        expect_problem(sent(stack.admin.post(PATH, &body)).await, 422, field).await;
    }
    assert_eq!(sent(stack.get("a")).await.status(), 200);
}
