//! The circuit breaker at work, behind each fault that the wire can have.

use crate::support::{ADD_EACH, ADD_ITS_OWN, INCREMENT, LONG, SHORT, counter, impatient};
use domain::{Backend, Readiness};
use futures_util::future::join_all;
use redis_core::{BreakerState, Key, Redis, RedisConfig, RedisError};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use testkit::{Proxy, RedisServer, until};

/// A server, a proxy before it, and a handle that has been there.
async fn behind_a_proxy() -> (RedisServer, Proxy, Redis, Key) {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let redis = impatient(&proxy.url());
    let key = counter(&redis);
    redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await.expect("redis is there");
    (server, proxy, redis, key)
}

async fn is_open(redis: &Redis) -> bool {
    redis.breaker().state != BreakerState::Closed
}

/// Calls until the breaker has opened, as a service under load does.
async fn call_until_it_opens(redis: &Redis, key: &Key) {
    let opened = async || {
        join_all((0..5).map(|_| redis.get(key))).await;
        is_open(redis).await
    };
    until(opened, LONG).await;
}

#[tokio::test]
async fn every_way_to_redis_is_refused_within_microseconds_while_it_is_open() {
    let (_server, proxy, redis, key) = behind_a_proxy().await;
    proxy.black_hole(true);
    call_until_it_opens(&redis, &key).await;

    let (trips, keys) = (redis.round_trips(), std::slice::from_ref(&key));
    let channel = redis.channel("{t}:told");
    let began = Instant::now();
    for _ in 0..1_000 {
        let answers = [
            redis.get(&key).await.err(),
            redis.command("GET", &key, vec![]).await.err(),
            redis.run(&INCREMENT, keys, vec![]).await.err(),
            redis.batch(&ADD_EACH, keys, vec!["1".into()]).await.err(),
            redis.batch_across(&ADD_ITS_OWN, keys.to_vec(), vec!["1".into()]).await.err(),
            redis.info(&["memory"]).await.err(),
            redis.publish(&channel, "x").await.err(),
            redis.ping(LONG).await.err(),
        ];
        for (way, answer) in answers.iter().enumerate() {
            let Some(RedisError::Unavailable { retry_after }) = answer else { panic!("{way}: {answer:?}") };
            assert!((Duration::from_millis(1)..=Duration::from_secs(1)).contains(retry_after));
        }
    }
    assert!(began.elapsed() < LONG / 8, "8,000 refusals: {:?}", began.elapsed());
    assert!(redis.breaker().refused >= 8_000);
    assert!(redis.round_trips() - trips <= redis.breaker().probes, "only pings went out");
}

#[tokio::test]
async fn it_closes_again_without_any_traffic() {
    let (_server, proxy, redis, key) = behind_a_proxy().await;
    proxy.black_hole(true);
    call_until_it_opens(&redis, &key).await;

    proxy.black_hole(false);
    until(async || !is_open(&redis).await, LONG).await;
    assert!(redis.command("GET", &key, vec![]).await.is_ok());
}

#[tokio::test]
async fn what_the_server_answers_never_opens_it() {
    let (server, _proxy, redis, key) = behind_a_proxy().await;
    let wrong_type = || redis.command("LPUSH", &key, vec!["1".into()]);
    let write = || redis.command("SET", &key, vec!["1".into()]);
    for _ in 0..20 {
        assert!(matches!(wrong_type().await, Err(RedisError::Reply(_))));
    }
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]).await;
    for _ in 0..20 {
        assert!(matches!(write().await, Err(RedisError::Unavailable { .. })), "READONLY");
    }
    server.cli(&["CONFIG", "SET", "replica-serve-stale-data", "no"]).await;
    for _ in 0..20 {
        assert!(matches!(redis.get(&key).await, Err(RedisError::Unavailable { .. })), "MASTERDOWN");
    }
    server.cli(&["REPLICAOF", "NO", "ONE"]).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
    for _ in 0..20 {
        assert_eq!(write().await, Err(RedisError::Full));
    }
    let breaker = redis.breaker();
    assert_eq!((breaker.state, breaker.opened, breaker.failures), (BreakerState::Closed, 0, 0));
}

