//! A primary that Sentinels replace.

use crate::support::{INCREMENT, LONG, SHORT, counter, said};
use redis_core::{Hint, Redis, RedisConfig, RedisError, Reply};
use testkit::{Watched, until};

async fn increment(redis: &Redis) -> Result<Reply, RedisError> {
    redis.run(&INCREMENT, &[counter(redis)], vec![]).await
}

#[tokio::test]
async fn a_killed_primary_is_replaced_for_commands_and_for_subscribers() {
    let mut watched = Watched::start().await;
    let redis = Redis::connect(&RedisConfig::at(watched.url()));
    increment(&redis).await.unwrap();
    let mut subscription = redis.subscribe(&redis.channel("c:{a}")).await.unwrap();
    assert_eq!(watched.server(0).cli(&["WAIT", "1", "5000"]).await, "2");

    watched.server_mut(0).kill();
    until(async || increment(&redis).await.is_ok(), LONG).await;
    while subscription.recv().await != Hint::Gap {}
    let said_again = async || redis.publish(&redis.channel("c:{a}"), "again").await.is_ok();
    until(said_again, LONG).await;
    said(&mut subscription, "again").await;
    until(async || watched.primary().await != 0, LONG).await;

    // The old one comes back, takes itself for the primary, and nobody falls for it.
    watched.server_mut(0).restart().await;
    redis.run(&INCREMENT, &[counter(&redis)], vec![]).await.unwrap();
    assert_eq!(watched.server(0).cli(&["EXISTS", "{t}:counter"]).await, "0");
}

#[tokio::test]
async fn a_primary_that_steps_down_and_lives_is_left() {
    let watched = Watched::start().await;
    let redis = Redis::connect(&RedisConfig::at(watched.url()));
    increment(&redis).await.unwrap();

    let mut subscription = redis.subscribe(&redis.channel("c:{a}")).await.unwrap();

    watched.fail_over().await;
    let new = watched.server(watched.primary().await);
    // Long before the old one hears of it, which takes ten seconds.
    let arrives = async || {
        let before = new.cli(&["GET", "{t}:counter"]).await;
        increment(&redis).await.is_ok() && new.cli(&["GET", "{t}:counter"]).await != before
    };
    until(arrives, LONG / 4).await;
    assert_eq!(tokio::time::timeout(LONG / 4, subscription.recv()).await, Ok(Hint::Gap));
    new.cli(&["SPUBLISH", "c:{a}", "new"]).await;
    said(&mut subscription, "new").await;
}

/// Nobody cuts the connection here, and the Sentinels still name it.
#[tokio::test]
async fn a_primary_that_refuses_a_write_as_a_replica_is_not_read_from_either() {
    let watched = Watched::start().await;
    let redis = Redis::connect(&RedisConfig::at(watched.url()));
    increment(&redis).await.unwrap();

    let (old, new) = (watched.server(0), watched.server(1).port().to_string());
    watched.server(1).cli(&["REPLICAOF", "NO", "ONE"]).await;
    old.cli(&["REPLICAOF", "127.0.0.1", &new]).await;
    let refused = async |answer| matches!(answer, Err(RedisError::Unavailable { .. }));
    until(async || refused(increment(&redis).await).await, LONG).await;
    until(async || refused(redis.get(&counter(&redis)).await.map(|_| Reply::Nil)).await, LONG / 4).await;

    old.cli(&["REPLICAOF", "NO", "ONE"]).await;
    until(async || increment(&redis).await.is_ok(), LONG).await;
}

#[tokio::test]
async fn a_stopped_sentinel_and_a_wrong_one_delay_nobody() {
    let mut watched = Watched::start().await;
    watched.sentinel_mut(0).pause();
    let first = Redis::connect(&RedisConfig::at(watched.url()));
    first.ping(LONG).await.unwrap();
    watched.sentinel_mut(0).resume();

    // This one believes in a replica.
    let port = watched.server(1).port().to_string();
    watched.sentinel(0).cli(&["SENTINEL", "REMOVE", "sluice"]).await;
    watched.sentinel(0).cli(&["SENTINEL", "MONITOR", "sluice", "127.0.0.1", &port, "2"]).await;
    let second = Redis::connect(&RedisConfig::at(watched.url()));
    increment(&second).await.unwrap();
}

#[tokio::test]
async fn the_sentinels_have_a_password_of_their_own() {
    let watched = Watched::start().await;
    for sentinel in 0..3 {
        watched.sentinel(sentinel).cli(&["ACL", "SETUSER", "sluice", "on", ">secret", "+@all"]).await;
        watched.sentinel(sentinel).cli(&["ACL", "SETUSER", "default", "resetpass", ">other"]).await;
    }
    let config = RedisConfig::at(watched.url());
    let without = Redis::connect(&config).ping(SHORT).await;
    assert!(matches!(&without, Err(RedisError::Reply(text)) if text.starts_with("NOAUTH")), "{without:?}");

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret\n").unwrap();
    let sentinel_password_file = Some(file.path().to_owned());
    let config =
        RedisConfig { sentinel_username: Some("sluice".to_owned()), sentinel_password_file, ..config };
    Redis::connect(&config).ping(LONG).await.unwrap();
}

#[tokio::test]
async fn a_name_that_the_sentinels_do_not_know_is_said() {
    let watched = Watched::start().await;
    let redis = Redis::connect(&RedisConfig::at(watched.url().replace("=sluice", "=slice")));
    let error = redis.ping(LONG).await.unwrap_err().to_string();
    assert!(error.contains("the Sentinels know no primary of that name"), "{error}");
}
