//! The reads of `Cache`: a read is `GET` and `read.lua` in one write, joined by what both saw.

use crate::cache::Cache;
use crate::error::CacheError;
use crate::keys::ProjectKeys;
use crate::list::{Cursor, Page};
use crate::read::{Hit, Judgement, MissReason, Read, Verdict};
use crate::scripts::{LIST, READ, RECOVER};
use crate::stats::add;
use bytes::Bytes;
use domain::{EntryName, ProjectId, Stamp};
use futures_util::future::try_join_all;
use redis_core::{Arg, Key, RedisError, Reply};
use std::time::Duration;

/// What a read of many found for one name.
#[derive(Clone, Debug)]
pub enum Found {
    /// As [`Cache::read`] would say.
    Read(Read),
    /// Live, but its payload did not fit into the bytes that the caller takes at once. The hit has none.
    TooMuch(Hit),
}

impl Cache {
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
        // Dear for Redis, as the payload passes through Lua, but nothing comes between. (Boxed, being rare and large.)
        let judgement = Box::pin(self.judge(&keys, &entry, HandOut::EVERYTHING)).await?;
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
        let recover = self.redis.run(&RECOVER, &of_script, vec![Arg::from(stamp)]);
        let reply = Box::pin(recover).await.map_err(of_a_read)?;
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

/// A read that got no answer changed nothing: it may simply be repeated.
pub(crate) fn of_a_read(error: RedisError) -> RedisError {
    match error {
        RedisError::Unknown => RedisError::Unavailable { retry_after: Duration::from_secs(1) },
        other => other,
    }
}

const READ_ATTEMPTS: usize = 3;
