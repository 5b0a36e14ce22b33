//! On a cluster each demand is judged in its own slot: charged first, given back once when another denied.

use crate::support::{LONG, MS, SECOND, admitted_of, ask, patient, turned, used, user};
use ratelimit::{Away, Limiter};
use redis_core::{Redis, RedisConfig};
use testkit::{Proxy, RedisServer, until};

/// What another request was charged meanwhile must not be given back: it did pass.
#[tokio::test]
async fn what_is_given_back_after_its_window_is_taken_from_nobody() {
    let server = RedisServer::cluster().await;
    let proxy = Proxy::to(&server).await;
    let (near, clock) = turned(&server);
    let redis = Redis::connect(&RedisConfig::at(proxy.url())).with_clock(clock.clone());
    let far = Limiter::new(redis, patient());
    let (wide, tight) = (user("42", "wide", &[(100, SECOND)]), user("43", "tight", &[(1, SECOND * 3600)]));
    assert_eq!(admitted_of(&near, &tight, 2).await, 1);
    let both = [wide.clone(), tight];
    // Once, so that every script is known and nothing but what follows is on its way.
    assert!(!far.check(&both, 1, Away::Closed).await.unwrap().admitted);
    until(async || used(&near, &wide).await == 0, LONG).await;

    proxy.hold_replies(true);
    let asking = {
        let (far, both) = (far.clone(), both.clone());
        tokio::task::JoinSet::from_iter([async move { far.check(&both, 1, Away::Closed).await.unwrap() }])
    };
    until(async || used(&near, &wide).await == 1, LONG).await;
    clock.advance(SECOND + MS);
    for _ in 0..3 {
        assert!(ask(&near, &wide).await.admitted);
        clock.advance(MS * 40);
    }
    proxy.hold_replies(false);
    assert!(!asking.join_all().await[0].admitted);
    // On the way of what is given back, and behind it.
    far.peek(&both, 1).await.unwrap();

    assert_eq!(used(&near, &wide).await, 3);
}
