//! Helpers for this crate's tests.

use domain::{Timestamp, UserId};
use redis_core::{Clock, Redis, RedisConfig};
use serde_json::Value;
use session::{Attributes, Session, SessionConfig, SessionError, SessionKeys, Sessions, Token};
use std::time::Duration;
use testkit::RedisServer;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) fn keys() -> SessionKeys {
    ring("1 1111111111111111111111111111111111111111111111111111111111111111")
}

pub(crate) fn ring(ring: &str) -> SessionKeys {
    SessionKeys::parse(&"ab".repeat(32), ring).unwrap()
}

/// Sessions whose clock stands still until it is turned.
pub(crate) fn turned(server: &RedisServer) -> (Sessions, Clock) {
    let clock = Clock::manual(Timestamp::from_millis(1_764_038_911_120));
    (with(server, &clock, keys(), SessionConfig::default()), clock)
}

pub(crate) fn with(
    server: &RedisServer,
    clock: &Clock,
    keys: SessionKeys,
    config: SessionConfig,
) -> Sessions {
    let redis = Redis::connect(&RedisConfig::at(server.url())).with_clock(clock.clone());
    Sessions::new(redis, keys, config)
}

pub(crate) fn ada() -> UserId {
    "ada".parse().unwrap()
}

pub(crate) fn attributes(json: Value) -> Attributes {
    json.as_object().unwrap().clone()
}

pub(crate) async fn create(sessions: &Sessions, json: Value) -> Token {
    sessions.create(&ada(), attributes(json), None).await.unwrap().0
}

pub(crate) async fn is_over(sessions: &Sessions, token: &Token) -> bool {
    match sessions.validate(token).await {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error, SessionError::Unauthenticated);
            true
        }
    }
}

pub(crate) async fn read(sessions: &Sessions, token: &Token) -> Session {
    sessions.validate(token).await.unwrap()
}
