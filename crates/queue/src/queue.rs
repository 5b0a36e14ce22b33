//! One queue: one method per operation, each one script, one round trip.

use crate::answer::{enqueued, extended_from, leased_batch, read_task, settled_from, task_from};
use crate::error::{EnqueueError, LeaseError, TaskError};
use crate::lease::{End, Failure, Lease, LeaseRequest, Leased, LeasedBatch, Settled, Settlement, Then};
use crate::page::{Cursor, Page, Shelf};
use crate::queues::{Queues, Ticked};
use crate::record::{self, Packed, millis};
use crate::stats::Stats;
use crate::task::{
    Enqueued, LEASE_BOUNDS, MAX_BATCH_BYTES, MAX_BATCH_TASKS, MAX_RESULT_BYTES, NewTask, Start, Task,
};
use crate::wake::{WakeUps, heard_of};
use crate::{keys, scripts};
use bytes::Bytes;
use domain::{QueueName, TaskId, TaskState, Timestamp};
use rand::RngExt;
use redis_core::{Arg, Redis, RedisError};
use std::time::{Duration, Instant};

/// One queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    queues: Queues,
    name: QueueName,
    /// The prefix of its keys: the one key that every script gets.
    prefix: [redis_core::Key; 1],
}

impl Queue {
    pub(crate) fn new(queues: Queues, name: QueueName) -> Self {
        let prefix = [keys::queue(queues.redis(), &name)];
        Self { queues, name, prefix }
    }

    /// Its name.
    pub fn name(&self) -> &QueueName {
        &self.name
    }

    /// Takes in one task.
    ///
    /// One round trip, `enqueue.lua`, shared with whoever enqueues at the same time; one more when this process has not
    /// used the queue before.
    ///
    /// # Errors
    /// See [`EnqueueError`]. After `Unknown`, repeat it with the same idempotency key: the first task answers.
    pub async fn enqueue(&self, task: NewTask) -> Result<Enqueued, EnqueueError> {
        task.check(0)?;
        self.queues.register(&self.name).await?;
        let salt = rand::rng().random();
        let item = self.item(&task, salt);
        let answer = self.redis().batch(&scripts::ENQUEUE, &self.prefix, item.into()).await?;
        enqueued(&answer, salt, 0)
    }

