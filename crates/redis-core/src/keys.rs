//! The keys that belong to no engine: what every service reads, or writes to see that it can.

use crate::{Key, Redis};

/// `sluice:keys`: a hash of the API keys that were made at run time, by id.
pub(crate) fn api_keys(redis: &Redis) -> Key {
    redis.key("sluice:keys")
}

/// `sluice:keys:used`: a hash, id of an API key → when it was last used, in milliseconds, to the minute.
pub(crate) fn last_uses(redis: &Redis) -> Key {
    redis.key("sluice:keys:used")
}

/// `sluice:canary:<instance>`: a string that is written to see whether Redis takes writes; it lives for seconds. On a
/// cluster the instances of a service write to different primaries, as their names are random.
pub(crate) fn canary(redis: &Redis, instance: u64) -> Key {
    redis.key(format_args!("sluice:canary:{instance:016x}"))
}
