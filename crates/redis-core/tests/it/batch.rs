//! Group commit.

use crate::support::{ADD_EACH, ADD_ITS_OWN, HOW_MANY, LONG, counter};
use futures_util::future::join_all;
use redis_core::{Arg, Redis, RedisConfig, RedisError, Reply};
use std::num::NonZeroUsize;
use testkit::{Proxy, RedisServer, both, until};

#[tokio::test]
async fn concurrent_calls_share_round_trips_and_each_gets_its_own_answer() {
    both(|server| async move {
        let redis = Redis::connect(&RedisConfig::at(server.url()));
        let key = counter(&redis);
        redis.batch(&ADD_EACH, std::slice::from_ref(&key), vec![Arg::from("1")]).await.unwrap();

        for (calls, first_sum, round_trips) in [(129, 2, 3), (130, 131, 4)] {
            let before = redis.round_trips();
            let all =
                (0..calls).map(|_| redis.batch(&ADD_EACH, std::slice::from_ref(&key), vec![Arg::from("1")]));
            let mut sums: Vec<i64> =
                join_all(all).await.into_iter().map(|answer| answer.unwrap().into_int().unwrap()).collect();
            sums.sort_unstable();

            assert_eq!(sums, (first_sum..first_sum + calls).collect::<Vec<_>>());
            assert_eq!(
                redis.round_trips() - before,
                round_trips,
                "one alone, then 64, then 64, then the rest"
            );
        }
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
    let refused = answers.iter().filter(|answer| **answer == Err(RedisError::Overloaded)).count();
    let done = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!((done, refused), (4_097, 903));
    until(|| async { server.cli(&["GET", "{t}:counter"]).await.trim() == "4097" }, LONG).await;
}

#[tokio::test]
async fn a_call_carries_at_most_1_mib_unless_one_item_is_larger() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let key = counter(&redis);
    for (bytes, shared_by) in [
        (256 * 1024, [1, 4, 4, 4, 4]),
        (256 * 1024 + 1, [1, 3, 3, 3, 1]),
        (1024 * 1024, [1, 1, 1, 1, 1]),
        (1024 * 1024 + 1, [1, 1, 1, 1, 1]),
    ] {
        let item = bytes::Bytes::from(vec![b'x'; bytes]);
        let call = |_| redis.batch(&HOW_MANY, std::slice::from_ref(&key), vec![Arg::from(item.clone())]);
        let answers = join_all((0..5).map(call)).await;
        assert_eq!(answers, shared_by.map(|items| Ok(Reply::Int(items))), "items of {bytes} bytes");
    }
}

#[tokio::test]
async fn calls_on_other_keys_do_not_mix() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let (one, other) = (counter(&redis), redis.key("{t}:other"));
    let call = |key, item| redis.batch(&ADD_EACH, std::slice::from_ref(key), vec![Arg::from(item)]);

    let answers = tokio::join!(call(&one, "1"), call(&one, "10"), call(&other, "100"), call(&one, "1000"));

    assert_eq!(answers, (Ok(Reply::Int(1)), Ok(Reply::Int(11)), Ok(Reply::Int(100)), Ok(Reply::Int(1011))));
}

#[tokio::test]
async fn a_call_that_ends_with_its_runtime_is_unknown_to_who_waits_and_the_next_begins_anew() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    // One table and one connection for all threads.
    let pool = NonZeroUsize::new(1).unwrap();
    let redis = Redis::connect(&RedisConfig { pool, ..RedisConfig::at(proxy.url()) });
    let key = counter(&redis);
    let call = |item| redis.batch(&ADD_EACH, std::slice::from_ref(&key), vec![Arg::from(item)]);
    let (leave, left) = tokio::sync::oneshot::channel::<()>();
    let (elsewhere, its_key) = (redis.clone(), key.clone());
    proxy.hold_replies(true);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                answer = elsewhere.batch(&ADD_EACH, std::slice::from_ref(&its_key), vec![Arg::from("1")]) => panic!("{answer:?}"),
                _ = left => {}
            }
        });
    });
    until(|| async { redis.round_trips() > 0 }, LONG).await;
    let mut follower = Box::pin(call("10"));
    assert!(futures_util::poll!(&mut follower).is_pending());

    leave.send(()).unwrap();
    thread.join().unwrap();
    proxy.hold_replies(false);

    let answers = async { (follower.await, call("100").await) };
    let (waited, next) =
        tokio::time::timeout(LONG, answers).await.expect("nobody waits for a call that is gone");
    assert_eq!(waited, Err(RedisError::Unknown));
    assert!(matches!(next, Ok(Reply::Int(100 | 101))), "{next:?}");
}

#[tokio::test]
async fn closing_waits_for_a_write_whose_caller_is_gone() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let key = counter(&redis);
    redis.ping(LONG).await.unwrap();
    {
        let mut call = Box::pin(redis.batch(&ADD_EACH, std::slice::from_ref(&key), vec![Arg::from("1")]));
        assert!(futures_util::poll!(&mut call).is_pending());
    }

    redis.close().await;

    assert_eq!(server.cli(&["GET", "{t}:counter"]).await, "1");
}

#[tokio::test]
async fn items_with_keys_of_their_own_share_round_trips_too_and_each_has_its_answer() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let own = |n: usize, item: &'static str| {
        redis.batch_across(&ADD_ITS_OWN, vec![redis.key(format!("{{{n}}}:counter"))], vec![Arg::from(item)])
    };
    own(0, "1").await.unwrap();

    let before = redis.round_trips();
    let answers = join_all((0..129).map(|n| own(n, if n == 5 { "fail" } else { "10" }))).await;

    assert_eq!(redis.round_trips() - before, 3, "one alone, then 64, then 64");
    for (n, answer) in answers.into_iter().enumerate() {
        match n {
            0 => assert_eq!(answer, Ok(Reply::Int(11))),
            5 => assert!(matches!(answer, Err(RedisError::Reply(_))), "{answer:?}"),
            _ => assert_eq!(answer, Ok(Reply::Int(10)), "{n}"),
        }
    }
}

#[tokio::test]
async fn a_cluster_refuses_items_of_several_slots_and_has_run_none() {
    let server = RedisServer::cluster().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let key = |n: u8| redis.key(format!("{{{n}}}:counter"));
    let refused = redis.batch_across(&ADD_ITS_OWN, vec![key(1), key(2)], vec![Arg::from("1")]).await;
    assert!(matches!(&refused, Err(RedisError::Reply(text)) if text.starts_with("CROSSSLOT")), "{refused:?}");
    for n in [1, 2] {
        assert_eq!(redis.get(&key(n)).await, Ok(None));
    }
}
