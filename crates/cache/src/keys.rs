//! Every Redis key of the cache. All keys of a project share its hash tag, so that each script touches one slot.

use domain::{EntryName, ProjectId};
use redis_core::{Key, Redis};

/// The keys of one project.
pub(crate) struct ProjectKeys<'a> {
    redis: &'a Redis,
    project: &'a ProjectId,
}

impl<'a> ProjectKeys<'a> {
    pub(crate) fn new(redis: &'a Redis, project: &'a ProjectId) -> Self {
        Self { redis, project }
    }

    /// `project:{P}:<name>`: one packed entry.
    pub(crate) fn entry(&self, name: &EntryName) -> Key {
        self.redis.key(format_args!("project:{{{}}}:{name}", self.project))
    }

    /// `project:{P}:<NUL><random>`: a large entry that was sent ahead of its `put.lua`. No entry's name holds a
    /// control character, so none can be meant by it.
    pub(crate) fn ahead(&self, random: u128) -> Key {
        self.redis.key(format_args!("project:{{{}}}:\0{random:032x}", self.project))
    }

    /// `project:{P}`: never exists; `list.lua` derives the entries' keys from it.
    pub(crate) fn entries(&self) -> Key {
        self.redis.key(format_args!("project:{{{}}}", self.project))
    }

    /// `seq:{P}`: the project's last stamp.
    pub(crate) fn seq(&self) -> Key {
        self.redis.key(format_args!("seq:{{{}}}", self.project))
    }

    /// `gen:{P}`: stamps of the last invalidation of the project (`p`) and of each tag (`t:<tag>`).
    pub(crate) fn generations(&self) -> Key {
        self.redis.key(format_args!("gen:{{{}}}", self.project))
    }

    /// `names:{P}`: the entries' names by expiry.
    pub(crate) fn names(&self) -> Key {
        self.redis.key(format_args!("names:{{{}}}", self.project))
    }
}