    /// Takes in a batch of tasks, all or none: at most [`MAX_BATCH_TASKS`] and [`MAX_BATCH_BYTES`] of payload.
    ///
    /// One round trip, `enqueue_all.lua`, O(tasks).
    ///
    /// # Errors
    /// See [`EnqueueError`]; none of the tasks was taken then.
    pub async fn enqueue_all(&self, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>, EnqueueError> {
        if tasks.len() > MAX_BATCH_TASKS {
            return Err(EnqueueError::TooLarge { what: "batch", limit: MAX_BATCH_TASKS, unit: "tasks" });
        }
        if tasks.iter().map(|task| task.payload.len()).sum::<usize>() > MAX_BATCH_BYTES {
            return Err(EnqueueError::TooLarge { what: "batch", limit: MAX_BATCH_BYTES, unit: "bytes" });
        }
        for (index, task) in tasks.iter().enumerate() {
            task.check(index)?;
        }
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        self.queues.register(&self.name).await?;
        let salts: Vec<u32> = tasks.iter().map(|_| rand::rng().random()).collect();
        let args = tasks.iter().zip(&salts).flat_map(|(task, &salt)| self.item(task, salt)).collect();
        let answers = self.redis().run(&scripts::ENQUEUE_ALL, &self.prefix, args).await?.into_array()?;
        // A refusal first: the others of its batch were judged, not written.
        let refused = answers.iter().position(|answer| matches!(answer.word(), "mismatch" | "full"));
        if let Some(index) = refused {
            return Err(enqueued(&answers[index], 0, index).expect_err("a refusal is no id"));
        }
        answers
            .iter()
            .zip(&salts)
            .enumerate()
            .map(|(index, (answer, &salt))| enqueued(answer, salt, index))
            .collect()
    }

    /// Leases up to `request.max` tasks; none when none is ready.
    ///
    /// One round trip, `lease.lua`, shared with whoever leases at the same time; O(tasks + log waiting). It first moves
    /// what time has brought (due tasks, a dead worker's tasks), a slice of each. The call outlives a caller that goes
    /// away, and then gives the tasks back.
    ///
    /// # Errors
    /// Redis does not answer. After `Unknown` tasks may be leased: they come back when their lease ends.
    pub async fn lease(&self, request: &LeaseRequest) -> Result<LeasedBatch, RedisError> {
        let item = vec![
            Arg::from(request.max.clamp(1, MOST_LEASED)),
            Arg::from(millis(clamped(request.lease))),
            Arg::from(request.worker.as_str().to_owned()),
        ];
        let (answer, answered) = tokio::sync::oneshot::channel();
        let queue = self.clone();
        // In a task of its own, which `Queues::close` waits for: a lease call in flight is never dropped.
        self.queues.calls().spawn(async move {
            let leased =
                queue.redis().batch(&scripts::LEASE, &queue.prefix, item).await.and_then(leased_batch);
            if let Err(Ok(unwanted)) = answer.send(leased) {
                queue.return_unwanted(unwanted.tasks).await;
            }
        });
        answered.await.unwrap_or(Err(RedisError::Unknown))
    }

    /// [`Queue::lease`] that waits up to `wait` for a task, without polling: it listens for the queue's wake-up, knows
    /// when the next task is due, and looks again after a second in case a message was lost.
    ///
    /// One round trip when there is a task, else one for each wake-up and second. May be dropped at any time.
    ///
    /// # Errors
    /// As [`Queue::lease`].
    pub async fn lease_within(
        &self,
        request: &LeaseRequest,
        wait: Duration,
    ) -> Result<LeasedBatch, RedisError> {
        let begin = Instant::now();
        let leased = self.lease(request).await?;
        if !leased.tasks.is_empty() || wait.is_zero() {
            return Ok(leased);
        }
        // Subscribed before the next look, so that a task enqueued in between is not missed.
        let mut wake = self.wake_ups().await?;
        loop {
            let leased = self.lease(request).await?;
            let left = wait.saturating_sub(begin.elapsed());
            if !leased.tasks.is_empty() || left.is_zero() {
                return Ok(leased);
            }
            wake.wait(&leased, left).await;
        }
    }

    /// Completes a leased task and keeps its result, at most [`MAX_RESULT_BYTES`], for `keep`.
    ///
    /// One round trip, `settle.lua`, shared; O(log leased). Safe to repeat: the same token gets the first answer.
    ///
    /// # Errors
    /// [`LeaseError::Lost`]: another worker may hold the task; nothing was changed.
    pub async fn ack(
        &self,
        lease: &Lease,
        result: impl Into<Bytes>,
        keep: Duration,
    ) -> Result<Settled, LeaseError> {
        self.settle_one(lease, &End::Ack { result: result.into(), keep }).await
    }

    /// Reports that a leased task failed: it is tried again after its backoff, or dead.
    ///
    /// One round trip, `settle.lua`, shared; O(log retrying). Safe to repeat: the same token gets the first answer.
    ///
    /// # Errors
    /// [`LeaseError::Lost`]: another worker may hold the task; nothing was changed.
    pub async fn nack(&self, lease: &Lease, failure: Failure) -> Result<Settled, LeaseError> {
        self.settle_one(lease, &End::Nack(failure)).await
    }

    /// Hands a leased task back untried: it costs no attempt, and the task keeps its place.
    ///
    /// One round trip, `settle.lua`, shared. Safe to repeat.
    ///
    /// # Errors
    /// [`LeaseError::Lost`]: another worker may hold the task; nothing was changed.
    pub async fn give_back(&self, lease: &Lease) -> Result<Settled, LeaseError> {
        self.settle_one(lease, &End::GiveBack).await
    }

    /// Ends any number of leases; one answer each, in order.
    ///
    /// One round trip for each 64, `settle.lua`. Safe to repeat.
    ///
    /// # Errors
    /// The outer one: Redis did not answer, and any of them may have been applied.
    pub async fn settle(&self, ends: &[Settlement]) -> Result<Vec<Result<Settled, LeaseError>>, RedisError> {
        let mut answers = Vec::with_capacity(ends.len());
        for slice in ends.chunks(MOST_LEASED) {
            let items = slice.iter().flat_map(|end| self.settle_item(&end.lease, &end.end)).collect();
            let settled = self.redis().run(&scripts::SETTLE, &self.prefix, items).await?.into_array()?;
            answers.extend(settled.iter().map(settled_from));
        }
        Ok(answers)
    }

    /// One round of a worker: ends up to 64 leases and takes the next tasks.
    ///
    /// One round trip, `settle_and_lease.lua`. The ends are safe to repeat; after `Unknown` tasks may be leased: they
    /// come back when their lease ends. Do not drop the future: nobody would have the tasks.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn settle_and_lease(
        &self,
        ends: &[Settlement],
        request: &LeaseRequest,
    ) -> Result<(Vec<Result<Settled, LeaseError>>, LeasedBatch), RedisError> {
        assert!(ends.len() <= MOST_LEASED, "a worker settles at most {MOST_LEASED} tasks a round");
        let mut args = vec![
            Arg::from(request.max.clamp(1, MOST_LEASED)),
            Arg::from(millis(clamped(request.lease))),
            Arg::from(request.worker.as_str().to_owned()),
        ];
        args.extend(ends.iter().flat_map(|end| self.settle_item(&end.lease, &end.end)));
        let answer = self.redis().run(&scripts::SETTLE_AND_LEASE, &self.prefix, args).await?;
        let [leased, settled] = answer.into_elements()?;
        Ok((settled.into_array()?.iter().map(settled_from).collect(), leased_batch(leased)?))
    }

