//! `Cache`: one method per operation, each one script.

use crate::CacheError;
use crate::entry::{Draft, Packed};
use crate::etag::{Conditions, EntityTag, packed};
use crate::keys::ProjectKeys;
use crate::list::{Cursor, Page};
use crate::read::{Hit, Judgement, MissReason, Read, Verdict};
use crate::scripts::{DELETE, INVALIDATE, LIST, PUT, READ, RECOVER};
use crate::stats::{Counters, Stats, add};
use bytes::Bytes;
use domain::{EntryName, ProjectId, Stamp, TagName};
use futures_util::future::try_join_all;
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
    redis: Redis,
    limits: Limits,
    counters: Arc<Counters>,
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

/// What a read of many found for one name.
#[derive(Clone, Debug)]
pub enum Found {
    /// As [`Cache::read`] would say.
    Read(Read),
    /// Live, but its payload did not fit into the bytes that the caller takes at once. The hit has none.
    TooMuch(Hit),
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

    /// Reads an entry, never from before `at_least` when that is given.
    ///
    /// One round trip: `GET` and `read.lua`, O(tags), sent together. One more each time that a write of the very entry
    /// comes between the two. A Redis that is behind `at_least` has lost an acknowledged write: that is a miss, and one
    /// more round trip, `recover.lua`, makes the project forget all it has. See docs/adr/0008-one-round-trip-reads.md.
    ///
    /// # Errors
    /// [`CacheError::Redis`].
    pub async fn read(
        &self,
        project: &ProjectId,
        name: &EntryName,
        at_least: Option<Stamp>,
    ) -> Result<Read, CacheError> {
        let keys = ProjectKeys::new(&self.redis, project);
        let entry = [keys.entry(name)];
        for _ in 0..READ_ATTEMPTS {
            // In this order, so that both leave in one write.
            let (fetched, judgement) = tokio::try_join! { biased;
                self.fetch(&entry[0]), self.judge(&keys, &entry, HandOut::NOTHING)
            }?;
            if let Some(read) = judgement.join(judgement.only()?, fetched) {
                return self.settle(&keys, &judgement, read, at_least).await;
            }
            add(&self.counters.read_again, 1);
        }
        // Dear for Redis, as the payload passes through Lua, but nothing comes between.
        let judgement = self.judge(&keys, &entry, HandOut::EVERYTHING).await?;
        let verdict = judgement.only()?;
        let read = judgement.join(verdict, verdict.handed_out());
        let read = read.unwrap_or_else(|| judgement.miss(MissReason::Unreadable));
        self.settle(&keys, &judgement, read, at_least).await
    }

    /// Reads all but the payload. Otherwise as [`Cache::read`]: one round trip, `read.lua`.
    ///
    /// # Errors
    /// [`CacheError::Redis`].
    pub async fn read_head(
        &self,
        project: &ProjectId,
        name: &EntryName,
        at_least: Option<Stamp>,
    ) -> Result<Read, CacheError> {
        let keys = ProjectKeys::new(&self.redis, project);
        let judgement = self.judge(&keys, &[keys.entry(name)], HandOut::NOTHING).await?;
        let read = match judgement.only()? {
            Verdict::Live(head, _) => Read::Hit(judgement.bare(head.clone())),
            Verdict::Dead(reason) => judgement.miss(*reason),
        };
        self.settle(&keys, &judgement, read, at_least).await
    }

