//! What is known to be denied costs Redis nothing, and is exact all the same.

use crate::support::{LONG, MS, SECOND, admitted_of, ask, limiter_on, patient, turned, user};
use futures_util::FutureExt;
use ratelimit::{Away, Demand, Limiter, LimiterSettings, Mode};
use redis_core::{Redis, RedisConfig};
use std::time::Instant;
use testkit::{Proxy, RedisServer, both, until};

#[tokio::test]
async fn a_denied_count_is_not_asked_about_again() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let limiter = limiter_on(&proxy.url());
    let policy = user("42", "p", &[(2, SECOND * 3600)]);
    assert_eq!(admitted_of(&limiter, &policy, 3).await, 2);

    let calls = || async { server.info("total_commands_processed").await.parse::<u64>().unwrap() };
    let before = calls().await;
    for _ in 0..100 {
        let check = limiter.check(std::slice::from_ref(&policy), 1, Away::Closed);
        let denied = check.now_or_never().expect("nothing to wait for").unwrap();
        assert_eq!((denied.admitted, denied.local, denied.mode), (false, true, Mode::Exact));
        assert_eq!((denied.standings[0].used, denied.standings[0].remaining()), (2, 0));
        assert!(denied.retry_after().unwrap() > SECOND * 3590);
    }
    // Once a second it looks at Redis, and this question counts too.
    let after = calls().await;
    assert!(after - before <= 10, "{}", after - before);
}

#[tokio::test]
async fn it_is_asked_again_when_it_could_pass_and_then_passes() {
    both(async |server| {
        let limiter = limiter_on(&server.url());
        let policy = user("42", "p", &[(2, MS * 300)]);
        assert_eq!(admitted_of(&limiter, &policy, 3).await, 2);
        let (wait, told) = (ask(&limiter, &policy).await.retry_after().unwrap(), Instant::now());
        until(async || told.elapsed() >= wait, LONG).await;
        assert!(ask(&limiter, &policy).await.admitted, "Retry-After is a promise");
    })
    .await;
}

#[tokio::test]
async fn a_smaller_cost_may_still_pass_and_a_dry_run_never_denies() {
    let server = RedisServer::start().await;
    let limiter = limiter_on(&server.url());
    let policy = user("42", "p", &[(10, SECOND * 60)]);
    let ask = async |demand: &Demand, cost| {
        let verdict = limiter.check(std::slice::from_ref(demand), cost, Away::Closed).await.unwrap();
        (verdict.admitted, verdict.local)
    };
    assert_eq!(ask(&policy, 8).await, (true, false));
    assert_eq!(ask(&policy, 3).await, (false, false));
    assert_eq!(ask(&policy, 4).await, (false, true));
    assert_eq!(ask(&Demand { dry_run: true, ..policy.clone() }, 3).await, (true, false));
    assert_eq!(ask(&policy, 2).await, (true, false));
}

#[tokio::test]
async fn a_raised_limit_admits_at_once() {
    let server = RedisServer::start().await;
    let limiter = limiter_on(&server.url());
    assert_eq!(admitted_of(&limiter, &user("42", "p", &[(2, SECOND * 60)]), 5).await, 2);
    assert_eq!(admitted_of(&limiter, &user("42", "p", &[(4, SECOND * 60)]), 5).await, 2);
}

#[tokio::test]
async fn a_reset_is_heard_of_by_every_process() {
    both(async |server| {
        let never_by_itself = LimiterSettings { believed: LONG * 100, ..patient() };
        let [one, other] = [(); 2]
            .map(|()| Limiter::new(Redis::connect(&RedisConfig::at(server.url())), never_by_itself.clone()));
        let policy = user("42", "p", &[(2, SECOND * 3600)]);
        // Whoever begins to listen forgets all, since it may have missed a reset: the second time it is heard of.
        for _ in 0..2 {
            assert_eq!(admitted_of(&one, &policy, 3).await, 2);
            assert!(!ask(&other, &policy).await.admitted);
            let listening =
                async || server.cli(&["PUBSUB", "SHARDNUMSUB", "rl:{resets}"]).await.contains('2');
            until(listening, LONG).await;

            one.reset(&policy.policy, &policy.scope).await.unwrap();

            assert!(ask(&one, &policy).await.admitted);
            until(async || ask(&other, &policy).await.admitted, LONG).await;
            one.reset(&policy.policy, &policy.scope).await.unwrap();
        }
    })
    .await;
}

