//! Helpers for this crate's tests.

use bytes::Bytes;
use cache::{Cache, Conditions, ContentType, Draft, Hit, Limits, Read, Tags, Written};
use domain::{EntryName, ProjectId, Stamp, Timestamp};
use redis_core::{Clock, Redis, RedisConfig};
use std::time::Duration;
use testkit::RedisServer;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A cache on this server, and its clock, which stands still until it is turned.
pub(crate) fn cache_on(server: &RedisServer) -> (Cache, Clock) {
    let clock = Clock::manual(Timestamp::from_millis(1_764_038_911_120));
    (cache_at(&server.url(), clock.clone(), Limits::default()), clock)
}

pub(crate) fn cache_at(url: &str, clock: Clock, limits: Limits) -> Cache {
    Cache::new(Redis::connect(&RedisConfig::at(url)).with_clock(clock), limits)
}

/// One project's entries, by plain text.
#[derive(Clone)]
pub(crate) struct Project {
    pub(crate) cache: Cache,
    pub(crate) id: ProjectId,
}

pub(crate) fn project(cache: &Cache, id: &str) -> Project {
    Project { cache: cache.clone(), id: id.parse().unwrap() }
}

impl Project {
    pub(crate) async fn put(&self, entry: &str, text: &str) -> Written {
        self.put_tagged(entry, text, &[], HOUR).await
    }

    pub(crate) async fn put_tagged(&self, entry: &str, text: &str, tags: &[&str], ttl: Duration) -> Written {
        let draft = Draft { ttl, ..draft(text.to_owned(), tags) };
        self.cache.put(&self.id, &name(entry), draft, &Conditions::default()).await.unwrap()
    }

    pub(crate) async fn read(&self, entry: &str) -> Read {
        self.cache.read(&self.id, &name(entry), None).await.unwrap()
    }

    pub(crate) async fn read_after(&self, entry: &str, stamp: Stamp) -> Read {
        self.cache.read(&self.id, &name(entry), Some(stamp)).await.unwrap()
    }

    /// The text of a hit, or why there is none.
    pub(crate) async fn text(&self, entry: &str) -> Result<String, &'static str> {
        text_of(self.read(entry).await)
    }
}

pub(crate) fn name(text: &str) -> EntryName {
    text.parse().unwrap()
}

pub(crate) fn draft(payload: impl Into<Bytes>, tags: &[&str]) -> Draft {
    let tags: Vec<_> = tags.iter().map(|tag| tag.parse().unwrap()).collect();
    Draft {
        content_type: ContentType::try_from("text/plain".to_owned()).unwrap(),
        tags: Tags::try_from(tags).unwrap(),
        ttl: HOUR,
        payload: payload.into(),
    }
}

pub(crate) fn hit(read: Read) -> Hit {
    match read {
        Read::Hit(hit) => hit,
        Read::Miss(miss) => panic!("a miss: {miss:?}"),
    }
}

pub(crate) fn text_of(read: Read) -> Result<String, &'static str> {
    match read {
        Read::Hit(hit) => Ok(String::from_utf8(hit.payload.to_vec()).unwrap()),
        Read::Miss(miss) => Err(miss.reason.as_str()),
    }
}
