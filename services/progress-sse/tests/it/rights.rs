//! Keys open what their scopes name, and nothing else.

use crate::support::{SOON, Stand};
use reqwest::Method;
use serde_json::json;
use testkit::{Client, expect_problem, key_record, until};

#[tokio::test]
async fn a_key_opens_its_project_or_the_ids_that_have_none() {
    let mut stand = Stand::start().await;
    let acme = stand.keys.add("acme", &["progress:read@acme", "progress:write@acme"]);
    let exports = stand.keys.add("exports", &["progress:read@exports.*"]);
    stand.service.restart().await; // the file is read once
    let (acme, exports) = (stand.service.client(&acme), stand.service.client(&exports));
    for operation in [
        json!({"id": "of-acme", "project": "acme"}),
        json!({"id": "exports.1-0a0b0c0d"}),
        json!({"id": "exports.2-0a0b0c0d", "project": "other"}),
        json!({"id": "acme"}),
    ] {
        stand.create(operation).await;
    }
    let status = async |client: &Client, method: Method, id: &str, tail: &str| {
        let request = client.request(method, &format!("/v1/operations/{id}{tail}"));
        let request = if tail == "/updates" { request.json(&json!({"percent": 1})) } else { request };
        request.send().await.unwrap().status().as_u16()
    };

    for (client, id, reads, writes) in [
        (&acme, "of-acme", 200, 200),
        (&acme, "exports.1-0a0b0c0d", 403, 403),
        (&acme, "exports.2-0a0b0c0d", 403, 403),
        // An id of that name, in no project.
        (&acme, "acme", 200, 200),
        // Whether it exists is not for everyone.
        (&acme, "nobody", 403, 403),
        (&exports, "exports.1-0a0b0c0d", 200, 403),
        // The project counts, not what the id looks like.
        (&exports, "exports.2-0a0b0c0d", 403, 403),
        (&exports, "exports.9-0a0b0c0d", 404, 403),
    ] {
        assert_eq!(status(client, Method::GET, id, "").await, reads, "{id}");
        assert_eq!(status(client, Method::GET, id, "/events").await, reads, "{id}");
        assert_eq!(status(client, Method::POST, id, "/updates").await, writes, "{id}");
        if writes == 403 {
            for tail in ["/complete", "/fail", "/cancel"] {
                assert_eq!(status(client, Method::POST, id, tail).await, 403, "{id}{tail}");
            }
            assert_eq!(status(client, Method::DELETE, id, "").await, 403, "{id}");
        }
    }
    let refused = exports.get("/v1/operations/exports.2-0a0b0c0d").send().await.unwrap();
    let problem = expect_problem(refused, 403, None).await;
    assert!(problem["detail"].as_str().unwrap().contains("progress:read@other"), "{problem}");
    let foreign =
        acme.post("/v1/operations", &json!({"id": "acme", "project": "other"})).send().await.unwrap();
    expect_problem(foreign, 403, None).await;
}

#[tokio::test]
async fn without_a_valid_key_nothing_is_told() {
    let stand = Stand::start().await;
    stand.create(json!({"id": "job"})).await;
    let wrong = format!("sk_admin_{}", "A".repeat(43));
    for client in
        [Client::new(&stand.service.base_url()), Client::new(&stand.service.base_url()).with_key(&wrong)]
    {
        for (method, path) in [
            (Method::POST, "/v1/operations"),
            (Method::GET, "/v1/operations/job"),
            (Method::DELETE, "/v1/operations/job"),
            (Method::POST, "/v1/operations/job/updates"),
            (Method::POST, "/v1/operations/job/complete"),
            (Method::POST, "/v1/operations/job/fail"),
            (Method::POST, "/v1/operations/job/cancel"),
            (Method::GET, "/v1/operations/job/events"),
            (Method::GET, "/health"),
        ] {
            let answer = client.request(method, path).send().await.unwrap();
            expect_problem(answer, 401, None).await;
        }
    }
}

#[tokio::test]
async fn a_key_that_is_made_at_run_time_opens_and_a_revoked_one_no_longer_does() {
    let stand = Stand::start().await;
    let id = stand.create(json!({})).await;
    let key = format!("sk_made_{}", "A".repeat(43));
    let record = key_record("made", &key, &["progress:read"], None).to_string();
    let client = stand.service.client(&key);
    let status = async || client.get(&format!("/v1/operations/{id}")).send().await.unwrap().status();

    stand.redis.cli(&["HSET", "sluice:keys", "made", &record]).await;
    until(async || status().await == 200, SOON).await;
    stand.redis.cli(&["HDEL", "sluice:keys", "made"]).await;
    until(async || status().await.is_client_error(), SOON).await;
}
