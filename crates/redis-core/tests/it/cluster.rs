//! A cluster of three primaries whose slots change hands.

use crate::support::{INCREMENT, LONG, said};
use futures_util::future::join_all;
use redis_core::{Hint, Key, Redis, RedisConfig, RedisError, Reply, Script, Subscription};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use testkit::{Cluster, until};

static BOTH: LazyLock<Script> = LazyLock::new(|| {
    Script::new("both", &[], "#!lua\nreturn redis.call('INCR', KEYS[1]) + redis.call('INCR', KEYS[2])")
});

/// Derives its keys from one that is none, as the queue does.
static DERIVED: LazyLock<Script> = LazyLock::new(|| {
    let body = "#!lua\nreturn redis.call('INCR', KEYS[1] .. ':1') + redis.call('INCR', KEYS[1] .. ':2')";
    Script::new("derived", &[], body)
});

async fn increment(redis: &Redis, key: &Key) -> Result<Reply, RedisError> {
    redis.run(&INCREMENT, std::slice::from_ref(key), vec![]).await
}

/// One key for each of many slots, so for every primary, too.
fn keys(redis: &Redis) -> Vec<Key> {
    (0..30).map(|number| redis.key(format!("{{{number}}}:counter"))).collect()
}

/// Increments all keys over and over while `meanwhile` runs and until each works again; then what was acknowledged is
/// there, and nothing ran twice: a count is at least what was acknowledged and at most what was asked without a refusal.
async fn nothing_is_lost(redis: &Redis, meanwhile: impl AsyncFnOnce()) {
    let over = AtomicBool::new(false);
    let count = async |key: Key| {
        let (mut acknowledged, mut unknown) = (0, 0);
        loop {
            let last = over.load(Ordering::Relaxed);
            match increment(redis, &key).await {
                Ok(_) => acknowledged += 1,
                Err(RedisError::Unknown) => unknown += 1,
                Err(RedisError::Unavailable { .. }) => {}
                Err(error) => panic!("{key:?}: {error}"),
            }
            if last && increment(redis, &key).await.is_ok() {
                return (key, acknowledged + 1, unknown);
            }
            tokio::task::yield_now().await;
        }
    };
    let work = async {
        meanwhile().await;
        over.store(true, Ordering::Relaxed);
    };
    let counted = join_all(keys(redis).into_iter().map(count));
    let (counted, ()) = tokio::join!(tokio::time::timeout(LONG, counted), work);
    for (key, acknowledged, unknown) in counted.expect("it works again") {
        let there = redis.command("GET", &key, vec![]).await.and_then(Reply::into_int).expect("it is there");
        let range = acknowledged..=acknowledged + unknown;
        assert!(range.contains(&there), "{key:?}: {there} of {acknowledged} and {unknown} unknown");
    }
}

#[tokio::test]
async fn a_failover_loses_nothing_that_was_acknowledged() {
    let cluster = Cluster::start().await;
    let redis = Redis::connect(&RedisConfig::at(cluster.url()));
    nothing_is_lost(&redis, async || {
        for primary in 0..3 {
            cluster.fail_over(primary).await;
        }
    })
    .await;
    // Each node hears of it by rumour; then the new primaries are asked, each once.
    let asks_primaries = async || {
        let told = redis.info(&["replication"]).await.unwrap();
        told.len() == 3 && told.iter().all(|info| info.contains("role:master"))
    };
    until(asks_primaries, LONG).await;
}

#[tokio::test]
async fn a_slot_that_moves_loses_nothing_and_mixes_up_no_answers() {
    let cluster = Cluster::start().await;
    let redis = Redis::connect(&RedisConfig::at(cluster.url()));
    let slot = cluster.slot("{7}:counter").await;
    let to = (cluster.owner(slot).await + 1) % 3;
    nothing_is_lost(&redis, async || {
        cluster.begin_migration(slot, to).await;
        cluster.migrate_keys(slot, to).await;
        // Everything in the slot is redirected by ASK now; a crowd on one connection gets each its own answer.
        let fresh = (0..200).map(|number| redis.key(format!("{{7}}:fresh:{number}")));
        let calls = fresh.enumerate().map(async |(number, key)| {
            redis.command("SET", &key, vec![number.to_string().into()]).await.unwrap();
            assert_eq!(redis.get(&key).await.unwrap().unwrap(), number.to_string());
        });
        join_all(calls).await;
        cluster.migrate_keys(slot, to).await;
        cluster.end_migration(slot, to).await;
    })
    .await;
    assert_eq!(cluster.node(to).cli(&["GET", "{7}:fresh:199"]).await, "199");
}

