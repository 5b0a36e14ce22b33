//! Liveness, readiness, detail.

use crate::support::{DEADLINE, LOCAL, Served, config, keys_file, open, routes, server, start};
use domain::{Backend, BackendError, Readiness, Timestamp};
use http_kit::{ApiKey, AuthConfig, AuthMode, Authenticator};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use testkit::until;

/// What a service may stand on, and what it is asked.
#[derive(Clone, Default)]
struct Store {
    is_full: bool,
    keys: Vec<String>,
    asked_for_keys: Arc<AtomicU32>,
}

impl Backend for Store {
    const NAME: &'static str = "store";

    async fn readiness(&self) -> Readiness {
        if self.is_full { Readiness::NotReady("the store is full".to_owned()) } else { Readiness::Ready }
    }

    async fn health(&self) -> Value {
        json!({"used_bytes": 7})
    }

    async fn api_keys(&self) -> Result<Vec<String>, BackendError> {
        self.asked_for_keys.fetch_add(1, Ordering::Relaxed);
        Ok(self.keys.clone())
    }

    async fn note_last_uses(&self, _: Vec<(String, Timestamp)>) -> Result<(), BackendError> {
        Ok(())
    }
}

#[tokio::test]
async fn what_a_service_stands_on_says_whether_it_is_ready_how_it_is_and_who_may_come() {
    let (key, record) = ApiKey::generate("ops", &["ops:read"]).unwrap();
    let store = Store { keys: vec![serde_json::to_string(&record).unwrap()], ..Store::default() };
    let auth = Authenticator::new(&AuthConfig::default(), LOCAL).unwrap();
    let own = || async { json!({"watchers": 3}) };
    let service = Served::start(server(config(), auth).backed_by(&store).health(own), routes);

    assert_eq!(service.get("/health/ready").await.json(), json!({"status": "ready"}));
    until(async || service.get_with_key("/health", &key).await.status == 200, DEADLINE).await;
    let health = service.get_with_key("/health", &key).await.json();
    assert_eq!(health["checks"], json!({"watchers": 3, "store": {"used_bytes": 7}}));

    let full = Store { is_full: true, ..Store::default() };
    let service = Served::start(server(config(), open()).backed_by(&full), routes);
    let problem = service.get("/health/ready").await.problem(503, "unavailable");
    assert_eq!(problem["detail"], "not ready: the store is full");
    assert_eq!(service.get("/health").await.json()["reason"], "the store is full");
}

#[tokio::test]
async fn where_nobody_needs_a_key_none_is_read() {
    let often = AuthConfig { mode: AuthMode::None, reload_ms: 1, ..AuthConfig::default() };
    for (for_others, is_asked) in [(true, true), (false, false)] {
        let store = Store::default();
        let auth = Authenticator::new(&often, LOCAL).unwrap();
        let auth = if for_others { auth.also_for_others() } else { auth };
        let service = Served::start(server(config(), auth).backed_by(&store), routes);
        // As many of its turns as would do for a reading.
        for _ in 0..20 {
            service.get("/health/ready").await;
        }
        let asked = || store.asked_for_keys.load(Ordering::Relaxed) > 0;
        if is_asked {
            until(async || asked(), DEADLINE).await;
        }
        assert_eq!(asked(), is_asked, "for others: {for_others}");
    }
}

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
