//! How a queue stands.

use crate::queues::pause;
use redis_core::{RedisError, Reply};
use std::collections::BTreeMap;
use std::time::Duration;

/// How deep a queue is, and what it has done. Depths are the sizes of its structures at one moment, so they cannot
/// drift; the totals count from the queue's beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Wait for a worker.
    pub ready: u64,
    /// Wait for their time.
    pub scheduled: u64,
    /// Wait for their backoff.
    pub retrying: u64,
    /// Wait for other tasks.
    pub blocked: u64,
    /// A worker has them.
    pub leased: u64,
    /// Dead letters.
    pub dead: u64,
    /// Succeeded or cancelled, and their outcome still kept.
    pub done: u64,
    /// How long ago the oldest ready task was enqueued; looks at the heads of at most 64 lanes.
    pub oldest_ready: Option<Duration>,
    /// What the queue holds, as the share of memory counts it.
    pub bytes: u64,
    /// Ever enqueued.
    pub enqueued: u64,
    /// Ever leased; a task counts each time.
    pub leases: u64,
    /// Ever succeeded.
    pub succeeded: u64,
    /// Failures that a worker reported.
    pub failed: u64,
    /// Leases that were lost.
    pub crashed: u64,
    /// Ever dead; a task counts each time.
    pub died: u64,
    /// Ever cancelled, expired ones too.
    pub cancelled: u64,
    /// Retried by hand.
    pub retried_by_hand: u64,
}

impl Stats {
    pub(crate) fn from_reply(reply: Reply) -> Result<Self, RedisError> {
        let [scheduled, retrying, blocked, leased, dead, done, records, oldest, counters] =
            reply.into_elements()?;
        let count = |reply: Reply| reply.into_int().map(|count| u64::try_from(count).unwrap_or(0));
        let mut totals = BTreeMap::new();
        let mut fields = counters.into_array()?.into_iter();
        while let (Some(field), Some(value)) = (fields.next(), fields.next()) {
            totals.insert(field.into_string()?, u64::try_from(value.into_int()?).unwrap_or(0));
        }
        let total = |name: &str| totals.get(name).copied().unwrap_or(0);
        let (scheduled, retrying, blocked) = (count(scheduled)?, count(retrying)?, count(blocked)?);
        let (leased, dead, done) = (count(leased)?, count(dead)?, count(done)?);
        Ok(Self {
            // Every task with a record is somewhere; what is nowhere else is ready.
            ready: count(records)?.saturating_sub(scheduled + retrying + blocked + leased + dead),
            scheduled,
            retrying,
            blocked,
            leased,
            dead,
            done,
            oldest_ready: pause(&oldest)?,
            bytes: total("bytes"),
            enqueued: total("enqueued"),
            leases: total("leased"),
            succeeded: total("succeeded"),
            failed: total("failed"),
            crashed: total("crashed"),
            died: total("died"),
            cancelled: total("cancelled"),
            retried_by_hand: total("retried_by_hand"),
        })
    }
}
