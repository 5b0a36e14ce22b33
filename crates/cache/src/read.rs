//! What a read found. Pure: answers of `read.lua` in, decisions out.

use crate::entry::Head;
use bytes::Bytes;
use domain::{Stamp, Timestamp};
use redis_core::{RedisError, Reply};
use std::time::Duration;

/// What a read found.
#[derive(Clone, Debug)]
pub enum Read {
    /// A live entry.
    Hit(Hit),
    /// Nothing that may be shown.
    Miss(Miss),
}

/// A live entry. Its payload is the very memory that came from Redis.
#[derive(Clone, Debug)]
pub struct Hit {
    /// All but the bytes.
    pub head: Head,
    /// The bytes; empty when only the head was asked for.
    pub payload: Bytes,
    /// When it was judged, on the clock of Redis.
    pub judged: Timestamp,
}

impl Hit {
    /// How long ago it was put.
    pub fn age(&self) -> Duration {
        self.judged.since(self.head.created())
    }

    /// How long it has to live.
    pub fn ttl(&self) -> Duration {
        self.head.ends().since(self.judged)
    }
}

/// Why there is nothing, and the project's last stamp, when Redis knows one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Miss {
    /// Why.
    pub reason: MissReason,
    /// Of the project, when it was judged.
    pub last_stamp: Option<Stamp>,
}

/// Why there is nothing that may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MissReason {
    /// Never put, deleted, or evicted.
    Absent,
    /// Past its end.
    Expired,
    /// Its project or one of its tags was invalidated after it was put.
    Invalidated,
    /// The record of invalidations was lost: nobody knows whether it still holds.
    Forgotten,
    /// Written by a newer version, or torn.
    Unreadable,
    /// Redis is behind the stamp that the reader has seen: it lost an acknowledged write.
    Behind,
}

impl MissReason {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Absent, Self::Expired, Self::Invalidated, Self::Forgotten, Self::Unreadable, Self::Behind];

    /// Its name in JSON, logs and metrics; but for `behind`, which is not a script's to say, also in Lua.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Expired => "expired",
            Self::Invalidated => "invalidated",
            Self::Forgotten => "forgotten",
            Self::Unreadable => "unreadable",
            Self::Behind => "behind",
        }
    }
}

/// What `read.lua` said about some entries.
pub(crate) struct Judgement {
    pub(crate) judged: Timestamp,
    pub(crate) last_stamp: Option<Stamp>,
    pub(crate) verdicts: Vec<Verdict>,
}

/// What `read.lua` said about one.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// Live: its head, and the whole packed entry when that was small enough, else nothing.
    Live(Head, Bytes),
    Dead(MissReason),
}

impl Judgement {
    pub(crate) fn parse(reply: Reply) -> Result<Self, RedisError> {
        let mut parts = reply.into_array()?.into_iter();
        let mut next = || parts.next().ok_or_else(|| RedisError::Protocol("read.lua: too short".to_owned()));
        let judged = Timestamp::from_millis(next()?.into_int()?);
        let last_stamp = next()?.word().parse().ok();
        let mut verdicts = Vec::new();
        while let Ok(word) = next() {
            let (head, bytes) = (next()?.into_bytes()?, next()?.into_bytes()?);
            verdicts.push(Verdict::parse(word.word(), &head, bytes)?);
        }
        Ok(Self { judged, last_stamp, verdicts })
    }

    /// The verdict on the first entry, when there is but one.
    pub(crate) fn only(&self) -> Result<&Verdict, RedisError> {
        self.verdicts.first().ok_or_else(|| RedisError::Protocol("read.lua judged nothing".to_owned()))
    }

    pub(crate) fn miss(&self, reason: MissReason) -> Read {
        Read::Miss(Miss { reason, last_stamp: self.last_stamp })
    }

    /// A hit without its payload.
    pub(crate) fn bare(&self, head: Head) -> Hit {
        Hit { head, payload: Bytes::new(), judged: self.judged }
    }

