//! The worker: leases tasks, runs them, settles them. The only place of this engine that waits and spawns.

use crate::error::LeaseError;
use crate::handler::{Context, Done, Handler, REPORT_BOUND};
use crate::lease::{End, Failure, LeaseRequest, Leased, Settled, Settlement};
use crate::queue::{MOST_LEASED, Queue};
use crate::queues::LONGEST_PAUSE;
use crate::report::{Left, Report, Reporter, Subject};
use crate::task::MAX_RESULT_BYTES;
use crate::wake::{Wake, WakeUps};
use bytes::Bytes;
use domain::WorkerName;
use futures_util::FutureExt;
use rand::RngExt;
use redis_core::RedisError;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Its name, unique among those that run at once.
    pub name: WorkerName,
    /// How many tasks it runs at once.
    pub slots: usize,
    /// How long a lease lasts; heartbeats extend it at a third. A killed worker's tasks are back after it.
    pub lease: Duration,
    /// How long one attempt may take when the task does not say.
    pub timeout: Duration,
    /// How long running tasks may go on after a stop, before they are given back.
    pub grace: Duration,
    /// How long outcomes and results can be read.
    pub keep: Duration,
}

impl WorkerOptions {
    /// A worker of this name: 64 slots, leases of 30 s, 15 min an attempt, 20 s of grace, outcomes kept for an hour.
    pub fn new(name: WorkerName) -> Self {
        Self {
            name,
            slots: 64,
            lease: Duration::from_secs(30),
            timeout: Duration::from_secs(900),
            grace: Duration::from_secs(20),
            keep: Duration::from_secs(3600),
        }
    }
}

/// Runs the tasks of one queue with one handler, until it is stopped.
///
/// Any number of workers, in any number of processes, share a queue. In steady state one round trip settles up to 64
/// finished tasks and leases the next. When idle it costs one round trip a second, and starts a task within a
/// millisecond or two of its enqueue.
pub struct Worker<H> {
    queue: Queue,
    handler: Arc<H>,
    reporter: Option<Arc<dyn Reporter>>,
    options: WorkerOptions,
}

impl<H: Handler> Worker<H> {
    /// A worker that has not begun.
    pub fn new(queue: Queue, handler: H, options: WorkerOptions) -> Self {
        Self { queue, handler: Arc::new(handler), reporter: None, options }
    }

    /// The same, telling the life of its tasks.
    #[must_use]
    pub fn with_reporter(self, reporter: Arc<dyn Reporter>) -> Self {
        Self { reporter: Some(reporter), ..self }
    }

    /// Runs tasks until `stop`, then drains: it takes no more, lets running tasks finish within the grace, gives the
    /// rest back without costing them an attempt, and returns.
    ///
    /// Owns every task that it starts. Dropped in the middle, it leaves its tasks to the end of their leases. When Redis
    /// is away it holds the results of running tasks and delivers them when Redis is back.
    pub async fn run(self, stop: CancellationToken) {
        Round::new(self, stop).run().await;
    }
}

/// The state of a running worker.
struct Round<H> {
    worker: Worker<H>,
    stop: CancellationToken,
    handlers: JoinSet<Finished>,
    running: HashMap<u64, Running>,
    /// Done, and not yet told to Redis.
    finished: Vec<Finished>,
    reports: JoinSet<()>,
    wake: Option<WakeUps>,
    /// There may be tasks to lease.
    hungry: bool,
    look_at: Instant,
    beat_at: Instant,
    /// Redis failed: no call before this.
    pause_until: Instant,
    failures: u32,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Working,
    /// Stopped; running tasks may finish until then.
    Draining {
        until: Instant,
    },
    /// The grace is over: whatever ends now is given back, and at that moment the rest is dropped.
    GivingBack {
        until: Instant,
    },
    /// Nothing runs; what is finished is still to be told until then.
    Telling {
        until: Instant,
    },
}

struct Running {
    context: Context,
    /// When the lease ends by our own clock, which started before Redis's.
    ends: Instant,
}

struct Finished {
    outcome: Outcome,
    context: Context,
}

enum Outcome {
    Ended(Result<Done, Failure>),
    /// Dropped after its lease was lost: nobody wants its end.
    Abandoned,
}

impl Outcome {
    fn size(&self) -> usize {
        if let Self::Ended(Ok(Done::Result(result))) = self { result.len() } else { 0 }
    }
}

