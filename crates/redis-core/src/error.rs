//! What can go wrong between us and Redis.

use domain::{Coded, ErrorCode};
use std::time::Duration;

/// Why a call gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisError {
    /// Nothing was sent, or the server refused to begin: it was certainly not applied.
    #[error("redis is not available")]
    Unavailable {
        /// When a further try makes sense.
        retry_after: Duration,
    },
    /// Nothing was sent: thousands of calls of this process wait already. Redis may be as well as ever.
    #[error("too many calls wait for redis")]
    Overloaded,
    /// Sent, and no answer came: it may or may not have been applied. Never repeat it blindly.
    #[error("no answer from redis: the outcome is unknown")]
    Unknown,
    /// Over `maxmemory`; only what drains still runs.
    #[error("redis is full")]
    Full,
    /// The server answered with an error: our mistake, or a missing right.
    #[error("redis refused the call: {0}")]
    Reply(String),
    /// The answer has a shape that the caller did not expect: a newer format, or our mistake.
    #[error("unexpected answer from redis: {0}")]
    Protocol(String),
}

impl RedisError {
    /// Away, with the usual pause before the next try.
    pub(crate) fn away() -> Self {
        Self::Unavailable { retry_after: Duration::from_secs(1) }
    }

    /// Sorts an error text of the server.
    pub(crate) fn from_server(text: &str) -> Self {
        match text.split(' ').next().unwrap_or_default() {
            "OOM" => Self::Full,
            // The server is there and did nothing: it loads, is a replica, cannot write its files, or its slot moves.
            "LOADING" | "READONLY" | "MASTERDOWN" | "MISCONF" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY"
            | "NOREPLICAS" => Self::away(),
            _ => Self::Reply(text.to_owned()),
        }
    }
}

impl Coded for RedisError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unavailable { .. } | Self::Overloaded => ErrorCode::Unavailable,
            Self::Unknown => ErrorCode::OutcomeUnknown,
            Self::Full => ErrorCode::Full,
            Self::Reply(_) | Self::Protocol(_) => ErrorCode::Internal,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after } => Some(*retry_after),
            Self::Overloaded | Self::Unknown | Self::Full => Some(Duration::from_secs(1)),
            Self::Reply(_) | Self::Protocol(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_is_sorted_by_what_a_caller_can_do() {
        for (text, sorted) in [
            ("OOM command not allowed when used memory > 'maxmemory'.", RedisError::Full),
            ("LOADING Redis is loading the dataset in memory", RedisError::away()),
            ("READONLY You can't write against a read only replica.", RedisError::away()),
            ("MISCONF Redis is configured to save RDB snapshots", RedisError::away()),
            ("BUSY Redis is busy running a script.", RedisError::away()),
            ("CLUSTERDOWN The cluster is down", RedisError::away()),
            ("NOPERM No permissions", RedisError::Reply("NOPERM No permissions".to_owned())),
            ("", RedisError::Reply(String::new())),
        ] {
            assert_eq!(RedisError::from_server(text), sorted, "{text}");
        }
    }
}
