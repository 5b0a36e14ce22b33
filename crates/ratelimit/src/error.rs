//! Why the limiter did not judge.

use domain::{Coded, ErrorCode, FieldError, PolicyName};
use redis_core::RedisError;
use std::time::Duration;

/// Why there is no verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// It could never pass, however long it waits.
    #[error("a cost of {cost} can never pass policy {policy}, which allows {limit} at once")]
    CostAboveLimit {
        /// The first policy that it is too much for.
        policy: PolicyName,
        /// Units that were asked for.
        cost: u32,
        /// Units that the policy allows at once.
        limit: u32,
    },
    /// More demands than one check may have.
    #[error("at most {MOST_DEMANDS} limits in one check, and there are {0}")]
    TooManyDemands(usize),
    /// Redis cannot be asked, and this check is closed then.
    #[error("the limiter's Redis is away, and this limit is closed then")]
    Away {
        /// When a further try makes sense.
        retry_after: Duration,
    },
    /// Redis is there, and more checks wait for it than this process holds. Nothing was charged, and nothing passes
    /// uncounted, whatever holds while Redis is away.
    #[error("more checks wait for the limiter's Redis than may")]
    Overloaded {
        /// When a further try makes sense.
        retry_after: Duration,
    },
    /// A call that has no other way (`peek`, `reset`) failed.
    #[error("the limiter's Redis did not answer")]
    Redis(#[from] RedisError),
}

impl Coded for LimitError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::CostAboveLimit { .. } | Self::TooManyDemands(_) => ErrorCode::InvalidInput,
            Self::Away { .. } | Self::Overloaded { .. } => ErrorCode::Unavailable,
            Self::Redis(error) => error.code(),
        }
    }

    fn fields(&self) -> Vec<FieldError> {
        match self {
            Self::CostAboveLimit { .. } => vec![FieldError::new("/cost", self.to_string())],
            _ => Vec::new(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Away { retry_after } | Self::Overloaded { retry_after } => Some(*retry_after),
            Self::Redis(error) => error.retry_after(),
            Self::CostAboveLimit { .. } | Self::TooManyDemands(_) => None,
        }
    }
}

/// How many demands one check may have.
pub(crate) const MOST_DEMANDS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_whose_it_is_and_when_to_come_again() {
        let second = Duration::from_secs(1);
        let too_much = LimitError::CostAboveLimit { policy: "p".parse().unwrap(), cost: 8, limit: 7 };
        for (error, code, retry_after) in [
            (too_much.clone(), ErrorCode::InvalidInput, None),
            (LimitError::TooManyDemands(17), ErrorCode::InvalidInput, None),
            (LimitError::Away { retry_after: second }, ErrorCode::Unavailable, Some(second)),
            (LimitError::Overloaded { retry_after: second }, ErrorCode::Unavailable, Some(second)),
            (LimitError::Redis(RedisError::Unknown), ErrorCode::OutcomeUnknown, Some(second)),
            (LimitError::Redis(RedisError::Overloaded), ErrorCode::Unavailable, Some(second)),
        ] {
            assert_eq!((error.code(), error.retry_after()), (code, retry_after), "{error}");
        }
        assert_eq!(too_much.fields(), [FieldError::new("/cost", too_much.to_string())]);
    }
}