impl<H: Handler> Round<H> {
    fn new(worker: Worker<H>, stop: CancellationToken) -> Self {
        let now = Instant::now();
        let beat_at = now + worker.options.lease / 3;
        Self {
            worker,
            stop,
            handlers: JoinSet::new(),
            running: HashMap::new(),
            finished: Vec::new(),
            reports: JoinSet::new(),
            wake: None,
            hungry: true,
            look_at: now,
            beat_at,
            pause_until: now,
            failures: 0,
            phase: Phase::Working,
        }
    }

    async fn run(mut self) {
        loop {
            self.collect_all();
            if !self.finished.is_empty() && !self.running.is_empty() {
                // Whatever ends at this very moment shares the call.
                tokio::task::yield_now().await;
                self.collect_all();
            }
            while self.reports.try_join_next().is_some() {}
            self.change_phase();
            let now = Instant::now();
            if self.phase != Phase::Working && self.running.is_empty() && self.finished.is_empty() {
                break;
            }
            if matches!(self.phase, Phase::Telling { until } if until <= now) {
                let count = self.finished.len();
                let queue = self.worker.queue.name();
                tracing::warn!(queue.name = %queue, "stopped before Redis took the ends of {count} tasks of {queue}");
                break;
            }
            if now >= self.beat_at && !self.running.is_empty() {
                self.beat().await;
            } else if now >= self.pause_until && self.has_something_to_say() {
                self.say().await;
            } else {
                self.wait().await;
            }
        }
        let _ = timeout(REPORT_BOUND, async { while self.reports.join_next().await.is_some() {} }).await;
    }

    fn free(&self) -> usize {
        self.worker.options.slots.saturating_sub(self.running.len()).min(MOST_LEASED)
    }

    fn has_something_to_say(&self) -> bool {
        !self.finished.is_empty() || (self.phase == Phase::Working && self.hungry && self.free() > 0)
    }

    /// One call: ends what is finished, and takes what is next. Outside every `select!`: dropping a lease call in flight
    /// would strand the tasks it took.
    async fn say(&mut self) {
        if self.wake.is_none() && self.phase == Phase::Working {
            // Listening before looking, so that a task enqueued in between is not missed.
            self.wake = self.worker.queue.wake_ups().await.ok();
        }
        let rest = self.finished.split_off(self.next_to_tell());
        let told = std::mem::replace(&mut self.finished, rest);
        let ends: Vec<_> = told.iter().filter_map(|finished| self.settlement(finished)).collect();
        let free = self.free();
        let begin = Instant::now();
        let answer = if self.phase == Phase::Working && free > 0 {
            let options = &self.worker.options;
            let request = LeaseRequest { worker: options.name.clone(), max: free, lease: options.lease };
            self.worker.queue.settle_and_lease(&ends, &request).await.map(|(settled, leased)| {
                self.hungry = leased.more || leased.tasks.len() == free;
                let next = if self.wake.is_some() { leased.next } else { Some(LISTEN_AGAIN) };
                self.look_at =
                    begin + next.unwrap_or(LONGEST_PAUSE).min(jittered(LONGEST_PAUSE)).max(SHORTEST_PAUSE);
                for leased in leased.tasks {
                    self.start(leased, begin);
                }
                settled
            })
        } else {
            self.worker.queue.settle(&ends).await
        };
        match answer {
            Ok(settled) => {
                self.failures = 0;
                let mut settled = settled.into_iter();
                for finished in told {
                    if self.settlement(&finished).is_some() {
                        self.tell_left(finished, settled.next()).await;
                    }
                }
            }
            Err(error) => {
                // Perhaps applied: it is told again, and the same token gets the first answer.
                self.finished.splice(..0, told);
                self.stumble(&error);
            }
        }
    }

    /// How many ends share a call: a script copies every byte, so large results bound it, too.
    fn next_to_tell(&self) -> usize {
        let mut bytes = 0;
        let fits = |finished: &&Finished| {
            let first = bytes == 0;
            bytes += finished.outcome.size();
            first || bytes <= MOST_BYTES_TOLD
        };
        self.finished.iter().take(MOST_LEASED).take_while(fits).count()
    }

    /// How a finished task ends in Redis; `None` when somebody else ends it.
    fn settlement(&self, finished: &Finished) -> Option<Settlement> {
        let keep = self.worker.options.keep;
        let end = match &finished.outcome {
            Outcome::Abandoned | Outcome::Ended(Ok(Done::Later)) => return None,
            Outcome::Ended(Ok(Done::GiveBack)) => End::GiveBack,
            Outcome::Ended(Ok(Done::Result(result))) if result.len() > MAX_RESULT_BYTES => {
                End::Nack(Failure::die(format!("the result is over {MAX_RESULT_BYTES} bytes")))
            }
            Outcome::Ended(Ok(Done::Result(result))) => End::Ack { result: result.clone(), keep },
            Outcome::Ended(Err(failure)) => End::Nack(failure.clone()),
        };
        Some(Settlement { lease: finished.context.lease(), end })
    }

