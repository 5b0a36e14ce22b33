//! `Cache` and its writes: one method per operation, each one script. The reads are in `reader.rs`.

use crate::entry::{Draft, Packed};
use crate::error::CacheError;
use crate::etag::{Conditions, EntityTag, packed};
use crate::keys::ProjectKeys;
use crate::reader::of_a_read;
use crate::scripts::{DELETE, INVALIDATE, PUT};
use crate::stats::{Counters, Stats, add};
use bytes::Bytes;
use domain::{EntryName, ProjectId, Stamp, TagName};
use redis_core::{Arg, Key, Redis, RedisError, Reply};
use std::sync::Arc;
use std::time::Duration;

/// What a cache accepts.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Payload of one entry, bytes. At most 256 MiB.
    pub max_entry_bytes: usize,
    /// Longest time to live.
    pub max_ttl: Duration,
    /// Tags whose invalidations a project remembers; one more, and the whole project is invalidated instead.
    pub max_invalidated_tags: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_entry_bytes: 8 * 1024 * 1024,
            max_ttl: Duration::from_secs(30 * 24 * 3600),
            max_invalidated_tags: 10_000,
        }
    }
}

/// The entries of all projects. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub struct Cache {
    pub(crate) redis: Redis,
    pub(crate) limits: Limits,
    pub(crate) counters: Arc<Counters>,
}

/// An entry was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// There was no live entry of that name before.
    pub created: bool,
    /// The stamp of this write.
    pub stamp: Stamp,
    /// The tag of what was put.
    pub etag: EntityTag,
}

/// What to invalidate.
#[derive(Clone, Debug)]
pub enum Scope {
    /// Every entry of the project.
    Project,
    /// Every entry with one of these tags.
    Tags(Vec<TagName>),
    /// These entries.
    Names(Vec<EntryName>),
}

/// An invalidation was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalidated {
    /// Its stamp: a read that demands it gets nothing older.
    pub stamp: Stamp,
    /// The whole project was, because it was asked for, or because too many tags were to be remembered.
    pub whole_project: bool,
}

impl Cache {
    /// A cache over this Redis.
    pub fn new(redis: Redis, limits: Limits) -> Self {
        Self { redis, limits, counters: Arc::default() }
    }

    /// What it accepts.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Counts of this process.
    pub fn stats(&self) -> Stats {
        self.counters.stats()
    }

    /// Puts an entry under a new stamp, when the conditions hold for what is there.
    ///
    /// One round trip, `put.lua`, O(log names). A payload above 128 KiB takes one more: it is sent ahead by a plain
    /// `SET` and renamed, since Lua would hold up Redis for 1 ms a MiB. Safe to repeat.
    ///
    /// # Errors
    /// [`CacheError::PreconditionFailed`], [`CacheError::TooLarge`], [`CacheError::InvalidTtl`];
    /// [`CacheError::Redis`]: after `Unknown` it may have been put, `Full` refuses it.
    pub async fn put(
        &self,
        project: &ProjectId,
        name: &EntryName,
        draft: Draft,
        conditions: &Conditions,
    ) -> Result<Written, CacheError> {
        let ttl_ms = self.accept(&draft)?;
        let size = draft.payload.len();
        let packed_entry = pack(draft).await;

        let keys = ProjectKeys::new(&self.redis, project);
        let mut of_script = vec![keys.entry(name), keys.seq(), keys.generations(), keys.names()];
        let mut args = vec![Arg::from(name.to_string()), Arg::from(ttl_ms)];
        args.extend(
            [&conditions.if_match, &conditions.if_none_match].map(|one| Arg::from(packed(one.as_ref()))),
        );
        if size > LARGEST_THROUGH_LUA {
            of_script.push(self.send_ahead(&keys, packed_entry.bytes).await?);
        } else {
            args.push(Arg::from(packed_entry.bytes));
        }

        let reply = self.redis.run(&PUT, &of_script, args).await?.into_array()?;
        let created = match reply.first().map_or("", Reply::word) {
            "created" => true,
            "replaced" => false,
            "refused" => return Err(self.refused()),
            // Evicted in the moment between: as good as full, and nothing was changed.
            "lost" => return Err(RedisError::Full.into()),
            word => return Err(RedisError::Protocol(format!("put.lua: {word:?}")).into()),
        };
        add(&self.counters.puts, 1);
        add(&self.counters.put_bytes, size);
        Ok(Written { created, stamp: stamp_in(&reply)?, etag: packed_entry.etag })
    }

    /// Deletes an entry, when the conditions hold for it. No entry of that name is fine too.
    ///
    /// One round trip, `delete.lua`, O(log names), also on a full Redis. Safe to repeat.
    ///
    /// # Errors
    /// [`CacheError::PreconditionFailed`]; [`CacheError::Redis`]: after `Unknown` it may have been deleted.
    pub async fn delete(
        &self,
        project: &ProjectId,
        name: &EntryName,
        conditions: &Conditions,
    ) -> Result<Stamp, CacheError> {
        self.remove(project, std::slice::from_ref(name), conditions).await
    }

