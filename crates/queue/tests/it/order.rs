//! Who is served first.

use crate::support::{SECOND, payloads, queue, queue_on, task, up_to};
use queue::{Failure, NewTask, OrderOnRetry, Then};
use std::time::Duration;
use testkit::both;

fn at(priority: u8, lane: &str, payload: &str) -> NewTask {
    NewTask { priority, lane: lane.parse().ok(), ..task(payload) }
}

#[tokio::test]
async fn tasks_of_a_lane_are_served_in_the_order_of_their_enqueue() {
    both(|server| async move {
        let queue = queue_on(&server);
        let names: Vec<_> = (0..150).map(|n| n.to_string()).collect();
        // 9 before 10: by number, not by text.
        queue.add_all(names[..100].iter().map(|name| task(name)).collect()).await;
        for name in &names[100..] {
            queue.add(task(name)).await;
        }

        let mut served = Vec::new();
        while served.len() < names.len() {
            served.extend(queue.payloads(11).await);
        }
        assert_eq!(served, names);
        queue.audit().await;
    })
    .await;
}

#[tokio::test]
async fn a_lower_number_is_served_first_whatever_came_first() {
    let queue = queue().await;
    for (priority, payload) in [(255, "last"), (100, "default"), (0, "first"), (99, "before default")] {
        queue.add(at(priority, "", payload)).await;
    }
    assert_eq!(queue.payloads(9).await, ["first", "before default", "default", "last"]);
}

#[tokio::test]
async fn lanes_of_a_priority_take_turns_and_a_long_one_does_not_hold_up_a_short_one() {
    let queue = queue().await;
    queue.add_all((0..50).map(|n| at(100, "big", &format!("big{n}"))).collect()).await;
    queue.add_all((0..3).map(|n| at(100, "small", &format!("small{n}"))).collect()).await;

    let served = queue.payloads(8).await;

    let of = |lane: &str| -> Vec<_> { served.iter().filter(|payload| payload.starts_with(lane)).collect() };
    assert_eq!(of("small"), ["small0", "small1", "small2"]);
    assert_eq!(of("big"), ["big0", "big1", "big2", "big3", "big4"]);
    queue.audit().await;
}

#[tokio::test]
async fn twenty_lanes_get_one_task_each_from_a_call_for_twenty() {
    let queue = queue().await;
    let tasks =
        (0..20).flat_map(|lane| (0..2).map(move |n| at(100, &format!("l{lane}"), &format!("{lane}.{n}"))));
    queue.add_all(tasks.collect()).await;

    let mut lanes: Vec<_> = queue.take(20).await.into_iter().map(|leased| leased.task.lane).collect();
    lanes.sort();
    lanes.dedup();
    assert_eq!(lanes.len(), 20);
    queue.audit().await;
}

#[tokio::test]
async fn a_returned_task_keeps_its_place_whatever_way_it_came_back() {
    both(|server| async move {
        let queue = queue_on(&server);
        for payload in ["a", "b", "c", "d", "e"] {
            queue.add(at(5, "", payload)).await;
        }
        queue.add(at(6, "", "low")).await;
        let taken = queue.take(4).await;

        // Back in another order than they came: one given back, one failed, one crashed; then d given back too.
        queue.give_back(&taken[3].lease).await.unwrap();
        let at_once = Failure { message: "x".to_owned(), then: Then::RetryAfter(Duration::ZERO) };
        queue.nack(&taken[1].lease, at_once).await.unwrap();
        queue.give_back(&taken[0].lease).await.unwrap();
        queue.clock.advance(11 * SECOND);

        assert_eq!(queue.payloads(9).await, ["a", "b", "c", "d", "e", "low"]);
        queue.audit().await;
    })
    .await;
}

#[tokio::test]
async fn a_retry_that_asked_for_the_tail_stands_behind_what_is_ready() {
    let queue = queue().await;
    queue.add(NewTask { order_on_retry: OrderOnRetry::Tail, ..task("a") }).await;
    queue.add(task("b")).await;
    let a = queue.take_one().await;

    queue.nack(&a.lease, Failure::retry_after("x", SECOND)).await.unwrap();
    queue.clock.advance(SECOND);
    queue.tick().await.unwrap();
    queue.add(task("c")).await;

    assert_eq!(queue.payloads(9).await, ["b", "a", "c"]);
    queue.audit().await;
}

#[tokio::test]
async fn a_crash_never_overtakes_a_higher_priority() {
    let queue = queue().await;
    queue.add(at(200, "", "low")).await;
    queue.take_one().await;
    queue.add(at(100, "", "normal")).await;
    queue.clock.advance(11 * SECOND);

    assert_eq!(queue.payloads(9).await, ["normal", "low"]);
}

#[tokio::test]
async fn ghosts_of_cancelled_tasks_are_passed_over_and_more_is_said_when_there_were_too_many() {
    let queue = queue().await;
    let tasks = queue.add_all((0..300).map(|n| task(&n.to_string())).collect()).await;
    for enqueued in &tasks[..299] {
        queue.cancel(enqueued.id).await.unwrap();
    }

    let first = queue.lease(&up_to(1)).await.unwrap();
    let second = queue.lease(&up_to(1)).await.unwrap();

    assert!(first.tasks.is_empty() && first.more);
    assert_eq!(payloads(&second.tasks), ["299"]);
    queue.audit().await;
}
