//! Outcomes and results.

use crate::support::{MINUTE, SECOND, SOON, queue, task};
use domain::TaskState;
use queue::{Failure, TaskError};
use redis_core::{Hint, Subscription};
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
async fn what_has_not_happened_is_told_to_nobody() {
    let queue = queue().await;
    let told = async |tail: &str| {
        queue.redis.subscribe(&queue.redis.channel(format!("queue:{{work}}:{tail}"))).await
    };
    let ids = queue.add_all(vec![task("x"); 3]).await;
    let (mut ends, mut wake) = (told("ends").await.unwrap(), told("wake").await.unwrap());

    let held = queue.take(2).await;
    queue.extend(&held[0].lease, MINUTE).await.unwrap();
    queue.nack(&held[0].lease, Failure::retry_after("x", MINUTE)).await.unwrap();
    queue.get(ids[2].id).await.unwrap();
    queue.stats().await.unwrap();
    queue.tick().await.unwrap();
    queue.ack(&held[1].lease, "r", MINUTE).await.unwrap();
    queue.add(task("x")).await;

    assert_eq!(next(&mut ends).await, held[1].lease.task.number.to_string());
    // The retry, and the task that came.
    assert_eq!((next(&mut wake).await, next(&mut wake).await), ("due".to_owned(), "ready 1".to_owned()));
}

/// The next message, whatever it is.
async fn next(told: &mut Subscription) -> String {
    loop {
        match tokio::time::timeout(SOON, told.recv()).await.expect("a message comes") {
            Hint::Message(message) => return String::from_utf8(message.to_vec()).unwrap(),
            Hint::Gap => {}
        }
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
