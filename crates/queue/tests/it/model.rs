//! The engine against a reference model: the plainest correct queue, a `Vec` that is scanned.

use crate::support::{Fixture, KEEP, queue_on, task, up_to};
use domain::{FencingToken, TaskId, TaskState, Timestamp};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use queue::{Failure, Lease, LeaseRequest, MAX_CRASHES, NewTask, OrderOnRetry, Start};
use std::time::Duration;
use testkit::RedisServer;

#[derive(Clone, Debug)]
enum Step {
    Enqueue { priority: u8, lane: usize, delay: u64, expires: Option<u64>, tail: bool },
    Lease { max: usize, seconds: u64 },
    Ack { nth: usize },
    Fail { nth: usize, pause: u64 },
    Die { nth: usize },
    GiveBack { nth: usize },
    Stale { nth: usize },
    Extend { nth: usize },
    Cancel { nth: usize },
    RetryByHand { nth: usize },
    Advance { seconds: u64 },
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    let nth = 0..8_usize;
    prop_oneof![
        6 => (0..3_u8, 0..3_usize, prop_oneof![3 => Just(0), 1 => 1..6_u64], proptest::option::weighted(0.2, 1..20_u64), any::<bool>())
            .prop_map(|(priority, lane, delay, expires, tail)| Step::Enqueue { priority, lane, delay, expires, tail }),
        5 => (1..5_usize, 1..6_u64).prop_map(|(max, seconds)| Step::Lease { max, seconds }),
        2 => nth.clone().prop_map(|nth| Step::Ack { nth }),
        2 => (nth.clone(), 0..4_u64).prop_map(|(nth, pause)| Step::Fail { nth, pause }),
        1 => nth.clone().prop_map(|nth| Step::Die { nth }),
        1 => nth.clone().prop_map(|nth| Step::GiveBack { nth }),
        1 => nth.clone().prop_map(|nth| Step::Stale { nth }),
        1 => nth.clone().prop_map(|nth| Step::Extend { nth }),
        1 => nth.clone().prop_map(|nth| Step::Cancel { nth }),
        1 => nth.prop_map(|nth| Step::RetryByHand { nth }),
        3 => (0..6_u64).prop_map(|seconds| Step::Advance { seconds }),
        2 => Just(Step::Tick),
    ]
}

#[test]
fn any_history_ends_as_the_reference_model_says() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(RedisServer::start());
    let fixture = runtime.block_on(async { queue_on(&server) });
    let mut runner = TestRunner::new(Config { cases: 96, failure_persistence: None, ..Config::default() });
    let steps = proptest::collection::vec(step(), 1..60);
    let outcome = runner.run(&steps, |steps| {
        runtime.block_on(async {
            server.cli(&["FLUSHALL"]).await;
            fixture.clock.set(Timestamp::from_millis(1_800_000_000_000));
            let mut model = Model::default();
            for step in &steps {
                model.apply(&fixture, step).await;
                model.compare(&fixture, step).await?;
            }
            fixture.audit().await;
            Ok(())
        })
    });
    outcome.unwrap();
}

/// A task as the model has it.
#[derive(Clone, Debug)]
struct Known {
    id: TaskId,
    place: u64,
    priority: u8,
    lane: usize,
    tail: bool,
    state: TaskState,
    attempts: u8,
    crashes: u8,
    /// When it is due, or its lease ends.
    at: u64,
    expires: Option<u64>,
    token: FencingToken,
}

#[derive(Default)]
struct Model {
    now: u64,
    /// The counter that numbers and places are drawn from.
    last: u64,
    tasks: Vec<Known>,
    old_leases: Vec<Lease>,
}

