//! What a worker tells about the life of a task, for whoever shows it.

use crate::task::Task;
use domain::{FencingToken, QueueName, StepName, StepState};
use futures_util::future::BoxFuture;
use serde_json::value::RawValue;
use std::sync::Arc;

/// Where reports go: `queue-worker` implements it with the progress engine.
///
/// Best effort: a report that fails is the implementation's to log, and the task goes on. In order: the worker awaits
/// each report of a task before the next one. Fenced: a receiver refuses a report with a lower token than it has seen.
pub trait Reporter: Send + Sync + 'static {
    /// Takes one report. Runs beside the task, within a few seconds of bound.
    fn report(&self, subject: Subject, report: Report) -> BoxFuture<'static, ()>;

    /// A task has ended with no worker to tell of it: dead of lost leases, or its time was over before it was started.
    ///
    /// `task.lease` is the last one, if it was ever leased. A node's timer calls this, within a few seconds of bound;
    /// more than once when several nodes see it or one dies.
    fn ended(&self, queue: QueueName, task: Task) -> BoxFuture<'static, ()>;
}

/// What a report is about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The queue.
    pub queue: QueueName,
    /// The task as it was leased, without its payload.
    pub task: Arc<Task>,
    /// The token of the lease under which this is said.
    pub token: FencingToken,
}

/// One report.
#[derive(Clone, Debug)]
pub enum Report {
    /// A worker has the task. Comes before the handler runs when the task asked for progress, else before its first
    /// other report; a task that never reports anything causes none.
    Leased,
    /// The steps that the handler is going to take, in order.
    Planned(Vec<PlannedStep>),
    /// How far it is.
    Updated(Update),
    /// The task has left its worker: the end was applied.
    Left(Left),
}

/// A step that a handler announces.
#[derive(Clone, Debug)]
pub struct PlannedStep {
    /// Its name.
    pub name: StepName,
    /// Its share of the whole; 1 for all means equal shares.
    pub weight: u32,
    /// How many units it has, when that is known.
    pub total: Option<u64>,
}

/// How far a task is. Give what is known; at least one field.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// Which step; the task as a whole when `None`.
    pub step: Option<StepName>,
    /// The step's new state.
    pub state: Option<StepState>,
    /// 0 to 100.
    pub percent: Option<f64>,
    /// Units done.
    pub current: Option<u64>,
    /// Units in all.
    pub total: Option<u64>,
    /// For people.
    pub message: Option<String>,
    /// For programs; at most 4 KiB.
    pub data: Option<Box<RawValue>>,
}

/// How a task left its worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// Done.
    Succeeded,
    /// Will be tried again.
    Retrying {
        /// What the handler said.
        message: String,
    },
    /// A dead letter.
    Dead {
        /// What the handler said.
        message: String,
    },
    /// Handed back untried.
    Ready,
}
