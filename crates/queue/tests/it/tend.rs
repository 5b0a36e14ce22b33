//! The node's timer.

use crate::support::{SECOND, SOON, queue, task};
use domain::TaskState;
use queue::{NewTask, Start};
use std::time::Duration;
use testkit::until;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn time_brings_what_it_must_though_nobody_asks_for_tasks() {
    let queue = queue().await;
    let delayed = queue.add(NewTask { start: Start::After(SECOND), ..task("delayed") }).await;
    let lost = queue.add(task("lost")).await;
    queue.take_one().await;
    queue.clock.advance(10 * SECOND);
    let stop = CancellationToken::new();
    let all_ready = async || {
        let found = queue.get_many(&[delayed, lost]).await.unwrap();
        found.iter().flatten().all(|task| task.state == TaskState::Ready)
    };
    tokio::join!(queue.queues.tend(stop.clone()), async {
        until(all_ready, SOON).await;
        stop.cancel();
    });
    queue.audit().await;
}

#[tokio::test]
async fn a_tick_moves_at_most_a_slice_and_says_that_there_is_more() {
    let queue = queue().await;
    queue.add_all(vec![NewTask { start: Start::After(SECOND), ..task("x") }; 100]).await;
    queue.clock.advance(SECOND);

    assert_eq!(queue.tick().await.unwrap().next, Some(Duration::ZERO));
    assert_eq!(queue.stats().await.unwrap().ready, 64);
    queue.tick().await.unwrap();
    assert_eq!(queue.stats().await.unwrap().ready, 100);
    assert_eq!(queue.tick().await.unwrap().next, None);
    queue.audit().await;
}

#[tokio::test]
async fn a_queue_is_known_again_after_redis_came_back_empty() {
    let queue = queue().await;
    queue.add(task("x")).await;
    queue.redis.command("DEL", &queue.redis.key("sluice:queues"), Vec::new()).await.unwrap();
    let stop = CancellationToken::new();
    tokio::join!(queue.queues.tend(stop.clone()), async {
        until(async || queue.queues.list().await.unwrap().len() == 1, SOON).await;
        stop.cancel();
    });
}
