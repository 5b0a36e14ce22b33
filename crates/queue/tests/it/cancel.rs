//! Taking tasks back.

use crate::support::{KEEP, MINUTE, SECOND, queue, queue_on, task};
use domain::TaskState;
use queue::{Failure, LeaseError, NewTask, Start, TaskError};
use testkit::both;

#[tokio::test]
async fn a_waiting_task_ends_at_once_wherever_it_waits() {
    both(|server| async move {
        let queue = queue_on(&server);
        let ready = queue.add(task("ready")).await;
        let scheduled = queue.add(NewTask { start: Start::After(MINUTE), ..task("scheduled") }).await;
        let returned = queue.add(NewTask { priority: 1, ..task("returned") }).await;
        let retrying = queue.add(NewTask { priority: 2, ..task("retrying") }).await;
        let held = queue.take(2).await;
        queue.give_back(&held[0].lease).await.unwrap();
        queue.nack(&held[1].lease, Failure::retry_after("x", MINUTE)).await.unwrap();

        for id in [ready, scheduled, returned, retrying] {
            queue.cancel(id).await.unwrap();
            queue.cancel(id).await.unwrap();
            let found = queue.get(id).await.unwrap();
            assert_eq!((found.state, found.reason.as_deref()), (TaskState::Cancelled, Some("cancelled")));
            queue.audit().await;
        }
        queue.clock.advance(MINUTE);
        assert!(queue.take(9).await.is_empty());
        assert_eq!(queue.stats().await.unwrap().cancelled, 4);
    })
    .await;
}

#[tokio::test]
async fn cancelling_a_leased_task_voids_its_token_at_once() {
    let queue = queue().await;
    let id = queue.add(task("x")).await;
    let held = queue.take_one().await;
    queue.cancel(id).await.unwrap();

    assert!(matches!(queue.ack(&held.lease, "late", KEEP).await, Err(LeaseError::Lost)));
    assert!(matches!(queue.extend(&held.lease, SECOND).await, Err(LeaseError::Lost)));
    let (found, result) = queue.result(id).await.unwrap();
    assert_eq!((found.state, result), (TaskState::Cancelled, None));
    queue.clock.advance(MINUTE);
    assert!(queue.take(9).await.is_empty());
    queue.audit().await;
}

#[tokio::test]
async fn what_has_ended_cannot_be_cancelled_and_a_wrong_salt_is_no_task() {
    let queue = queue().await;
    let (done, dead) = (queue.add(task("done")).await, queue.add(task("dead")).await);
    let held = queue.take(2).await;
    queue.ack(&held[0].lease, "", KEEP).await.unwrap();
    queue.nack(&held[1].lease, Failure::die("x")).await.unwrap();
    for id in [done, dead] {
        assert!(matches!(queue.cancel(id).await, Err(TaskError::Finished)));
        let wrong = domain::TaskId { salt: !id.salt, ..id };
        assert!(matches!(queue.cancel(wrong).await, Err(TaskError::NotFound)));
        assert!(matches!(queue.get(wrong).await, Err(TaskError::NotFound)));
        assert_eq!(queue.get_many(&[wrong, id]).await.unwrap()[0], None);
    }
}
