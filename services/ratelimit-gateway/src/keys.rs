//! The one Redis key that this service itself knows. The counts' are the limiter's.

use redis_core::{Key, Redis};

/// `sluice:keys`: a hash of API keys that were made at run time, by id.
pub(crate) fn api_keys(redis: &Redis) -> Key {
    redis.key("sluice:keys")
}
