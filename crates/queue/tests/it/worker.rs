//! The worker runtime, on the clock of Redis.

use crate::support::{KEEP, SECOND, SOON, task, worker};
use bytes::Bytes;
use domain::{QueueName, TaskId, TaskState};
use futures_util::future::BoxFuture;
use queue::{
    Context, Done, Failure, Handler, Left, NewTask, Queue, Queues, QueuesOptions, Report, Reporter, Subject,
    Task, Update, Worker, WorkerOptions,
};
use redis_core::{Redis, RedisConfig};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::{RedisServer, both, until};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What the payload says: `ok`, `fail`, `die`, `panic`, `hang`, `gate` (waits for the test), `later`, `report`.
#[derive(Clone)]
struct Scripted {
    gate: Arc<Semaphore>,
    /// How often each payload was begun.
    begun: Arc<Mutex<HashMap<String, usize>>>,
    told_to_stop: CancellationToken,
}

impl Scripted {
    fn new() -> Self {
        Self {
            gate: Arc::new(Semaphore::new(0)),
            begun: Arc::default(),
            told_to_stop: CancellationToken::new(),
        }
    }

    fn begun(&self, what: &str) -> usize {
        self.begun.lock().unwrap().get(what).copied().unwrap_or(0)
    }
}

impl Handler for Scripted {
    type Payload = String;

    async fn handle(&self, payload: String, context: Context) -> Result<Done, Failure> {
        *self.begun.lock().unwrap().entry(payload.clone()).or_default() += 1;
        match payload.as_str() {
            "fail" => Err(Failure::retry_after("no", Duration::ZERO)),
            "die" => Err(Failure::die("never")),
            "panic" => panic!("a bug"),
            "hang" => std::future::pending().await,
            "parse" => Ok(Bytes::from("x".parse::<u8>().map(|n| n.to_string())?).into()),
            "later" => Ok(Done::Later),
            "gate" => tokio::select! {
                _ = self.gate.acquire() => Ok(Bytes::from("through").into()),
                () = context.cancelled().cancelled() => {
                    self.told_to_stop.cancel();
                    Err(Failure::retry("told to stop"))
                }
            },
            "report" => {
                context.progress(Update { percent: Some(50.0), ..Update::default() }).await;
                Ok(().into())
            }
            other => Ok(Bytes::from(other.to_owned()).into()),
        }
    }
}

struct Stand {
    queue: Queue,
    handler: Scripted,
    stop: CancellationToken,
    workers: JoinSet<()>,
    server: RedisServer,
}

impl Stand {
    async fn start(options: impl FnOnce(&mut WorkerOptions)) -> Self {
        let mut stand = Self::on(RedisServer::start().await);
        stand.work("one", options, None);
        stand
    }

    fn on(server: RedisServer) -> Self {
        let redis = Redis::connect(&RedisConfig::at(server.url()));
        let queue = Queues::new(redis, QueuesOptions::default()).of(&"work".parse().unwrap());
        let (handler, stop) = (Scripted::new(), CancellationToken::new());
        Self { queue, handler, stop, workers: JoinSet::new(), server }
    }

    fn work(
        &mut self,
        name: &str,
        options: impl FnOnce(&mut WorkerOptions),
        reporter: Option<Arc<dyn Reporter>>,
    ) -> tokio::task::AbortHandle {
        let mut chosen = WorkerOptions { lease: SECOND, ..WorkerOptions::new(worker(name)) };
        options(&mut chosen);
        let mut worker = Worker::new(self.queue.clone(), self.handler.clone(), chosen);
        if let Some(reporter) = reporter {
            worker = worker.with_reporter(reporter);
        }
        self.workers.spawn(worker.run(self.stop.clone()))
    }

    async fn add(&self, what: &str) -> TaskId {
        self.queue.enqueue(json(what)).await.unwrap().id
    }