    /// Makes every entry in the scope a miss, on every node, before it answers.
    ///
    /// One round trip, also on a full Redis: `invalidate.lua`, O(tags) whatever the number of entries, or `delete.lua`,
    /// O(names · log all names). Safe to repeat.
    ///
    /// # Errors
    /// [`CacheError::Redis`]: after `Unknown` it may have been applied.
    pub async fn invalidate(&self, project: &ProjectId, scope: &Scope) -> Result<Invalidated, CacheError> {
        let tags = match scope {
            Scope::Project => &[],
            Scope::Tags(tags) if !tags.is_empty() => tags.as_slice(),
            // An empty list names nothing; to `invalidate.lua` it would be everything.
            Scope::Tags(_) => return self.remove_named(project, &[]).await,
            Scope::Names(names) => return self.remove_named(project, names).await,
        };
        let keys = ProjectKeys::new(&self.redis, project);
        let mut args = vec![Arg::from(self.limits.max_invalidated_tags)];
        args.extend(tags.iter().map(|tag| Arg::from(tag.to_string())));
        let of_script = [keys.seq(), keys.generations(), keys.names()];
        let reply = self.redis.run(&INVALIDATE, &of_script, args).await?.into_array()?;
        add(&self.counters.invalidations, 1);
        let whole_project = reply.first().map_or("", Reply::word) == "project";
        Ok(Invalidated { stamp: stamp_in(&reply)?, whole_project })
    }

    async fn remove_named(
        &self,
        project: &ProjectId,
        names: &[EntryName],
    ) -> Result<Invalidated, CacheError> {
        let stamp = self.remove(project, names, &Conditions::default()).await?;
        Ok(Invalidated { stamp, whole_project: false })
    }

    async fn remove(
        &self,
        project: &ProjectId,
        names: &[EntryName],
        conditions: &Conditions,
    ) -> Result<Stamp, CacheError> {
        let keys = ProjectKeys::new(&self.redis, project);
        let mut of_script = vec![keys.seq(), keys.generations(), keys.names()];
        of_script.extend(names.iter().map(|name| keys.entry(name)));
        let mut args: Vec<Arg> = [&conditions.if_match, &conditions.if_none_match]
            .map(|one| Arg::from(packed(one.as_ref())))
            .into();
        args.extend(names.iter().map(|name| Arg::from(name.to_string())));
        let reply = self.redis.run(&DELETE, &of_script, args).await?.into_array()?;
        if reply.first().map_or("", Reply::word) == "refused" {
            return Err(self.refused());
        }
        add(&self.counters.deletes, names.len());
        Ok(stamp_in(&reply)?)
    }

    /// The TTL in ms, when the draft is within the limits.
    fn accept(&self, draft: &Draft) -> Result<u64, CacheError> {
        let Limits { max_entry_bytes, max_ttl, .. } = self.limits;
        if draft.payload.len() > max_entry_bytes {
            return Err(CacheError::TooLarge { limit_bytes: max_entry_bytes });
        }
        let ttl_ms = u64::try_from(draft.ttl.as_millis()).unwrap_or(u64::MAX);
        if ttl_ms == 0 || draft.ttl > max_ttl {
            return Err(CacheError::InvalidTtl { limit_s: max_ttl.as_secs() });
        }
        Ok(ttl_ms)
    }

    /// Sends a large entry under a key that nobody reads. What becomes of it is `put.lua`'s to say.
    async fn send_ahead(&self, keys: &ProjectKeys<'_>, bytes: Bytes) -> Result<Key, RedisError> {
        let ahead = keys.ahead(rand::random());
        let args = vec![Arg::from(bytes), Arg::from("PX"), Arg::from(AHEAD_TTL_MS)];
        // Nothing that anybody can see has changed, so an unknown outcome is none: at worst it frees itself.
        self.redis.command("SET", &ahead, args).await.map_err(of_a_read)?;
        Ok(ahead)
    }

    fn refused(&self) -> CacheError {
        add(&self.counters.refused, 1);
        CacheError::PreconditionFailed
    }
}

/// Hashes and packs; on a thread of its own where that would hold up a worker's other requests.
async fn pack(draft: Draft) -> Packed {
    if draft.payload.len() <= LARGEST_HASHED_HERE {
        return draft.pack();
    }
    let again = draft.clone();
    // It ends early only when the runtime does.
    tokio::task::spawn_blocking(move || again.pack()).await.unwrap_or_else(|_| draft.pack())
}

fn stamp_in(reply: &[Reply]) -> Result<Stamp, RedisError> {
    let stamp = reply.get(1).and_then(|stamp| stamp.word().parse().ok());
    stamp.ok_or_else(|| RedisError::Protocol("a write without a stamp".to_owned()))
}

/// Above it `SET` and `RENAME` beat a payload in Lua: 86 us against 5 at 64 KiB, 12 ms against 0.7 at 8 MiB.
const LARGEST_THROUGH_LUA: usize = 128 * 1024;
const AHEAD_TTL_MS: u64 = 60_000;
/// About a quarter of a millisecond of hashing.
const LARGEST_HASHED_HERE: usize = 256 * 1024;