/// A word that was lost with its connection may have been about any count.
#[tokio::test]
async fn whoever_may_have_missed_a_reset_asks_again() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let never_by_itself = LimiterSettings { believed: LONG * 100, ..patient() };
    let limiter = Limiter::new(Redis::connect(&RedisConfig::at(proxy.url())), never_by_itself);
    let policy = user("42", "p", &[(2, SECOND * 3600)]);
    assert_eq!(admitted_of(&limiter, &policy, 3).await, 2);
    until(async || server.cli(&["PUBSUB", "SHARDNUMSUB", "rl:{resets}"]).await.contains('1'), LONG).await;

    server.cli(&["DEL", "rl:{user:42}:p"]).await;
    proxy.cut();

    let passes = async || limiter.check(std::slice::from_ref(&policy), 1, Away::Closed).await;
    until(async || passes().await.is_ok_and(|verdict| verdict.admitted), LONG).await;
}

#[tokio::test]
async fn without_a_word_of_its_reset_it_is_believed_for_a_bounded_time() {
    let server = RedisServer::start().await;
    let limiter = Limiter::new(
        Redis::connect(&RedisConfig::at(server.url())),
        LimiterSettings { believed: MS * 200, ..patient() },
    );
    let policy = user("42", "p", &[(2, SECOND * 3600)]);
    // The first time it may have begun to listen meanwhile, and then it forgets all.
    for _ in 0..2 {
        assert_eq!(admitted_of(&limiter, &policy, 3).await, 2);
        server.cli(&["DEL", "rl:{user:42}:p"]).await;
        until(async || ask(&limiter, &policy).await.admitted, LONG).await;
        server.cli(&["DEL", "rl:{user:42}:p"]).await;
    }
}

/// A charge that is given back a moment later may be what denied.
#[tokio::test]
async fn on_a_cluster_a_denial_of_several_demands_is_believed_for_a_moment() {
    let server = RedisServer::cluster().await;
    let never_by_itself = LimiterSettings { believed: LONG * 100, ..patient() };
    let limiter = Limiter::new(Redis::connect(&RedisConfig::at(server.url())), never_by_itself);
    let demands = [user("42", "wide", &[(100, SECOND * 3600)]), user("43", "tight", &[(1, SECOND * 3600)])];
    let admitted = async || limiter.check(&demands, 1, Away::Closed).await.unwrap().admitted;
    for _ in 0..2 {
        assert!(admitted().await);
        assert!(!admitted().await);
        server.cli(&["DEL", "rl:{user:43}:tight"]).await;
        until(&admitted, LONG).await;
        server.cli(&["DEL", "rl:{user:43}:tight"]).await;
    }
}

#[tokio::test]
async fn of_several_demands_the_one_that_denies_answers() {
    both(async |server| {
        let limiter = limiter_on(&server.url());
        let demands = [user("42", "wide", &[(100, SECOND * 60)]), user("42", "tight", &[(1, SECOND * 60)])];
        let ask = async || limiter.check(&demands, 1, Away::Closed).await.unwrap();
        assert!(ask().await.admitted);
        assert!(!ask().await.admitted);
        // On a cluster what another slot denied is believed for a moment only.
        let denied = until(async || Some(ask().await).filter(|verdict| verdict.local), LONG).await;
        let seen: Vec<_> = denied.standings.iter().map(|it| (it.demand, it.denies)).collect();
        assert_eq!(seen, [(1, true)]);
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_is_turned_by_hand_knows_no_denials() {
    let server = RedisServer::start().await;
    let (limiter, clock) = turned(&server);
    let policy = user("42", "p", &[(1, SECOND * 60)]);
    assert_eq!(admitted_of(&limiter, &policy, 3).await, 1);
    clock.advance(SECOND * 61);
    assert!(ask(&limiter, &policy).await.admitted);
}
