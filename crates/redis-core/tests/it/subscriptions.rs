//! Sharded subscriptions survive what happens to connections.

use crate::support::LONG;
use redis_core::{Hint, Redis, RedisConfig, RedisError, Subscription};
use testkit::{Proxy, RedisServer, both, until};

#[tokio::test]
async fn a_message_reaches_every_subscriber_of_its_channel_and_no_other() {
    both(|server| async move {
        let redis = Redis::connect(&RedisConfig::at(server.url()));
        let mut one = redis.subscribe(&redis.channel("c:{a}")).await.unwrap();
        let mut two = redis.subscribe(&redis.channel("c:{a}")).await.unwrap();
        let mut other = redis.subscribe(&redis.channel("c:{b}")).await.unwrap();
        redis.publish(&redis.channel("c:{a}"), "hello").await.unwrap();
        server.cli(&["SPUBLISH", "c:{b}", "elsewhere"]).await;

        assert_eq!(message(&mut one).await, "hello");
        assert_eq!(message(&mut two).await, "hello");
        assert_eq!(message(&mut other).await, "elsewhere");
    })
    .await;
}

#[tokio::test]
async fn every_channel_is_back_after_a_lost_connection_and_says_that_something_may_be_missing() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let redis = Redis::connect(&RedisConfig::at(proxy.url()));
    let mut all = Vec::new();
    for number in 0..6 {
        all.push(redis.subscribe(&redis.channel(format!("c:{{{number}}}"))).await.unwrap());
    }

    proxy.cut();
    for subscription in &mut all {
        assert_eq!(next(subscription).await, Hint::Gap);
    }
    for (number, subscription) in all.iter_mut().enumerate() {
        server.cli(&["SPUBLISH", &format!("c:{{{number}}}"), "again"]).await;
        assert_eq!(message(subscription).await, "again", "channel {number} of 6");
    }
}

#[tokio::test]
async fn the_last_subscriber_of_a_channel_unsubscribes_it() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let subscribed = || async { server.cli(&["PUBSUB", "SHARDNUMSUB", "c:{a}"]).await.contains('1') };
    let one = redis.subscribe(&redis.channel("c:{a}")).await.unwrap();
    let two = redis.subscribe(&redis.channel("c:{a}")).await.unwrap();
    drop(one);
    assert!(subscribed().await);
    drop(two);
    until(|| async { !subscribed().await }, LONG).await;
}

#[tokio::test]
async fn a_slow_subscriber_is_told_of_the_gap_and_holds_nobody_up() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let mut slow = redis.subscribe(&redis.channel("c:{a}")).await.unwrap();
    server.cli(&["SPUBLISH", "c:{a}", "first"]).await;
    assert_eq!(message(&mut slow).await, "first");
    let mut quick = redis.subscribe(&redis.channel("c:{a}")).await.unwrap();
    for number in 0..600 {
        server.cli(&["SPUBLISH", "c:{a}", &number.to_string()]).await;
        assert_eq!(message(&mut quick).await, number.to_string());
    }
    assert_eq!(next(&mut slow).await, Hint::Gap);
}

#[tokio::test]
async fn a_burst_of_messages_arrives_whole() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let mut subscription = redis.subscribe(&redis.channel("c:{a}")).await.unwrap();
    server.cli(&["SPUBLISH", "c:{a}", "first"]).await;
    assert_eq!(message(&mut subscription).await, "first");

    let burst = "for i = 1, 200 do redis.call('SPUBLISH', KEYS[1], i) end";
    server.cli(&["EVAL", burst, "1", "c:{a}"]).await;

    for number in 1..=200 {
        assert_eq!(next(&mut subscription).await, Hint::Message(number.to_string().into()));
    }
}

#[tokio::test]
async fn subscribing_while_redis_is_away_or_silent_fails_in_bounded_time_and_works_when_it_is_back() {
    for silent in [true, false] {
        let mut server = RedisServer::start().await;
        let config = RedisConfig { command_timeout_ms: 60_000, ..RedisConfig::at(server.url()) };
        let redis = Redis::connect(&config);
        let subscribe = || async { redis.subscribe(&redis.channel("c:{a}")).await };
        if silent {
            redis.subscribe(&redis.channel("c:{b}")).await.unwrap();
            server.pause();
        } else {
            server.kill();
        }
        let answer =
            tokio::time::timeout(LONG, subscribe()).await.expect("long before the command's deadline");
        assert!(matches!(answer, Err(RedisError::Unavailable { .. } | RedisError::Unknown)), "{answer:?}");

        if silent {
            server.resume();
        } else {
            server.restart().await;
        }
        until(|| async { subscribe().await.is_ok() }, LONG).await;
    }
}

async fn next(subscription: &mut Subscription) -> Hint {
    tokio::time::timeout(LONG, subscription.recv()).await.expect("a hint comes")
}

/// The next message. A gap may be told at any time, also right after the first connection.
async fn message(subscription: &mut Subscription) -> bytes::Bytes {
    loop {
        if let Hint::Message(message) = next(subscription).await {
            return message;
        }
    }
}
