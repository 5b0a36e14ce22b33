//! Limits that are asked, and never let too much through.

use crate::{Life, expected};
use futures_util::future::join_all;
use ratelimit::{Away, Demand, Limiter, LimiterSettings, Limits, Scope, Window};
use redis_core::Redis;
use std::sync::Arc;
use std::time::Duration;

pub(crate) async fn work(redis: &Redis, life: &Life) {
    let limiter = Limiter::new(redis.clone(), LimiterSettings::default());
    join_all((0..4).map(|number| one(&limiter, number, life))).await;
}

async fn one(limiter: &Limiter, number: usize, life: &Life) {
    let windows = vec![Window { limit: LIMIT, length: Duration::from_secs(3600) }];
    let demand = Demand {
        policy: "steady".parse().unwrap(),
        scope: Scope::user(&format!("u{number}").parse().unwrap()),
        limits: Arc::new(Limits::new(windows).unwrap()),
        dry_run: false,
    };
    let demands = std::slice::from_ref(&demand);
    let mut admitted = 0;
    loop {
        let is_last = life.is_over();
        let asked = limiter.check(demands, 1, Away::Closed).await;
        match &asked {
            Ok(verdict) => admitted += u32::from(verdict.admitted),
            Err(error) => expected(error),
        }
        match limiter.peek(demands, 1).await {
            Ok(verdict) => {
                let used = verdict.standings[0].used;
                assert!(used <= LIMIT, "user {number}: {used}");
                // An answer that never came may have been an admission, so more may be used.
                assert!(used >= admitted || !life.lossless, "user {number}: {used} of {admitted}");
                if is_last && asked.is_ok() {
                    assert!(admitted <= LIMIT || !life.lossless, "user {number}: {admitted}");
                    return;
                }
            }
            Err(error) => expected(&error),
        }
        tokio::task::yield_now().await;
    }
}

const LIMIT: u32 = 300;
