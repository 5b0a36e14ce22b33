//! Liveness, readiness, detail.

use crate::support::{LOCAL, Served, config, keys_file, open, routes, server, start};
use http_kit::{ApiKey, AuthConfig, Authenticator, Readiness};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

#[tokio::test]
async fn a_service_lives_without_anything_else() {
    let not_ready = || async { Readiness::NotReady("Redis is not reachable".to_owned()) };
    let service = Served::start(server(config(), open()).readiness(not_ready), routes);
    assert_eq!(service.get("/health/live").await.json(), json!({"status": "live"}));

    let answer = service.get("/health/ready").await;
    let problem = answer.problem(503, "unavailable");
    assert_eq!(problem["detail"], "not ready: Redis is not reachable");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn readiness_is_asked_once_a_second_however_often_it_is_wanted() {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let service = Served::start(
        server(config(), open()).readiness(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            async { Readiness::Ready }
        }),
        routes,
    );
    let start = std::time::Instant::now();
    for _ in 0..50 {
        assert_eq!(service.get("/health/ready").await.json(), json!({"status": "ready"}));
    }
    assert!(u64::from(asked.load(Ordering::Relaxed)) <= 1 + start.elapsed().as_secs());
}

#[tokio::test]
async fn a_readiness_that_hangs_is_not_ready() {
    let service =
        Served::start(server(config(), open()).readiness(std::future::pending::<Readiness>), routes);
    service.get("/health/ready").await.problem(503, "unavailable");
}

#[tokio::test]
async fn detail_needs_ops_read() {
    let (ops, ops_record) = ApiKey::generate("ops", &["ops:read"]).unwrap();
    let (web, web_record) = ApiKey::generate("web", &["cache:read"]).unwrap();
    let (_folder, file) = keys_file(&[ops_record, web_record]);
    let auth = AuthConfig { keys_file: Some(file), ..AuthConfig::default() };
    let auth = Authenticator::new(&auth, LOCAL).unwrap();
    let detail = || async { json!({"redis": {"latency_ms": 1}}) };
    let service = Served::start(server(config(), auth).health(detail), routes);

    for path in ["/health", "/openapi.json", "/docs"] {
        service.get(path).await.problem(401, "unauthenticated");
        let problem = service.get_with_key(path, &web).await.problem(403, "forbidden");
        assert_eq!(problem["detail"], "the key lacks the scope ops:read", "{path}");
        assert_eq!(service.get_with_key(path, &ops).await.status, 200, "{path}");
    }
    let health = service.get_with_key("/health", &ops).await.json();
    assert_eq!((&health["status"], &health["service"]), (&json!("ready"), &json!("test")));
    assert_eq!(health["checks"]["redis"]["latency_ms"], 1);
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(service.get(path).await.status, 200, "{path} is open");
    }
}

#[tokio::test]
async fn a_detail_that_hangs_is_said_to() {
    let hangs = server(config(), open()).health(std::future::pending::<serde_json::Value>);
    let health = Served::start(hangs, routes).get("/health").await.json();
    assert_eq!(
        (&health["status"], &health["checks"]["error"]),
        (&json!("ready"), &json!("no answer in time"))
    );
}

#[tokio::test]
async fn health_is_never_cached_on_the_way() {
    assert_eq!(start().get("/health/ready").await.header("cache-control"), Some("no-store"));
}
