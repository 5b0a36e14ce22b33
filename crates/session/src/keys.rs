//! Every Redis key of sessions. All of a user share one hash tag, so that each script touches one slot.

use crate::token::{SessionId, Tag};
use redis_core::{Key, Redis};

/// `session:{T}:<H>`: one session.
pub(crate) fn session(redis: &Redis, tag: &Tag, id: &SessionId) -> Key {
    redis.key(format_args!("session:{{{tag}}}:{id}"))
}

/// `session:{T}:index`: the user's sessions by the moment when they expire.
pub(crate) fn index(redis: &Redis, tag: &Tag) -> Key {
    redis.key(format_args!("session:{{{tag}}}:index"))
}

/// `session:{T}`: never exists; scripts derive the sessions' keys from it.
pub(crate) fn base(redis: &Redis, tag: &Tag) -> Key {
    redis.key(format_args!("session:{{{tag}}}"))
}
