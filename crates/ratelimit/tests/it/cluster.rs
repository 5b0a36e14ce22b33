//! On a cluster each demand is judged in its own slot: charged first, given back once when another denied.

use crate::support::{LONG, MS, SECOND, admitted_of, ask, patient, turned, used, user};
use ratelimit::{Away, Demand, Limiter, Verdict};
use redis_core::{Clock, Redis, RedisConfig};
use testkit::{Proxy, RedisServer, until};
use tokio::task::JoinSet;

/// What another request was charged meanwhile must not be given back: it did pass.
#[tokio::test]
async fn what_is_given_back_after_its_window_is_taken_from_nobody() {
    let later = async |_: &Limiter, _: &Demand, clock: &Clock| clock.advance(SECOND + MS);
    given_back_late(later).await;
}

#[tokio::test]
async fn what_is_given_back_after_a_reset_is_taken_from_nobody() {
    let reset = async |near: &Limiter, wide: &Demand, clock: &Clock| {
        assert!(near.reset(&wide.policy, &wide.scope).await.unwrap());
        clock.advance(MS);
    };
    given_back_late(reset).await;
}

#[tokio::test]
async fn what_comes_too_late_to_know_of_a_reset_is_not_given_back() {
    let Cluster { _server, proxy, near, far, clock } = Cluster::start().await;
    let hour = SECOND * 3600;
    let (wide, tight) = (user("42", "wide", &[(100, hour)]), user("43", "tight", &[(1, hour)]));
    assert!(ask(&near, &tight).await.admitted);
    let both = [wide.clone(), tight];
    known(&near, &far, &both).await;
    for (later, kept) in [(SECOND * 10, 0), (SECOND * 10 + MS, 1)] {
        far.peek(&both, 1).await.unwrap();
        let asking = held(&proxy, &far, &both);
        until(async || used(&near, &wide).await == 1, LONG).await;
        clock.advance(later);
        proxy.hold_replies(false);
        assert!(!asking.join_all().await[0].admitted);
        far.peek(&both, 1).await.unwrap();
        assert_eq!(used(&near, &wide).await, kept, "{later:?}");
    }
}

/// It is gone with what is given back, not once more when its run leaves the window.
#[tokio::test]
async fn what_was_given_back_does_not_leave_a_second_time() {
    // Charged in a run of its own, or in one with another's.
    for alone in [true, false] {
        let Cluster { _server, proxy, near, far, clock } = Cluster::start().await;
        let (wide, tight) = (user("42", "wide", &[(9, SECOND)]), user("43", "tight", &[(1, SECOND * 3600)]));
        assert_eq!(admitted_of(&near, &tight, 2).await, 1);
        let both = [wide.clone(), tight];
        known(&near, &far, &both).await;

        let before = if alone { 0 } else { admitted_of(&near, &wide, 1).await };
        let asking = held(&proxy, &far, &both);
        until(async || used(&near, &wide).await as usize == before + 1, LONG).await;
        let later = async || {
            clock.advance(MS * 100);
            assert!(ask(&near, &wide).await.admitted);
        };
        let given_back = async || {
            proxy.hold_replies(false);
            assert!(!asking.join_all().await[0].admitted);
            far.peek(&both, 1).await.unwrap();
        };
        if alone {
            later().await;
            given_back().await;
        } else {
            given_back().await;
            later().await;
        }
        assert_eq!(used(&near, &wide).await as usize, before + 1);
        clock.advance(MS * 901);
        assert_eq!(used(&near, &wide).await, 1, "the later one, alone: {alone}");
    }
}

#[tokio::test]
async fn what_was_not_charged_is_not_given_back() {
    let server = RedisServer::cluster().await;
    let (limiter, _) = turned(&server);
    let hour = SECOND * 3600;
    let (wide, tight) = (user("42", "wide", &[(100, hour)]), user("43", "tight", &[(1, hour)]));
    assert!(ask(&limiter, &tight).await.admitted);
    let both = [tight.clone(), wide.clone()];
    for _ in 0..3 {
        let denied = limiter.check(&both, 1, Away::Closed).await.unwrap();
        assert_eq!((denied.admitted, denied.standings[1].used), (false, 0), "told as it will be");
        until(async || used(&limiter, &wide).await == 0, LONG).await;
    }
    assert_eq!(used(&limiter, &tight).await, 1);
}

/// One limiter beside the server, and one whose answers may be held back.
struct Cluster {
    _server: RedisServer,
    proxy: Proxy,
    near: Limiter,
    far: Limiter,
    clock: Clock,
}

impl Cluster {
    async fn start() -> Self {
        let server = RedisServer::cluster().await;
        let proxy = Proxy::to(&server).await;
        let (near, clock) = turned(&server);
        let redis = Redis::connect(&RedisConfig::at(proxy.url())).with_clock(clock.clone());
        Self { _server: server, proxy, near, far: Limiter::new(redis, patient()), clock }
    }
}

/// Denied once, so that the server knows every script and nothing but what follows is on its way.
async fn known(near: &Limiter, far: &Limiter, both: &[Demand; 2]) {
    assert!(!far.check(both, 1, Away::Closed).await.unwrap().admitted);
    until(async || used(near, &both[0]).await == 0, LONG).await;
}

/// A check whose answers do not come until they are let through.
fn held(proxy: &Proxy, far: &Limiter, both: &[Demand; 2]) -> JoinSet<Verdict> {
    proxy.hold_replies(true);
    let (far, both) = (far.clone(), both.clone());
    JoinSet::from_iter([async move { far.check(&both, 1, Away::Closed).await.unwrap() }])
}

async fn given_back_late(meanwhile: impl AsyncFn(&Limiter, &Demand, &Clock)) {
    let Cluster { _server, proxy, near, far, clock } = Cluster::start().await;
    let (wide, tight) = (user("42", "wide", &[(100, SECOND)]), user("43", "tight", &[(1, SECOND * 3600)]));
    assert_eq!(admitted_of(&near, &tight, 2).await, 1);
    let both = [wide.clone(), tight];
    known(&near, &far, &both).await;

    let asking = held(&proxy, &far, &both);
    until(async || used(&near, &wide).await == 1, LONG).await;
    meanwhile(&near, &wide, &clock).await;
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
