#![doc = include_str!("../README.md")]

mod answer;
mod error;
mod handler;
mod keys;
mod lease;
mod page;
mod queue;
mod queues;
mod record;
mod report;
mod retry;
mod scripts;
mod state;
mod stats;
mod task;
mod tend;
mod wake;
mod worker;

pub use error::{EnqueueError, LeaseError, TaskError};
pub use handler::{Context, Done, Handler};
pub use lease::{End, Failure, Lease, LeaseRequest, Leased, LeasedBatch, Settled, Settlement, Then};
pub use page::{Cursor, InvalidCursor, Page, Shelf};
pub use queue::Queue;
pub use queues::{Queues, QueuesOptions, Ticked};
pub use report::{Left, PlannedStep, Report, Reporter, Subject, Update};
pub use retry::{Backoff, MAX_CRASHES};
pub use state::{Event, Illegal, next};
pub use stats::Stats;
pub use task::{
    Enqueued, Entered, Holder, LEASE_BOUNDS, MAX_BATCH_BYTES, MAX_BATCH_TASKS, MAX_PAYLOAD_BYTES,
    MAX_RESULT_BYTES, NewTask, OrderOnRetry, PastError, Start, Task,
};
pub use worker::{Worker, WorkerOptions};
