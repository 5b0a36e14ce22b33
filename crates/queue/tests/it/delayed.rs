//! Tasks that wait for their time, and tasks whose time is over.

use crate::support::{MINUTE, SECOND, queue, queue_on, task};
use domain::TaskState;
use queue::{Failure, NewTask, Start, TaskError};
use std::time::Duration;
use testkit::both;

#[tokio::test]
async fn a_delayed_task_is_never_early_and_is_served_at_its_moment() {
    both(|server| async move {
        let queue = queue_on(&server);
        let at = queue.clock.now() + 6 * SECOND;
        let id = queue.add(NewTask { start: Start::At(at), ..task("at") }).await;
        queue.add(NewTask { start: Start::After(7 * SECOND), ..task("after") }).await;
        let found = queue.get(id).await.unwrap();
        assert_eq!((found.state, found.due_at), (TaskState::Scheduled, Some(at)));

        queue.clock.advance(6 * SECOND - Duration::from_millis(1));
        assert!(queue.take(9).await.is_empty());
        queue.clock.advance(Duration::from_millis(1));
        assert_eq!(queue.payloads(9).await, ["at"]);
        queue.clock.advance(SECOND);
        assert_eq!(queue.payloads(9).await, ["after"]);
        queue.audit().await;
    })
    .await;
}

#[tokio::test]
async fn a_moment_in_the_past_means_at_once() {
    let queue = queue().await;
    let past = queue.clock.now() - MINUTE;
    queue.add(NewTask { start: Start::At(past), ..task("x") }).await;
    assert_eq!(queue.payloads(1).await, ["x"]);
}

#[tokio::test]
async fn a_delayed_task_takes_its_place_when_it_becomes_ready_and_keeps_it() {
    let queue = queue().await;
    queue.add(NewTask { start: Start::After(SECOND), ..task("delayed") }).await;
    queue.add(task("early")).await;
    queue.clock.advance(SECOND);
    queue.tick().await.unwrap();
    queue.add(task("late")).await;

    let taken = queue.take(9).await;
    assert_eq!(crate::support::payloads(&taken), ["early", "delayed", "late"]);
    for leased in taken.iter().rev() {
        queue.give_back(&leased.lease).await.unwrap();
    }
    assert_eq!(queue.payloads(9).await, ["early", "delayed", "late"]);
    queue.audit().await;
}

#[tokio::test]
async fn tasks_due_at_the_same_moment_keep_the_order_of_their_enqueue() {
    let queue = queue().await;
    let at = queue.clock.now() + SECOND;
    let names: Vec<_> = (0..130).map(|n| n.to_string()).collect();
    queue.add_all(names.iter().map(|name| NewTask { start: Start::At(at), ..task(name) }).collect()).await;
    queue.clock.advance(SECOND);

    let mut served = Vec::new();
    while served.len() < names.len() {
        served.extend(queue.payloads(50).await);
    }
    assert_eq!(served, names);
}

#[tokio::test]
async fn a_call_says_how_long_until_the_next_task_is_due() {
    let queue = queue().await;
    queue.add(NewTask { start: Start::After(5 * SECOND), ..task("x") }).await;
    let leased = queue.lease(&crate::support::up_to(1)).await.unwrap();
    assert_eq!(leased.next, Some(5 * SECOND));
    assert_eq!(queue.tick().await.unwrap().next, Some(5 * SECOND));
}

#[tokio::test]
async fn a_task_whose_time_is_over_is_not_started_but_cancelled() {
    let queue = queue().await;
    let over = queue.clock.now() + SECOND;
    let ready = queue.add(NewTask { expires_at: Some(over), ..task("ready") }).await;
    let scheduled = NewTask { expires_at: Some(over), start: Start::After(MINUTE), ..task("scheduled") };
    let scheduled = queue.add(scheduled).await;
    queue.add(task("other")).await;
    queue.clock.advance(SECOND);

    assert_eq!(queue.payloads(9).await, ["other"]);
    queue.tick().await.unwrap();
    for id in [ready, scheduled] {
        let found = queue.get(id).await.unwrap();
        assert_eq!((found.state, found.reason.as_deref()), (TaskState::Cancelled, Some("expired")));
    }
    queue.audit().await;
}

#[tokio::test]
async fn a_task_that_was_started_in_time_may_end_later_but_not_start_again() {
    let queue = queue().await;
    let new = || NewTask { expires_at: Some(queue.clock.now() + SECOND), ..task("x") };
    let (done, failed) = (queue.add(new()).await, queue.add(new()).await);
    let held = queue.take(2).await;
    queue.clock.advance(2 * SECOND);
    queue.tick().await.unwrap();

    queue.ack(&held[0].lease, "", MINUTE).await.unwrap();
    queue.nack(&held[1].lease, Failure::retry_after("x", SECOND)).await.unwrap();
    queue.clock.advance(SECOND);

    assert!(queue.take(9).await.is_empty());
    assert_eq!(queue.get(done).await.unwrap().state, TaskState::Succeeded);
    assert_eq!(queue.get(failed).await.unwrap().state, TaskState::Cancelled);
    queue.audit().await;
    queue.clock.advance(2 * MINUTE);
    queue.tick().await.unwrap();
    assert!(matches!(queue.get(done).await, Err(TaskError::NotFound)));
    queue.audit().await;
}
