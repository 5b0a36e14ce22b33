//! Scripts, commands, clock, prefix, errors.

use crate::support::{INCREMENT, NOW, counter};
use domain::{Backend, Readiness, Timestamp};
use redis_core::{Clock, Prefix, Redis, RedisConfig, RedisError, Reply, Script};
use std::sync::LazyLock;
use std::time::Duration;
use testkit::{Proxy, RedisServer, both};

#[tokio::test]
async fn a_script_costs_one_round_trip_once_the_server_knows_it() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let redis = Redis::connect(&RedisConfig::at(proxy.url()));
    redis.ping(Duration::from_secs(1)).await.unwrap();

    let (first, cost) = proxy.round_trips_of(redis.run(&INCREMENT, &[counter(&redis)], vec![])).await;
    assert_eq!((first.unwrap(), cost), (Reply::Int(1), 2), "EVALSHA, then EVAL that teaches it");

    let (second, cost) = proxy.round_trips_of(redis.run(&INCREMENT, &[counter(&redis)], vec![])).await;
    assert_eq!((second.unwrap(), cost), (Reply::Int(2), 1));
}

#[tokio::test]
async fn a_server_that_forgot_its_scripts_is_taught_again_and_runs_them_once() {
    both(|server| async move {
        let redis = Redis::connect(&RedisConfig::at(server.url()));
        redis.run(&INCREMENT, &[counter(&redis)], vec![]).await.unwrap();
        server.cli(&["SCRIPT", "FLUSH"]).await;

        let reply = redis.run(&INCREMENT, &[counter(&redis)], vec![]).await.unwrap();
        assert_eq!(reply, Reply::Int(2));
    })
    .await;
}

#[tokio::test]
async fn redis_tells_the_time_unless_a_test_turns_the_clock() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let server_seconds: i64 = server.cli(&["TIME"]).await.split_whitespace().next().unwrap().parse().unwrap();
    let judged = redis.run(&NOW, &[counter(&redis)], vec![]).await.unwrap().into_int().unwrap();
    assert!(judged / 1000 >= server_seconds, "{judged} is earlier than the server's {server_seconds} s");

    let clock = Clock::manual(Timestamp::from_millis(1_000));
    let turned = redis.with_clock(clock.clone());
    clock.advance(Duration::from_millis(234));
    let judged = turned.run(&NOW, &[counter(&turned)], vec![]).await.unwrap().into_int().unwrap();
    assert_eq!(judged, 1_234);
}

#[tokio::test]
async fn stamps_grow_also_when_the_clock_steps_back() {
    static STAMP: LazyLock<Script> = LazyLock::new(|| {
        let body = "#!lua\nlocal s = next_stamp(redis.call('GET', KEYS[1]))\nredis.call('SET', KEYS[1], s)\nreturn s";
        Script::new("stamp", &[redis_core::CLOCK_LUA], body)
    });
    let server = RedisServer::start().await;
    let clock = Clock::manual(Timestamp::from_millis(1_764_038_911_120));
    let redis = Redis::connect(&RedisConfig::at(server.url())).with_clock(clock.clone());
    let next = || async { redis.run(&STAMP, &[counter(&redis)], vec![]).await.unwrap().into_int().unwrap() };

    let first = next().await;
    assert_eq!(first, 1_764_038_911_120_000, "microseconds, not rounded");
    assert_eq!(next().await, first + 1, "the clock stands still");
    clock.set(Timestamp::from_millis(0));
    assert_eq!(next().await, first + 2, "the clock stepped back");
}

#[tokio::test]
async fn the_prefix_stands_before_every_key() {
    let server = RedisServer::start().await;
    let config = RedisConfig {
        prefix: Prefix::try_from("team-a:".to_owned()).unwrap(),
        ..RedisConfig::at(server.url())
    };
    let redis = Redis::connect(&config);
    redis.run(&INCREMENT, &[counter(&redis)], vec![]).await.unwrap();

    assert_eq!(server.cli(&["GET", "team-a:{t}:counter"]).await.trim(), "1");
    assert_eq!(redis.channel("c").as_str(), "team-a:c");
}

