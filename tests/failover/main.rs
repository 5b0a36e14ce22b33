//! Every engine at work while Redis moves, hands over, or dies: on a real cluster, and under real Sentinels.
//!
//! Only what the engines' clients are told counts: what was acknowledged is there, unless a primary died with it (Redis
//! replicates after it answers); every engine works again without a restart.
#![expect(clippy::unwrap_used, reason = "a test's helpers may, as the test itself")]

mod cache;
mod progress;
mod queue;
mod ratelimit;
mod session;

use domain::{Coded, ErrorCode};
use redis_core::{Redis, RedisConfig};
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testkit::{Cluster, Watched, until};

/// What a client goes by.
struct Life {
    over: AtomicBool,
    /// What was acknowledged must be there.
    lossless: bool,
}

impl Life {
    /// The fault is over: whoever succeeds once more may end.
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Tries until it succeeds. Every write may be repeated, by what it is told apart with.
    async fn insist<T, E: Coded + Debug>(&self, call: impl AsyncFn() -> Result<T, E>) -> T {
        let succeeds = async {
            loop {
                match call().await {
                    Ok(value) => return value,
                    Err(error) => expected(&error),
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, succeeds).await.expect("it works again")
    }
}

/// Redis was away, or did not answer; every other error is a broken promise.
fn expected<E: Coded + Debug>(error: &E) {
    assert!(matches!(error.code(), ErrorCode::Unavailable | ErrorCode::OutcomeUnknown), "{error:?}");
}

/// Lets every engine work while the fault is made, and until each has worked again.
async fn all_work(url: &str, lossless: bool, fault: impl AsyncFnOnce()) {
    let redis = Redis::connect(&RedisConfig::at(url));
    let life = Life { over: AtomicBool::new(false), lossless };
    let faulty = async {
        fault().await;
        life.over.store(true, Ordering::Relaxed);
    };
    let work = async {
        tokio::join!(
            cache::work(&redis, &life),
            session::work(&redis, &life),
            ratelimit::work(&redis, &life),
            queue::work(&redis, &life),
            progress::work(&redis, &life),
        )
    };
    let (worked, ()) = tokio::join!(tokio::time::timeout(LONG * 2, Box::pin(work)), Box::pin(faulty));
    worked.expect("every engine works again");
    redis.close().await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_while_slots_move_and_primaries_hand_over() {
    let cluster = Cluster::start().await;
    Box::pin(all_work(&cluster.url(), true, async || {
        // One of each engine's: their other halves stay where they are.
        for key in ["project:{p0}:data", "rl:{user:u0}:steady", "queue:{q0}", "progress:{o0}:state"] {
            let slot = cluster.slot(key).await;
            let to = (cluster.owner(slot).await + 1) % 3;
            cluster.begin_migration(slot, to).await;
            cluster.migrate_keys(slot, to).await;
            cluster.end_migration(slot, to).await;
        }
        for primary in 0..3 {
            cluster.fail_over(primary).await;
        }
    }))
    .await;
}

#[tokio::test]
async fn every_engine_works_again_when_a_primary_of_the_cluster_was_killed() {
    let mut cluster = Cluster::start().await;
    let url = cluster.url();
    Box::pin(all_work(&url, false, async || {
        cluster.node_mut(1).kill();
        until(async || cluster.owner(8_000).await == 4, LONG).await;
    }))
    .await;
}

#[tokio::test]
async fn every_engine_works_again_when_the_primary_of_the_sentinels_was_killed() {
    let mut watched = Watched::start().await;
    let url = watched.url();
    Box::pin(all_work(&url, false, async || {
        watched.server_mut(0).kill();
        until(async || watched.primary().await != 0, LONG).await;
    }))
    .await;
}

const LONG: Duration = Duration::from_secs(20);