    fn start(&mut self, leased: Leased, begin: Instant) {
        let Leased { lease, mut task, .. } = leased;
        let payload = std::mem::take(&mut task.payload);
        let limit = task.timeout.unwrap_or(self.worker.options.timeout);
        let context = Context {
            subject: Subject {
                queue: self.worker.queue.name().clone(),
                task: Arc::new(task),
                token: lease.token,
            },
            lease_time: self.worker.options.lease,
            cancelled: CancellationToken::new(),
            reporter: self.worker.reporter.clone(),
            announced: Arc::new(AtomicBool::new(false)),
        };
        let ends = begin + self.worker.options.lease;
        if self.running.is_empty() {
            self.beat_at = begin + self.worker.options.lease / 3; // Nothing was held before that needed a beat.
        }
        self.running.insert(lease.task.number, Running { context: context.clone(), ends });
        self.handlers.spawn(execute(Arc::clone(&self.worker.handler), payload, context, limit));
    }

    fn collect_all(&mut self) {
        while let Some(done) = self.handlers.try_join_next() {
            self.collect(done);
        }
    }

    fn collect(&mut self, done: Result<Finished, JoinError>) {
        // Aborted by `give_up`, which has settled it.
        let Ok(mut finished) = done else { return };
        if self.running.remove(&finished.context.lease().task.number).is_none() {
            return;
        }
        if matches!(self.phase, Phase::GivingBack { .. })
            && matches!(finished.outcome, Outcome::Ended(Err(_)))
        {
            finished.outcome = Outcome::Ended(Ok(Done::GiveBack)); // It failed because we told it to stop.
        }
        self.finished.push(finished);
    }

    /// Extends the leases of what runs; whatever is lost is told to stop.
    async fn beat(&mut self) {
        let begin = Instant::now();
        let lease = self.worker.options.lease;
        let leases: Vec<_> = self.running.values().map(|running| running.context.lease()).collect();
        match self.worker.queue.extend_all(&leases, lease).await {
            Ok(answers) => {
                self.beat_at = begin + lease / 3;
                for (held, answer) in leases.iter().zip(answers) {
                    let Some(running) = self.running.get_mut(&held.task.number) else { continue };
                    match answer {
                        Ok(_) => running.ends = begin + lease,
                        Err(_) => running.context.cancelled.cancel(),
                    }
                }
            }
            Err(error) => {
                self.stumble(&error);
                self.beat_at = self.pause_until;
                // Nobody extends them any more, so another worker may have them by now.
                let now = Instant::now();
                for running in self.running.values().filter(|running| running.ends <= now) {
                    running.context.cancelled.cancel();
                }
            }
        }
    }

    /// Redis failed: pause with full jitter.
    fn stumble(&mut self, error: &RedisError) {
        self.failures = self.failures.saturating_add(1);
        let longest = SHORTEST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        self.pause_until = Instant::now() + longest.mul_f64(rand::rng().random());
        if self.failures == 1 {
            let queue = self.worker.queue.name();
            tracing::warn!(queue.name = %queue, error = %error, "the worker of {queue} cannot reach Redis, and goes on: {error}");
        }
    }

