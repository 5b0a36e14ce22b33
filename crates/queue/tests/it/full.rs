//! A full Redis, and a full share of it.

use crate::support::{KEEP, MINUTE, SECOND, queue_with, task};
use domain::{Coded, ErrorCode};
use queue::{EnqueueError, Failure, NewTask, QueuesOptions, Start};
use testkit::{RedisOptions, RedisServer};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_full_redis_refuses_what_comes_in_and_lets_out_what_is_there() {
    let settings = vec![("maxmemory-policy".to_owned(), "noeviction".to_owned())];
    let server = RedisServer::with(RedisOptions { settings, ..RedisOptions::default() }).await;
    let queue = queue_with(&server.url(), QueuesOptions::default());
    let all = queue.add_all((0..8).map(|n| task(&n.to_string())).collect()).await;
    queue
        .add(NewTask {
            start: Start::After(SECOND),
            expires_at: Some(queue.clock.now() + MINUTE),
            ..task("x")
        })
        .await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;

    let refused = queue.enqueue(task("x")).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Full, "{refused}");
    assert_eq!(queue.enqueue_all(vec![task("x")]).await.unwrap_err().code(), ErrorCode::Full);

    let held = queue.take(7).await;
    assert_eq!(held.len(), 7);
    queue.extend(&held[0].lease, MINUTE).await.unwrap();
    queue.ack(&held[0].lease, "result", KEEP).await.unwrap();
    queue.nack(&held[1].lease, Failure::retry_after("x", SECOND)).await.unwrap();
    queue.nack(&held[2].lease, Failure::die("x")).await.unwrap();
    queue.give_back(&held[3].lease).await.unwrap();
    queue.settle_and_lease(&[], &crate::support::up_to(1)).await.unwrap();
    queue.cancel(all[7].id).await.unwrap();
    queue.retry(all[2].id).await.unwrap();
    queue.clock.advance(10 * SECOND);
    queue.tick().await.unwrap();
    queue.clock.advance(2 * KEEP);
    queue.tick().await.unwrap();
    queue.get(all[4].id).await.unwrap();
    queue.list(queue::Shelf::Dead, None, 9).await.unwrap();
    queue.audit().await;
}

#[tokio::test]
async fn the_share_of_all_queues_is_kept_and_what_drains_makes_room() {
    let server = RedisServer::start().await;
    let options = QueuesOptions { max_bytes: Some(4000), ..QueuesOptions::default() };
    let queue = queue_with(&server.url(), options);
    queue.add_all(vec![NewTask::new(vec![0; 1000]); 3]).await;
    let stop = CancellationToken::new();
    let timer = queue.queues.tend(stop.clone());
    let test = async {
        // Once the node has counted, one more task fits and two do not.
        testkit::until(async || queue.queues.bytes_left().is_some(), crate::support::SOON).await;
        let refused = queue.enqueue_all(vec![NewTask::new(vec![0; 400]); 2]).await;
        assert!(matches!(refused, Err(EnqueueError::Full)));
        queue.add(NewTask::new(vec![0; 400])).await;
        for held in queue.take(9).await {
            queue.ack(&held.lease, "", SECOND).await.unwrap();
        }
        let room = || async { queue.enqueue(NewTask::new(vec![0; 2000])).await.is_ok() };
        testkit::until(room, crate::support::SOON).await;
        stop.cancel();
    };
    tokio::join!(timer, test);
    queue.audit().await;
}
