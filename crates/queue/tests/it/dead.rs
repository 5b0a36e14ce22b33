//! Dead letters.

use crate::support::{SECOND, queue, queue_on, task};
use domain::TaskState;
use queue::{Failure, NewTask, Shelf, TaskError};
use std::time::Duration;
use testkit::both;

#[tokio::test]
async fn a_retry_by_hand_gives_a_dead_letter_a_whole_new_life_at_the_tail() {
    both(|server| async move {
        let queue = queue_on(&server);
        let id = queue.add(task("x")).await;
        for _ in 0..2 {
            queue.take_one().await;
            queue.clock.advance(10 * SECOND);
        }
        for _ in 0..3 {
            let held = queue.take_one().await;
            queue.nack(&held.lease, Failure::retry_after("e", Duration::ZERO)).await.unwrap();
        }
        let found = queue.get(id).await.unwrap();
        assert_eq!((found.state, found.attempts, found.crashes), (TaskState::Dead, 3, 2));
        queue.add(task("y")).await;

        queue.retry(id).await.unwrap();

        let found = queue.get(id).await.unwrap();
        assert_eq!(
            (found.state, found.attempts, found.crashes, found.reason),
            (TaskState::Ready, 0, 0, None)
        );
        assert_eq!(found.errors.len(), 5, "the history stays");
        queue.audit().await;
        assert_eq!(queue.payloads(9).await, ["y", "x"]);
        assert!(matches!(queue.retry(id).await, Err(TaskError::NotDead)));
        queue.audit().await;
    })
    .await;
}

#[tokio::test]
async fn dead_letters_are_listed_oldest_first_in_pages_and_with_their_reasons() {
    let queue = queue().await;
    let ids: Vec<_> =
        queue.add_all((0..25).map(|n| task(&n.to_string())).collect()).await.iter().map(|e| e.id).collect();
    for held in queue.take(25).await {
        queue.nack(&held.lease, Failure::die("bad")).await.unwrap();
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = queue.list(Shelf::Dead, after.as_ref(), 10).await.unwrap();
        assert!(page.tasks.iter().all(|task| task.errors[0].message == "bad" && task.payload.is_empty()));
        seen.extend(page.tasks.iter().map(|task| task.id));
        if seen.len() == 10 {
            // The task that ended the page leaves: the next page goes on behind it all the same.
            queue.clock.advance(SECOND);
            queue.retry(ids[3]).await.unwrap();
        }
        let Some(next) = page.next else { break };
        after = Some(next.to_string().parse().unwrap());
    }
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn only_a_dead_letter_can_be_retried() {
    let queue = queue().await;
    let id = queue.add(NewTask::new("x")).await;
    assert!(matches!(queue.retry(id).await, Err(TaskError::NotDead)));
    let held = queue.take_one().await;
    assert!(matches!(queue.retry(id).await, Err(TaskError::NotDead)));
    queue.ack(&held.lease, "", SECOND).await.unwrap();
    assert!(matches!(queue.retry(id).await, Err(TaskError::Finished)));
    assert!(matches!(queue.retry(domain::TaskId { number: 99, salt: 0 }).await, Err(TaskError::NotFound)));
}