    async fn wait(&mut self) {
        let now = Instant::now();
        let mut until = now + LONGEST_PAUSE;
        if !self.running.is_empty() {
            until = until.min(self.beat_at);
        }
        if self.has_something_to_say() {
            until = until.min(self.pause_until);
        } else if self.phase == Phase::Working && self.free() > 0 {
            until = until.min(self.look_at);
        }
        if let Phase::Draining { until: end }
        | Phase::GivingBack { until: end }
        | Phase::Telling { until: end } = self.phase
        {
            until = until.min(end);
        }
        let heard = async {
            match &mut self.wake {
                Some(wake) => wake.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! { // Every branch may be dropped: none of them has touched Redis.
            () = self.stop.cancelled(), if self.phase == Phase::Working => {}
            Some(done) = self.handlers.join_next() => self.collect(done),
            wake = heard => match wake {
                Wake::Look => self.hungry = true,
                Wake::Voided(numbers) => {
                    for number in numbers {
                        if let Some(running) = self.running.get(&number) {
                            running.context.cancelled.cancel();
                        }
                    }
                }
            },
            () = sleep_until(until) => self.hungry |= Instant::now() >= self.look_at,
        }
    }

    fn change_phase(&mut self) {
        let now = Instant::now();
        if self.phase == Phase::Working && self.stop.is_cancelled() {
            self.wake = None;
            self.phase = Phase::Draining { until: now + self.worker.options.grace };
        }
        if matches!(self.phase, Phase::Draining { until } if until <= now) && !self.running.is_empty() {
            let count = self.running.len();
            let queue = self.worker.queue.name();
            tracing::info!(queue.name = %queue, "gives back {count} tasks of {queue}: the grace is over");
            self.running.values().for_each(|running| running.context.cancelled.cancel());
            self.phase = Phase::GivingBack { until: now + LAST_WORDS };
        }
        if matches!(self.phase, Phase::GivingBack { until } if until <= now) {
            self.give_up();
        }
        let ended = matches!(self.phase, Phase::Draining { .. } | Phase::GivingBack { .. });
        if ended && self.running.is_empty() {
            self.phase = Phase::Telling { until: now + TELLING_BOUND };
        }
    }

    /// Drops what still runs, and hands it back.
    fn give_up(&mut self) {
        self.handlers.abort_all();
        for (_, running) in self.running.drain() {
            self.finished
                .push(Finished { outcome: Outcome::Ended(Ok(Done::GiveBack)), context: running.context });
        }
    }

    /// Tells the reporter how a task left, when it was told of it before.
    async fn tell_left(&mut self, finished: Finished, answer: Option<Result<Settled, LeaseError>>) {
        let left = match answer {
            Some(Ok(settled)) => match (settled, &finished.outcome) {
                (Settled::Succeeded, _) => Left::Succeeded,
                (Settled::Ready, _) => Left::Ready,
                (Settled::Retrying, Outcome::Ended(Err(failure))) => {
                    Left::Retrying { message: failure.message.clone() }
                }
                (Settled::Dead, Outcome::Ended(Err(failure))) => {
                    Left::Dead { message: failure.message.clone() }
                }
                (Settled::Retrying, _) => Left::Retrying { message: String::new() },
                (Settled::Dead, _) => Left::Dead { message: String::new() },
            },
            Some(Err(error)) => {
                let id = finished.context.lease().task;
                tracing::debug!(task.id = %id, "the end of task {id} was not wanted: {error}");
                return;
            }
            None => return,
        };
        if finished.context.was_announced() {
            if self.reports.len() >= MOST_REPORTS {
                self.reports.join_next().await;
            }
            self.reports.spawn(async move { finished.context.report(Report::Left(left)).await });
        }
    }
}

/// Runs one task to its end, whatever its handler does.
async fn execute<H: Handler>(handler: Arc<H>, payload: Bytes, context: Context, limit: Duration) -> Finished {
    let work = AssertUnwindSafe(async {
        if context.task().progress {
            context.report(Report::Leased).await;
        }
        let payload = serde_json::from_slice(&payload)
            .map_err(|error| Failure::die(format!("the payload is not what the handler expects: {error}")))?;
        handler.handle(payload, context.clone()).await
    });
    let outcome = tokio::select! {
        biased;
        ended = timeout(limit, work.catch_unwind()) => Outcome::Ended(match ended {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(Failure::retry(format!("the handler panicked: {}", said(&*panic)))),
            Err(_) => Err(Failure::retry(format!("no end within {} ms", limit.as_millis()))),
        }),
        () = in_vain(&context.cancelled) => Outcome::Abandoned,
    };
    Finished { outcome, context }
}

/// A while after the work became pointless, for handlers that do not look.
async fn in_vain(cancelled: &CancellationToken) {
    cancelled.cancelled().await;
    tokio::time::sleep(LAST_WORDS * 2).await;
}

fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.8..1.0))
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// Without a subscription the worker looks this often, and tries to subscribe again.
const LISTEN_AGAIN: Duration = Duration::from_millis(250);
/// The most results of one call, in bytes.
const MOST_BYTES_TOLD: usize = 1024 * 1024;
/// Reports of ended tasks under way; beyond it the worker waits for one.
const MOST_REPORTS: usize = 1024;
/// What a handler may take to end once it was told that its work is in vain.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What a stopping worker tries to tell Redis, at the longest.
const TELLING_BOUND: Duration = Duration::from_secs(10);
