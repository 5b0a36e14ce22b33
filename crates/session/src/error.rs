//! Why a session could not be had.

use crate::Revision;
use domain::{Coded, ErrorCode, FieldError};
use redis_core::RedisError;
use std::time::Duration;

/// Why an operation on sessions failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Guessed, cut, altered, over, logged out, rotated away: one and the same, so that nobody learns which.
    #[error("the session token is unknown, or its session is over")]
    Unauthenticated,
    /// It was changed since that revision.
    #[error("the session was changed meanwhile: it is at revision {0}")]
    Changed(Revision),
    /// So many others changed it at once that this change found no gap; nothing was written.
    #[error("too many changes of this session at once: try again")]
    Contended,
    /// The attributes are too large.
    #[error("the attributes are {bytes} bytes of JSON, and may be {most}")]
    TooLarge {
        /// As JSON.
        bytes: usize,
        /// The bound.
        most: usize,
    },
    /// The idle time is out of its range.
    #[error("an idle time is 1 s to {most_ms} ms")]
    Idle {
        /// The longest life of a session.
        most_ms: u64,
    },
    /// Redis did not answer, or not well.
    #[error("sessions cannot be reached")]
    Redis(#[from] RedisError),
}

impl Coded for SessionError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unauthenticated => ErrorCode::Unauthenticated,
            Self::Changed(_) => ErrorCode::PreconditionFailed,
            Self::Contended => ErrorCode::Conflict,
            Self::TooLarge { .. } => ErrorCode::TooLarge,
            Self::Idle { .. } => ErrorCode::InvalidInput,
            Self::Redis(error) => error.code(),
        }
    }

    fn fields(&self) -> Vec<FieldError> {
        match self {
            Self::Idle { .. } => vec![FieldError::new("/idle_ttl_ms", self.to_string())],
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
