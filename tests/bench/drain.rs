//! How fast one worker process drains a queue, against a peer that drains its own.
//!
//! Timed from the first finished task that Redis shows to the last. Both keep a record of each finished task.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use queue::{MAX_BATCH_TASKS, NewTask, Queue};
use testkit::{Proxy, RedisServer, Service};

use crate::Plan;
use crate::cases::TASK_BYTES;
use crate::judge::Goal;
use crate::peers::{Peer, bullmq};
use crate::report::{Case, Measure, Repetition, Side, Wire};
use crate::request::noise;
use crate::stage::{Counted, Look, Settings, redis};
use crate::worker::queue_at;

/// Counts both, then drains in turns.
pub(crate) async fn run((name, goal): (&str, Goal), plan: &Plan) -> anyhow::Result<Case> {
    let peer = bullmq::peer(&plan.peers())?;
    let (ours, theirs) = (Drainer::Ours, Drainer::Peer(&peer));
    let mut sides = [ours.counted(plan).await?, theirs.counted(plan).await?];
    for _ in 0..plan.repetitions {
        for (side, drainer) in sides.iter_mut().zip([ours, theirs]) {
            side.repetitions.push(drainer.timed(plan).await.context(drainer.name())?);
        }
    }
    let [ours, reference] = sides;
    let measure = Measure::Throughput;
    Ok(Case { name: name.to_owned(), measure, goal, ours, reference: Some(reference) })
}

#[derive(Clone, Copy)]
enum Drainer<'a> {
    Ours,
    Peer(&'a Peer),
}

impl Drainer<'_> {
    fn name(self) -> String {
        match self {
            Self::Ours => "Sluice, one worker".to_owned(),
            Self::Peer(peer) => peer.name.clone(),
        }
    }

    async fn timed(self, plan: &Plan) -> anyhow::Result<Repetition> {
        let redis = redis().await;
        let settings = Settings::new(redis.url(), plan.workers);
        self.fill(&settings, &redis, plan.tasks).await?;
        let worker = self.start(&settings)?;
        self.watch(&worker, &redis, plan.tasks).await
    }

    /// A side without repetitions yet: what a task costs on the wire, through a proxy, which is never timed.
    async fn counted(self, plan: &Plan) -> anyhow::Result<Side> {
        let redis = redis().await;
        let wire = Proxy::to(&redis).await;
        self.fill(&Settings::new(redis.url(), plan.workers), &redis, COUNTED).await?;
        let before = Counted::now(&wire, &redis).await;
        let worker = self.start(&Settings::new(wire.url(), plan.workers))?;
        let drained = self.watch(&worker, &redis, COUNTED).await;
        drained.with_context(|| self.name())?;
        let wire: Wire = before.per_operation(&wire, &redis, u64::try_from(COUNTED)?).await;
        Ok(Side { name: self.name(), repetitions: Vec::new(), latencies: Vec::new(), wire })
    }

    /// Puts the tasks there, with what each side calls a batch.
    async fn fill(self, settings: &Settings, redis: &RedisServer, tasks: usize) -> anyhow::Result<()> {
        match self {
            Self::Ours => {
                let (_, queue) = queue_at(redis.url())?;
                for from in (0..tasks).step_by(MAX_BATCH_TASKS) {
                    let batch =
                        (from..tasks.min(from + MAX_BATCH_TASKS)).map(task).collect::<Result<_, _>>()?;
                    queue.enqueue_all(batch).await?;
                }
            }
            Self::Peer(peer) => {
                let mut producer = settings.peer(peer, &["enqueue", &tasks.to_string()])?;
                let code = producer.wait_for_end().await;
                ensure!(code == 0, "the producer ended with {code}:\n{}", producer.log());
            }
        }
        Ok(())
    }

    fn start(self, settings: &Settings) -> anyhow::Result<Service> {
        match self {
            Self::Ours => settings.spawn_own(&["worker"]),
            Self::Peer(peer) => settings.peer(peer, &["work"]),
        }
    }

    /// From the first finished task to the last.
    async fn watch(self, worker: &Service, redis: &RedisServer, tasks: usize) -> anyhow::Result<Repetition> {
        let tasks = u64::try_from(tasks)?;
        let (_, queue) = queue_at(redis.url())?;
        let look = || Look::at(worker.pid(), redis.pid());
        let started = Instant::now();
        let mut first = None;
        loop {
            let finished = self.finished(&queue, redis).await?;
            let now = Instant::now();
            match first {
                None if finished > 0 => first = Some((finished, now, look()?)),
                Some((before, begin, at_begin)) if finished >= tasks => {
                    ensure!(
                        before * 5 < tasks,
                        "{before} of {tasks} tasks were done at first sight: take more"
                    );
                    let seconds = (now - begin).as_secs_f64();
                    return Ok(at_begin.until(look()?, finished - before, seconds));
                }
                _ if started.elapsed() > DEADLINE => {
                    bail!(
                        "{finished} of {tasks} tasks after {DEADLINE:?}; the worker's log:\n{}",
                        worker.log()
                    )
                }
                _ => {}
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Tasks whose end is recorded in Redis.
    async fn finished(self, queue: &Queue, redis: &RedisServer) -> anyhow::Result<u64> {
        Ok(match self {
            Self::Ours => queue.stats().await?.done,
            Self::Peer(_) => redis.cli(&["ZCARD", "bull:bench:completed"]).await.parse()?,
        })
    }
}

/// What the peer's jobs carry too.
fn task(number: usize) -> anyhow::Result<NewTask> {
    Ok(NewTask {
        correlation: Some(format!("01900000-0000-7000-8000-{number:012x}").parse()?),
        traceparent: Some(format!("00-{:032x}-{:016x}-01", number + 1, number + 1)),
        ..NewTask::new(format!("\"{}\"", noise(TASK_BYTES - 2, number)))
    })
}

const COUNTED: usize = 5_000;
const LOOK_EVERY: Duration = Duration::from_millis(5);
const DEADLINE: Duration = Duration::from_secs(120);
