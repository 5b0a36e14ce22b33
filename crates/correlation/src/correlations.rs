//! `Correlations`: the hops of a correlation, read and forgotten.

use crate::keys;
use domain::correlation::{Hop, Trail};
use domain::{Coded, CorrelationId, ErrorCode};
use redis_core::{Arg, Redis, RedisError, Script};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The trails of one installation. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Correlations {
    redis: Redis,
}

/// Why a trail cannot be shown or forgotten.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorrelationError {
    /// Nothing is known of it: it never touched a task or an operation, was not sampled, or is over.
    #[error("nothing is known of this correlation")]
    NotFound,
    /// Redis did not answer.
    #[error("the hops cannot be reached")]
    Redis(#[from] RedisError),
}

impl Coded for CorrelationError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound => ErrorCode::NotFound,
            Self::Redis(error) => error.code(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotFound => None,
            Self::Redis(error) => error.retry_after(),
        }
    }
}

impl Correlations {
    /// Those on this Redis.
    pub fn new(redis: Redis) -> Self {
        Self { redis }
    }

    /// Its hops in the order in which they were written. One round trip.
    ///
    /// # Errors
    /// [`CorrelationError::NotFound`]: there are none.
    pub async fn read(&self, id: &CorrelationId) -> Result<Trail, CorrelationError> {
        let all = vec![Arg::from("0"), Arg::from("-1")];
        let packed = self.redis.command("LRANGE", &keys::hops(&self.redis, id), all).await?.into_array()?;
        if packed.is_empty() {
            return Err(CorrelationError::NotFound);
        }
        let hops = packed.into_iter().filter_map(|hop| unpack(&hop.into_bytes().ok()?)).collect();
        Ok(Trail::new(id.clone(), hops))
    }

    /// Forgets it. One round trip. What is still on the way comes after all.
    ///
    /// # Errors
    /// [`CorrelationError::NotFound`]: there was none.
    pub async fn delete(&self, id: &CorrelationId) -> Result<(), CorrelationError> {
        let gone = self.redis.command("DEL", &keys::hops(&self.redis, id), Vec::new()).await?.into_int()?;
        if gone == 0 { Err(CorrelationError::NotFound) } else { Ok(()) }
    }
}

/// Where hops are appended, many in one call.
pub(crate) struct Appender {
    redis: Redis,
    /// The server is a cluster: a call is about one correlation.
    by_slot: AtomicBool,
}

impl Appender {
    pub(crate) fn new(redis: Redis) -> Self {
        Self { redis, by_slot: AtomicBool::new(false) }
    }

    /// Appends one hop, in a call that it shares with others.
    pub(crate) async fn append(&self, id: &CorrelationId, hop: &Hop) -> Result<(), RedisError> {
        let key = keys::hops(&self.redis, id);
        if !self.by_slot.load(Ordering::Relaxed) {
            match self.redis.batch_across(&APPEND, vec![key.clone()], item(hop)).await {
                // It has not run.
                Err(RedisError::Reply(text)) if text.starts_with("CROSSSLOT") => {
                    self.by_slot.store(true, Ordering::Relaxed);
                }
                answer => return answer.map(drop),
            }
        }
        self.redis.batch(&APPEND, &[key], item(hop)).await.map(drop)
    }
}

fn item(hop: &Hop) -> Vec<Arg> {
    let mut packed = vec![VERSION];
    packed.extend(serde_json::to_vec(hop).expect("a hop is JSON"));
    vec![
        Arg::from(packed),
        Arg::from(HOPS_MAX),
        Arg::from(u64::try_from(LIFE.as_millis()).unwrap_or(u64::MAX)),
    ]
}

/// None for a hop of a newer version: the others can be shown all the same.
fn unpack(packed: &[u8]) -> Option<Hop> {
    let (version, json) = packed.split_first()?;
    serde_json::from_slice(json).ok().filter(|_| *version == VERSION)
}

static APPEND: LazyLock<Script> =
    LazyLock::new(|| Script::batched("append", 3, &[], include_str!("scripts/append.lua")));
const VERSION: u8 = 1;
/// How many hops a correlation keeps, the newest: a task that is tried again and again would fill any list.
const HOPS_MAX: u64 = 100;
/// How long a trail stays after its last hop.
const LIFE: Duration = Duration::from_secs(6 * 3600);