/// Makes a fault, waits until callers hear at once that Redis is away, and then until it is back.
async fn opens_and_recovers(name: &str, fault: impl Fn(&Proxy), mend: impl Fn(&Proxy)) {
    let (_server, proxy, redis, key) = behind_a_proxy().await;
    fault(&proxy);
    call_until_it_opens(&redis, &key).await;
    assert!(matches!(redis.get(&key).await, Err(RedisError::Unavailable { .. })), "{name}");

    mend(&proxy);
    let mended = Instant::now();
    until(async || redis.get(&key).await.is_ok(), LONG).await;
    assert!(mended.elapsed() < Duration::from_secs(3), "{name}: back after {:?}", mended.elapsed());
}

#[tokio::test]
async fn a_black_hole_opens_it() {
    opens_and_recovers("black hole", |proxy| proxy.black_hole(true), |proxy| proxy.black_hole(false)).await;
}

#[tokio::test]
async fn a_redis_that_takes_requests_and_never_answers_opens_it() {
    opens_and_recovers("held", |proxy| proxy.hold_replies(true), |proxy| proxy.hold_replies(false)).await;
}

#[tokio::test]
async fn latency_beyond_the_deadline_opens_it() {
    let (slow, none) = (Duration::from_secs(5), Duration::ZERO);
    opens_and_recovers("latency", |proxy| proxy.delay(slow), |proxy| proxy.delay(none)).await;
}

#[tokio::test]
async fn replies_that_trickle_in_beyond_the_deadline_open_it() {
    let second = Duration::from_secs(1);
    let mend = |proxy: &Proxy| proxy.trickle(usize::MAX, Duration::ZERO);
    opens_and_recovers("slow reads", |proxy| proxy.trickle(1, second), mend).await;
}

#[tokio::test]
async fn a_refused_connection_opens_it() {
    let fault = |proxy: &Proxy| {
        proxy.refuse(true);
        proxy.reset();
    };
    opens_and_recovers("refused", fault, |proxy| proxy.refuse(false)).await;
}

#[tokio::test]
async fn a_peer_that_is_gone_without_a_word_is_found_and_replaced() {
    let (_server, proxy, redis, key) = behind_a_proxy().await;
    proxy.half_open();
    let lost = Instant::now();
    until(async || redis.get(&key).await.is_ok(), LONG).await;
    assert!(lost.elapsed() < Duration::from_secs(3), "{:?}", lost.elapsed());
}

#[tokio::test]
async fn calls_that_a_reset_loses_are_asked_about_at_once() {
    let (_server, proxy, redis, key) = behind_a_proxy().await;
    for cut in [Proxy::reset, |proxy: &Proxy| proxy.cut_inside_the_next_reply(1)] {
        proxy.hold_replies(true);
        let lost = async {
            until(async || proxy.holds_replies(), LONG).await;
            cut(&proxy);
            proxy.hold_replies(false);
        };
        let (answers, ()) = tokio::join!(join_all((0..100).map(|_| redis.get(&key))), lost);
        assert!(answers.contains(&Err(RedisError::Unknown)), "{answers:?}");

        let cut_at = Instant::now();
        until(async || redis.get(&key).await.is_ok(), LONG).await;
        assert!(cut_at.elapsed() < Duration::from_secs(1), "{:?}", cut_at.elapsed());
    }
}

#[tokio::test]
async fn one_dead_connection_of_the_pool_does_not_open_it_while_another_works() {
    let (_server, proxy, redis, key) = behind_a_proxy().await;
    // Another thread has a connection of its own.
    let stop = Arc::new(AtomicBool::new(false));
    let elsewhere = (redis.clone(), key.clone(), Arc::clone(&stop));
    let other = std::thread::spawn(move || {
        let (redis, key, stop) = elsewhere;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            while !stop.load(Ordering::Relaxed) {
                redis.get(&key).await.unwrap();
            }
        });
    });
    until(async || proxy.connections() == 2, LONG).await;
    proxy.hit_only_who_asks("mine");
    redis.get(&redis.key("{t}:mine")).await.unwrap();
    proxy.black_hole(true);

    let lost = Instant::now();
    until(async || redis.get(&key).await.is_ok(), LONG).await;
    assert!(lost.elapsed() < Duration::from_secs(3), "the dead one was replaced: {:?}", lost.elapsed());
    stop.store(true, Ordering::Relaxed);
    tokio::task::spawn_blocking(|| other.join().unwrap()).await.unwrap();
    assert_eq!(redis.breaker().opened, 0);
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_says_nothing() {
    let (_server, proxy, redis, key) = behind_a_proxy().await;
    proxy.black_hole(true);
    for _ in 0..20 {
        let mut call = Box::pin(redis.get(&key));
        assert!(futures_util::poll!(&mut call).is_pending());
    }
    assert_eq!(redis.breaker().failures, 0);
}

