//! Redis is gone, stuck, or full.

use crate::support::{Stack, entry, header, sent};
use serde_json::json;
use std::time::{Duration, Instant};
use testkit::{Keys, Proxy, RedisServer, Service, expect_problem, until};

const LONG: Duration = Duration::from_secs(20);
/// Half of the deadline of a command.
const SOON: Duration = Duration::from_secs(1);

#[tokio::test]
async fn without_redis_every_answer_is_a_503_at_once_and_all_is_well_when_it_is_back() {
    // One worker, so one connection.
    let mut stack = Stack::with(Keys::admin(), &[("SLUICE__HTTP__WORKERS", "1")]).await;
    sent(stack.put("data", "1")).await;
    stack.redis.kill();

    // Who comes in the first moment waits for it to come back, until the deadline; from then on nobody waits.
    let at_once = async || {
        let before = Instant::now();
        sent(stack.get("data")).await.status() == 503 && before.elapsed() < SOON
    };
    until(async || at_once().await && at_once().await, LONG).await;
    let invalidate = stack.admin.post("/v1/projects/acme/invalidate", &json!({}));
    let batch =
        stack.admin.post(&entry("batch"), &json!({ "get": ["data"], "put": [{ "name": "x", "text": "" }] }));
    let list = stack.admin.get("/v1/projects/acme/entries");
    for request in [
        stack.get("data"),
        stack.put("data", "2"),
        stack.admin.delete(&entry("data")),
        invalidate,
        batch,
        list,
    ] {
        let before = Instant::now();
        let answer = sent(request).await;
        assert!(!header(&answer, "retry-after").is_empty());
        expect_problem(answer, 503, None).await;
        assert!(before.elapsed() < SOON, "{:?}", before.elapsed());
    }
    assert_eq!(sent(stack.admin.get("/health/live")).await.status(), 200);
    until(async || sent(stack.admin.get("/health/ready")).await.status() == 503, LONG).await;

    stack.redis.restart().await;
    until(async || sent(stack.put("data", "2")).await.status().is_success(), LONG).await;
    assert_eq!(sent(stack.get("data")).await.text().await.unwrap(), "2");
}

#[tokio::test]
async fn it_starts_without_redis_and_serves_once_it_is_there() {
    let port = testkit::free_port();
    let (keys, key) = Keys::admin();
    let path = keys.path().display().to_string();
    let url = format!("redis://127.0.0.1:{port}");
    let env = [("SLUICE__REDIS__URL", &*url), ("SLUICE__AUTH__KEYS_FILE", &*path)];
    let service = Service::start_live("cache-api", &env).await;
    let get = || sent(service.client(&key).get(&entry("data")));
    until(async || get().await.status() == 503, LONG).await;
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_of_unknown_outcome_and_a_read_is_merely_not_available() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::to(&redis).await;
    let (keys, key) = Keys::admin();
    let path = keys.path().display().to_string();
    let url = proxy.url();
    let env =
        [("SLUICE__REDIS__URL", &*url), ("SLUICE__AUTH__KEYS_FILE", &*path), ("SLUICE__HTTP__WORKERS", "1")];
    let service = Service::start("cache-api", &env).await;
    let client = service.client(&key);
    until(async || sent(client.put(&entry("data")).body("1")).await.status().is_success(), LONG).await;

    for (request, kind) in [
        (client.put(&entry("data")).body("2"), "outcome-unknown"),
        (client.delete(&entry("data")), "outcome-unknown"),
        (client.post("/v1/projects/acme/invalidate", &json!({})), "outcome-unknown"),
        (client.get(&entry("data")), "unavailable"),
    ] {
        proxy.hold_replies(true);
        let answer = tokio::join!(sent(request), async {
            let asked = proxy.bytes().0;
            until(async || proxy.bytes().0 > asked, LONG).await;
            proxy.cut();
            proxy.hold_replies(false);
        });
        let problem = expect_problem(answer.0, 503, None).await;
        assert_eq!(problem["type"], format!("https://sluice.dev/problems/{kind}"));
        until(async || sent(client.get("/v1/projects/acme/entries")).await.status() == 200, LONG).await;
    }
}

#[tokio::test]
async fn a_full_redis_refuses_puts_by_name_and_still_invalidates() {
    let stack = Stack::start().await;
    sent(stack.put("data", "1")).await;
    stack.redis.cli(&["CONFIG", "SET", "maxmemory", "1mb"]).await;

    let refused = sent(stack.put("new", "1")).await;
    assert!(!header(&refused, "retry-after").is_empty());
    let problem = expect_problem(refused, 503, None).await;
    assert_eq!(problem["type"], "https://sluice.dev/problems/full");
    assert_eq!(sent(stack.get("data")).await.status(), 200);
    let invalidate = stack.admin.post("/v1/projects/acme/invalidate", &json!({}));
    assert_eq!(sent(invalidate).await.status(), 200);
    assert_eq!(sent(stack.get("data")).await.status(), 404);
}
