//! Watching over restarts of Redis and cut connections.

use crate::support::{SOON, complete, create, hub, next, operations, rest, updates, watch, watch_again};
use domain::OperationId;
use progress::{Hub, HubSettings, Operations, ProgressError};
use redis_core::RedisError;
use std::time::Duration;
use testkit::{Proxy, RedisServer};
use tokio::task::JoinSet;

/// Writes until it is applied, as a producer does; an unknown outcome may write an event twice, which counts as two.
async fn write(operations: &Operations, id: &OperationId, json: &str) {
    let begin = tokio::time::Instant::now();
    loop {
        match operations.update(id, None, &updates(json)).await {
            Ok(_) => return,
            Err(ProgressError::Redis(RedisError::Unavailable { .. } | RedisError::Unknown)) => {
                assert!(begin.elapsed() < SOON, "Redis did not come back");
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Follows to the end, and comes back when the stream ends early.
async fn follow(hub: Hub, id: OperationId, mut cursor: String) -> u64 {
    let mut at: u64 = cursor.split_once('.').unwrap().1.parse().unwrap();
    while let Some(mut watcher) = watch_again(&hub, &id, Some(&cursor)).await {
        loop {
            let seen = next(&mut watcher).await;
            let Some(last) = seen.last() else { break };
            for event in &seen {
                assert_ne!(event.kind, "reset", "{event:?}");
                assert_eq!(event.seq(), at + 1 + event.skipped());
                at = event.seq();
            }
            cursor = last.id.clone().unwrap();
        }
    }
    at
}

async fn watched_through(operations: Operations, hub: Hub, mut fault: impl AsyncFnMut(usize)) {
    let id = create(&operations, r#"{"steps":[{"name":"a"}]}"#).await;
    let start = operations.snapshot(&id).await.unwrap().unwrap().cursor;
    let mut watchers = JoinSet::new();
    for _ in 0..10 {
        watchers.spawn(follow(hub.clone(), id.clone(), start.clone()));
    }
    for round in 0..6 {
        for number in 0..50 {
            write(&operations, &id, &format!(r#"{{"step":"a","percent":{}}}"#, round * 10 + number / 5))
                .await;
        }
        fault(round).await;
    }
    write(&operations, &id, r#"{"step":"a","state":"completed"}"#).await;
    complete(&operations, &id).await;

    let last = operations.snapshot(&id).await.unwrap().unwrap().cursor;
    let last: u64 = last.split_once('.').unwrap().1.parse().unwrap();
    assert!(last >= 302);
    let ends = tokio::time::timeout(SOON, watchers.join_all()).await.expect("a watcher hangs");
    assert_eq!(ends, vec![last; 10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_miss_nothing_over_restarts_of_redis() {
    let mut redis = RedisServer::persistent().await;
    let operations = operations(&redis.url());
    let hub = hub(&operations);
    watched_through(operations, hub, async |round| {
        if round % 2 == 0 {
            redis.restart().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_miss_nothing_over_cut_connections() {
    let redis = RedisServer::start().await;
    let wire = Proxy::to(&redis).await;
    let readers = operations(&wire.url());
    // The producer's way stays whole: only the watching node loses its connections.
    watched_through(operations(&redis.url()), hub(&readers), async |_| wire.cut()).await;
}

#[tokio::test]
async fn what_was_said_while_the_connection_was_cut_is_read_when_it_is_back() {
    let redis = RedisServer::start().await;
    let producer = operations(&redis.url());
    let wire = Proxy::to(&redis).await;
    // Nobody looks for a lost hint: the cut itself has to be enough.
    let settings = HubSettings { position_check: Duration::from_secs(3600), ..HubSettings::default() };
    let hub = Hub::new(operations(&wire.url()), settings);
    let job = create(&producer, "{}").await;
    let mut watcher = watch(&hub, &job, None).await;
    next(&mut watcher).await;

    wire.refuse(true);
    wire.cut();
    write(&producer, &job, r#"{"message":"unheard"}"#).await;
    wire.refuse(false);

    assert_eq!(next(&mut watcher).await[0].data["message"], "unheard");
}

#[tokio::test]
async fn a_redis_that_lost_events_resets_those_who_saw_them() {
    let mut redis = RedisServer::start().await;
    let producer = operations(&redis.url());
    let wire = Proxy::to(&redis).await;
    let hub = hub(&operations(&wire.url()));
    let job = create(&producer, r#"{"id":"x"}"#).await;
    for _ in 0..5 {
        write(&producer, &job, r#"{"message":"kept"}"#).await;
    }
    redis.cli(&["SAVE"]).await;
    let mut watcher = watch(&hub, &job, None).await;
    next(&mut watcher).await;
    for _ in 0..3 {
        write(&producer, &job, r#"{"message":"lost"}"#).await;
    }
    while next(&mut watcher).await.last().unwrap().seq() < 8 {}

    wire.refuse(true);
    wire.cut();
    redis.restart().await;
    // As many again, and more, before the node is back: the sequence alone tells it nothing.
    for _ in 0..4 {
        write(&producer, &job, r#"{"message":"other"}"#).await;
    }
    wire.refuse(false);

    let first = next(&mut watcher).await.remove(0);
    assert_eq!((first.kind.as_str(), first.data["message"].as_str()), ("reset", Some("other")), "{first:?}");
    complete(&producer, &job).await;
    assert_eq!(rest(&mut watcher).await.last().unwrap().kind, "completed");
}

#[tokio::test]
async fn without_redis_watchers_stay_and_new_ones_are_shed() {
    let mut redis = RedisServer::persistent().await;
    let operations = operations(&redis.url());
    let settings = progress::HubSettings {
        heartbeat: Duration::from_millis(50),
        position_check: Duration::from_millis(50),
        open_within: Duration::from_millis(300),
        ..progress::HubSettings::default()
    };
    let hub = Hub::new(operations.clone(), settings);
    let id = create(&operations, "{}").await;
    let other = create(&operations, "{}").await;
    let mut watcher = watch(&hub, &id, None).await;
    next(&mut watcher).await;

    redis.kill();
    // By the second answer, what the hub has asked meanwhile was refused, too.
    for _ in 0..2 {
        operations.snapshot(&id).await.unwrap_err();
    }
    let beat = tokio::time::timeout(SOON, watcher.next()).await.unwrap().unwrap();
    assert!(beat.starts_with(b": heartbeat\nevent: heartbeat\ndata: {\"at\":\""), "{beat:?}");
    assert!(matches!(hub.watch(&other, None).await, Err(progress::WatchError::Shed)));

    redis.restart().await;
    write(&operations, &id, r#"{"percent":7}"#).await;
    assert_eq!(next(&mut watcher).await[0].data["percent"], 7.0);
}
