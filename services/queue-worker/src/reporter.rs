//! The life of tasks, told to the progress engine: a task is the operation `<queue>.<task id>`.

use domain::progress::{LastWords, NewOperation, Update, Updates};
use domain::{
    CorrelationId, FencingToken, OperationId, ProjectId, QueueName, StepState, TaskId, TaskState, Timestamp,
};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use progress::{Ending, MESSAGE_BYTES_MAX, Operations, ProgressError};
use queue::{Left, NewTask, PlannedStep, Report, Reporter, Start, Subject, Task};
use redis_core::Clock;
use std::time::Duration;

/// Shows tasks as operations. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ProgressReporter {
    operations: Operations,
    clock: Clock,
}

/// What an operation needs to know of a task that is about to be enqueued.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    project: Option<ProjectId>,
    correlation: Option<CorrelationId>,
    start: Start,
}

impl Expected {
    /// None for a task that does not want to be seen.
    pub(crate) fn of(task: &NewTask) -> Option<Self> {
        task.progress.then(|| Self {
            project: task.project.clone(),
            correlation: task.correlation.clone(),
            start: task.start,
        })
    }

    /// How long no worker can have it. By this node's clock, which is near enough for a deadline of a day.
    fn wait(&self, now: Timestamp) -> Duration {
        match self.start {
            Start::Now => Duration::ZERO,
            Start::At(moment) => moment.since(now),
            Start::After(delay) => delay,
        }
    }
}

/// Where the progress of a task is to be seen.
pub(crate) fn operation_of(queue: &QueueName, task: TaskId) -> OperationId {
    format!("{queue}.{task}")
        .parse()
        .expect("a queue name and a task id are within the letters and bytes of an id")
}

impl ProgressReporter {
    pub(crate) fn new(operations: Operations, clock: Clock) -> Self {
        Self { operations, clock }
    }

    /// Shows tasks that were just enqueued and want to be seen, before any worker has them. Two round trips a task, many
    /// at once. What fails here is made up for by the lease.
    pub(crate) async fn enqueued(
        &self,
        queue: &QueueName,
        tasks: impl IntoIterator<Item = (TaskId, Expected)>,
    ) {
        let shown = tasks.into_iter().map(|(id, expected)| async move {
            let wait = expected.wait(self.clock.now());
            let new = NewOperation {
                id: Some(operation_of(queue, id)),
                ..new_operation(queue, id, expected.project, expected.correlation)
            };
            match self.operations.create_ahead(&new, wait).await {
                // A repeat of the enqueue, or a worker was quicker.
                Ok(_) | Err(ProgressError::AlreadyExists) => {}
                Err(error) => {
                    tracing::debug!(queue.name = %queue, task.id = %id, error = %error, "task {id} is not shown yet: {error}");
                }
            }
        });
        futures_util::stream::iter(shown).buffer_unordered(SHOWN_AT_ONCE).collect::<()>().await;
    }

    /// Fences the operation with the token of a new lease, and makes it when there was none. One round trip, or four.
    pub(crate) async fn announce(
        &self,
        queue: &QueueName,
        task: &Task,
        token: FencingToken,
    ) -> Result<(), ProgressError> {
        let id = operation_of(queue, task.id);
        self.operations.announce(&id, token, &operation_for(queue, task)).await.map(drop)
    }

    /// Applies what the holder of the lease says about its work. One round trip, or four.
    pub(crate) async fn update(
        &self,
        queue: &QueueName,
        task: &Task,
        token: FencingToken,
        updates: Vec<Update>,
    ) -> Result<(), ProgressError> {
        let id = operation_of(queue, task.id);
        let updates = Updates::Many(updates);
        self.operations.report(&id, token, &updates, &operation_for(queue, task)).await.map(drop)
    }

    /// The task has left its worker. One round trip, or two.
    pub(crate) async fn left(
        &self,
        queue: &QueueName,
        task: &Task,
        token: FencingToken,
        left: Left,
    ) -> Result<(), ProgressError> {
        match left {
            Left::Succeeded => self.end(queue, task.id, Some(token), Ending::Completed, None).await,
            Left::Dead { message } => {
                self.end(queue, task.id, Some(token), Ending::Failed, Some(message)).await
            }
            Left::Retrying { message } => {
                self.say(queue, task, token, format!("failed, will be tried again: {message}")).await
            }
            Left::Ready => self.say(queue, task, token, "handed back untried".to_owned()).await,
        }
    }

