//! The life of tasks, told to the progress engine: a task is the operation `<queue>.<task id>`.

use domain::progress::{LastWords, NewOperation, Update, Updates};
use domain::{FencingToken, OperationId, QueueName, StepState, TaskId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use progress::{Ending, MESSAGE_BYTES_MAX, Operations, ProgressError};
use queue::{Left, PlannedStep, Report, Reporter, Subject, Task};

/// Shows tasks as operations. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ProgressReporter {
    operations: Operations,
}

/// Where the progress of a task is to be seen.
pub(crate) fn operation_of(queue: &QueueName, task: TaskId) -> OperationId {
    format!("{queue}.{task}")
        .parse()
        .expect("a queue name and a task id are within the letters and bytes of an id")
}

impl ProgressReporter {
    pub(crate) fn new(operations: Operations) -> Self {
        Self { operations }
    }

    /// Fences the operation with the token of a new lease, and makes it when there was none. One round trip, or four.
    pub(crate) async fn announce(
        &self,
        queue: &QueueName,
        task: &Task,
        token: FencingToken,
    ) -> Result<(), ProgressError> {
        let id = operation_of(queue, task.id);
        self.operations.announce(&id, token, &new_operation(queue, task)).await.map(drop)
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
        self.operations.report(&id, token, &updates, &new_operation(queue, task)).await.map(drop)
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
            Left::Succeeded => self.end(queue, task.id, token, Ending::Completed, None).await,
            Left::Dead { message } => self.end(queue, task.id, token, Ending::Failed, Some(message)).await,
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
        token: FencingToken,
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
        token: FencingToken,
        ending: Ending,
        message: Option<String>,
    ) -> Result<(), ProgressError> {
        let words = LastWords { message: message.map(shortened), data: None };
        self.operations.end(&operation_of(queue, task), Some(token), ending, &words).await.map(drop)
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
}

/// Steps are open: which ones there are, only the handler knows, and it says so after its lease was announced.
fn new_operation(queue: &QueueName, task: &Task) -> NewOperation {
    NewOperation {
        id: None,
        title: Some(format!("{queue} task {}", task.id)),
        project: task.project.clone(),
        steps: Vec::new(),
        open_steps: true,
        correlation_id: task.correlation.clone(),
    }
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