    /// Joins a verdict with bytes that were fetched beside it. None when those are not the bytes that were judged: a
    /// write came in between.
    ///
    /// A head holds the stamp, which no two writes share, and the hash of the content: an equal head is the same
    /// entry. See docs/adr/0008-one-round-trip-reads.md.
    pub(crate) fn join(&self, verdict: &Verdict, fetched: Option<Bytes>) -> Option<Read> {
        let head = match verdict {
            Verdict::Dead(reason) => return Some(self.miss(*reason)),
            Verdict::Live(head, _) => head.as_bytes(),
        };
        let whole = fetched.filter(|whole| whole.starts_with(head))?;
        // The head again, as a view of the same reply, so that the other one's memory can go.
        let head = Head::unpack(&whole)?;
        let payload = whole.slice(head.as_bytes().len()..);
        let torn = payload.len() != head.size_bytes();
        Some(match torn {
            true => self.miss(MissReason::Unreadable),
            false => Read::Hit(Hit { head, payload, judged: self.judged }),
        })
    }
}

impl Verdict {
    /// The packed entry, where the script handed it out.
    pub(crate) fn handed_out(&self) -> Option<Bytes> {
        match self {
            Self::Live(_, bytes) => Some(bytes.clone()),
            Self::Dead(_) => None,
        }
    }

    /// Payload bytes of a live entry.
    pub(crate) fn size_bytes(&self) -> usize {
        match self {
            Self::Live(head, _) => head.size_bytes(),
            Self::Dead(_) => 0,
        }
    }

    fn parse(word: &str, head: &Bytes, bytes: Bytes) -> Result<Self, RedisError> {
        if word == "live" {
            // A codec of a newer version is as good as none.
            let head = Head::unpack(head);
            return Ok(head.map_or(Self::Dead(MissReason::Unreadable), |head| Self::Live(head, bytes)));
        }
        let reason = MissReason::ALL.into_iter().find(|reason| reason.as_str() == word);
        reason.map(Self::Dead).ok_or_else(|| RedisError::Protocol(format!("read.lua: {word:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ContentType, Draft, Tags};

    fn packed(payload: &'static str) -> Bytes {
        let payload = Bytes::from_static(payload.as_bytes());
        let ttl = Duration::from_secs(1);
        Draft { content_type: ContentType::octets(), tags: Tags::default(), ttl, payload }.pack().bytes
    }

    fn judged(entry: &Bytes) -> (Judgement, Verdict) {
        let head = Head::unpack(entry).unwrap();
        let judgement = Judgement { judged: Timestamp::default(), last_stamp: None, verdicts: Vec::new() };
        (judgement, Verdict::Live(head, Bytes::new()))
    }

    #[test]
    fn a_verdict_holds_for_the_very_entry_that_was_judged_and_for_no_other() {
        let entry = packed("hello");
        let (judgement, verdict) = judged(&entry);

        let joined = judgement.join(&verdict, Some(entry.clone()));
        assert!(matches!(joined, Some(Read::Hit(hit)) if hit.payload == "hello"));
        assert!(judgement.join(&verdict, Some(packed("other"))).is_none(), "written in between");
        assert!(judgement.join(&verdict, None).is_none(), "deleted in between");
        let dead = judgement.join(&Verdict::Dead(MissReason::Expired), Some(entry));
        assert!(matches!(dead, Some(Read::Miss(miss)) if miss.reason == MissReason::Expired));
    }

    #[test]
    fn an_entry_that_is_longer_or_shorter_than_it_says_is_not_shown() {
        let entry = packed("hello");
        let (judgement, verdict) = judged(&entry);
        let longer = Bytes::from([&entry[..], b"!"].concat());
        for torn in [entry.slice(..entry.len() - 1), longer] {
            let read = judgement.join(&verdict, Some(torn));
            assert!(matches!(read, Some(Read::Miss(miss)) if miss.reason == MissReason::Unreadable));
        }
    }

    #[test]
    fn a_word_that_nobody_knows_is_an_error_and_not_a_miss() {
        let word = Verdict::parse("perhaps", &Bytes::new(), Bytes::new());
        assert!(matches!(word, Err(RedisError::Protocol(_))));
    }
}