    async fn ended(&self, id: TaskId) -> (TaskState, Option<Bytes>) {
        let (task, result) = self.queue.wait(id, SOON).await.unwrap();
        assert!(task.state.is_final(), "{task:?}");
        (task.state, result)
    }

    async fn stopped(mut self) {
        self.stop.cancel();
        while let Some(joined) = self.workers.join_next().await {
            joined.unwrap();
        }
    }
}

fn json(what: &str) -> NewTask {
    task(&serde_json::to_string(what).unwrap())
}

#[tokio::test]
async fn a_task_runs_and_its_result_can_be_read() {
    both(|server| async {
        let mut stand = Stand::on(server);
        stand.work("one", |_| (), None);
        let id = stand.add("hello").await;
        assert_eq!(stand.ended(id).await, (TaskState::Succeeded, Some("hello".into())));
        stand.stopped().await;
    })
    .await;
}

#[tokio::test]
async fn an_idle_worker_is_woken_by_an_enqueue() {
    let stand = Stand::start(|_| ()).await;
    let all = async {
        // One after the other: by its timer alone, a second each, the worker would need over half a minute.
        for n in 0..40 {
            let id = stand.add(&n.to_string()).await;
            stand.ended(id).await;
        }
    };
    tokio::time::timeout(SOON, all).await.expect("woken each time");
    stand.stopped().await;
}

#[tokio::test]
async fn a_delayed_task_wakes_an_idle_worker_at_its_moment() {
    let stand = Stand::start(|_| ()).await;
    stand.ended(stand.add("first").await).await;
    let all = async {
        for n in 0..40 {
            let start = queue::Start::After(Duration::from_millis(20));
            let id = stand.queue.enqueue(NewTask { start, ..json(&n.to_string()) }).await.unwrap().id;
            stand.ended(id).await;
        }
    };
    tokio::time::timeout(SOON, all).await.expect("each at its moment");
    stand.stopped().await;
}

#[tokio::test]
async fn a_panic_a_hang_and_a_bad_payload_hurt_no_other_task() {
    let stand = Stand::start(|options| options.slots = 4).await;
    let hang = NewTask { timeout: Some(Duration::from_millis(50)), max_attempts: 1, ..json("hang") };
    let hang = stand.queue.enqueue(hang).await.unwrap().id;
    let panic = stand.queue.enqueue(NewTask { max_attempts: 1, ..json("panic") }).await.unwrap().id;
    let parse = stand.queue.enqueue(NewTask { max_attempts: 1, ..json("parse") }).await.unwrap().id;
    let bad = stand.queue.enqueue(task("{\"no\": \"string\"}")).await.unwrap().id;
    for n in 0..50 {
        let id = stand.add(&n.to_string()).await;
        assert_eq!(stand.ended(id).await.0, TaskState::Succeeded);
    }
    for (id, reason, message) in [
        (hang, "attempts", "no end within 50 ms"),
        (panic, "attempts", "the handler panicked: a bug"),
        (parse, "attempts", "invalid digit found in string"),
        (bad, "not-retryable", "the payload is not what the handler expects"),
    ] {
        assert_eq!(stand.ended(id).await.0, TaskState::Dead);
        let found = stand.queue.get(id).await.unwrap();
        assert_eq!(found.reason.as_deref(), Some(reason), "{message}");
        assert!(found.errors[0].message.starts_with(message), "{:?}", found.errors);
    }
    stand.stopped().await;
}

#[tokio::test]
async fn a_failing_task_is_tried_three_times() {
    let stand = Stand::start(|_| ()).await;
    let id = stand.add("fail").await;
    assert_eq!(stand.ended(id).await.0, TaskState::Dead);
    assert_eq!(stand.handler.begun("fail"), 3);
    stand.stopped().await;
}

