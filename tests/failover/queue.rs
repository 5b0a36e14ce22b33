//! Tasks that are enqueued, and each done once.

use crate::{LONG, Life, expected};
use domain::{TaskId, TaskState};
use futures_util::future::join_all;
use queue::{LeaseError, LeaseRequest, NewTask, Queue, Queues, QueuesOptions, Settled};
use redis_core::Redis;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub(crate) async fn work(redis: &Redis, life: &Life) {
    let queues = Queues::new(redis.clone(), QueuesOptions::default());
    let stop = CancellationToken::new();
    let tending = queues.tend(stop.clone());
    let working = async {
        join_all((0..4).map(|number| one(queues.of(&format!("q{number}").parse().unwrap()), life))).await;
        stop.cancel();
    };
    tokio::join!(tending, working);
}

async fn one(queue: Queue, life: &Life) {
    let (entered, done) = (RefCell::new(Vec::new()), RefCell::new(BTreeMap::new()));
    let all_entered = Cell::new(false);
    let producer = async {
        for number in 0.. {
            let is_last = life.is_over();
            let mut task = NewTask::new(number.to_string());
            task.idempotency_key = Some(format!("key-{number}").parse().unwrap());
            let id = life.insist(async || queue.enqueue(task.clone()).await).await.id;
            entered.borrow_mut().push(id);
            if is_last {
                all_entered.set(true);
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let consumer = async {
        // An answer that is lost strands its tasks until their lease is over.
        let request = LeaseRequest { worker: "w".parse().unwrap(), max: 10, lease: Duration::from_secs(1) };
        loop {
            let ids = entered.borrow().clone();
            if all_entered.get() && are_done(&queue, &ids, life).await {
                return;
            }
            match queue.lease_within(&request, Duration::from_millis(200)).await {
                Ok(batch) => {
                    for leased in batch.tasks {
                        let acknowledged =
                            life.insist(async || match queue.ack(&leased.lease, "", LONG).await {
                                Ok(settled) => Ok(settled == Settled::Succeeded),
                                Err(LeaseError::Lost | LeaseError::Gone) => Ok(false),
                                Err(error) => Err(error),
                            });
                        if acknowledged.await {
                            *done.borrow_mut().entry(leased.task.id).or_insert(0) += 1;
                        }
                    }
                }
                Err(error) => expected(&error),
            }
        }
    };
    tokio::join!(producer, consumer);
    if life.lossless {
        for id in entered.borrow().iter() {
            assert_eq!(done.borrow().get(id), Some(&1), "task {id}");
        }
    }
}

/// Whether each has ended; where a primary died, it may not be known any more.
async fn are_done(queue: &Queue, ids: &[TaskId], life: &Life) -> bool {
    for some in ids.chunks(100) {
        match queue.get_many(some).await {
            Ok(tasks) => {
                let is_done = |task: &Option<queue::Task>| match task {
                    Some(task) => task.state == TaskState::Succeeded,
                    None => !life.lossless,
                };
                if !tasks.iter().all(is_done) {
                    return false;
                }
            }
            Err(error) => {
                expected(&error);
                return false;
            }
        }
    }
    true
}