#[tokio::test]
async fn a_script_whose_keys_are_half_here_half_there_waits_until_they_are_together() {
    let cluster = Cluster::start().await;
    let redis = Redis::connect(&RedisConfig::at(cluster.url()));
    let (one, two) = (redis.key("{a}:1"), redis.key("{a}:2"));
    let declared = (&*BOTH, vec![one, two]);
    let derived = (&*DERIVED, vec![redis.key("{a}")]);
    let slot = cluster.slot("{a}:1").await;
    let mut sum = 0;
    for (script, keys) in [declared, derived] {
        let from = cluster.owner(slot).await;
        let to = (from + 1) % 3;
        let run = || redis.run(script, &keys, vec![]);
        for primary in 0..3 {
            cluster.node(primary).cli(&["SCRIPT", "LOAD", script.source()]).await;
        }
        sum += 2;
        assert_eq!(run().await, Ok(Reply::Int(sum)));

        cluster.begin_migration(slot, to).await;
        cluster.migrate_one_key(slot, to).await;
        let refused = async || {
            let [from, to] = [from, to].map(|node| cluster.node(node).cli(&["INFO", "errorstats"]));
            let counts = format!("{}{}", from.await, to.await);
            let counts = counts.lines().filter_map(|line| line.strip_prefix("errorstat_TRYAGAIN:count="));
            counts.filter_map(|count| count.trim().parse::<u64>().ok()).sum::<u64>()
        };
        let before = refused().await;
        let call = run();
        let finish = async {
            until(async || refused().await > before, LONG / 4).await;
            cluster.migrate_keys(slot, to).await;
            cluster.end_migration(slot, to).await;
        };
        sum += 2;
        assert_eq!(tokio::join!(call, finish).0, Ok(Reply::Int(sum)), "{}", script.name());
    }
}

#[tokio::test]
async fn a_killed_primary_is_replaced_and_the_others_serve_on() {
    let mut cluster = Cluster::start().await;
    let redis = Redis::connect(&RedisConfig::at(cluster.url()));
    for key in keys(&redis) {
        increment(&redis, &key).await.unwrap();
    }
    cluster.node_mut(0).kill();
    let all_work = async || {
        let keys = keys(&redis);
        let answers = join_all(keys.iter().map(|key| increment(&redis, key))).await;
        answers.iter().all(Result::is_ok)
    };
    until(all_work, LONG).await;

    // Also for one who knows only the dead one, and another.
    let url = format!("{}?node=127.0.0.1:{}", cluster.url(), cluster.node(1).port());
    let late = Redis::connect(&RedisConfig::at(url));
    assert!(increment(&late, &keys(&late)[0]).await.is_ok());
}

#[tokio::test]
async fn every_channel_is_back_after_its_slot_or_its_server_has_moved() {
    let mut cluster = Cluster::start().await;
    let redis = Redis::connect(&RedisConfig::at(cluster.url()));
    let mut all = Vec::new();
    for number in 0..12 {
        all.push(redis.subscribe(&redis.channel(format!("c:{{{number}}}"))).await.unwrap());
    }
    all_hear(&redis, &mut all, "first").await;

    let slot = cluster.slot("c:{7}").await;
    let to = (cluster.owner(slot).await + 1) % 3;
    cluster.begin_migration(slot, to).await;
    cluster.end_migration(slot, to).await;
    let moved = async { while all[7].recv().await != Hint::Gap {} };
    tokio::time::timeout(LONG, moved).await.expect("it is told");
    all_hear(&redis, &mut all, "moved").await;

    cluster.fail_over(1).await;
    all_hear(&redis, &mut all, "failed over").await;

    cluster.node_mut(2).kill();
    until(async || cluster.owner(16_383).await == 5, LONG).await;
    all_hear(&redis, &mut all, "killed").await;
}

/// Says it to all until all have heard it: what is said before a subscription is back is lost, as ever.
async fn all_hear(redis: &Redis, all: &mut [Subscription], what: &'static str) {
    let over = AtomicBool::new(false);
    let say = async {
        while !over.load(Ordering::Relaxed) {
            for number in 0..12 {
                // Redis may be away for a moment.
                let _ = redis.publish(&redis.channel(format!("c:{{{number}}}")), what).await;
            }
            tokio::task::yield_now().await;
        }
    };
    let hear = async {
        join_all(all.iter_mut().map(|subscription| said(subscription, what))).await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(say, hear);
}