#[tokio::test]
async fn heartbeats_hold_a_lease_for_as_long_as_the_task_runs() {
    let stand = Stand::start(|_| ()).await;
    let id = stand.add("gate").await;
    let ends_at = async || stand.queue.get(id).await.unwrap().lease.and_then(|holder| holder.ends_at);
    let first = until(&ends_at, SOON).await;
    // Over two whole leases later it is still the same attempt.
    until(async || ends_at().await.is_some_and(|now| now > first + 2 * SECOND), SOON).await;
    stand.handler.gate.add_permits(1);
    assert_eq!(stand.ended(id).await.0, TaskState::Succeeded);
    assert_eq!(stand.handler.begun("gate"), 1);
    stand.stopped().await;
}

#[tokio::test]
async fn cancelling_a_running_task_tells_its_handler() {
    let stand = Stand::start(|options| options.lease = 600 * SECOND).await;
    let id = stand.add("gate").await;
    until(async || stand.handler.begun("gate") == 1, SOON).await;
    stand.queue.cancel(id).await.unwrap();
    // Not by a heartbeat, which would come after 200 s.
    until(async || stand.handler.told_to_stop.is_cancelled(), SOON).await;
    stand.ended(stand.add("next").await).await;
    assert_eq!(stand.queue.get(id).await.unwrap().state, TaskState::Cancelled);
    stand.stopped().await;
}

#[tokio::test]
async fn a_stopping_worker_lets_tasks_finish_within_the_grace() {
    let stand = Stand::start(|_| ()).await;
    let id = stand.add("gate").await;
    until(async || stand.handler.begun("gate") == 1, SOON).await;
    stand.stop.cancel();
    let waiting = stand.add("not begun").await;
    stand.handler.gate.add_permits(1);
    assert_eq!(stand.ended(id).await.0, TaskState::Succeeded);
    let queue = stand.queue.clone();
    let _server = stand.stopped_but_not_redis().await;
    assert_eq!(queue.get(waiting).await.unwrap().state, TaskState::Ready);
}

#[tokio::test]
async fn after_the_grace_tasks_are_given_back_without_costing_an_attempt() {
    let stand = Stand::start(|options| {
        options.grace = Duration::ZERO;
        options.lease = 600 * SECOND;
    })
    .await;
    let (polite, stubborn) = (stand.add("gate").await, stand.add("hang").await);
    until(async || stand.handler.begun("gate") + stand.handler.begun("hang") == 2, SOON).await;
    let queue = stand.queue.clone();
    let _server = stand.stopped_but_not_redis().await;
    for id in [polite, stubborn] {
        let found = queue.get(id).await.unwrap();
        assert_eq!((found.state, found.attempts, found.crashes), (TaskState::Ready, 0, 0));
    }
}

impl Stand {
    /// Stops the workers, and hands out the server to look at what they left.
    async fn stopped_but_not_redis(self) -> RedisServer {
        let Self { stop, mut workers, server, .. } = self;
        stop.cancel();
        while let Some(joined) = workers.join_next().await {
            joined.unwrap();
        }
        server
    }
}

#[tokio::test]
async fn several_workers_lose_nothing_when_one_is_killed() {
    let mut stand = Stand::on(RedisServer::start().await);
    let victim = stand.work("victim", |options| options.slots = 8, None);
    let gate = stand.add("gate").await;
    until(async || stand.handler.begun("gate") == 1, SOON).await;
    for name in ["a", "b"] {
        stand.work(name, |options| options.slots = 8, None);
    }
    let all: Vec<_> = (0..500).map(|n| json(&n.to_string())).collect();
    let ids: Vec<_> =
        stand.queue.enqueue_all(all).await.unwrap().iter().map(|enqueued| enqueued.id).collect();
    victim.abort();

    // The killed worker's tasks are back after their lease of a second.
    until(async || stand.handler.begun("gate") == 2, SOON).await;
    stand.handler.gate.add_permits(1);
    assert_eq!(stand.ended(gate).await, (TaskState::Succeeded, Some("through".into())));
    assert_eq!(stand.queue.get(gate).await.unwrap().crashes, 1);
    for id in ids {
        assert_eq!(stand.ended(id).await.0, TaskState::Succeeded);
    }
    let stats = stand.queue.stats().await.unwrap();
    assert_eq!((stats.succeeded, stats.ready, stats.leased), (501, 0, 0));
    while let Some(joined) = stand.workers.join_next().await {
        stand.stop.cancel();
        assert!(joined.is_ok() || joined.unwrap_err().is_cancelled());
    }
}

