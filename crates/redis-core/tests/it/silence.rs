//! A peer that is there and says nothing is found, on every kind of connection.

use crate::support::{INCREMENT, LONG, counter};
use redis_core::{Hint, Redis, RedisConfig, RedisError};
use std::time::{Duration, Instant};
use testkit::{Proxy, RedisServer, until};

/// What the issue asks for.
const FOUND: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_peer_that_takes_the_connection_and_never_answers_is_found() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let redis = Redis::connect(&RedisConfig {
        command_timeout_ms: 60_000,
        ..RedisConfig::at(format!("redis://{}", listener.local_addr().unwrap()))
    });
    for way in ["command", "subscriber", "health"] {
        let began = Instant::now();
        match way {
            "command" => drop(redis.command("GET", &counter(&redis), vec![]).await.unwrap_err()),
            "subscriber" => drop(redis.subscribe(&redis.channel("c:{a}")).await.unwrap_err()),
            _ => assert!(!redis.health_report().await.ready),
        }
        // Refused by us, and tried again.
        assert!(began.elapsed() < FOUND + Duration::from_millis(100), "{way}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_found_by_a_call_that_waits() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let redis = Redis::connect(&RedisConfig { command_timeout_ms: 60_000, ..RedisConfig::at(proxy.url()) });
    let key = counter(&redis);
    redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await.unwrap();

    proxy.black_hole(true);
    let began = Instant::now();
    let answer = redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await;
    assert_eq!(answer, Err(RedisError::Unknown), "it may have been applied");
    assert!(began.elapsed() < FOUND, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_found_by_a_subscriber_that_only_listens() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let redis = Redis::connect(&RedisConfig::at(proxy.url()));
    let mut subscription = redis.subscribe(&redis.channel("c:{a}")).await.unwrap();
    let open = proxy.connections();

    proxy.black_hole(true);
    let began = Instant::now();
    // It connects again, whether or not somebody answers there.
    until(async || proxy.connections() != open, LONG).await;
    assert!(began.elapsed() < FOUND, "{:?}", began.elapsed());

    proxy.cut();
    proxy.black_hole(false);
    while tokio::time::timeout(LONG, subscription.recv()).await.unwrap() != Hint::Gap {}
    server.cli(&["SPUBLISH", "c:{a}", "again"]).await;
    while tokio::time::timeout(LONG, subscription.recv()).await.unwrap() != Hint::Message("again".into()) {}
}

/// Its answer comes, and nobody is there to count it.
#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_does_not_cost_the_connection() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let redis = Redis::connect(&RedisConfig::at(proxy.url()));
    let key = counter(&redis);
    redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await.unwrap();
    let before = crate::support::connections(&server).await;
    {
        let mut call = Box::pin(redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]));
        assert!(futures_util::poll!(&mut call).is_pending());
    }

    let (dropped, trips) = (Instant::now(), proxy.round_trips());
    // The call's own, then the question whether somebody is there.
    until(async || proxy.round_trips() >= trips + 2, LONG).await;
    until(async || dropped.elapsed() > FOUND, LONG).await;
    redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await.unwrap();
    assert_eq!(crate::support::connections(&server).await, before + 1, "that of this question");
}

#[tokio::test]
async fn calls_in_flight_hear_of_a_lost_connection_at_once() {
    let mut server = RedisServer::start().await;
    let redis = Redis::connect(&RedisConfig { command_timeout_ms: 60_000, ..RedisConfig::at(server.url()) });
    let key = counter(&redis);
    redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await.unwrap();
    server.pause();
    let call = redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]);
    tokio::pin!(call);
    assert!(futures_util::poll!(&mut call).is_pending());

    let began = Instant::now();
    server.kill();
    assert_eq!(call.await, Err(RedisError::Unknown));
    // And who comes now is refused as soon as a try to connect has failed.
    let next = redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await;
    assert!(matches!(next, Err(RedisError::Unavailable { .. })), "{next:?}");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}
