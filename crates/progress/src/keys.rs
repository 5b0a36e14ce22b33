//! Every Redis key of this engine; no other file builds one.

use domain::OperationId;
use redis_core::{Channel, Key, Redis};

/// State and log of an operation: one slot, the root's. The log's name is the sharded channel too.
pub(crate) fn pair(redis: &Redis, id: &OperationId) -> [Key; 2] {
    [redis.key(format_args!("progress:{{{id}}}:state")), redis.key(format_args!("progress:{{{id}}}:log"))]
}

/// Where what is appended to the log is said.
pub(crate) fn channel(redis: &Redis, id: &OperationId) -> Channel {
    redis.channel(format_args!("progress:{{{id}}}:log"))
}

/// Running operations of one shard by when to look at them.
pub(crate) fn running(redis: &Redis, shard: u32) -> Key {
    redis.key(format_args!("sluice:running:{shard}"))
}

/// The shard of an operation: the same on every node and in every version.
pub(crate) fn shard(id: &OperationId) -> u32 {
    id.as_str().bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte))) % SHARDS
}

/// How many `sluice:running:<n>` there are.
pub(crate) const SHARDS: u32 = 16;
