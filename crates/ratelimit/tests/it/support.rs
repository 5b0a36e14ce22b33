//! Helpers for this crate's tests.

use domain::Timestamp;
use ratelimit::{Away, Demand, Limiter, LimiterSettings, Limits, Scope, Verdict, Window};
use redis_core::{Clock, Redis, RedisConfig};
use std::sync::Arc;
use std::time::Duration;
use testkit::RedisServer;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A limiter that is judged by the clock of the server.
pub(crate) fn limiter_on(url: &str) -> Limiter {
    Limiter::new(Redis::connect(&RedisConfig::at(url.to_owned())), patient())
}

/// A limiter whose clock stands still until it is turned.
pub(crate) fn turned(server: &RedisServer) -> (Limiter, Clock) {
    let clock = Clock::manual(Timestamp::from_millis(1_764_038_911_120));
    let redis = Redis::connect(&RedisConfig::at(server.url())).with_clock(clock.clone());
    (Limiter::new(redis, patient()), clock)
}

/// A busy machine must not look like a Redis that is away.
pub(crate) fn patient() -> LimiterSettings {
    LimiterSettings { deadline: LONG, ..LimiterSettings::default() }
}

pub(crate) fn user(name: &str, policy: &str, windows: &[(u32, Duration)]) -> Demand {
    demand(Scope::user(&name.parse().unwrap()), policy, windows)
}

pub(crate) fn demand(scope: Scope, policy: &str, windows: &[(u32, Duration)]) -> Demand {
    let windows = windows.iter().map(|(limit, length)| Window { limit: *limit, length: *length }).collect();
    let limits = Arc::new(Limits::new(windows).unwrap());
    Demand { policy: policy.parse().unwrap(), scope, limits, dry_run: false }
}

/// One unit of one demand; Redis is there.
pub(crate) async fn ask(limiter: &Limiter, demand: &Demand) -> Verdict {
    limiter.check(std::slice::from_ref(demand), 1, Away::Closed).await.unwrap()
}

/// How many of so many requests are admitted.
pub(crate) async fn admitted_of(limiter: &Limiter, demand: &Demand, requests: usize) -> usize {
    let mut admitted = 0;
    for _ in 0..requests {
        admitted += usize::from(ask(limiter, demand).await.admitted);
    }
    admitted
}

/// What counts in the first window of a demand.
pub(crate) async fn used(limiter: &Limiter, demand: &Demand) -> u32 {
    limiter.peek(std::slice::from_ref(demand), 1).await.unwrap().standings[0].used
}
