//! What can go wrong, in the caller's words.

use domain::{Coded, ErrorCode, FieldError};
use redis_core::RedisError;
use std::time::Duration;

/// Why an operation of the cache was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// `If-Match` or `If-None-Match` did not hold; nothing was changed.
    #[error("the entry is not the one that the condition names")]
    PreconditionFailed,
    /// The payload is over the bound.
    #[error("an entry may have at most {limit_bytes} bytes")]
    TooLarge {
        /// The bound.
        limit_bytes: usize,
    },
    /// The time to live is zero, or over the bound.
    #[error("a time to live is 1 to {limit_s} seconds")]
    InvalidTtl {
        /// The bound.
        limit_s: u64,
    },
    /// Redis did not do it, or nobody knows.
    #[error(transparent)]
    Redis(#[from] RedisError),
}

impl Coded for CacheError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::PreconditionFailed => ErrorCode::PreconditionFailed,
            Self::TooLarge { .. } => ErrorCode::TooLarge,
            Self::InvalidTtl { .. } => ErrorCode::InvalidInput,
            Self::Redis(error) => error.code(),
        }
    }

    fn fields(&self) -> Vec<FieldError> {
        match self {
            Self::InvalidTtl { .. } => vec![FieldError::new("Sluice-TTL", self.to_string())],
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_by_itself_says_when_to_come_again() {
        let away = RedisError::Unavailable { retry_after: Duration::from_secs(7) };
        for (error, pause_s) in [
            (CacheError::Redis(away), Some(7)),
            (CacheError::Redis(RedisError::Full), Some(1)),
            (CacheError::Redis(RedisError::Unknown), Some(1)),
            (CacheError::Redis(RedisError::Reply("NOPERM".to_owned())), None),
            (CacheError::PreconditionFailed, None),
            (CacheError::TooLarge { limit_bytes: 1 }, None),
            (CacheError::InvalidTtl { limit_s: 1 }, None),
        ] {
            assert_eq!(error.retry_after(), pause_s.map(Duration::from_secs), "{error}");
        }
    }
}
