//! The node's timer.

use crate::support::{SECOND, SOON, queue, task};
use domain::{QueueName, TaskId, TaskState};
use futures_util::future::BoxFuture;
use queue::{NewTask, Report, Reporter, Start, Subject, Task};
use std::sync::{Arc, Mutex};
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

/// Notes down the ends that it is told.
#[derive(Clone, Default)]
struct Obituaries(Arc<Mutex<Vec<(TaskId, TaskState, String)>>>);

impl Reporter for Obituaries {
    fn report(&self, _: Subject, _: Report) -> BoxFuture<'static, ()> {
        unreachable!("no worker runs here")
    }

    fn ended(&self, _: QueueName, task: Task) -> BoxFuture<'static, ()> {
        self.0.lock().unwrap().push((task.id, task.state, task.reason.unwrap_or_default()));
        Box::pin(async {})
    }
}

#[tokio::test]
async fn ends_that_no_worker_can_tell_of_are_told_by_the_timer_and_only_once() {
    let queue = queue().await;
    let crash = async || {
        queue.take(9).await;
        queue.clock.advance(10 * SECOND);
    };
    let poison = queue.add(task("poison")).await;
    let revived = queue.add(task("revived")).await;
    for _ in 0..3 {
        crash().await;
    }
    queue.tick().await.unwrap();
    queue.retry(revived).await.unwrap();
    queue.take(1).await;
    let over = Some(queue.clock.now() + SECOND);
    let watched = queue.add(NewTask { expires_at: over, progress: true, ..task("watched") }).await;
    queue.add(NewTask { expires_at: over, ..task("unwatched") }).await;
    queue.clock.advance(SECOND);

    let (told, stop) = (Obituaries::default(), CancellationToken::new());
    let untold =
        async || queue.redis.command("EXISTS", &queue.redis.key("queue:{work}:outbox"), Vec::new()).await;
    tokio::join!(queue.queues.tend_and_tell(Arc::new(told.clone()), stop.clone()), async {
        until(async || told.0.lock().unwrap().len() >= 2, SOON).await;
        until(async || untold().await.is_ok_and(|reply| reply.into_int().unwrap() == 0), SOON).await;
        stop.cancel();
    });

    let mut told = told.0.lock().unwrap().clone();
    told.sort_by_key(|(id, ..)| id.number);
    let expected = [(poison, TaskState::Dead, "crashed"), (watched, TaskState::Cancelled, "expired")];
    assert_eq!(told, expected.map(|(id, state, reason)| (id, state, reason.to_owned())));
    queue.audit().await;
}
