#![doc = include_str!("../README.md")]

mod backend;
pub mod cache;
pub mod correlation;
mod error;
mod long_poll;
mod names;
mod operation;
pub mod progress;
pub mod queue;
pub mod ratelimit;
pub mod session;
mod stamp;
mod task;
mod time;

pub use backend::{Backend, BackendError, Readiness};
pub use error::{Coded, ErrorCode, FieldError};
pub use long_poll::LongPoll;
pub use names::{
    CorrelationId, EntryName, IdempotencyKey, InvalidName, LaneName, OperationId, PolicyName, ProjectId,
    QueueName, StepName, TagName, UserId, WorkerName,
};
pub use operation::{OperationState, StepState};
pub use stamp::{FencingToken, InvalidStamp, Stamp};
pub use task::{InvalidTaskId, TaskId, TaskState};
pub use time::{InvalidTimestamp, Timestamp};
