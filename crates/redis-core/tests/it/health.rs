//! Whether a service should get requests, and what an operator sees.

use crate::support::{LONG, impatient};
use domain::{Backend, Readiness};
use futures_util::future::join_all;
use redis_core::{BreakerState, Redis, RedisConfig};
use testkit::{Proxy, RedisOptions, RedisServer, until};

fn not_ready(reason: &str) -> Readiness {
    Readiness::NotReady(reason.to_owned())
}

/// A fresh handle: nothing that was found before is held against it.
async fn readiness_of(server: &RedisServer) -> Readiness {
    Redis::connect(&RedisConfig::at(server.url())).readiness().await
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_is_not_ready_and_says_why() {
    let settings = vec![("enable-protected-configs".to_owned(), "yes".to_owned())];
    let server = RedisServer::with(RedisOptions { settings, ..RedisOptions::default() }).await;
    assert_eq!(readiness_of(&server).await, Readiness::Ready);
    for (fault, mend, reason) in [
        (
            &[["CONFIG", "SET", "maxmemory", "1"]][..],
            &["CONFIG", "SET", "maxmemory", "0"][..],
            "redis is full (OOM)",
        ),
        (
            &[["CONFIG", "SET", "min-replicas-to-write", "1"]],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
            "redis has too few replicas and refuses writes (NOREPLICAS)",
        ),
        (
            // A folder in which nobody can make a file.
            &[["CONFIG", "SET", "dir", "/proc"], ["CONFIG", "SET", "save", "1 1"]],
            &["CONFIG", "SET", "save", ""],
            "redis cannot save to its disk and refuses writes (MISCONF)",
        ),
    ] {
        for command in fault {
            assert_eq!(server.cli(command).await, "OK");
        }
        if reason.contains("MISCONF") {
            server.cli(&["BGSAVE"]).await;
            until(async || server.info("rdb_last_bgsave_status").await == "err", LONG).await;
        }
        assert_eq!(readiness_of(&server).await, not_ready(reason));
        server.cli(mend).await;
        assert_eq!(readiness_of(&server).await, Readiness::Ready, "{reason}");
    }

    server.cli(&["REPLICAOF", "127.0.0.1", "1"]).await;
    assert_eq!(readiness_of(&server).await, not_ready("redis is a read-only replica (READONLY)"));
    for (name, value) in [("replica-read-only", "no"), ("replica-serve-stale-data", "no")] {
        server.cli(&["CONFIG", "SET", name, value]).await;
    }
    let alone = "redis is a replica without its primary (MASTERDOWN)";
    assert_eq!(readiness_of(&server).await, not_ready(alone));
}

#[tokio::test]
async fn a_redis_that_loads_its_data_is_not_ready() {
    let settings = vec![("loading-process-events-interval-bytes".to_owned(), "1024".to_owned())];
    let server = RedisServer::with(RedisOptions { settings, ..RedisOptions::default() }).await;
    let redis = impatient(&server.url());
    assert_eq!(redis.readiness().await, Readiness::Ready);
    server.cli(&["DEBUG", "POPULATE", "200000"]).await;
    server.cli(&["CONFIG", "SET", "key-load-delay", "100"]).await;

    // Also for one that connects only now.
    let loading = async || {
        let found = [redis.readiness().await, readiness_of(&server).await];
        found.iter().all(|it| *it == not_ready("redis is loading its data (LOADING)"))
    };
    tokio::select! {
        _ = server.cli(&["DEBUG", "RELOAD"]) => panic!("it was loaded before anybody asked"),
        () = until(loading, LONG) => {}
    }
    let breaker = redis.breaker();
    assert_eq!(breaker.opened, 0, "it answers, and so it is not away");
    server.cli(&["CONFIG", "SET", "key-load-delay", "0"]).await;
}

#[tokio::test]
async fn who_lacks_the_right_is_told_the_code_and_the_operator_the_text() {
    let server = RedisServer::start().await;
    server.cli(&["ACL", "SETUSER", "reader", "on", ">secret", "~*", "+get", "+hello", "+info"]).await;
    let redis = Redis::connect(&RedisConfig {
        username: Some("reader".to_owned()),
        password: Some("secret".to_owned().into()),
        ..RedisConfig::at(server.url())
    });
    assert_eq!(redis.readiness().await, not_ready("redis refuses the service (NOPERM)"));
    let report = redis.health_report().await;
    assert!(report.reason.unwrap().contains("no permissions to run the 'set' command"));
}

#[tokio::test]
async fn readiness_is_one_write_a_second_however_many_ask_and_nothing_of_it_stays() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let redis = Redis::connect(&RedisConfig::at(proxy.url()));
    assert_eq!(redis.readiness().await, Readiness::Ready);
    let began = std::time::Instant::now();
    let (answers, trips) = proxy.round_trips_of(join_all((0..500).map(|_| redis.readiness()))).await;
    assert!(answers.iter().all(|it| *it == Readiness::Ready));
    assert!(trips <= began.elapsed().as_secs() + 1, "{trips}");

    let [key] = &server.cli(&["KEYS", "*"]).await.lines().map(str::to_owned).collect::<Vec<_>>()[..] else {
        panic!("one key of its own")
    };
    assert!(key.starts_with("sluice:canary:"), "{key}");
    let left: i64 = server.cli(&["PTTL", key]).await.parse().unwrap();
    assert!((1..=5_000).contains(&left), "{left}");
}

