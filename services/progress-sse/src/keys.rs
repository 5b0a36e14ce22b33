//! The Redis key that this service reads itself.

use redis_core::{Key, Redis};

/// A hash: id of an API key → what is stored of it, JSON.
pub(crate) fn api_keys(redis: &Redis) -> Key {
    redis.key("sluice:keys")
}