#[tokio::test]
async fn the_task_that_asks_ends_with_its_runtime_and_the_next_caller_starts_another() {
    let (_server, proxy, redis, key) = behind_a_proxy().await;
    proxy.black_hole(true);
    let elsewhere = (redis.clone(), key.clone());
    let ended = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(call_until_it_opens(&elsewhere.0, &elsewhere.1));
    });
    tokio::task::spawn_blocking(|| ended.join().unwrap()).await.unwrap();
    assert_eq!(redis.breaker().state, BreakerState::Open, "the permit of the probe came back");

    proxy.black_hole(false);
    until(async || redis.get(&key).await.is_ok(), LONG).await;
}

#[tokio::test]
async fn it_costs_a_call_no_round_trip_and_a_handle_that_is_dropped_asks_no_more() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let config =
        RedisConfig { pool: NonZeroUsize::MIN, command_timeout_ms: 300, ..RedisConfig::at(proxy.url()) };
    let redis = Redis::connect(&config);
    let key = counter(&redis);
    redis.get(&key).await.unwrap();
    let (answer, trips) = proxy.round_trips_of(redis.get(&key)).await;
    assert_eq!((answer, trips, proxy.connections()), (Ok(None), 1, 1));

    proxy.black_hole(true);
    call_until_it_opens(&redis, &key).await;
    drop(redis);
    proxy.black_hole(false);
    until(async || proxy.connections() == 0, LONG).await;
}

/// As [`behind_a_proxy`], with calls that wait for an answer longer than the test.
async fn with_a_long_deadline() -> (RedisServer, Proxy, Redis, Key) {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let redis = Redis::connect(&RedisConfig { command_timeout_ms: 600_000, ..RedisConfig::at(proxy.url()) });
    let key = counter(&redis);
    redis.run(&INCREMENT, std::slice::from_ref(&key), vec![]).await.expect("redis is there");
    (server, proxy, redis, key)
}

async fn ping_until_it_opens(redis: &Redis) {
    let opened = async || {
        join_all((0..5).map(|_| redis.ping(SHORT))).await;
        is_open(redis).await
    };
    until(opened, LONG).await;
}

#[tokio::test]
async fn closing_does_not_wait_for_the_question() {
    let (_server, proxy, redis, _key) = with_a_long_deadline().await;
    proxy.black_hole(true);
    ping_until_it_opens(&redis).await;
    tokio::time::timeout(LONG, redis.close()).await.expect("a ping may be dropped at any time");
}

#[tokio::test]
async fn nobody_joins_a_batch_whose_call_has_its_deadline_still_before_it() {
    let (_server, proxy, redis, key) = with_a_long_deadline().await;
    let keys = std::slice::from_ref(&key);
    proxy.hold_replies(true);
    let mut first = Box::pin(redis.batch(&ADD_EACH, keys, vec!["1".into()]));
    assert!(futures_util::poll!(&mut first).is_pending());
    ping_until_it_opens(&redis).await;

    let second = redis.batch(&ADD_EACH, keys, vec!["1".into()]);
    let refused = tokio::time::timeout(LONG, second).await.expect("it does not wait behind the first");
    assert!(matches!(refused, Err(RedisError::Unavailable { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_question_that_is_lost_on_the_way_is_asked_again() {
    let (_server, proxy, redis, _key) = with_a_long_deadline().await;
    assert_eq!(redis.readiness().await, Readiness::Ready, "the connection of the question is made");
    proxy.half_open();
    ping_until_it_opens(&redis).await;
    until(async || !is_open(&redis).await, LONG).await;
}

#[tokio::test]
async fn the_first_calls_after_a_long_outage_are_answered() {
    let (_server, proxy, redis, key) = behind_a_proxy().await;
    // So many at once that they need every connection of the pool.
    let all = || join_all((0..3_000).map(|_| redis.get(&key)));
    assert!(all().await.iter().all(Result::is_ok));
    assert_eq!(redis.health_report().await.pool.open, 10);
    proxy.refuse(true);
    proxy.reset();
    call_until_it_opens(&redis, &key).await;
    // The pauses between tries to connect have grown to a second by then.
    until(async || redis.breaker().probes >= 8, LONG).await;

    proxy.refuse(false);
    until(async || !is_open(&redis).await, LONG).await;
    assert!(all().await.iter().all(Result::is_ok));
}
