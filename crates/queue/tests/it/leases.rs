//! Leases and fencing tokens.

use crate::support::{KEEP, SECOND, queue, queue_on, task, up_to, worker};
use domain::{TaskState, Timestamp};
use queue::{End, Failure, LeaseError, LeaseRequest, Settled, Settlement};
use std::time::Duration;
use testkit::both;

#[tokio::test]
async fn a_worker_whose_lease_ran_out_cannot_complete_the_task() {
    both(|server| async move {
        let queue = queue_on(&server);
        let id = queue.add(task("x")).await;
        let slow = queue.take_one().await;
        queue.clock.advance(10 * SECOND);
        let fast = queue.take_one().await;
        assert_eq!(fast.lease.task, slow.lease.task);
        assert!(fast.lease.token > slow.lease.token);

        for _ in 0..2 {
            assert!(matches!(queue.ack(&slow.lease, "a", KEEP).await, Err(LeaseError::Lost)));
            assert!(matches!(queue.nack(&slow.lease, Failure::die("a")).await, Err(LeaseError::Lost)));
            assert!(matches!(queue.give_back(&slow.lease).await, Err(LeaseError::Lost)));
            assert!(matches!(queue.extend(&slow.lease, SECOND).await, Err(LeaseError::Lost)));
        }
        queue.audit().await;
        assert_eq!(queue.ack(&fast.lease, "b", KEEP).await.unwrap(), Settled::Succeeded);
        assert!(matches!(queue.ack(&slow.lease, "a", KEEP).await, Err(LeaseError::Lost)));

        let (done, result) = queue.result(id).await.unwrap();
        assert_eq!((done.state, result.as_deref()), (TaskState::Succeeded, Some(&b"b"[..])));
        assert_eq!(queue.stats().await.unwrap().succeeded, 1);
        queue.audit().await;
    })
    .await;
}

#[tokio::test]
async fn a_repeated_ack_gets_the_first_answer_and_counts_once() {
    let queue = queue().await;
    let id = queue.add(task("x")).await;
    let held = queue.take_one().await;

    assert_eq!(queue.ack(&held.lease, "first", KEEP).await.unwrap(), Settled::Succeeded);
    assert_eq!(queue.ack(&held.lease, "second", KEEP).await.unwrap(), Settled::Succeeded);

    assert_eq!(queue.result(id).await.unwrap().1.unwrap(), "first");
    assert_eq!(queue.stats().await.unwrap().succeeded, 1);
    queue.audit().await;
}

#[tokio::test]
async fn a_repeated_nack_or_give_back_gets_the_first_answer_and_counts_once() {
    let queue = queue().await;
    for (failure, first) in
        [(Some(Failure::retry_after("x", SECOND)), Settled::Retrying), (None, Settled::Ready)]
    {
        let id = queue.add(task("x")).await;
        let held = queue.take_one().await;
        for _ in 0..3 {
            let answer = match &failure {
                Some(failure) => queue.nack(&held.lease, failure.clone()).await,
                None => queue.give_back(&held.lease).await,
            };
            assert_eq!(answer.unwrap(), first);
        }
        let found = queue.get(id).await.unwrap();
        assert_eq!(found.attempts, u8::from(failure.is_some()));
        queue.cancel(id).await.unwrap();
    }
    queue.audit().await;
}

#[tokio::test]
async fn two_ends_of_one_lease_in_one_call_are_one_end() {
    let queue = queue().await;
    queue.add(task("x")).await;
    let lease = queue.take_one().await.lease;
    let ack = || Settlement { lease, end: End::Ack { result: "r".into(), keep: KEEP } };

    let answers = queue.settle(&[ack(), ack()]).await.unwrap();

    assert!(answers.into_iter().all(|answer| answer.unwrap() == Settled::Succeeded));
    assert_eq!(queue.stats().await.unwrap().succeeded, 1);
    queue.audit().await;
}

