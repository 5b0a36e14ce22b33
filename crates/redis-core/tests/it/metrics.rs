//! What is measured of calls, of connections and of servers, read back as Prometheus would.
//!
//! The metrics are the process's, and so are they of all tests of a run: each looks at names of its own.

use crate::support::{LONG, counter, impatient};
use redis_core::{BreakerState, Redis, RedisConfig, Script};
use std::sync::LazyLock;
use telemetry::metrics::prometheus;
use testkit::{Proxy, RedisServer, until};

static MEASURED: LazyLock<Script> =
    LazyLock::new(|| Script::new("measured", &[], "#!lua\nreturn redis.call('INCR', KEYS[1])"));
static MISTAKEN: LazyLock<Script> =
    LazyLock::new(|| Script::new("mistaken", &[], "#!lua\nreturn redis.error_reply('ERR no')"));
static UNANSWERED: LazyLock<Script> =
    LazyLock::new(|| Script::new("unanswered", &[], "#!lua\nreturn redis.call('INCR', KEYS[1])"));

/// The sum of the lines of this metric that have all of these labels; none when there is no such line.
fn sample(name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
    let text = prometheus();
    let is = |line: &&str| {
        line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label))
    };
    let values = text
        .lines()
        .filter(is)
        .map(|line| line.rsplit(' ').next().and_then(|it| it.parse::<f64>().ok()).expect("a number"));
    values.reduce(|sum, value| sum + value)
}

fn calls(script: &str, error: Option<&str>) -> Option<f64> {
    let mut labels = vec![("db_operation_name", "EVALSHA"), ("db_stored_procedure_name", script)];
    labels.extend(error.map(|error| ("error_type", error)));
    sample("db_client_operation_duration_seconds_count", &labels)
}

#[tokio::test]
async fn a_call_is_measured_by_its_script_and_by_what_came_of_it() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let redis = impatient(&proxy.url());
    let keys = [counter(&redis)];
    for _ in 0..3 {
        redis.run(&MEASURED, &keys, vec![]).await.unwrap();
    }
    redis.run(&MISTAKEN, &keys, vec![]).await.unwrap_err();
    redis.run(&MISTAKEN, &keys, vec![]).await.unwrap_err();
    proxy.black_hole(true);
    redis.run(&UNANSWERED, &keys, vec![]).await.unwrap_err();

    assert_eq!((calls("measured", None), calls("measured", Some("refused"))), (Some(3.0), None));
    // The first was taught by an EVAL, which has a line of its own.
    assert_eq!(calls("mistaken", Some("refused")), Some(1.0));
    assert_eq!(calls("unanswered", Some("unknown")), Some(1.0));
    let text = prometheus();
    assert!(!text.contains("{t}:counter"), "{text}");
}

#[tokio::test]
async fn commands_and_bytes_are_measured() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let key = redis.key("{t}:big");
    let of =
        |name: &str| sample("db_client_operation_duration_seconds_count", &[("db_operation_name", name)]);
    let bytes = |way: &str| {
        sample("sluice_redis_io_bytes_total", &[("network_io_direction", way)]).unwrap_or_default()
    };
    let (sent, received) = (bytes("transmit"), bytes("receive"));
    redis.command("SET", &key, vec!["x".repeat(100_000).into()]).await.unwrap();
    assert_eq!(redis.get(&key).await.unwrap().unwrap().len(), 100_000);

    assert!(of("SET") >= Some(1.0) && of("GET") >= Some(1.0));
    assert!(bytes("transmit") - sent >= 100_000.0 && bytes("receive") - received >= 100_000.0);
}

#[tokio::test]
async fn the_connections_and_the_breaker_of_a_target_are_shown_until_its_last_handle_is_gone() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let (redis, target) = (impatient(&proxy.url()), proxy.url());
    let pool = [("db_client_connection_pool_name", &*target)];
    let breaker = |state: &'static str| sample("sluice_redis_breaker_state", &[pool[0], ("state", state)]);
    redis.ping(LONG).await.unwrap();
    assert_eq!(sample("db_client_connection_count", &pool), Some(1.0));
    assert_eq!(sample("db_client_connection_max", &pool), Some(10.0));
    assert_eq!(sample("db_client_connection_pending_requests", &pool), Some(0.0));
    assert_eq!((breaker("closed"), breaker("open")), (Some(1.0), Some(0.0)));

    proxy.black_hole(true);
    let key = counter(&redis);
    until(
        async || {
            let _ = redis.command("GET", &key, vec![]).await;
            redis.breaker().state != BreakerState::Closed
        },
        LONG,
    )
    .await;
    assert_eq!(breaker("closed"), Some(0.0));
    assert_eq!(sample("sluice_redis_breaker_openings", &pool), Some(1.0));
    redis.command("GET", &key, vec![]).await.unwrap_err();
    assert!(sample("sluice_redis_breaker_refusals", &pool) >= Some(1.0));

    redis.close().await;
    drop(redis);
    until(async || breaker("closed").is_none(), LONG).await;
}

#[tokio::test]
async fn a_connection_that_is_made_again_is_counted_by_its_cause() {
    let mut server = RedisServer::start().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let closed = || sample("sluice_redis_reconnects_total", &[("cause", "closed")]).unwrap_or_default();
    redis.ping(LONG).await.unwrap();
    let before = closed();
    server.restart().await;
    until(async || closed() > before, LONG).await;
}

#[tokio::test]
async fn what_the_server_says_of_itself_is_shown_by_one_task_for_all_handles() {
    let server = RedisServer::start().await;
    server.cli(&["CONFIG", "SET", "maxmemory", "64mb"]).await;
    let (first, second) = (RedisConfig::at(server.url()), RedisConfig::at(server.url()));
    let (first, second) = (Redis::connect(&first), Redis::connect(&second));
    first.observe();
    second.observe();
    let target = server.url();
    let said = |name: &str| {
        let labels = [("db_client_connection_pool_name", &*target), ("server", "0")];
        sample(&format!("sluice_redis_server_{name}"), &labels)
    };
    until(async || said("memory_max_bytes") == Some(64.0 * 1024.0 * 1024.0), LONG).await;
    assert!(said("memory_used_bytes") > Some(0.0) && said("memory_fragmentation_ratio") > Some(0.0));
    for name in ["keys_evicted", "keys_expired", "loading", "aof_enabled"] {
        assert_eq!(said(name), Some(0.0), "{name}");
    }
    assert!(said("clients_connected") >= Some(1.0));
    assert_eq!((first.round_trips(), second.round_trips()), (1, 0));
    first.close().await;
    second.close().await;
}
