//! Exactness has conditions; when one of them is in doubt, the limiter says so.

use crate::support::{LONG, SECOND, ask, limiter_on, user};
use ratelimit::Mode;
use testkit::{RedisOptions, RedisServer, until};

/// Uses the limiter until it has looked at Redis twice: the first look compares with nothing, and a second one says that
/// the answer to the first has come.
pub(crate) async fn looked_at(server: &RedisServer, using: impl AsyncFn() -> Mode) {
    let calls = async || {
        let stats = server.cli(&["INFO", "commandstats"]).await;
        let calls = stats
            .split("cmdstat_info:calls=")
            .nth(1)
            .and_then(|it| it.split(',').next()?.parse::<u64>().ok());
        calls.unwrap_or(0)
    };
    // Each question counts from the next one on.
    let (before, ours) = (calls().await, std::cell::Cell::new(0));
    let looks = async || {
        using().await;
        ours.set(ours.get() + 1);
        // The client asks once itself, on the connection that listens for resets.
        calls().await > before + ours.get() + 2
    };
    until(looks, LONG).await;
}

#[tokio::test]
async fn an_evicting_redis_makes_it_careful_for_one_window() {
    let settings = [("maxmemory", "3mb"), ("maxmemory-policy", "volatile-lru")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let server = RedisServer::with(RedisOptions { settings, ..RedisOptions::default() }).await;
    let limiter = limiter_on(&server.url());
    let policy = user("42", "p", &[(1_000_000, SECOND * 2)]);
    let slow = user("42", "slow", &[(1_000_000, SECOND * 3600)]);
    let mode = async || ask(&limiter, &policy).await.mode;
    assert_eq!(mode().await, Mode::Exact);
    assert_eq!(ask(&limiter, &slow).await.mode, Mode::Exact);
    looked_at(&server, mode).await;

    let evict = async || {
        for n in 0..40 {
            server.cli(&["SET", &format!("ballast:{n}"), &"x".repeat(100_000), "EX", "1000"]).await;
        }
        mode().await == Mode::Careful
    };
    until(evict, LONG).await;
    until(async || mode().await == Mode::Exact, LONG).await;
    assert_eq!(ask(&limiter, &slow).await.mode, Mode::Careful, "its window still has in it what was evicted");
}

#[tokio::test]
async fn another_redis_in_its_place_makes_it_careful() {
    let mut server = RedisServer::start().await;
    let limiter = limiter_on(&server.url());
    let policy = [user("42", "p", &[(1_000_000, SECOND * 3600)])];
    let mode = async || {
        let verdict = limiter.check(&policy, 1, ratelimit::Away::Open).await.unwrap();
        verdict.mode
    };
    assert_eq!(mode().await, Mode::Exact);
    looked_at(&server, mode).await;
    server.restart().await;
    until(async || mode().await == Mode::Careful, LONG).await;
}

#[tokio::test]
async fn of_a_cluster_each_primary_is_looked_at() {
    let servers = RedisServer::cluster_of_two().await;
    let limiter = limiter_on(&servers[0].cluster_url());
    let users: Vec<_> = (0..20).map(|n| user(&n.to_string(), "p", &[(1_000_000, SECOND * 3600)])).collect();
    let mode = async || {
        let modes = futures_util::future::join_all(users.iter().map(|user| ask(&limiter, user))).await;
        modes.into_iter().map(|verdict| verdict.mode).find(|mode| *mode != Mode::Exact).unwrap_or(Mode::Exact)
    };
    for server in &servers {
        looked_at(server, mode).await;
    }
    assert_eq!(mode().await, Mode::Exact, "two servers are two servers, and not one that changes");

    servers[1].cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", "1"]).await;
    until(async || mode().await == Mode::Careful, LONG).await;
}

/// What happens from the first check on has something to be compared with.
#[tokio::test]
async fn redis_is_looked_at_with_the_first_check() {
    let settings = vec![("slowlog-log-slower-than".to_owned(), "0".to_owned())];
    let server = RedisServer::with(RedisOptions { settings, ..RedisOptions::default() }).await;
    let limiter = limiter_on(&server.url());
    ask(&limiter, &user("42", "p", &[(10, SECOND * 60)])).await;
    // It listens for resets next.
    until(async || server.cli(&["PUBSUB", "SHARDNUMSUB", "rl:{resets}"]).await.contains('1'), LONG).await;
    let asked = server.cli(&["SLOWLOG", "GET", "128"]).await;
    assert!(asked.contains("replication"), "{asked}");
}

/// Whose clock it is: a check that lies in the socket of a stopped server is judged when the server goes on.
#[tokio::test]
async fn the_moment_is_that_of_redis_and_not_of_the_process() {
    let mut server = RedisServer::start().await;
    let limiter = limiter_on(&server.url());
    let policy = user("42", "p", &[(10, SECOND * 60)]);
    ask(&limiter, &policy).await;

    server.pause();
    let asking = {
        let (limiter, policy) = (limiter.clone(), policy.clone());
        tokio::task::JoinSet::from_iter([
            async move { ask(&limiter, &policy).await.standings[0].judged_at_ms },
        ])
    };
    let began = redis_core::Clock::redis().now();
    until(async || redis_core::Clock::redis().now().millis() > began.millis() + 300, LONG).await;
    let resumed = redis_core::Clock::redis().now();
    server.resume();

    let judged = asking.join_all().await[0];
    assert!(
        judged as i64 >= resumed.millis(),
        "judged {} ms before Redis went on",
        resumed.millis() - judged as i64
    );
}