#[tokio::test]
async fn a_late_ack_is_fine_while_nobody_has_taken_the_task_back() {
    let queue = queue().await;
    queue.add(task("x")).await;
    let held = queue.take_one().await;
    queue.clock.advance(60 * SECOND);

    assert_eq!(queue.ack(&held.lease, "", KEEP).await.unwrap(), Settled::Succeeded);
}

#[tokio::test]
async fn an_extended_lease_holds_longer() {
    let queue = queue().await;
    queue.add(task("x")).await;
    let held = queue.take_one().await;
    queue.clock.advance(9 * SECOND);
    let ends_at = queue.extend(&held.lease, 10 * SECOND).await.unwrap();
    assert_eq!(ends_at, queue.clock.now() + 10 * SECOND);

    queue.clock.advance(9 * SECOND);
    assert!(queue.take(1).await.is_empty());
    queue.clock.advance(SECOND);
    assert_eq!(queue.take(1).await.len(), 1);
    queue.audit().await;
}

#[tokio::test]
async fn a_dead_workers_tasks_are_back_at_the_end_of_their_lease_and_the_crash_is_counted() {
    let queue = queue().await;
    let id = queue.add(task("x")).await;
    let request = LeaseRequest { worker: worker("victim:1"), ..up_to(1) };
    let held = queue.lease(&request).await.unwrap().tasks.pop().unwrap();
    let holder = queue.get(id).await.unwrap().lease.unwrap();
    assert_eq!((holder.token, holder.worker.as_str()), (held.lease.token, "victim:1"));
    assert_eq!(holder.ends_at, Some(held.ends_at));

    queue.clock.advance(10 * SECOND - Duration::from_millis(1));
    queue.tick().await.unwrap();
    assert_eq!(queue.get(id).await.unwrap().state, TaskState::Leased);
    queue.clock.advance(Duration::from_millis(1));
    let ticked = queue.tick().await.unwrap();

    let found = queue.get(id).await.unwrap();
    assert_eq!((found.state, found.crashes, found.attempts), (TaskState::Ready, 1, 0));
    assert_eq!(found.errors[0].message, "lease lost by victim:1");
    assert_eq!(ticked.next, Some(Duration::ZERO));
    queue.audit().await;
}

#[tokio::test]
async fn the_third_crash_makes_a_task_dead_and_delays_no_other() {
    let queue = queue().await;
    let poison = queue.add(task("poison")).await;
    for crash in 1..=3 {
        assert_eq!(queue.take_one().await.task.crashes, crash - 1);
        queue.clock.advance(10 * SECOND);
    }
    queue.add(task("good")).await;

    assert_eq!(queue.payloads(9).await, ["good"]);
    let found = queue.get(poison).await.unwrap();
    assert_eq!((found.state, found.crashes, found.attempts), (TaskState::Dead, 3, 0));
    assert_eq!(found.reason.as_deref(), Some("crashed"));
    assert_eq!(found.lease.unwrap().worker, worker("w"));
    queue.audit().await;
}

#[tokio::test]
async fn a_token_grows_also_when_the_clock_steps_back() {
    let queue = queue().await;
    queue.add_all((0..3).map(|_| task("x")).collect()).await;
    let first = queue.take_one().await.lease.token;
    queue.clock.set(Timestamp::from_millis(1_700_000_000_000));
    let second = queue.take_one().await.lease.token;
    let third = queue.take_one().await.lease.token;
    assert!(first < second && second < third);
}

#[tokio::test]
async fn an_unknown_task_is_gone_and_not_lost() {
    let queue = queue().await;
    queue.add(task("x")).await;
    let mut lease = queue.take_one().await.lease;
    lease.task.number = 999;
    assert!(matches!(queue.ack(&lease, "", KEEP).await, Err(LeaseError::Gone)));
    assert!(matches!(queue.extend(&lease, SECOND).await, Err(LeaseError::Gone)));
}

#[tokio::test]
async fn a_lease_call_whose_caller_went_away_gives_its_tasks_back() {
    let queue = queue().await;
    queue.add(task("x")).await;
    let request = up_to(1);
    // Polled once, so that it is under way; then dropped.
    let mut call = Box::pin(queue.lease(&request));
    assert!(futures_util::poll!(&mut call).is_pending());
    drop(call);
    queue.queues.close().await;

    let found = queue.take_one().await.task;
    assert_eq!((found.attempts, found.crashes), (0, 0));
    queue.audit().await;
}