#[tokio::test]
async fn an_open_breaker_is_not_ready_at_once_and_without_traffic_ready_again() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let redis = impatient(&proxy.url());
    assert_eq!(redis.readiness().await, Readiness::Ready);
    proxy.black_hole(true);
    let opened = async || {
        join_all((0..5).map(|_| redis.ping(LONG / 100))).await;
        redis.breaker().state != BreakerState::Closed
    };
    until(opened, LONG).await;
    let open = not_ready("redis does not answer (its circuit breaker is open)");
    assert_eq!(redis.readiness().await, open, "also when it was ready a moment ago");

    proxy.black_hole(false);
    until(async || redis.readiness().await == Readiness::Ready, LONG).await;
}

#[tokio::test]
async fn without_traffic_readiness_itself_finds_out_and_never_waits_long() {
    let mut server = RedisServer::persistent().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    server.pause();
    let began = std::time::Instant::now();
    assert_eq!(redis.readiness().await, not_ready("redis is not reachable"));
    assert!(began.elapsed() < std::time::Duration::from_secs(1), "less than a health check waits");
    server.resume();
    until(async || redis.readiness().await == Readiness::Ready, LONG).await;

    server.kill();
    until(async || redis.readiness().await != Readiness::Ready, LONG).await;
    server.restart().await;
    until(async || redis.readiness().await == Readiness::Ready, LONG).await;
}

#[tokio::test]
async fn health_shows_what_an_operator_asks_first() {
    let (primary, copy) = tokio::join!(RedisServer::persistent(), RedisServer::start());
    copy.cli(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]).await;
    primary.cli(&["CONFIG", "SET", "maxmemory", "100mb"]).await;
    until(async || copy.info("master_link_status").await == "up", LONG).await;

    let redis = Redis::connect(&RedisConfig::at(primary.url()));
    redis.ping(LONG).await.unwrap();
    let has_lag = async || redis.health_report().await.servers[0].replication.lag_bytes.is_some();
    until(has_lag, LONG).await;
    let report = redis.health_report().await;
    assert!(report.ready && report.reason.is_none() && report.latency_us.unwrap() > 0, "{report:?}");
    assert_eq!((report.breaker.state, report.breaker.opened), (BreakerState::Closed, 0));
    assert_eq!((report.pool.size, report.pool.open, report.pool.in_flight), (10, 1, 0));
    let [server] = &report.servers[..] else { panic!("one server: {report:?}") };
    assert_eq!((&*server.role, server.replication.replicas), ("master", 1));
    assert!(["redis", "valkey"].contains(&&*server.name) && server.version.contains('.'), "{server:?}");
    assert_eq!(server.memory.max_bytes, 100 * 1024 * 1024);
    assert!(server.memory.used_bytes > 0 && server.memory.fragmentation_ratio > 0.0);
    let disk = &server.persistence;
    assert!(!disk.loading && disk.aof_enabled && disk.aof_ok && disk.rdb_ok, "{disk:?}");

    let report = Redis::connect(&RedisConfig::at(copy.url())).health_report().await;
    assert_eq!(report.servers[0].role, "slave");
    assert_eq!(report.servers[0].replication.primary_up, Some(true));
    assert!(!report.ready && report.servers[0].replication.lag_bytes.is_some());
}

#[tokio::test]
async fn health_of_a_redis_that_is_away_is_an_answer_too() {
    let mut server = RedisServer::start().await;
    let redis = impatient(&server.url());
    server.kill();
    let report = redis.health_report().await;
    assert!(!report.ready && report.reason.is_some() && report.servers.is_empty(), "{report:?}");
    assert_eq!(redis.health().await["servers"], serde_json::json!([]));
}