    /// Moves the end of a lease to `lease` from now on, and answers with it.
    ///
    /// One round trip, `extend.lua`, shared; O(log leased).
    ///
    /// # Errors
    /// [`LeaseError::Lost`]: stop working on it, another worker may hold the task.
    pub async fn extend(&self, lease: &Lease, by: Duration) -> Result<Timestamp, LeaseError> {
        let item = Vec::from(extend_item(lease, by));
        extended_from(&self.redis().batch(&scripts::EXTEND, &self.prefix, item).await?)
    }

    /// [`Queue::extend`] for any number of leases; one answer each, in order. One round trip for each 64.
    ///
    /// # Errors
    /// The outer one: Redis did not answer.
    pub async fn extend_all(
        &self,
        leases: &[Lease],
        by: Duration,
    ) -> Result<Vec<Result<Timestamp, LeaseError>>, RedisError> {
        let mut answers = Vec::with_capacity(leases.len());
        for slice in leases.chunks(MOST_LEASED) {
            let items = slice.iter().flat_map(|lease| extend_item(lease, by)).collect();
            let extended = self.redis().run(&scripts::EXTEND, &self.prefix, items).await?.into_array()?;
            answers.extend(extended.iter().map(extended_from));
        }
        Ok(answers)
    }

    /// Marks a leased task as one whose life is shown, as if its enqueue had asked for it, and answers with it, without
    /// its payload. Whoever ends it later learns from [`Queue::get_many`] that somebody watches.
    ///
    /// One round trip, `show.lua`, shared; O(1).
    ///
    /// # Errors
    /// [`LeaseError::Lost`]: another worker may hold the task; nothing was changed.
    pub async fn show(&self, lease: &Lease) -> Result<Task, LeaseError> {
        let item = vec![Arg::from(lease.task.number), Arg::from(lease.token)];
        let answer = self.redis().batch(&scripts::SHOW, &self.prefix, item).await?;
        match answer.word() {
            "stale" => Err(LeaseError::Lost),
            "gone" => Err(LeaseError::Gone),
            _ => {
                let task = record::unpack(lease.task.number, answer.into_bytes()?, None, None)?;
                Ok(Task { state: TaskState::Leased, ..task })
            }
        }
    }

