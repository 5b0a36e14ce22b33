//! Bounds, each with its error and without a trace.

use crate::support::{KEEP, SECOND, queue, queue_with, task};
use domain::{Coded, ErrorCode};
use queue::{
    Backoff, EnqueueError, LeaseError, MAX_BATCH_TASKS, MAX_PAYLOAD_BYTES, MAX_RESULT_BYTES, NewTask,
    QueuesOptions, Start,
};
use std::time::Duration;
use testkit::RedisServer;

#[tokio::test]
async fn a_batch_of_a_thousand_tasks_passes_and_one_more_does_not() {
    let queue = queue().await;
    assert_eq!(queue.add_all(vec![task("x"); MAX_BATCH_TASKS]).await.len(), 1000);
    let refused = queue.enqueue_all(vec![task("x"); MAX_BATCH_TASKS + 1]).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::TooLarge);
    assert_eq!(queue.stats().await.unwrap().enqueued, 1000);
    assert!(queue.add_all(Vec::new()).await.is_empty());
    queue.audit().await;
}

#[tokio::test]
async fn a_payload_of_256_kib_and_a_batch_of_1_mib_pass_and_one_byte_more_does_not() {
    let queue = queue().await;
    let of = |bytes: usize| NewTask::new(vec![b'x'; bytes]);
    queue.add_all(vec![of(MAX_PAYLOAD_BYTES); 4]).await;
    for refused in [
        queue.enqueue(of(MAX_PAYLOAD_BYTES + 1)).await.unwrap_err(),
        queue.enqueue_all([vec![of(MAX_PAYLOAD_BYTES); 4], vec![of(1)]].concat()).await.unwrap_err(),
    ] {
        assert_eq!(refused.code(), ErrorCode::TooLarge, "{refused}");
    }
    assert_eq!(queue.take(4).await.len(), 4);
}

#[tokio::test]
async fn a_lease_call_stops_behind_a_mib_and_says_that_there_is_more() {
    let queue = queue().await;
    for _ in 0..5 {
        queue.add_all(vec![NewTask::new(vec![b'x'; MAX_PAYLOAD_BYTES]); 4]).await;
    }
    let mut counts = Vec::new();
    while counts.iter().sum::<usize>() < 20 {
        let leased = queue.lease(&crate::support::up_to(64)).await.unwrap();
        counts.push(leased.tasks.len());
        assert!(leased.more || counts.iter().sum::<usize>() == 20, "{counts:?}");
    }
    assert_eq!(counts, [8, 8, 4]);
    queue.audit().await;
}

#[tokio::test]
async fn a_result_of_1_mib_passes_and_one_byte_more_does_not() {
    let queue = queue().await;
    let id = queue.add(task("x")).await;
    let held = queue.take_one().await;
    let refused = queue.ack(&held.lease, vec![0; MAX_RESULT_BYTES + 1], KEEP).await;
    assert!(matches!(refused, Err(LeaseError::TooLarge(_))));
    queue.ack(&held.lease, vec![7; MAX_RESULT_BYTES], KEEP).await.unwrap();
    assert_eq!(queue.result(id).await.unwrap().1.unwrap().len(), MAX_RESULT_BYTES);
}

#[tokio::test]
async fn a_value_out_of_its_bounds_is_named() {
    let queue = queue().await;
    let long = Duration::from_secs(400 * 86_400);
    for (field, bad) in [
        ("max_attempts", NewTask { max_attempts: 0, ..task("x") }),
        ("timeout_ms", NewTask { timeout: Some(Duration::ZERO), ..task("x") }),
        ("timeout_ms", NewTask { timeout: Some(long), ..task("x") }),
        ("delay_ms", NewTask { start: Start::After(long), ..task("x") }),
        ("backoff", NewTask { backoff: Some(Backoff { base: 2 * SECOND, cap: SECOND }), ..task("x") }),
    ] {
        let error = queue.enqueue_all(vec![task("good"), bad]).await.unwrap_err();
        assert!(
            matches!(error, EnqueueError::Invalid { index: 1, field: named, .. } if named == field),
            "{error}"
        );
        assert_eq!(error.code(), ErrorCode::InvalidInput);
    }
    assert_eq!(queue.redis.round_trips(), 0);
}

#[tokio::test]
async fn there_are_at_most_so_many_queues() {
    let server = RedisServer::start().await;
    let fixture = queue_with(&server.url(), QueuesOptions { max_queues: 2, ..QueuesOptions::default() });
    for (name, fits) in [("b", true), ("a", true), ("c", false), ("a", true)] {
        let queue = fixture.queues.of(&name.parse().unwrap());
        assert_eq!(queue.enqueue(task("x")).await.is_ok(), fits, "{name}");
    }
    let listed: Vec<_> = fixture.queues.list().await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(listed, ["a", "b"]);
}

#[tokio::test]
async fn a_thousand_queues_unless_it_is_said_otherwise() {
    let queue = queue().await;
    let named = |number: usize| format!("q{number}").parse().unwrap();
    for number in 0..1000 {
        queue.queues.register(&named(number)).await.unwrap();
    }
    let refused = queue.queues.register(&named(1000)).await.unwrap_err();
    assert!(matches!(refused, EnqueueError::TooManyQueues(1000)), "{refused}");
}

#[tokio::test]
async fn a_lease_is_clamped_to_its_bounds() {
    let queue = queue().await;
    queue.add(task("x")).await;
    let request = queue::LeaseRequest { lease: Duration::ZERO, ..crate::support::up_to(9999) };
    let held = queue.lease(&request).await.unwrap().tasks;
    assert_eq!(held[0].ends_at, queue.clock.now() + SECOND);
}
