//! What operations cost: a round trip each.

use crate::support::{KEEP, SECOND, queue_with, task, up_to};
use queue::{End, Failure, QueuesOptions, Settlement};
use redis_core::Redis;
use testkit::{Proxy, RedisServer};

/// Round trips on the wire, as the engine's own handle counts them.
async fn trips<T>(redis: &Redis, proxy: &Proxy, work: impl Future<Output = T>) -> (T, u64) {
    let before = redis.round_trips();
    let (value, seen) = proxy.round_trips_of(work).await;
    assert_eq!(seen, redis.round_trips() - before, "the handle counts what is on the wire");
    (value, seen)
}

#[tokio::test]
async fn every_operation_is_one_round_trip() {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    let queue = queue_with(&proxy.url(), QueuesOptions::default());
    // Scripts loaded, queue registered.
    for _ in 0..2 {
        queue.add_all(vec![task("x"); 2]).await;
        let id = queue.add(task("x")).await;
        let held = queue.take(3).await;
        queue.extend(&held[0].lease, SECOND).await.unwrap();
        queue.show(&held[0].lease).await.unwrap();
        queue.ack(&held[0].lease, "", KEEP).await.unwrap();
        queue.settle(&[Settlement { lease: held[1].lease, end: End::GiveBack }]).await.unwrap();
        queue.settle_and_lease(&[], &up_to(9)).await.unwrap();
        queue.nack(&held[2].lease, Failure::die("x")).await.unwrap();
        queue.retry(id).await.unwrap();
        queue.cancel(id).await.unwrap();
        queue.get(id).await.unwrap();
        queue.stats().await.unwrap();
        queue.tick().await.unwrap();
    }
    let (redis, queue) = (&queue.redis, &queue);

    assert_eq!(trips(redis, &proxy, queue.add(task("x"))).await.1, 1, "enqueue");
    let (all, cost) = trips(redis, &proxy, queue.add_all(vec![task("x"); 1000])).await;
    assert_eq!(cost, 1, "enqueue_all");
    let (held, cost) = trips(redis, &proxy, queue.take(64)).await;
    assert_eq!((held.len(), cost), (64, 1), "lease");
    assert_eq!(trips(redis, &proxy, queue.extend(&held[0].lease, SECOND)).await.1, 1, "extend");
    assert_eq!(trips(redis, &proxy, queue.show(&held[0].lease)).await.1, 1, "show");
    assert_eq!(trips(redis, &proxy, queue.ack(&held[0].lease, "", KEEP)).await.1, 1, "ack");
    assert_eq!(trips(redis, &proxy, queue.nack(&held[1].lease, Failure::die("x"))).await.1, 1, "nack");
    assert_eq!(trips(redis, &proxy, queue.give_back(&held[2].lease)).await.1, 1, "give back");
    let ends: Vec<_> = held[3..]
        .iter()
        .map(|leased| Settlement { lease: leased.lease, end: End::Ack { result: "".into(), keep: KEEP } })
        .collect();
    let ((settled, next), cost) =
        trips(redis, &proxy, async { queue.settle_and_lease(&ends, &up_to(64)).await.unwrap() }).await;
    assert_eq!((settled.len(), next.tasks.len(), cost), (61, 64, 1), "finish and lease next");
    let id = all[999].id;
    assert_eq!(trips(redis, &proxy, queue.get(id)).await.1, 1, "get");
    assert_eq!(trips(redis, &proxy, queue.cancel(id)).await.1, 1, "cancel");
    assert_eq!(trips(redis, &proxy, queue.retry(held[1].lease.task)).await.1, 1, "retry");
    assert_eq!(trips(redis, &proxy, queue.stats()).await.1, 1, "stats");
    assert_eq!(trips(redis, &proxy, queue.tick()).await.1, 1, "tick");
}

#[tokio::test]
async fn singles_at_the_same_time_share_calls() {
    let server = RedisServer::start().await;
    let queue = queue_with(&server.url(), QueuesOptions::default());
    queue.add(task("first")).await;
    let before = queue.redis.round_trips();

    let all = futures_util::future::join_all((0..100).map(|n| queue.add(task(&n.to_string())))).await;

    assert_eq!(all.len(), 100);
    assert!(queue.redis.round_trips() - before <= 4, "{}", queue.redis.round_trips() - before);
    assert_eq!(queue.stats().await.unwrap().ready, 101);
    queue.audit().await;
}

#[tokio::test]
async fn a_waiting_task_costs_at_most_140_bytes_over_its_payload() {
    let server = RedisServer::start().await;
    let queue = queue_with(&server.url(), QueuesOptions::default());
    queue.add(task("x")).await;
    let used = async || server.info("used_memory").await.parse::<i64>().unwrap();
    let before = used().await;
    let new = queue::NewTask {
        correlation: Some("019aba3c-7f00-7000-8000-0123456789ab".parse().unwrap()),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        ..queue::NewTask::new(vec![b'x'; 256])
    };
    for _ in 0..100 {
        queue.add_all(vec![new.clone(); 1000]).await;
    }
    let each = (used().await - before) / 100_000 - 256;
    assert!(each <= 140, "{each} bytes a task");
}
