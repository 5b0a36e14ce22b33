//! Failures and their pauses.

use crate::support::{SECOND, queue, task};
use domain::TaskState;
use queue::{Backoff, Failure, NewTask, Settled};
use std::time::Duration;

#[tokio::test]
async fn a_task_is_dead_after_its_third_failure_and_keeps_the_errors() {
    let queue = queue().await;
    let id = queue.add(task("x")).await;
    for attempt in 1..=3 {
        let held = queue.take_one().await;
        assert_eq!(held.task.attempts, attempt - 1);
        let settled = queue.nack(&held.lease, Failure::retry(format!("error {attempt}"))).await.unwrap();
        assert_eq!(settled, if attempt < 3 { Settled::Retrying } else { Settled::Dead });
        queue.audit().await;
        queue.clock.advance(61 * SECOND);
    }

    let found = queue.get(id).await.unwrap();
    assert_eq!((found.state, found.reason.as_deref()), (TaskState::Dead, Some("attempts")));
    let errors: Vec<_> = found.errors.iter().map(|error| (error.attempt, error.message.as_str())).collect();
    assert_eq!(errors, [(1, "error 1"), (2, "error 2"), (3, "error 3")]);
    let entered: Vec<_> = found.history.iter().map(|entered| entered.state.as_str()).collect();
    assert_eq!(entered, ["leased", "retrying", "ready", "leased", "retrying", "ready", "leased", "dead"]);
    assert!(queue.take(9).await.is_empty());
}

#[tokio::test]
async fn an_error_that_no_attempt_would_mend_is_fatal_at_once() {
    let queue = queue().await;
    let id = queue.add(task("x")).await;
    let held = queue.take_one().await;
    assert_eq!(queue.nack(&held.lease, Failure::die("bad input")).await.unwrap(), Settled::Dead);
    let found = queue.get(id).await.unwrap();
    assert_eq!(found.reason.as_deref(), Some("not-retryable"));
    assert_eq!(found.payload, "x");
}

#[tokio::test]
async fn the_pause_before_each_attempt_lies_within_its_jitter() {
    let queue = queue().await;
    let backoff = Backoff { base: SECOND, cap: 6 * SECOND };
    let new = NewTask { backoff: Some(backoff), max_attempts: 6, ..task("x") };
    let ids: Vec<_> = queue.add_all(vec![new; 60]).await.iter().map(|enqueued| enqueued.id).collect();
    for (attempt, longest_ms) in [(2, 1000), (3, 2000), (4, 4000), (5, 6000), (6, 6000)] {
        assert_eq!(backoff.longest(attempt), Duration::from_millis(longest_ms), "attempt {attempt}");
        for held in queue.take(60).await {
            queue.nack(&held.lease, Failure::retry("x")).await.unwrap();
        }
        let now = queue.clock.now();
        let found = queue.get_many(&ids).await.unwrap();
        let mut pauses: Vec<_> =
            found.into_iter().map(|task| task.unwrap().due_at.unwrap().millis() - now.millis()).collect();
        pauses.sort_unstable();
        let longest = i64::try_from(longest_ms).unwrap();
        assert!(pauses[0] >= 0 && pauses[59] <= longest, "attempt {attempt}: {pauses:?}");
        // Full jitter: 60 uniform draws reach the lower and the upper third. (They miss one in 10^10 runs.)
        assert!(pauses[0] < longest / 3 && pauses[59] > longest * 2 / 3, "attempt {attempt}: {pauses:?}");
        queue.clock.advance(6 * SECOND);
    }
    queue.audit().await;
}

#[tokio::test]
async fn a_pause_that_the_target_asked_for_is_kept_to_the_millisecond() {
    let queue = queue().await;
    queue.add(task("x")).await;
    let held = queue.take_one().await;
    queue.nack(&held.lease, Failure::retry_after("503", 90 * SECOND)).await.unwrap();

    queue.clock.advance(90 * SECOND - Duration::from_millis(1));
    assert!(queue.take(1).await.is_empty());
    queue.clock.advance(Duration::from_millis(1));
    assert_eq!(queue.take(1).await.len(), 1);
}

#[tokio::test]
async fn the_last_errors_stay_with_the_task_and_are_bounded() {
    let queue = queue().await;
    let id = queue.add(NewTask { max_attempts: 200, ..task("x") }).await;
    for attempt in 1..=40 {
        let held = queue.take_one().await;
        let message = format!("{attempt} {}", "ß".repeat(2000));
        queue.nack(&held.lease, Failure::retry_after(message, Duration::ZERO)).await.unwrap();
    }
    let found = queue.get(id).await.unwrap();
    let attempts: Vec<_> = found.errors.iter().map(|error| error.attempt).collect();
    assert_eq!(attempts, [36, 37, 38, 39, 40]);
    assert!(found.errors.iter().all(|error| error.message.len() <= 1000 && error.message.ends_with('ß')));
    assert_eq!(found.history.len(), 20);
    queue.audit().await;
}
