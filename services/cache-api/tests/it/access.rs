//! Who may do what.

use crate::support::{Stack, entry, sent};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{Keys, RedisServer, Service, expect_problem, key_record};

/// Within which a revocation holds everywhere.
const FIVE_SECONDS: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(20);

const ALL: [(Method, &str, &str); 7] = [
    (Method::GET, "/v1/projects/acme/entries/data", "cache:read@acme"),
    (Method::PUT, "/v1/projects/acme/entries/data", "cache:write@acme"),
    (Method::DELETE, "/v1/projects/acme/entries/data", "cache:write@acme"),
    (Method::GET, "/v1/projects/acme/entries", "cache:read@acme"),
    (Method::POST, "/v1/projects/acme/invalidate", "cache:write@acme"),
    (Method::POST, "/v1/projects/acme/entries/batch", "cache:read@acme"),
    (Method::GET, "/v1/cache/stats", "ops:read"),
];

#[tokio::test]
async fn every_endpoint_asks_for_its_scope_before_it_reads_anything_else() {
    let mut keys = Keys::new();
    let admin = keys.add("admin", &["*"]);
    let foreign = keys.add("foreign", &["cache:read@other", "cache:write@acme-*", "queue:admin"]);
    let expired = keys.add_until("expired", &["*"], Some("2020-01-01T00:00:00Z"));
    let stack = Stack::with((keys, admin), &[]).await;
    let stranger = testkit::Client::new(&stack.service.base_url());
    let wrong = format!("sk_admin_{}", "A".repeat(43));
    for key in [&*wrong, "sk_admin_wrong", "", &*expired] {
        expect_problem(sent(stranger.with_key(key).get(&entry("data"))).await, 401, None).await;
    }

    for (method, path, scope) in ALL {
        expect_problem(sent(stranger.request(method.clone(), path)).await, 401, None).await;
        let answer = sent(stack.service.client(&foreign).request(method.clone(), path).body("no JSON")).await;
        let problem = expect_problem(answer, 403, None).await;
        assert!(problem["detail"].as_str().unwrap().contains(scope), "{method} {path}: {problem}");
    }
}

#[tokio::test]
async fn a_key_for_reading_reads_and_a_key_for_writing_writes() {
    let mut keys = Keys::new();
    let admin = keys.add("admin", &["*"]);
    let reader = keys.add("reader", &["cache:read@acme"]);
    let writer = keys.add("writer", &["cache:write@ac*"]);
    let stack = Stack::with((keys, admin), &[]).await;
    let (reader, writer) = (stack.service.client(&reader), stack.service.client(&writer));
    let batch = |put: Value, get: Value| json!({ "put": put, "get": get });
    let one = || json!([{ "name": "b", "text": "1" }]);

    assert_eq!(sent(writer.put(&entry("data")).body("1")).await.status(), 201);
    assert_eq!(sent(reader.get(&entry("data"))).await.status(), 200);
    expect_problem(sent(writer.get(&entry("data"))).await, 403, None).await;
    expect_problem(sent(reader.put(&entry("data")).body("2")).await, 403, None).await;
    for (client, body, status) in [
        (&reader, batch(json!([]), json!(["data"])), 200),
        (&reader, batch(one(), json!([])), 403),
        (&writer, batch(one(), json!([])), 200),
        (&writer, batch(one(), json!(["data"])), 403),
    ] {
        assert_eq!(sent(client.post(&entry("batch"), &body)).await.status(), status, "{body}");
    }
}

#[tokio::test]
async fn a_key_that_was_made_at_run_time_still_opens_while_redis_is_away() {
    let mut stack = Stack::with(Keys::admin(), &[("SLUICE__AUTH__RELOAD_MS", "100")]).await;
    let key = format!("sk_made_{}", "A".repeat(43));
    let record = key_record("made", &key, &["cache:read@acme"], None).to_string();
    let client = stack.service.client(&key);
    let status = async || sent(client.get("/v1/projects/acme/entries")).await.status().as_u16();
    stack.redis.cli(&["HSET", "sluice:keys", "made", &record]).await;
    testkit::until(async || status().await == 200, LONG).await;

    stack.redis.kill();
    testkit::until(async || stack.service.log().contains("those known so far hold"), LONG).await;
    assert_eq!(status().await, 503, "known, though nothing can be read");

    stack.redis.restart().await;
    testkit::until(async || status().await == 401, LONG).await;
}

#[tokio::test]
async fn neither_a_key_nor_a_payload_nor_the_password_shows_in_the_log_at_any_level() {
    let redis = RedisServer::start().await;
    redis.cli(&["CONFIG", "SET", "requirepass", "hunter2"]).await;
    let (keys, key) = Keys::admin();
    let (url, path) = (redis.url(), keys.path().display().to_string());
    let env = [
        ("SLUICE__REDIS__URL", &*url),
        ("SLUICE__REDIS__PASSWORD", "hunter2"),
        ("SLUICE__AUTH__KEYS_FILE", &*path),
        ("SLUICE__LOG__LEVEL", "trace"),
        ("SLUICE__HTTP__ACCESS_LOG", "true"),
    ];
    let mut service = Service::start("cache-api", &env).await;
    let client = service.client(&key);
    assert_eq!(sent(client.put(&entry("data")).body("hunter3")).await.status(), 201);
    assert_eq!(sent(client.get(&entry("data"))).await.status(), 200);
    assert_eq!(service.stop().await, 0);

    let log = service.log();
    assert!(log.contains("answered 201"), "{log}");
    for secret in [&*key, "hunter2", "hunter3"] {
        assert!(!log.contains(secret), "{}", log.lines().find(|line| line.contains(secret)).unwrap());
    }
}

#[tokio::test]
async fn a_key_that_is_made_at_run_time_opens_and_a_revoked_one_no_longer_does() {
    let stack = Stack::start().await;
    let key = format!("sk_made_{}", "A".repeat(43));
    let record = key_record("made", &key, &["cache:read@acme"], None).to_string();
    let client = stack.service.client(&key);
    let status = async || sent(client.get("/v1/projects/acme/entries")).await.status().as_u16();

    assert_eq!(status().await, 401);
    stack.redis.cli(&["HSET", "sluice:keys", "made", &record]).await;
    testkit::until(async || status().await == 200, FIVE_SECONDS).await;
    stack.redis.cli(&["HDEL", "sluice:keys", "made"]).await;
    // 401, or 429 once it was tried too often.
    testkit::until(async || (400..500).contains(&status().await), FIVE_SECONDS).await;
}
