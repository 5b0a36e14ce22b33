//! Every Redis key of the limiter.

use crate::Scope;
use domain::PolicyName;
use redis_core::{Channel, Key, Redis};

/// `rl:{S}:<policy>`: the runs of one policy and one scope.
pub(crate) fn count(redis: &Redis, scope: &Scope, policy: &PolicyName) -> Key {
    redis.key(format_args!("rl:{{{scope}}}:{policy}"))
}

/// `rl:{S}:<policy>:reset`: there for as long as what was charged before a reset could still be given back.
pub(crate) fn was_reset(redis: &Redis, scope: &Scope, policy: &PolicyName) -> Key {
    redis.key(format_args!("rl:{{{scope}}}:{policy}:reset"))
}

/// `rl:{resets}`: where a reset is told to every process, as the key of what was reset.
pub(crate) fn resets(redis: &Redis) -> Channel {
    redis.channel("rl:{resets}")
}