#[tokio::test]
async fn a_worker_delivers_what_it_finished_while_redis_was_away() {
    let mut stand = Stand::on(RedisServer::persistent().await);
    stand.work("one", |options| options.lease = 600 * SECOND, None);
    let id = stand.add("gate").await;
    until(async || stand.handler.begun("gate") == 1, SOON).await;
    stand.server.kill();
    stand.handler.gate.add_permits(1);
    stand.server.restart().await;

    let state = async || stand.queue.get(id).await.is_ok_and(|task| task.state == TaskState::Succeeded);
    until(state, SOON).await;
    assert_eq!(stand.handler.begun("gate"), 1);
    // It goes on, too.
    let next = until(async || stand.queue.enqueue(json("next")).await.ok(), SOON).await.id;
    until(async || stand.queue.get(next).await.is_ok_and(|task| task.state.is_final()), SOON).await;
    stand.stopped().await;
}

#[tokio::test]
async fn a_task_that_is_ended_later_stays_leased_until_somebody_ends_it() {
    let stand = Stand::start(|options| options.lease = 600 * SECOND).await;
    let id = stand.add("later").await;
    until(async || stand.handler.begun("later") == 1, SOON).await;
    stand.ended(stand.add("another").await).await;
    let holder = stand.queue.get(id).await.unwrap().lease.unwrap();
    let lease = queue::Lease { task: id, token: holder.token };
    stand.queue.ack(&lease, "by another hand", KEEP).await.unwrap();
    assert_eq!(stand.ended(id).await, (TaskState::Succeeded, Some("by another hand".into())));
    stand.stopped().await;
}

#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<(TaskId, String)>>>);

impl Reporter for Diary {
    fn report(&self, subject: Subject, report: Report) -> BoxFuture<'static, ()> {
        let line = match report {
            Report::Leased => "leased".to_owned(),
            Report::Planned(steps) => format!("{} steps", steps.len()),
            Report::Updated(update) => format!("{}%", update.percent.unwrap_or_default()),
            Report::Left(Left::Succeeded) => "succeeded".to_owned(),
            Report::Left(left) => format!("{left:?}"),
        };
        self.0.lock().unwrap().push((subject.task.id, line));
        Box::pin(async {})
    }

    fn ended(&self, _: QueueName, task: Task) -> BoxFuture<'static, ()> {
        self.0.lock().unwrap().push((task.id, "ended".to_owned()));
        Box::pin(async {})
    }
}

#[tokio::test]
async fn the_reporter_hears_of_tasks_that_ask_for_it_or_report_and_of_no_other() {
    let diary = Diary::default();
    let mut stand = Stand::on(RedisServer::start().await);
    stand.work("one", |_| (), Some(Arc::new(diary.clone())));
    let silent = stand.add("silent").await;
    let reporting = stand.add("report").await;
    let asked = stand.queue.enqueue(NewTask { progress: true, ..json("quiet") }).await.unwrap().id;
    for id in [silent, reporting, asked] {
        stand.ended(id).await;
    }
    let lines = |id: TaskId| -> Vec<String> {
        diary.0.lock().unwrap().iter().filter(|(of, _)| *of == id).map(|(_, line)| line.clone()).collect()
    };
    until(async || lines(reporting) == ["leased", "50%", "succeeded"], SOON).await;
    until(async || lines(asked) == ["leased", "succeeded"], SOON).await;
    assert!(lines(silent).is_empty());
    stand.stopped().await;
}