    /// One task with its payload.
    ///
    /// One round trip, `get.lua`, shared; O(1).
    ///
    /// # Errors
    /// [`TaskError::NotFound`]; Redis does not answer.
    pub async fn get(&self, id: TaskId) -> Result<Task, TaskError> {
        Ok(self.look(id, "task").await?.0)
    }

    /// A task that succeeded, with its result; for one in any other state the result is `None`.
    ///
    /// One round trip, `get.lua`, shared; O(size of the result).
    ///
    /// # Errors
    /// [`TaskError::NotFound`]; Redis does not answer.
    pub async fn result(&self, id: TaskId) -> Result<(Task, Option<Bytes>), TaskError> {
        self.look(id, "result").await
    }

    /// Many tasks, without payloads; `None` for what is not there.
    ///
    /// One round trip for each 64, `get.lua`.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn get_many(&self, ids: &[TaskId]) -> Result<Vec<Option<Task>>, RedisError> {
        let mut tasks = Vec::with_capacity(ids.len());
        for slice in ids.chunks(MOST_LEASED) {
            let items = slice.iter().flat_map(|id| [Arg::from(id.number), Arg::from("head")]).collect();
            let found = self.redis().run(&scripts::GET, &self.prefix, items).await?.into_array()?;
            for (id, reply) in slice.iter().zip(found) {
                tasks.push(task_from(*id, reply)?.map(|(task, _)| task));
            }
        }
        Ok(tasks)
    }

    /// Waits up to `wait` for a task's end (succeeded, dead or cancelled), and answers with the task as it is then,
    /// with its result.
    ///
    /// One round trip when it has ended or `wait` is zero, else one more to begin and one at its end; one every two
    /// seconds in case a message was lost. May be dropped at any time.
    ///
    /// # Errors
    /// [`TaskError::NotFound`]; Redis does not answer.
    pub async fn wait(&self, id: TaskId, wait: Duration) -> Result<(Task, Option<Bytes>), TaskError> {
        let begin = Instant::now();
        let found = self.result(id).await?;
        if found.0.state.is_final() || wait.is_zero() {
            return Ok(found);
        }
        // Subscribed before the next look, so that an end in between is not missed.
        let mut ends = self.redis().subscribe(&keys::ends(self.redis(), &self.name)).await?;
        loop {
            let found = self.result(id).await?;
            let left = wait.saturating_sub(begin.elapsed());
            if found.0.state.is_final() || left.is_zero() {
                return Ok(found);
            }
            let heard = heard_of(&mut ends, id.number);
            // Time over: look all the same.
            let _ = tokio::time::timeout(left.min(LOOK_AGAIN), heard).await;
        }
    }

    /// Takes a task back. One that waits ends at once; of one that is leased the token is void at once, and its worker
    /// is told. A repeat is fine.
    ///
    /// One round trip, `cancel.lua`; O(log waiting).
    ///
    /// # Errors
    /// [`TaskError::Finished`], [`TaskError::NotFound`]; Redis does not answer.
    pub async fn cancel(&self, id: TaskId) -> Result<(), TaskError> {
        let keep = millis(self.queues.options().keep);
        let args = vec![Arg::from(id.number), salt_arg(id), Arg::from(keep)];
        match self.redis().run(&scripts::CANCEL, &self.prefix, args).await?.word() {
            "cancelled" => Ok(()),
            "finished" => Err(TaskError::Finished),
            _ => Err(TaskError::NotFound),
        }
    }

    /// Gives a dead letter another life: its counts begin at zero, and it stands behind everything that is ready.
    ///
    /// One round trip, `retry.lua`; O(log dead).
    ///
    /// # Errors
    /// [`TaskError::NotDead`], [`TaskError::Finished`], [`TaskError::NotFound`]; Redis does not answer.
    pub async fn retry(&self, id: TaskId) -> Result<(), TaskError> {
        let args = vec![Arg::from(id.number), salt_arg(id)];
        match self.redis().run(&scripts::RETRY, &self.prefix, args).await?.word() {
            "ready" => Ok(()),
            "alive" => Err(TaskError::NotDead),
            "finished" => Err(TaskError::Finished),
            _ => Err(TaskError::NotFound),
        }
    }

    /// A page of the tasks of one shelf, oldest first, without payloads.
    ///
    /// Two round trips, `list.lua` and `get.lua`; O(log n + page).
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn list(&self, shelf: Shelf, after: Option<&Cursor>, limit: usize) -> Result<Page, RedisError> {
        let (score, member) = after.map_or(("", ""), |cursor| (&cursor.score, &cursor.member));
        let limit = limit.clamp(1, LONGEST_PAGE);
        let args = vec![
            Arg::from(shelf.as_str()),
            Arg::from(score.to_owned()),
            Arg::from(member.to_owned()),
            Arg::from(limit),
        ];
        let listed = self.redis().run(&scripts::LIST, &self.prefix, args).await?.into_array()?;
        let mut numbers = Vec::with_capacity(limit);
        let mut last = None;
        for pair in listed.chunks(2) {
            let [member, score] = pair else { return Err(RedisError::Protocol("half a pair".to_owned())) };
            numbers.push(u64::try_from(member.clone().into_int()?).unwrap_or_default());
            last = Some(Cursor { score: score.word().to_owned(), member: member.word().to_owned() });
        }
        let tasks = if numbers.is_empty() { Vec::new() } else { self.heads(&numbers).await? };
        Ok(Page { tasks, next: last.filter(|_| numbers.len() == limit) })
    }

    /// How deep the queue is, how old, and what it has done.
    ///
    /// One round trip, `stats.lua`; O(lanes), at most 64 of them.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn stats(&self) -> Result<Stats, RedisError> {
        Stats::from_reply(self.redis().run(&scripts::STATS, &self.prefix, Vec::new()).await?)
    }

    /// What time brings: due and lost tasks are ready again, expired ones cancelled, old outcomes gone.
    ///
    /// One round trip, `tick.lua`: at most 64 of each, whatever the backlog. [`Queues::tend`] calls it.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn tick(&self) -> Result<Ticked, RedisError> {
        Ticked::from_reply(self.redis().run(&scripts::TICK, &self.prefix, Vec::new()).await?)
    }

    /// Which of the tasks that [`Ticked`] names have ended and are still kept. One round trip, `get.lua`.
    pub(crate) async fn ended(&self, numbers: &[u64]) -> Result<Vec<Task>, RedisError> {
        let mut tasks = self.heads(numbers).await?;
        tasks.retain(|task| task.state.is_final());
        Ok(tasks)
    }

    /// Their ends were told: no tick names them any more. One round trip.
    pub(crate) async fn told(&self, numbers: &[u64]) -> Result<(), RedisError> {
        let outbox = keys::outbox(self.redis(), &self.name);
        let members = numbers.iter().map(|&number| Arg::from(number)).collect();
        self.redis().command("ZREM", &outbox, members).await.map(drop)
    }

    /// Those of the tasks that there are, without payloads.
    async fn heads(&self, numbers: &[u64]) -> Result<Vec<Task>, RedisError> {
        let items = numbers.iter().flat_map(|&number| [Arg::from(number), Arg::from("head")]).collect();
        let found = self.redis().run(&scripts::GET, &self.prefix, items).await?.into_array()?;
        let mut tasks = Vec::with_capacity(numbers.len());
        for (&number, reply) in numbers.iter().zip(found) {
            tasks.extend(read_task(number, reply)?.map(|(task, _)| task));
        }
        Ok(tasks)
    }

    /// Listens for work and for voided leases.
    pub(crate) async fn wake_ups(&self) -> Result<WakeUps, RedisError> {
        Ok(WakeUps(self.redis().subscribe(&keys::wake(self.redis(), &self.name)).await?))
    }

    /// The caller went away while its lease call was in flight.
    async fn return_unwanted(&self, tasks: Vec<Leased>) {
        let ends: Vec<_> =
            tasks.iter().map(|leased| Settlement { lease: leased.lease, end: End::GiveBack }).collect();
        if let Err(error) = self.settle(&ends).await {
            let count = ends.len();
            tracing::warn!(queue.name = %self.name, error = %error, "{count} leased tasks wait for the end of their lease");
        }
    }

    async fn settle_one(&self, lease: &Lease, end: &End) -> Result<Settled, LeaseError> {
        if matches!(end, End::Ack { result, .. } if result.len() > MAX_RESULT_BYTES) {
            return Err(LeaseError::TooLarge(MAX_RESULT_BYTES));
        }
        let item = Vec::from(self.settle_item(lease, end));
        settled_from(&self.redis().batch(&scripts::SETTLE, &self.prefix, item).await?)
    }

    async fn look(&self, id: TaskId, what: &'static str) -> Result<(Task, Option<Bytes>), TaskError> {
        let item = vec![Arg::from(id.number), Arg::from(what)];
        let found = self.redis().batch(&scripts::GET, &self.prefix, item).await?;
        task_from(id, found)?.ok_or(TaskError::NotFound)
    }

    fn item(&self, task: &NewTask, salt: u32) -> [Arg; 7] {
        let Packed { head, rest } = record::pack(task, salt);
        [
            self.queues.left(),
            task.idempotency_key.as_ref().map_or(Arg::from(""), |key| {
                Arg::from([&record::digest(task)[..], key.as_str().as_bytes()].concat())
            }),
            match task.start {
                Start::Now => Arg::from(""),
                Start::At(moment) => Arg::from(moment.millis()),
                Start::After(delay) => Arg::from(format!("+{}", delay.as_millis())),
            },
            task.expires_at.map_or(Arg::from(""), |moment| Arg::from(moment.millis())),
            task.lane.as_ref().map_or(Arg::from(""), |lane| Arg::from(lane.as_str().to_owned())),
            Arg::from(head),
            Arg::from(rest),
        ]
    }

    fn settle_item(&self, lease: &Lease, end: &End) -> [Arg; 6] {
        let none = || Arg::from("");
        let (verb, a, b, c) = match end {
            End::Ack { result, keep } => ("ack", Arg::from(millis(*keep)), Arg::from(result.clone()), none()),
            End::GiveBack => ("return", none(), none(), none()),
            End::Nack(Failure { message, then }) => {
                let message = Arg::from(shortened(message));
                match then {
                    Then::Die => ("die", none(), message, none()),
                    Then::RetryAfter(pause) => ("retry", Arg::from(millis(*pause)), message, none()),
                    Then::Retry => {
                        let backoff = self.queues.options().backoff;
                        let dice: f64 = rand::rng().random();
                        let draw = format!("{dice:.9} {} {}", millis(backoff.base), millis(backoff.cap));
                        ("retry", none(), message, Arg::from(draw))
                    }
                }
            }
        };
        [Arg::from(lease.task.number), Arg::from(lease.token), Arg::from(verb), a, b, c]
    }

    fn redis(&self) -> &Redis {
        self.queues.redis()
    }
}

fn extend_item(lease: &Lease, by: Duration) -> [Arg; 3] {
    [Arg::from(lease.task.number), Arg::from(lease.token), Arg::from(millis(clamped(by)))]
}

fn salt_arg(id: TaskId) -> Arg {
    Arg::from(&id.salt.to_le_bytes()[..])
}

/// At most 1,000 bytes, cut between characters.
fn shortened(message: &str) -> String {
    let mut end = message.len().min(LONGEST_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].to_owned()
}

fn clamped(lease: Duration) -> Duration {
    lease.clamp(*LEASE_BOUNDS.start(), *LEASE_BOUNDS.end())
}

/// The most tasks of one lease call, and of one call that ends leases: 64 keep a call well under a millisecond.
pub(crate) const MOST_LEASED: usize = 64;
const LONGEST_PAGE: usize = 100;
const LONGEST_MESSAGE: usize = 1000;
const LOOK_AGAIN: Duration = Duration::from_secs(2);
