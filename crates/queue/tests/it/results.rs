//! Outcomes and results.

use crate::support::{MINUTE, SECOND, SOON, queue, task};
use domain::TaskState;
use queue::{Failure, TaskError};
use std::time::Duration;
use testkit::until;

#[tokio::test]
async fn an_outcome_can_be_read_until_its_time_is_over() {
    let queue = queue().await;
    let id = queue.add(task("x")).await;
    let held = queue.take_one().await;
    queue.clock.advance(SECOND);
    queue.ack(&held.lease, "result", MINUTE).await.unwrap();

    queue.clock.advance(MINUTE - Duration::from_millis(1));
    queue.tick().await.unwrap();
    let (found, result) = queue.result(id).await.unwrap();
    assert_eq!((found.state, result.as_deref()), (TaskState::Succeeded, Some(&b"result"[..])));
    assert_eq!(found.ended_at.unwrap().since(found.created_at), SECOND);
    assert_eq!(found.lease.unwrap().token, held.lease.token);

    queue.clock.advance(Duration::from_millis(1));
    queue.tick().await.unwrap();
    assert!(matches!(queue.get(id).await, Err(TaskError::NotFound)));
    assert_eq!(queue.stats().await.unwrap().bytes, 0);
    queue.audit().await;
}

#[tokio::test]
async fn whoever_waits_for_a_task_hears_its_end() {
    let queue = queue().await;
    for dead in [false, true] {
        let id = queue.add(task("x")).await;
        let held = queue.take_one().await;
        let (waited, ()) = tokio::join!(queue.wait(id, SOON), async {
            if dead {
                queue.nack(&held.lease, Failure::die("x")).await.unwrap();
            } else {
                queue.ack(&held.lease, "r", MINUTE).await.unwrap();
            }
        });
        let expected = if dead { TaskState::Dead } else { TaskState::Succeeded };
        assert_eq!(waited.unwrap().0.state, expected);
    }
}

#[tokio::test]
async fn a_wait_that_is_over_answers_with_the_task_as_it_is() {
    let queue = queue().await;
    let id = queue.add(task("x")).await;
    let (found, result) = queue.wait(id, Duration::from_millis(1)).await.unwrap();
    assert_eq!((found.state, result), (TaskState::Ready, None));
}

#[tokio::test]
async fn many_tasks_are_told_in_one_go() {
    let queue = queue().await;
    let ids: Vec<_> = queue.add_all(vec![task("x"); 100]).await.iter().map(|enqueued| enqueued.id).collect();
    queue.take(10).await;
    let found = until(async || queue.get_many(&ids).await.ok(), SOON).await;
    let leased = found.iter().flatten().filter(|task| task.state == TaskState::Leased).count();
    assert_eq!((found.len(), leased), (100, 10));
    assert!(found.iter().flatten().all(|task| task.payload.is_empty()));
}
