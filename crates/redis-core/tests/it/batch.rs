//! Group commit.

use crate::support::{ADD_EACH, counter};
use futures_util::future::join_all;
use redis_core::{Arg, Redis, RedisConfig, RedisError, Reply};
use testkit::{Proxy, RedisServer, both, until};

#[tokio::test]
async fn concurrent_calls_share_round_trips_and_each_gets_its_own_answer() {
    both(|server| async move {
        let redis = Redis::connect(&RedisConfig::at(server.url()));
        let key = counter(&redis);
        redis.batch(&ADD_EACH, std::slice::from_ref(&key), vec![Arg::from("1")]).await.unwrap();

        let before = redis.round_trips();
        let calls =
            (0..129).map(|_| redis.batch(&ADD_EACH, std::slice::from_ref(&key), vec![Arg::from("1")]));
        let mut sums: Vec<i64> =
            join_all(calls).await.into_iter().map(|answer| answer.unwrap().into_int().unwrap()).collect();
        sums.sort_unstable();

        assert_eq!(sums, (2..=130).collect::<Vec<_>>());
        assert_eq!(redis.round_trips() - before, 3, "one alone, then 64, then 64");
    })
    .await;
}

#[tokio::test]
async fn an_error_of_one_item_answers_that_item_alone() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let key = counter(&redis);
    let call = |item: &'static str| redis.batch(&ADD_EACH, std::slice::from_ref(&key), vec![Arg::from(item)]);
    let (first, wrong, last) = tokio::join!(call("1"), call("fail"), call("10"));
    assert_eq!(first, Ok(Reply::Int(1)));
    assert!(matches!(wrong, Err(RedisError::Reply(_))), "{wrong:?}");
    assert_eq!(last, Ok(Reply::Int(11)));
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_no_other_callers_write_with_it() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let redis = Redis::connect(&RedisConfig::at(proxy.url()));
    let key = counter(&redis);
    redis.batch(&ADD_EACH, std::slice::from_ref(&key), vec![Arg::from("1")]).await.unwrap();

    proxy.hold_replies(true);
    let mut leader = Box::pin(redis.batch(&ADD_EACH, std::slice::from_ref(&key), vec![Arg::from("10")]));
    assert!(futures_util::poll!(&mut leader).is_pending());
    let mut follower = Box::pin(redis.batch(&ADD_EACH, std::slice::from_ref(&key), vec![Arg::from("100")]));
    assert!(futures_util::poll!(&mut follower).is_pending());
    drop(leader);
    proxy.hold_replies(false);

    assert_eq!(follower.await, Ok(Reply::Int(111)));
}

#[tokio::test]
async fn too_many_waiting_calls_are_refused_at_once() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let key = counter(&redis);
    let calls = (0..5_000).map(|_| redis.batch(&ADD_EACH, std::slice::from_ref(&key), vec![Arg::from("1")]));
    let answers = join_all(calls).await;
    let refused =
        answers.iter().filter(|answer| matches!(answer, Err(RedisError::Unavailable { .. }))).count();
    let done = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!((done, refused), (4_097, 903));
    until(|| async { server.cli(&["GET", "{t}:counter"]).await.trim() == "4097" }, crate::support::LONG)
        .await;
}
