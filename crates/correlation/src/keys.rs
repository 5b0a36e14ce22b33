//! Every Redis key of this engine; no other file builds one.

use domain::CorrelationId;
use redis_core::{Key, Redis};

/// The hops of a correlation, a list, the oldest first. Lives for six hours after the last one.
pub(crate) fn hops(redis: &Redis, id: &CorrelationId) -> Key {
    redis.key(format_args!("correlation:{{{id}}}"))
}