    /// Somebody took the task back. No operation of it is fine. One round trip, or two.
    pub(crate) async fn cancelled(
        &self,
        queue: &QueueName,
        task: TaskId,
        token: Option<FencingToken>,
    ) -> Result<(), ProgressError> {
        match self.end(queue, task, token, Ending::Cancelled, None).await {
            Err(ProgressError::NotFound) => Ok(()),
            ended => ended,
        }
    }

    async fn end(
        &self,
        queue: &QueueName,
        task: TaskId,
        token: Option<FencingToken>,
        ending: Ending,
        message: Option<String>,
    ) -> Result<(), ProgressError> {
        let words = LastWords { message: message.map(shortened), data: None };
        self.operations.end(&operation_of(queue, task), token, ending, &words).await.map(drop)
    }

    async fn say(
        &self,
        queue: &QueueName,
        task: &Task,
        token: FencingToken,
        message: String,
    ) -> Result<(), ProgressError> {
        let update = Update { message: Some(shortened(message)), ..Update::default() };
        self.update(queue, task, token, vec![update]).await
    }
}

impl Reporter for ProgressReporter {
    fn report(&self, subject: Subject, report: Report) -> BoxFuture<'static, ()> {
        let reporter = self.clone();
        async move {
            let Subject { queue, task, token } = subject;
            let told = match report {
                Report::Leased => reporter.announce(&queue, &task, token).await,
                Report::Planned(steps) => {
                    reporter.update(&queue, &task, token, steps.into_iter().map(planned).collect()).await
                }
                Report::Updated(update) => reporter.update(&queue, &task, token, vec![on_wire(update)]).await,
                Report::Left(left) => reporter.left(&queue, &task, token, left).await,
            };
            if let Err(error) = told {
                let id = task.id;
                tracing::debug!(queue.name = %queue, task.id = %id, error = %error, "progress of task {id} is not shown: {error}");
            }
        }
        .boxed()
    }

    fn ended(&self, queue: QueueName, task: Task) -> BoxFuture<'static, ()> {
        let reporter = self.clone();
        async move {
            let (id, token) = (task.id, task.lease.map(|holder| holder.token));
            let told = match (task.state, task.errors.last()) {
                (TaskState::Dead, error) => {
                    let message = error.map(|error| error.message.clone());
                    reporter.end(&queue, id, token, Ending::Failed, message).await
                }
                _ => {
                    let message = Some("its time was over before it was started".to_owned());
                    reporter.end(&queue, id, token, Ending::Cancelled, message).await
                }
            };
            // A task that nobody watched has no operation.
            if let Err(error) = told
                && !matches!(error, ProgressError::NotFound)
            {
                tracing::debug!(queue.name = %queue, task.id = %id, error = %error, "the operation of task {id} still runs: {error}");
            }
        }
        .boxed()
    }
}

/// Steps are open: which ones there are, only the handler knows, and it says so after its lease was announced.
fn new_operation(
    queue: &QueueName,
    task: TaskId,
    project: Option<ProjectId>,
    correlation_id: Option<CorrelationId>,
) -> NewOperation {
    let title = Some(format!("{queue} task {task}"));
    NewOperation { id: None, title, project, steps: Vec::new(), open_steps: true, correlation_id }
}

fn operation_for(queue: &QueueName, task: &Task) -> NewOperation {
    new_operation(queue, task.id, task.project.clone(), task.correlation.clone())
}

fn planned(step: PlannedStep) -> Update {
    Update {
        step: Some(step.name),
        state: Some(StepState::Pending),
        weight: Some(step.weight),
        total: step.total,
        ..Update::default()
    }
}

fn on_wire(update: queue::Update) -> Update {
    Update {
        step: update.step,
        state: update.state,
        percent: update.percent,
        current: update.current,
        total: update.total,
        weight: None,
        message: update.message.map(shortened),
        data: update.data,
    }
}

/// At most as long as a message may be, cut between characters.
fn shortened(mut message: String) -> String {
    let mut end = message.len().min(MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.truncate(end);
    message
}

const SHOWN_AT_ONCE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_queue_name_and_task_id_make_an_operation_id() {
        let queue = "q".repeat(64).parse().unwrap();
        let id = operation_of(&queue, TaskId { number: (1 << 53) - 1, salt: u32::MAX });
        assert!(id.as_str().ends_with(".9007199254740991-ffffffff"));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let cut = shortened("ä".repeat(600));
        assert_eq!(cut.chars().count(), 512);
        assert_eq!(shortened("short".to_owned()), "short");
    }
}
