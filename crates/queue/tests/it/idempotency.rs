//! Idempotency keys.

use crate::support::{KEEP, SECOND, queue, queue_on, task};
use queue::{EnqueueError, NewTask};
use std::time::Duration;
use testkit::both;

const DAY: Duration = Duration::from_secs(86_400);

fn keyed(key: &str, payload: &str) -> NewTask {
    NewTask { idempotency_key: Some(key.parse().unwrap()), ..task(payload) }
}

#[tokio::test]
async fn a_repeat_with_the_same_key_and_body_answers_with_the_first_task() {
    both(|server| async move {
        let queue = queue_on(&server);
        let first = queue.enqueue(keyed("k", "x")).await.unwrap();
        let again = NewTask { correlation: Some("another".parse().unwrap()), ..keyed("k", "x") };
        let repeat = queue.enqueue(again).await.unwrap();
        assert_eq!((first.id, first.repeated), (repeat.id, false));
        assert!(repeat.repeated);
        assert_eq!(queue.stats().await.unwrap().ready, 1);

        // Also when the task has ended long ago, but not a day.
        let held = queue.take_one().await;
        queue.ack(&held.lease, "", SECOND).await.unwrap();
        queue.clock.advance(DAY - SECOND);
        queue.tick().await.unwrap();
        assert_eq!(queue.enqueue(keyed("k", "x")).await.unwrap().id, first.id);
        queue.audit().await;
    })
    .await;
}

#[tokio::test]
async fn the_same_key_with_another_body_is_refused() {
    let queue = queue().await;
    queue.add(keyed("k", "x")).await;
    let other = queue.enqueue(keyed("k", "y")).await;
    assert!(matches!(other, Err(EnqueueError::Mismatch { index: 0 })));
    assert_eq!(queue.stats().await.unwrap().enqueued, 1);
}

#[tokio::test]
async fn a_key_is_free_after_a_day_once_its_task_has_ended_and_not_before() {
    let queue = queue().await;
    let first = queue.add(keyed("k", "x")).await;
    queue.clock.advance(2 * DAY);
    queue.tick().await.unwrap();
    assert_eq!(queue.enqueue(keyed("k", "x")).await.unwrap().id, first);

    let held = queue.take_one().await;
    queue.ack(&held.lease, "", KEEP).await.unwrap();
    queue.clock.advance(Duration::from_secs(600));
    queue.tick().await.unwrap();
    assert_ne!(queue.enqueue(keyed("k", "x")).await.unwrap().id, first);
    queue.audit().await;
}

#[tokio::test]
async fn a_batch_with_a_mismatch_writes_nothing_and_names_the_task() {
    let queue = queue().await;
    queue.add(keyed("k", "x")).await;
    let batch = vec![task("a"), keyed("new", "b"), keyed("k", "other")];
    let refused = queue.enqueue_all(batch).await;
    assert!(matches!(refused, Err(EnqueueError::Mismatch { index: 2 })));
    assert_eq!(queue.stats().await.unwrap().enqueued, 1);
    queue.audit().await;
}

#[tokio::test]
async fn a_key_twice_in_one_batch_is_one_task_or_a_mismatch() {
    let queue = queue().await;
    let answers = queue.add_all(vec![keyed("k", "x"), task("y"), keyed("k", "x")]).await;
    assert_eq!(answers[0].id, answers[2].id);
    assert!(answers[2].repeated && !answers[0].repeated);
    assert_eq!(queue.stats().await.unwrap().ready, 2);

    let refused = queue.enqueue_all(vec![keyed("l", "x"), keyed("l", "y")]).await;
    assert!(matches!(refused, Err(EnqueueError::Mismatch { index: 1 })));
    queue.audit().await;
}
