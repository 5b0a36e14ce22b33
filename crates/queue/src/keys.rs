//! Every Redis key of this engine. The scripts derive the keys of a queue from its prefix, `queue:{Q}`, in the same
//! hash tag; each script's header lists which.

use domain::QueueName;
use redis_core::{Channel, Key, Redis};

/// The prefix of everything of one queue: `queue:{Q}`. Itself never a key.
pub(crate) fn queue(redis: &Redis, name: &QueueName) -> Key {
    redis.key(format_args!("queue:{{{name}}}"))
}

/// The zset of tasks that have ended with no worker to tell of it: number by when.
pub(crate) fn outbox(redis: &Redis, name: &QueueName) -> Key {
    redis.key(format_args!("queue:{{{name}}}:outbox"))
}

/// Where a queue tells that there is work, or that a lease was voided.
pub(crate) fn wake(redis: &Redis, name: &QueueName) -> Channel {
    redis.channel(format_args!("queue:{{{name}}}:wake"))
}

/// Where a queue tells which tasks have ended.
pub(crate) fn ends(redis: &Redis, name: &QueueName) -> Channel {
    redis.channel(format_args!("queue:{{{name}}}:ends"))
}

/// The hash of all queues: name -> when it was first used.
pub(crate) fn queues(redis: &Redis) -> Key {
    redis.key("sluice:queues")
}