#[tokio::test]
async fn one_call_ends_tasks_and_takes_the_next() {
    both(|server| async move {
        let queue = queue_on(&server);
        let all = queue.add_all((0..6).map(|n| task(&n.to_string())).collect()).await;
        let held = queue.take(4).await;
        let ends = vec![
            Settlement { lease: held[0].lease, end: End::Ack { result: "r".into(), keep: KEEP } },
            Settlement { lease: held[1].lease, end: End::Nack(Failure::retry_after("later", SECOND)) },
            Settlement { lease: held[2].lease, end: End::Nack(Failure::die("no")) },
            Settlement { lease: held[3].lease, end: End::GiveBack },
        ];

        let (settled, leased) = queue.settle_and_lease(&ends, &up_to(9)).await.unwrap();

        let settled: Vec<_> = settled.into_iter().map(Result::unwrap).collect();
        assert_eq!(settled, [Settled::Succeeded, Settled::Retrying, Settled::Dead, Settled::Ready]);
        assert_eq!(crate::support::payloads(&leased.tasks), ["3", "4", "5"]);
        assert_eq!(leased.next, Some(SECOND));
        let ids: Vec<_> = all.iter().map(|enqueued| enqueued.id).collect();
        let states: Vec<_> =
            queue.get_many(&ids).await.unwrap().into_iter().map(|t| t.unwrap().state).collect();
        use TaskState::{Dead, Leased, Retrying, Succeeded};
        assert_eq!(states, [Succeeded, Retrying, Dead, Leased, Leased, Leased]);
        queue.audit().await;
    })
    .await;
}

#[tokio::test]
async fn who_says_something_else_than_before_is_late_and_no_repeat() {
    let queue = queue().await;
    let id = queue.add(task("x")).await;
    let returned = queue.take_one().await;
    queue.give_back(&returned.lease).await.unwrap();
    let held = queue.take_one().await;
    assert_eq!(held.lease.task, id);

    assert!(matches!(queue.ack(&returned.lease, "a", KEEP).await, Err(LeaseError::Lost)));
    assert!(matches!(queue.nack(&returned.lease, Failure::retry("a")).await, Err(LeaseError::Lost)));
    assert_eq!(queue.give_back(&returned.lease).await.unwrap(), Settled::Ready);

    queue.ack(&held.lease, "b", KEEP).await.unwrap();
    assert!(matches!(queue.nack(&held.lease, Failure::die("b")).await, Err(LeaseError::Lost)));
    assert!(matches!(queue.give_back(&held.lease).await, Err(LeaseError::Lost)));
    assert_eq!(queue.result(id).await.unwrap().1.unwrap(), "b");
    queue.audit().await;
}

#[tokio::test]
async fn a_task_is_shown_once_its_holder_says_so_and_only_then() {
    both(|server| async move {
        let queue = queue_on(&server);
        let id = queue.add(task("x")).await;
        let lost = queue.take_one().await;
        queue.clock.advance(10 * SECOND);
        let held = queue.take_one().await;

        assert!(matches!(queue.show(&lost.lease).await, Err(LeaseError::Lost)));
        assert!(!queue.get(id).await.unwrap().progress);
        for _ in 0..2 {
            let shown = queue.show(&held.lease).await.unwrap();
            assert_eq!((shown.id, shown.state, shown.progress), (id, TaskState::Leased, true));
        }
        let task = queue.get(id).await.unwrap();
        assert_eq!((task.progress, task.crashes, &task.payload[..]), (true, 1, &b"x"[..]));

        queue.ack(&held.lease, "", KEEP).await.unwrap();
        assert!(queue.get(id).await.unwrap().progress, "also after its end");
        assert!(matches!(queue.show(&held.lease).await, Err(LeaseError::Lost)));
        queue.audit().await;
    })
    .await;
}