impl Model {
    async fn apply(&mut self, queue: &Fixture, step: &Step) {
        match *step {
            Step::Enqueue { priority, lane, delay, expires, tail } => {
                self.last += 1;
                let expires = expires.map(|after| self.now + after);
                let new = NewTask {
                    priority,
                    lane: (lane > 0).then(|| format!("lane{lane}").parse().unwrap()),
                    start: if delay == 0 { Start::Now } else { Start::After(seconds(delay)) },
                    expires_at: expires.map(|at| queue.clock.now() + seconds(at - self.now)),
                    order_on_retry: if tail { OrderOnRetry::Tail } else { OrderOnRetry::Keep },
                    ..task("x")
                };
                let id = queue.add(new).await;
                assert_eq!(id.number, self.last);
                let state = if delay == 0 { TaskState::Ready } else { TaskState::Scheduled };
                let (at, place, token) = (self.now + delay, self.last, FencingToken::default());
                let known = Known {
                    id,
                    place,
                    priority,
                    lane,
                    tail,
                    state,
                    attempts: 0,
                    crashes: 0,
                    at,
                    expires,
                    token,
                };
                self.tasks.push(known);
            }
            Step::Lease { max, seconds: length } => {
                self.time_brings();
                let request = LeaseRequest { lease: seconds(length), ..up_to(max) };
                let leased = queue.lease(&request).await.unwrap().tasks;
                let waiting = self.startable().count();
                assert_eq!(leased.len(), waiting.min(max), "as many as asked for, or all");
                for leased in leased {
                    let id = leased.lease.task;
                    let best = self.startable().map(|task| task.priority).min().expect("there is one");
                    let chosen = self.startable().find(|task| task.id == id).expect("it was ready").clone();
                    assert_eq!(chosen.priority, best, "{id} was not of the best priority");
                    let lane =
                        self.startable().filter(|task| (task.priority, task.lane) == (best, chosen.lane));
                    assert_eq!(
                        lane.map(|task| task.place).min(),
                        Some(chosen.place),
                        "{id} was not the first of its lane"
                    );
                    let now = self.now;
                    let task = self.get(id);
                    assert!(leased.lease.token > task.token, "the token of {id} grew");
                    (task.state, task.at, task.token) = (TaskState::Leased, now + length, leased.lease.token);
                }
            }
            Step::Ack { nth } => {
                let Some(lease) = self.leased(nth) else { return };
                queue.ack(&lease, "result", KEEP).await.unwrap();
                self.end(lease, TaskState::Succeeded);
            }
            Step::Fail { nth, pause } => {
                let Some(lease) = self.leased(nth) else { return };
                queue.nack(&lease, Failure::retry_after("x", seconds(pause))).await.unwrap();
                let at = self.now + pause;
                let task = self.end(lease, TaskState::Retrying);
                (task.attempts, task.at) = (task.attempts + 1, at);
                if task.attempts == 3 {
                    task.state = TaskState::Dead;
                }
            }
            Step::Die { nth } => {
                let Some(lease) = self.leased(nth) else { return };
                queue.nack(&lease, Failure::die("x")).await.unwrap();
                self.end(lease, TaskState::Dead).attempts += 1;
            }
            Step::GiveBack { nth } => {
                let Some(lease) = self.leased(nth) else { return };
                queue.give_back(&lease).await.unwrap();
                self.end(lease, TaskState::Ready);
            }
            Step::Stale { nth } => {
                let Some(lease) = self.old_leases.get(nth).copied() else { return };
                // Whatever it answers (a repeat gets its first answer): nothing may change.
                drop(queue.give_back(&lease).await);
                drop(queue.nack(&lease, Failure::die("stale")).await);
            }
            Step::Extend { nth } => {
                let Some(lease) = self.leased(nth) else { return };
                queue.extend(&lease, seconds(5)).await.unwrap();
                let ends = self.now + 5;
                self.get(lease.task).at = ends;
            }
            Step::Cancel { nth } => {
                let Some(task) = self.tasks.get_mut(nth) else { return };
                let cancelled = queue.cancel(task.id).await;
                if task.state != TaskState::Cancelled {
                    assert_eq!(cancelled.is_ok(), !task.state.is_final(), "{task:?}");
                }
                if !task.state.is_final() {
                    task.state = TaskState::Cancelled;
                }
            }
            Step::RetryByHand { nth } => {
                let Some(task) = self.tasks.get_mut(nth) else { return };
                let retried = queue.retry(task.id).await;
                assert_eq!(retried.is_ok(), task.state == TaskState::Dead, "{task:?}");
                if task.state == TaskState::Dead {
                    self.last += 1;
                    (task.state, task.place, task.attempts, task.crashes) =
                        (TaskState::Ready, self.last, 0, 0);
                }
            }
            Step::Advance { seconds: by } => {
                self.now += by;
                queue.clock.advance(seconds(by));
            }
            Step::Tick => {
                queue.tick().await.unwrap();
                self.time_brings();
            }
        }
    }