    /// Reads many entries, in the order of `names`, with at most `max_bytes` of payload in all.
    ///
    /// One round trip, `read.lua`, O(names), judges all in one step and hands out entries up to 16 KiB, 1 MiB in all;
    /// larger ones take one more, a `GET` each, sent together.
    ///
    /// # Errors
    /// [`CacheError::Redis`].
    pub async fn read_many(
        &self,
        project: &ProjectId,
        names: &[EntryName],
        at_least: Option<Stamp>,
        max_bytes: usize,
    ) -> Result<Vec<Found>, CacheError> {
        let keys = ProjectKeys::new(&self.redis, project);
        let entries: Vec<Key> = names.iter().map(|name| keys.entry(name)).collect();
        let judgement = self.judge(&keys, &entries, HandOut::SMALL).await?;

        if self.recover_if_behind(&keys, &judgement, at_least).await? {
            return Ok(names.iter().map(|_| Found::Read(judgement.miss(MissReason::Behind))).collect());
        }

        let mut left = max_bytes;
        let reads = names.iter().zip(&entries).zip(&judgement.verdicts).map(|((name, entry), verdict)| {
            let fits = verdict.size_bytes() <= left;
            left -= if fits { verdict.size_bytes() } else { 0 };
            let judgement = &judgement;
            async move {
                let fetched = match verdict {
                    Verdict::Live(head, _) if !fits => {
                        return Ok(Found::TooMuch(judgement.bare(head.clone())));
                    }
                    Verdict::Live(_, handed_out) if handed_out.is_empty() => self.fetch(entry).await?,
                    _ => verdict.handed_out(),
                };
                let Some(read) = judgement.join(verdict, fetched) else {
                    return self.read(project, name, at_least).await.map(Found::Read);
                };
                self.counters.read(&read);
                Ok(Found::Read(read))
            }
        });
        try_join_all(reads).await
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

    /// One page of the project's live entries: at most `limit` names are looked at.
    ///
    /// One round trip, `list.lua`, O(log names + limit). A name that outlived its entry is left out, so a page may be
    /// short; an entry that is put again while one pages may show up twice.
    ///
    /// # Errors
    /// [`CacheError::Redis`].
    pub async fn list(
        &self,
        project: &ProjectId,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, CacheError> {
        let keys = ProjectKeys::new(&self.redis, project);
        let after = after.map_or(Arg::from(""), |cursor| Arg::from(cursor.score()));
        let of_script = [keys.names(), keys.generations(), keys.entries()];
        let reply = self.redis.run(&LIST, &of_script, vec![after, Arg::from(limit.max(1))]).await;
        Ok(Page::parse(reply.map_err(of_a_read)?)?)
    }

    async fn fetch(&self, entry: &Key) -> Result<Option<Bytes>, RedisError> {
        self.redis.get(entry).await.map_err(of_a_read)
    }

    async fn judge(
        &self,
        keys: &ProjectKeys<'_>,
        entries: &[Key],
        hand_out: HandOut,
    ) -> Result<Judgement, RedisError> {
        let mut of_script = vec![keys.seq(), keys.generations()];
        of_script.extend_from_slice(entries);
        let args = vec![Arg::from(hand_out.largest_bytes), Arg::from(hand_out.all_bytes)];
        Judgement::parse(self.redis.run(&READ, &of_script, args).await.map_err(of_a_read)?)
    }

    /// The end of a read: nothing that Redis says counts when it is behind what the reader has seen.
    async fn settle(
        &self,
        keys: &ProjectKeys<'_>,
        judgement: &Judgement,
        read: Read,
        at_least: Option<Stamp>,
    ) -> Result<Read, CacheError> {
        let behind = self.recover_if_behind(keys, judgement, at_least).await?;
        let read = if behind { judgement.miss(MissReason::Behind) } else { read };
        self.counters.read(&read);
        Ok(read)
    }

    async fn recover_if_behind(
        &self,
        keys: &ProjectKeys<'_>,
        judgement: &Judgement,
        at_least: Option<Stamp>,
    ) -> Result<bool, RedisError> {
        let Some(stamp) = at_least.filter(|_| judgement.last_stamp < at_least) else { return Ok(false) };
        let of_script = [keys.seq(), keys.generations(), keys.names()];
        let reply = self.redis.run(&RECOVER, &of_script, vec![Arg::from(stamp)]).await.map_err(of_a_read)?;
        // Else another reader was first.
        if reply.into_array()?.first().map_or("", Reply::word) == "recovered" {
            add(&self.counters.recoveries, 1);
            tracing::warn!(
                stamp = stamp.get(),
                "redis had lost an acknowledged write: a project's cache begins anew"
            );
        }
        Ok(true)
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

/// Which whole entries `read.lua` hands out beside its verdicts.
#[derive(Clone, Copy)]
struct HandOut {
    largest_bytes: usize,
    all_bytes: usize,
}

impl HandOut {
    const NOTHING: Self = Self { largest_bytes: 0, all_bytes: 0 };
    /// What costs less in Lua than a command of its own.
    const SMALL: Self = Self { largest_bytes: 16 * 1024, all_bytes: 1024 * 1024 };
    const EVERYTHING: Self = Self { largest_bytes: 1 << 40, all_bytes: 1 << 40 };
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

/// A read that got no answer changed nothing: it may simply be repeated.
fn of_a_read(error: RedisError) -> RedisError {
    match error {
        RedisError::Unknown => RedisError::Unavailable { retry_after: Duration::from_secs(1) },
        other => other,
    }
}

fn stamp_in(reply: &[Reply]) -> Result<Stamp, RedisError> {
    let stamp = reply.get(1).and_then(|stamp| stamp.word().parse().ok());
    stamp.ok_or_else(|| RedisError::Protocol("a write without a stamp".to_owned()))
}

const READ_ATTEMPTS: usize = 3;
/// Above it `SET` and `RENAME` beat a payload in Lua: 86 us against 5 at 64 KiB, 12 ms against 0.7 at 8 MiB.
const LARGEST_THROUGH_LUA: usize = 128 * 1024;
const AHEAD_TTL_MS: u64 = 60_000;
/// About a quarter of a millisecond of hashing.
const LARGEST_HASHED_HERE: usize = 256 * 1024;
