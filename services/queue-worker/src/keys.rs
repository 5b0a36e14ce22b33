//! The one Redis key that this service itself reads; all others belong to the engines.

use redis_core::{Key, Redis};

/// `sluice:keys`, a hash: id -> record of an API key, as JSON.
pub(crate) fn api_keys(redis: &Redis) -> Key {
    redis.key("sluice:keys")
}