    /// Redis and the model have the same tasks in the same states, with the same counts.
    async fn compare(&mut self, queue: &Fixture, step: &Step) -> Result<(), TestCaseError> {
        let ids: Vec<_> = self.tasks.iter().map(|task| task.id).collect();
        let found = queue.get_many(&ids).await.unwrap();
        let now = self.now;
        for (task, found) in self.tasks.iter_mut().zip(found) {
            let found = found.expect("outcomes are kept for an hour");
            // An expired task that waits is ended when somebody meets it: at the latest by a tick or a lease.
            let over = task.expires.is_some_and(|expires| expires <= now);
            let waits = matches!(task.state, TaskState::Ready | TaskState::Scheduled | TaskState::Retrying);
            if over && waits && found.state == TaskState::Cancelled {
                task.state = TaskState::Cancelled;
            }
            proptest::prop_assert_eq!(
                (found.state, found.attempts, found.crashes),
                (task.state, task.attempts, task.crashes),
                "task {} after {:?} at {}",
                task.id,
                step,
                now
            );
        }
        Ok(())
    }

    /// Scheduled, then retrying, then lost: as every script does it.
    fn time_brings(&mut self) {
        let now = self.now;
        let due = |tasks: &[Known], state: TaskState| {
            let mut due: Vec<_> =
                (0..tasks.len()).filter(|&n| tasks[n].state == state && tasks[n].at <= now).collect();
            due.sort_by_key(|&n| (tasks[n].at, tasks[n].id.number));
            due
        };
        for n in due(&self.tasks, TaskState::Scheduled) {
            self.last += 1;
            (self.tasks[n].state, self.tasks[n].place) = (TaskState::Ready, self.last);
        }
        for n in due(&self.tasks, TaskState::Retrying) {
            self.tasks[n].state = TaskState::Ready;
            if self.tasks[n].tail {
                self.last += 1;
                self.tasks[n].place = self.last;
            }
        }
        for n in due(&self.tasks, TaskState::Leased) {
            let task = &mut self.tasks[n];
            self.old_leases.push(Lease { task: task.id, token: task.token });
            task.crashes += 1;
            task.state = if task.crashes == MAX_CRASHES { TaskState::Dead } else { TaskState::Ready };
        }
    }

    fn startable(&self) -> impl Iterator<Item = &Known> {
        self.tasks.iter().filter(|task| {
            task.state == TaskState::Ready && task.expires.is_none_or(|expires| expires > self.now)
        })
    }

    fn leased(&self, nth: usize) -> Option<Lease> {
        let mut held = self.tasks.iter().filter(|task| task.state == TaskState::Leased);
        held.nth(nth).map(|task| Lease { task: task.id, token: task.token })
    }

    fn end(&mut self, lease: Lease, state: TaskState) -> &mut Known {
        self.old_leases.push(lease);
        let task = self.get(lease.task);
        task.state = state;
        task
    }

    fn get(&mut self, id: TaskId) -> &mut Known {
        self.tasks.iter_mut().find(|task| task.id == id).expect("a task that the model knows")
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
