//! What operators see: counts, the description, the configuration.

use crate::support::{Stack, header, sent};
use serde_json::json;
use testkit::{Keys, Service, described_routes};

#[tokio::test]
async fn the_counts_tell_hits_and_misses_by_reason() {
    let stack = Stack::start().await;
    sent(stack.put("data", "12345")).await;
    sent(stack.put("data", "12345").header("If-None-Match", "*")).await;
    sent(stack.get("data")).await;
    sent(stack.get("nope")).await;
    sent(stack.admin.post("/v1/projects/acme/invalidate", &json!({}))).await;
    sent(stack.get("data")).await;

    let stats = stack.admin.json(stack.admin.get("/v1/cache/stats")).await;
    for (pointer, value) in [
        ("/hits", json!(1)),
        ("/misses", json!(2)),
        ("/misses_by_reason/absent", json!(1)),
        ("/misses_by_reason/invalidated", json!(1)),
        ("/read_bytes", json!(5)),
        ("/puts", json!(1)),
        ("/put_bytes", json!(5)),
        ("/invalidations", json!(1)),
        ("/refused", json!(1)),
    ] {
        assert_eq!(stats.pointer(pointer), Some(&value), "{pointer}");
    }
    assert!((stats["hit_ratio"].as_f64().unwrap() - 1.0 / 3.0).abs() < 1e-9);
}

#[tokio::test]
async fn every_route_is_described_and_every_description_is_a_route() {
    let stack = Stack::start().await;
    assert_eq!(
        described_routes(&stack.admin).await,
        [
            "DELETE /v1/projects/{project}/entries/{name}",
            "DELETE /v1/sessions/current",
            "DELETE /v1/users/{user}/sessions",
            "DELETE /v1/users/{user}/sessions/{session}",
            "GET /v1/cache/stats",
            "GET /v1/projects/{project}/entries",
            "GET /v1/projects/{project}/entries/{name}",
            "GET /v1/sessions/current",
            "GET /v1/users/{user}/sessions",
            "HEAD /v1/projects/{project}/entries/{name}",
            "PATCH /v1/sessions/current",
            "POST /v1/projects/{project}/entries/batch",
            "POST /v1/projects/{project}/invalidate",
            "POST /v1/sessions",
            "POST /v1/sessions/current/rotate",
            "PUT /v1/projects/{project}/entries/{name}",
        ]
    );
}

#[tokio::test]
async fn stamps_hold_on_every_node_that_has_the_key_file() {
    let folder = Keys::new();
    let file = folder.path().with_file_name("stamp.key");
    std::fs::write(&file, format!("{}\n", "0f".repeat(32))).unwrap();
    let file = file.display().to_string();
    let env = [("SLUICE__CACHE_API__STAMP_KEY_FILE", &*file)];
    let mut stack = Stack::with(Keys::admin(), &env).await;
    let stamp = header(&sent(stack.put("data", "1")).await, "sluice-stamp");
    stack.service.restart().await;
    assert_eq!(sent(stack.get("data").header("Sluice-Min-Stamp", stamp)).await.status(), 200);
}

#[tokio::test]
async fn a_wrong_configuration_names_its_key_and_ends_with_78() {
    for (key, value, name) in [
        ("SLUICE__CACHE_API__DEFAULT_TTL_S", "0", "cache_api.default_ttl_s"),
        ("SLUICE__CACHE_API__MAX_ENTRY_BYTES", "many", "cache_api.max_entry_bytes"),
        ("SLUICE__CACHE_API__MAX_TTL_S", "99999999999", "cache_api.max_ttl_s"),
        ("SLUICE__CACHE_API__COLOUR", "red", "cache_api.colour"),
        ("SLUICE__CACHE_API__STAMP_KEY_FILE", "/nowhere/stamp.key", "cache_api.stamp_key_file"),
        ("SLUICE__CACHE_API__STAMP_KEY_FILE", "/etc/hostname", "cache_api.stamp_key_file"),
    ] {
        let mut service = Service::spawn("cache-api", &["--check-config"], &[(key, value)]);
        assert_eq!(service.wait_for_end().await, 78, "{key}={value}: {}", service.log());
        assert!(service.log().contains(name), "{key}={value}: {}", service.log());
    }
}
