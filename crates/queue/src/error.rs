//! What can go wrong, in the caller's words.

use domain::{Coded, ErrorCode, FieldError};
use redis_core::RedisError;
use std::time::Duration;

/// A task or a batch that was not taken in. Nothing of it was written, unless Redis did not answer.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// A value is out of its bounds. Costs no round trip.
    #[error("task {index} is not valid: {detail}")]
    Invalid {
        /// Which task of the batch, from 0 on.
        index: usize,
        /// The field of the task, as it is called on the wire.
        field: &'static str,
        /// Its rule, for a person.
        detail: String,
    },
    /// The payload, or the batch as a whole, is over its bound. Costs no round trip.
    #[error("{what} is over {limit} {unit}")]
    TooLarge {
        /// Which part: `payload`, `batch`.
        what: &'static str,
        /// The bound.
        limit: usize,
        /// Of what: `bytes` or `tasks`.
        unit: &'static str,
    },
    /// The idempotency key came before, with another body.
    #[error("the idempotency key of task {index} was used with another body")]
    Mismatch {
        /// Which task of the batch, from 0 on.
        index: usize,
    },
    /// The queues hold as many bytes as they may. Tasks that are there go on; try again later.
    #[error("the queues are full")]
    Full,
    /// There are as many queues as there may be.
    #[error("there are {0} queues already")]
    TooManyQueues(usize),
    /// Redis did not do it, or did not answer. A repeat is safe with an idempotency key.
    #[error("the enqueue failed in Redis")]
    Redis(#[from] RedisError),
}

impl Coded for EnqueueError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid { .. } | Self::TooManyQueues(_) => ErrorCode::InvalidInput,
            Self::TooLarge { .. } => ErrorCode::TooLarge,
            Self::Mismatch { .. } => ErrorCode::IdempotencyMismatch,
            Self::Full => ErrorCode::Full,
            Self::Redis(error) => error.code(),
        }
    }

    fn fields(&self) -> Vec<FieldError> {
        match self {
            Self::Invalid { field, detail, .. } => vec![FieldError::new(format!("/{field}"), detail)],
            Self::Mismatch { .. } => vec![FieldError::new("Idempotency-Key", "was used with another body")],
            Self::TooManyQueues(_) => vec![FieldError::new("queue", "no further queue can be made")],
            Self::TooLarge { .. } | Self::Full | Self::Redis(_) => Vec::new(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Full => Some(Duration::from_secs(5)),
            Self::Redis(error) => error.retry_after(),
            _ => None,
        }
    }
}

/// A write of a worker that was refused, or not answered.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The token is not the latest: the lease ran out, or the task was cancelled. Nothing was changed, and another
    /// worker may hold the task.
    #[error("the lease was lost")]
    Lost,
    /// No such task, or its outcome is no longer kept.
    #[error("no such task")]
    Gone,
    /// The result is over its bound. Costs no round trip.
    #[error("the result is over {0} bytes")]
    TooLarge(usize),
    /// Redis did not do it, or did not answer: unknown whether it was applied. Repeat it with the same lease.
    #[error("the write failed in Redis")]
    Redis(#[from] RedisError),
}

impl Coded for LeaseError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Lost => ErrorCode::LeaseLost,
            Self::Gone => ErrorCode::NotFound,
            Self::TooLarge(_) => ErrorCode::TooLarge,
            Self::Redis(error) => error.code(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        if let Self::Redis(error) = self { error.retry_after() } else { None }
    }
}

/// A task that could not be read or changed by its id.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// No such task, or its outcome is no longer kept.
    #[error("no such task")]
    NotFound,
    /// It has ended; nothing changes it any more.
    #[error("the task has ended")]
    Finished,
    /// Only a dead letter can be retried by hand.
    #[error("the task is not dead")]
    NotDead,
    /// Redis did not do it, or did not answer.
    #[error("the call failed in Redis")]
    Redis(#[from] RedisError),
}

impl Coded for TaskError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound => ErrorCode::NotFound,
            Self::Finished => ErrorCode::Finished,
            Self::NotDead => ErrorCode::Conflict,
            Self::Redis(error) => error.code(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        if let Self::Redis(error) = self { error.retry_after() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_by_itself_says_when_to_come_again() {
        const PAUSE: Duration = Duration::from_secs(7);
        let away = || RedisError::Unavailable { retry_after: PAUSE };
        let invalid =
            EnqueueError::Invalid { index: 0, field: "delay_ms", detail: "at most a year".to_owned() };
        let too_large = EnqueueError::TooLarge { what: "payload", limit: 1, unit: "bytes" };
        let errors: [(&dyn Coded, Option<Duration>); 14] = [
            (&EnqueueError::Redis(away()), Some(PAUSE)),
            (&EnqueueError::Full, Some(Duration::from_secs(5))),
            (&EnqueueError::TooManyQueues(1), None),
            (&EnqueueError::Mismatch { index: 0 }, None),
            (&invalid, None),
            (&too_large, None),
            (&LeaseError::Redis(away()), Some(PAUSE)),
            (&LeaseError::Lost, None),
            (&LeaseError::Gone, None),
            (&LeaseError::TooLarge(1), None),
            (&TaskError::Redis(away()), Some(PAUSE)),
            (&TaskError::NotFound, None),
            (&TaskError::Finished, None),
            (&TaskError::NotDead, None),
        ];
        for (error, pause) in errors {
            assert_eq!(error.retry_after(), pause, "{:?}", error.code());
        }
    }
}
