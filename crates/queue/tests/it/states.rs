//! The transition function and the scripts agree on every (state, event) pair.

use crate::support::{Fixture, KEEP, MINUTE, SECOND, queue_with, task};
use domain::{FencingToken, TaskId, TaskState};
use queue::{Event, Failure, Lease, LeaseRequest, MAX_CRASHES, NewTask, QueuesOptions, Start};
use std::time::Duration;
use testkit::both;

const HOUR: Duration = Duration::from_secs(3600);

/// What this version can cause; `blocked` and its events come with dependencies.
const STATES: [TaskState; 7] = [
    TaskState::Scheduled,
    TaskState::Ready,
    TaskState::Leased,
    TaskState::Retrying,
    TaskState::Succeeded,
    TaskState::Dead,
    TaskState::Cancelled,
];
const EVENTS: [Event; 11] = [
    Event::Due,
    Event::Leased,
    Event::Acked,
    Event::GivenBack,
    Event::Failed { attempts_left: 0 },
    Event::Failed { attempts_left: 2 },
    Event::LeaseExpired { crashes_left: 0 },
    Event::LeaseExpired { crashes_left: 2 },
    Event::Expired,
    Event::Cancelled,
    Event::RetriedByHand,
];

#[tokio::test]
async fn every_state_answers_every_event_as_the_transition_function_says() {
    both(|server| async move {
        let keep = 100 * HOUR;
        let queue = queue_with(&server.url(), QueuesOptions { keep, ..QueuesOptions::default() });
        for state in STATES {
            for event in EVENTS {
                let (id, lease) = bring(&queue, state, event).await;
                assert_eq!(queue.get(id).await.unwrap().state, state, "before {event:?}");

                cause(&queue, id, lease, event).await;

                let expected = queue::next(state, event).unwrap_or(state);
                assert_eq!(queue.get(id).await.unwrap().state, expected, "{state} and {event:?}");
                queue.audit().await;
                clear(&queue, id).await;
            }
        }
    })
    .await;
}

/// A task in this state. Only what the event is about lies within the time that it takes.
async fn bring(queue: &Fixture, state: TaskState, event: Event) -> (TaskId, Lease) {
    let pause = if event == Event::Due { MINUTE } else { 10 * HOUR };
    let new = NewTask {
        expires_at: (event == Event::Expired).then(|| queue.clock.now() + 2 * MINUTE),
        start: if state == TaskState::Scheduled { Start::After(pause) } else { Start::Now },
        ..task("x")
    };
    let id = queue.add(new).await;
    let none = Lease { task: id, token: FencingToken::try_from(1).unwrap() };
    if matches!(state, TaskState::Scheduled | TaskState::Ready) {
        return (id, none);
    }
    if state == TaskState::Cancelled {
        queue.cancel(id).await.unwrap();
        return (id, none);
    }
    if let Event::LeaseExpired { crashes_left } = event {
        for _ in 1..MAX_CRASHES - crashes_left {
            take(queue).await;
            queue.clock.advance(HOUR);
        }
    }
    let lease = take(queue).await;
    match state {
        TaskState::Retrying => drop(queue.nack(&lease, Failure::retry_after("x", pause)).await.unwrap()),
        TaskState::Dead => drop(queue.nack(&lease, Failure::die("x")).await.unwrap()),
        TaskState::Succeeded => drop(queue.ack(&lease, "", 100 * HOUR).await.unwrap()),
        _ => return (id, lease),
    }
    (id, none)
}

async fn take(queue: &Fixture) -> Lease {
    let request = LeaseRequest { lease: HOUR, ..crate::support::up_to(1) };
    queue.lease(&request).await.unwrap().tasks.pop().expect("the one task").lease
}

/// Whether it is refused is for the state to show.
async fn cause(queue: &Fixture, id: TaskId, lease: Lease, event: Event) {
    match event {
        Event::Due => time_passes(queue, MINUTE).await,
        Event::Expired => time_passes(queue, 2 * MINUTE).await,
        Event::LeaseExpired { .. } => time_passes(queue, HOUR).await,
        Event::Leased => drop(queue.take(1).await),
        Event::Acked => drop(queue.ack(&lease, "", KEEP).await),
        Event::GivenBack => drop(queue.give_back(&lease).await),
        Event::Failed { attempts_left: 0 } => drop(queue.nack(&lease, Failure::die("x")).await),
        Event::Failed { .. } => drop(queue.nack(&lease, Failure::retry_after("x", SECOND)).await),
        Event::Cancelled => drop(queue.cancel(id).await),
        Event::RetriedByHand => drop(queue.retry(id).await),
        Event::ParentsDone | Event::ParentFailed => unreachable!("come with dependencies"),
    }
}

async fn time_passes(queue: &Fixture, by: Duration) {
    queue.clock.advance(by);
    queue.tick().await.unwrap();
}

/// Out of the way of the next pair.
async fn clear(queue: &Fixture, id: TaskId) {
    if queue.get(id).await.unwrap().state == TaskState::Dead {
        queue.retry(id).await.unwrap();
    }
    drop(queue.cancel(id).await);
}