#[tokio::test]
async fn a_full_redis_refuses_what_grows_and_runs_what_drains() {
    static FREE: LazyLock<Script> = LazyLock::new(|| {
        Script::new("free", &[], "#!lua flags=allow-oom\nreturn redis.call('DEL', KEYS[1])")
    });
    let server = RedisServer::start().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    redis.run(&INCREMENT, &[counter(&redis)], vec![]).await.unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;

    let refused = redis.run(&INCREMENT, &[counter(&redis)], vec![]).await;
    assert_eq!(refused, Err(RedisError::Full));
    assert_eq!(redis.run(&FREE, &[counter(&redis)], vec![]).await.unwrap(), Reply::Int(1));
}

#[tokio::test]
async fn a_script_that_strays_from_its_slot_fails_on_a_cluster() {
    static STRAY: LazyLock<Script> =
        LazyLock::new(|| Script::new("stray", &[], "#!lua\nreturn redis.call('SET', '{elsewhere}:x', 1)"));
    let server = RedisServer::cluster().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let strayed = redis.run(&STRAY, &[counter(&redis)], vec![]).await;
    assert!(matches!(strayed, Err(RedisError::Reply(_))), "{strayed:?}");
}

#[tokio::test]
async fn on_a_cluster_a_call_goes_straight_to_the_node_of_its_first_key() {
    let nodes = RedisServer::cluster_of_two().await;
    let redis = Redis::connect(&RedisConfig::at(nodes[0].cluster_url()));
    for number in 0..20 {
        let key = redis.key(format_args!("{{{number}}}:counter"));
        assert_eq!(redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await, Ok(Reply::Int(1)));
        assert_eq!(redis.command("INCR", &key, vec![]).await, Ok(Reply::Int(2)));
        redis.publish(&redis.channel(format_args!("c:{{{number}}}")), "x").await.unwrap();
    }
    for node in &nodes {
        let errors = node.cli(&["INFO", "errorstats"]).await;
        assert!(!errors.contains("MOVED"), "{errors}");
        assert_ne!(node.cli(&["DBSIZE"]).await, "0");
    }
}

#[tokio::test]
async fn readiness_asks_redis_at_most_once_a_second() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    assert_eq!(redis.readiness().await, Readiness::Ready);
    let before = redis.round_trips();
    for _ in 0..100 {
        assert_eq!(redis.readiness().await, Readiness::Ready);
    }
    assert!(redis.round_trips() <= before + 1);
}

#[tokio::test]
async fn the_password_is_read_from_its_file_which_wins() {
    let server = RedisServer::start().await;
    server.cli(&["CONFIG", "SET", "requirepass", "right"]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "right\n").unwrap();
    let config = RedisConfig {
        password: Some("wrong".to_owned().into()),
        password_file: Some(file),
        ..RedisConfig::at(server.url())
    };
    assert_eq!(Redis::connect(&config).readiness().await, Readiness::Ready);
}

#[tokio::test]
async fn a_wrong_url_is_said_without_its_password() {
    for url in ["redis://sluice:hunter2@127.0.0.1:port", "sluice:hunter2@127.0.0.1:5240"] {
        let redis = Redis::connect(&RedisConfig::at(url));
        let error = redis.ping(Duration::from_secs(1)).await.unwrap_err();
        let shown = format!("{error} {error:?} {redis:?} {:?}", redis.readiness().await);
        assert!(shown.contains("wrong redis url") && !shown.contains("hunter2"), "{shown}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_said_and_never_shown() {
    let server = RedisServer::start().await;
    server.cli(&["CONFIG", "SET", "requirepass", "right"]).await;
    let config = RedisConfig { password: Some("hunter2".to_owned().into()), ..RedisConfig::at(server.url()) };
    let redis = Redis::connect(&config);
    let readiness = redis.readiness().await;
    assert_ne!(readiness, Readiness::Ready);
    assert!(!format!("{readiness:?}{redis:?}").contains("hunter2"));
}
