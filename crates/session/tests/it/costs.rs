//! What an operation costs, counted on the wire.

use crate::support::{HOUR, ada, attributes, keys};
use redis_core::{Clock, Redis, RedisConfig};
use serde_json::json;
use session::{SessionConfig, Sessions};
use testkit::{Proxy, RedisServer};

#[tokio::test]
async fn a_read_is_one_round_trip_extending_or_not_and_a_logout_too() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let clock = Clock::manual(domain::Timestamp::from_millis(1_764_038_911_120));
    let redis = Redis::connect(&RedisConfig::at(proxy.url())).with_clock(clock.clone());
    let sessions = Sessions::new(redis, keys(), SessionConfig::default());
    let user = ada();
    let create = || sessions.create(&user, attributes(json!({})), None);
    // Every script is known to the server.
    let (token, _) = create().await.unwrap();
    sessions.patch(&token, &attributes(json!({ "a": 1 })), None).await.unwrap();
    let (token, _) = sessions.rotate(&token).await.unwrap();
    sessions.log_out(&token).await.unwrap();
    sessions.list(&ada()).await.unwrap();
    sessions.log_out_all(&ada()).await.unwrap();

    let (made, trips) = proxy.round_trips_of(create()).await;
    assert_eq!(trips, 1, "create");
    let (token, _) = made.unwrap();
    for (turn, extends) in [(std::time::Duration::ZERO, false), (HOUR, true), (HOUR / 4, false)] {
        clock.advance(turn);
        let (session, trips) = proxy.round_trips_of(sessions.validate(&token)).await;
        assert_eq!((session.unwrap().extended, trips), (extends, 1));
    }
    let patch = attributes(json!({ "b": 1 }));
    assert_eq!(proxy.round_trips_of(sessions.patch(&token, &patch, None)).await.1, 2, "patch");
    let (rotated, trips) = proxy.round_trips_of(sessions.rotate(&token)).await;
    assert_eq!(trips, 2, "rotate");
    assert_eq!(proxy.round_trips_of(sessions.list(&ada())).await.1, 1, "list");
    assert_eq!(proxy.round_trips_of(sessions.log_out(&rotated.unwrap().0)).await.1, 1, "log out");
    assert_eq!(proxy.round_trips_of(sessions.log_out_all(&ada())).await.1, 1, "log out all");
}

#[tokio::test]
async fn nothing_of_a_session_stays_in_redis_after_its_end() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let sessions = Sessions::new(redis, keys(), SessionConfig::default());
    let (token, _) = sessions.create(&ada(), attributes(json!({})), Some(HOUR)).await.unwrap();
    for key in server.cli(&["KEYS", "*"]).await.lines() {
        let left: i64 = server.cli(&["PTTL", key]).await.parse().unwrap();
        assert!((1..=3_601_000).contains(&left), "{key}: {left}");
    }
    let (token, _) = sessions.rotate(&token).await.unwrap();
    let index = server.cli(&["KEYS", "*:index"]).await;
    assert_eq!(server.cli(&["KEYS", "*"]).await.lines().count(), 2, "one session, one index");
    assert_eq!(server.cli(&["ZCARD", &index]).await, "1");
    sessions.log_out(&token).await.unwrap();
    assert_eq!(server.cli(&["KEYS", "*"]).await, "");

    for _ in 0..3 {
        sessions.create(&ada(), attributes(json!({})), None).await.unwrap();
    }
    sessions.log_out_all(&ada()).await.unwrap();
    assert_eq!(server.cli(&["KEYS", "*"]).await, "");
}
