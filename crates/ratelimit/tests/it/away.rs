//! Redis is away: who passes is a matter of policy, and nobody waits for it.

use crate::support::{LONG, MS, SECOND, ask, limiter_on, user};
use futures_util::FutureExt;
use ratelimit::{Away, LimitError, Limiter, LimiterSettings, Mode, Verdict};
use redis_core::{Redis, RedisConfig};
use testkit::{RedisServer, until};

/// A limiter that gives Redis little time.
fn hasty(server: &RedisServer) -> Limiter {
    let settings = LimiterSettings { deadline: MS * 300, ..LimiterSettings::default() };
    Limiter::new(Redis::connect(&RedisConfig::at(server.url())), settings)
}

/// How Redis can be away, and come back.
type Way =
    (fn(&mut RedisServer), for<'a> fn(&'a mut RedisServer) -> futures_util::future::LocalBoxFuture<'a, ()>);

const WAYS: [Way; 2] = [
    (RedisServer::kill, |server| Box::pin(server.restart())),
    (RedisServer::pause, |server| Box::pin(async { server.resume() })),
];

#[tokio::test]
async fn open_lets_pass_closed_refuses_and_local_counts_its_share() {
    for (go, come_back) in WAYS {
        let mut server = RedisServer::start().await;
        let limiter = hasty(&server);
        let policy = [user("42", "p", &[(3, SECOND * 5)])];
        let alone = [user("43", "p", &[(3, SECOND * 3600)])];
        let check = async |away| limiter.check(&policy, 1, away).await;
        until(async || check(Away::Closed).await.is_ok_and(|it| it.mode == Mode::Exact), LONG).await;

        go(&mut server);
        until(async || check(Away::Closed).await.is_err(), LONG).await;

        for _ in 0..10 {
            let open = check(Away::Open).await.unwrap();
            assert_eq!((open.admitted, open.mode, open.local), (true, Mode::Open, true));
            assert!(matches!(check(Away::Closed).await, Err(LimitError::Away { .. })));
        }
        let local: Vec<Verdict> = futures_util::future::join_all((0..10).map(|_| check(Away::Local)))
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert!(local.iter().all(|verdict| verdict.mode == Mode::Local));
        assert_eq!(local.iter().filter(|verdict| verdict.admitted).count(), 3);
        assert!(limiter.check(&alone, 3, Away::Local).await.unwrap().admitted);
        assert!(!limiter.check(&alone, 1, Away::Local).await.unwrap().admitted);

        come_back(&mut server).await;
        let back = until(async || check(Away::Closed).await.ok(), LONG).await;
        assert_eq!(back.mode, Mode::Careful, "what passed meanwhile was not counted");

        go(&mut server);
        until(async || check(Away::Closed).await.is_err(), LONG).await;
        let again = limiter.check(&alone, 3, Away::Local).await.unwrap();
        assert!(again.admitted && again.mode == Mode::Local, "each time it begins anew");
        come_back(&mut server).await;
    }
}

#[tokio::test]
async fn nobody_waits_once_it_is_known() {
    let mut server = RedisServer::start().await;
    // Whoever else shares the connection may wait longer.
    let redis = RedisConfig { command_timeout_ms: 600_000, ..RedisConfig::at(server.url()) };
    let settings = LimiterSettings { deadline: SECOND, ..LimiterSettings::default() };
    let limiter = Limiter::new(Redis::connect(&redis), settings);
    let policy = [user("42", "p", &[(3, SECOND * 60)])];
    server.pause();
    let first = tokio::time::timeout(LONG, limiter.check(&policy, 1, Away::Open)).await;
    assert_eq!(first.expect("the check has a deadline of its own").unwrap().mode, Mode::Open);

    for away in [Away::Open, Away::Closed, Away::Local] {
        let check = limiter.check(&policy, 1, away).now_or_never().expect("nothing to wait for");
        assert_eq!(check.is_ok(), away != Away::Closed, "{away:?}");
    }
    server.resume();
}

#[tokio::test]
async fn a_check_whose_answer_comes_late_was_charged() {
    let mut server = RedisServer::start().await;
    let limiter = hasty(&server);
    let policy = user("42", "p", &[(9, SECOND * 60)]);
    until(async || ask_or_none(&limiter, &policy).await, LONG).await;
    let used = async || Some(limiter.peek(std::slice::from_ref(&policy), 1).await.ok()?.standings[0].used);
    let before = until(used, LONG).await;

    server.pause();
    assert!(limiter.check(std::slice::from_ref(&policy), 1, Away::Closed).await.is_err());
    server.resume();

    until(async || used().await == Some(before + 1), LONG).await;
}

/// To let them pass uncounted would give the limit away exactly when it is needed.
#[tokio::test]
async fn more_than_may_wait_are_shed_and_redis_is_not_away() {
    let server = RedisServer::start().await;
    let limiter = limiter_on(&server.url());
    let policy = user("42", "p", &[(1_000_000, SECOND * 3600)]);
    for away in [Away::Open, Away::Local, Away::Closed] {
        let before = ask(&limiter, &policy).await.standings[0].used;
        let checks = (0..5_000).map(|_| limiter.check(std::slice::from_ref(&policy), 1, away));
        let answers = futures_util::future::join_all(checks).await;
        let exact = answers.iter().flatten().filter(|it| it.admitted && it.mode == Mode::Exact).count();
        let shed = answers.iter().filter(|it| matches!(it, Err(LimitError::Overloaded { .. }))).count();
        assert_eq!((exact, shed), (4_097, 903), "{away:?}");
        assert_eq!(ask(&limiter, &policy).await.standings[0].used, before + 4_098, "{away:?}");
    }
}

async fn ask_or_none(limiter: &Limiter, policy: &ratelimit::Demand) -> bool {
    limiter.check(std::slice::from_ref(policy), 1, Away::Closed).await.is_ok()
}

#[tokio::test]
async fn a_start_without_redis_is_no_trouble() {
    let mut server = RedisServer::start().await;
    server.kill();
    let limiter = hasty(&server);
    let policy = user("42", "p", &[(3, SECOND * 60)]);
    assert!(!ask_or_none(&limiter, &policy).await);
    server.restart().await;
    until(async || ask_or_none(&limiter, &policy).await, LONG).await;
    assert!(ask(&limiter, &policy).await.admitted);
}
