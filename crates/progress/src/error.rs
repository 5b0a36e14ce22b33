//! What can go wrong, in the caller's words.

use crate::Illegal;
use domain::{Coded, ErrorCode, FieldError, OperationState};
use redis_core::RedisError;
use std::time::Duration;

/// Why an operation was not created, changed or read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProgressError {
    /// Nobody created it, or it has expired.
    #[error("no such operation")]
    NotFound,
    /// It is there already.
    #[error("an operation of that id exists")]
    AlreadyExists,
    /// The fencing token is not that of the latest lease, or is missing where there is one.
    #[error("only the worker that holds the latest lease may report to this operation")]
    LeaseLost,
    /// It has ended; nothing changes it any more.
    #[error("the operation has ended: it is {0}")]
    Finished(OperationState),
    /// The state of a step forbids it. Nothing of the call was applied.
    #[error("{source}")]
    Illegal {
        /// What was said about a step in which state.
        source: Illegal,
        /// Which report, as a JSON pointer.
        pointer: String,
    },
    /// Fields that break their rule. Nothing was applied.
    #[error("{}", .0.first().map_or("invalid input", |field| field.detail.as_str()))]
    Invalid(Vec<FieldError>),
    /// A field over its bound of bytes. Nothing was applied.
    #[error("{}", .0.detail)]
    TooLarge(FieldError),
    /// Redis did not answer, or not well.
    #[error(transparent)]
    Redis(#[from] RedisError),
}

impl ProgressError {
    pub(crate) fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(pointer, detail)])
    }

    pub(crate) fn format(what: &str) -> Self {
        Self::Redis(RedisError::Protocol(format!("{what} is in a format that this version does not read")))
    }
}

impl Coded for ProgressError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound => ErrorCode::NotFound,
            Self::AlreadyExists => ErrorCode::AlreadyExists,
            Self::LeaseLost => ErrorCode::LeaseLost,
            Self::Finished(_) => ErrorCode::Finished,
            Self::Illegal { .. } => ErrorCode::Conflict,
            Self::Invalid(_) => ErrorCode::InvalidInput,
            Self::TooLarge(_) => ErrorCode::TooLarge,
            Self::Redis(error) => error.code(),
        }
    }

    fn fields(&self) -> Vec<FieldError> {
        match self {
            Self::Invalid(fields) => fields.clone(),
            Self::TooLarge(field) => vec![field.clone()],
            Self::Illegal { pointer, source } => {
                vec![FieldError::new(format!("{pointer}/state"), source.to_string())]
            }
            _ => Vec::new(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Redis(error) => error.retry_after(),
            _ => None,
        }
    }
}
