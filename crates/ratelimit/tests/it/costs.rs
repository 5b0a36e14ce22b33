//! What a check costs, counted on the wire.

use crate::support::{SECOND, ask, limiter_on, patient, user};
use crate::watching::looked_at;
use futures_util::future::join_all;
use ratelimit::{Away, Limiter};
use redis_core::{Redis, RedisConfig};
use testkit::{Proxy, RedisServer};

/// The limiter listens for resets: what it begins with, on a connection of its own, is over. Once a second it looks at
/// Redis, which may fall into any count.
async fn listens(server: &RedisServer) {
    let subscribed = async || server.cli(&["PUBSUB", "SHARDNUMSUB", "rl:{resets}"]).await.contains('1');
    testkit::until(subscribed, SECOND * 30).await;
}

#[tokio::test]
async fn a_check_is_one_round_trip_whatever_it_is_about() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let limiter = limiter_on(&proxy.url());
    let demands = [
        user("42", "a", &[(1000, SECOND), (9000, SECOND * 60)]),
        user("43", "b", &[(1000, SECOND)]),
        user("44", "c", &[(1000, SECOND)]),
    ];
    ask(&limiter, &demands[0]).await;
    listens(&server).await;

    let mut one = 0;
    for _ in 0..20 {
        let check = limiter.check(&demands, 1, Away::Closed);
        one += usize::from(proxy.round_trips_of(check).await.1 == 1);
    }
    assert!(one >= 18, "{one} of 20 checks took one round trip; a look at Redis may fall into two of them");
}

#[tokio::test]
async fn on_a_cluster_a_check_is_one_call_a_demand_once_that_is_known() {
    let server = RedisServer::cluster().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let limiter = Limiter::new(redis.clone(), patient());
    let demands = [user("42", "a", &[(1000, SECOND)]), user("43", "b", &[(1000, SECOND)])];
    limiter.check(&demands, 1, Away::Closed).await.unwrap();
    listens(&server).await;

    let mut two = 0;
    for _ in 0..20 {
        let before = redis.round_trips();
        limiter.check(&demands, 1, Away::Closed).await.unwrap();
        two += usize::from(redis.round_trips() - before == 2);
    }
    assert!(two >= 18, "{two} of 20 checks took two calls; a look at Redis may fall into two of them");
}

#[tokio::test]
async fn an_idle_limiter_asks_redis_nothing() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let idle = Limiter::new(redis.clone(), patient());
    ask(&idle, &user("42", "p", &[(1000, SECOND)])).await;
    listens(&server).await;
    let before = redis.round_trips();

    // Another one, elsewhere, looks at its Redis again and again meanwhile.
    let elsewhere = RedisServer::start().await;
    let (busy, policy) = (limiter_on(&elsewhere.url()), user("43", "p", &[(1_000_000, SECOND)]));
    for _ in 0..2 {
        looked_at(&elsewhere, async || ask(&busy, &policy).await.mode).await;
    }

    assert_eq!(redis.round_trips(), before);
}

#[tokio::test]
async fn checks_that_wait_share_a_round_trip() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let limiter = limiter_on(&proxy.url());
    let demands: Vec<_> = (0..256).map(|n| user(&n.to_string(), "p", &[(1, SECOND * 60)])).collect();
    ask(&limiter, &demands[0]).await;
    listens(&server).await;

    let all = join_all(demands[1..].iter().map(|demand| ask(&limiter, demand)));
    let (verdicts, trips) = proxy.round_trips_of(all).await;

    assert!(verdicts.iter().all(|verdict| verdict.admitted));
    assert!(trips <= 8, "{trips} round trips for 255 checks");
}

#[tokio::test]
async fn a_count_takes_as_much_memory_as_it_has_runs_and_goes_when_it_is_over() {
    let server = RedisServer::start().await;
    let limiter = limiter_on(&server.url());
    let (few, many) = (user("few", "p", &[(1000, SECOND * 60)]), user("many", "p", &[(100_000, SECOND)]));
    ask(&limiter, &few).await;
    assert_eq!(server.cli(&["STRLEN", "rl:{user:few}:p"]).await, "28");

    let began = std::time::Instant::now();
    while began.elapsed() < SECOND * 2 {
        ask(&limiter, &many).await;
    }
    let bytes: usize = server.cli(&["STRLEN", "rl:{user:many}:p"]).await.parse().unwrap();
    assert!(bytes <= 28 + 32 * 10, "{bytes} bytes: more than 32 runs");
}

/// Two seconds longer, since the clock may step back so far.
#[tokio::test]
async fn a_count_lives_two_seconds_longer_than_the_longest_window_that_was_asked_for() {
    let server = RedisServer::start().await;
    let limiter = limiter_on(&server.url());
    for (windows, lives) in [
        (&[(9, SECOND * 60)][..], SECOND * 62),
        (&[(9, SECOND)], SECOND * 62),
        (&[(9, SECOND), (9, SECOND * 100), (9, SECOND * 5)], SECOND * 102),
        (&[(9, SECOND * 30)], SECOND * 102),
    ] {
        let judged_at = ask(&limiter, &user("42", "p", windows)).await.standings[0].judged_at_ms;
        let now = server.cli(&["TIME"]).await;
        let over_at: u64 = server.cli(&["PEXPIRETIME", "rl:{user:42}:p"]).await.parse().unwrap();
        let now_s: u64 = now.lines().next().unwrap().parse().unwrap();
        // Redis counts from when it wrote it, a little after the judgement.
        let lives = u64::try_from(lives.as_millis()).unwrap();
        let since = over_at - lives;
        assert!((judged_at..(now_s + 1) * 1000).contains(&since), "{windows:?}: {} ms", over_at - judged_at);
    }
}
