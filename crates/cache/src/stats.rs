//! Counts of this process: what was asked, and how it went.

use crate::read::{MissReason, Read};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Reads that found a live entry.
    pub hits: u64,
    /// Reads that found none, by reason, in the order of [`MissReason::ALL`].
    pub misses: [u64; MissReason::ALL.len()],
    /// Payload bytes that hits handed out.
    pub read_bytes: u64,
    /// Entries put.
    pub puts: u64,
    /// Payload bytes put.
    pub put_bytes: u64,
    /// Entries deleted by name.
    pub deletes: u64,
    /// Invalidations of a project or of tags.
    pub invalidations: u64,
    /// Writes that a condition refused.
    pub refused: u64,
    /// Reads that were judged again because a write came between fetching and judging.
    pub read_again: u64,
    /// Projects that were told to forget everything, as Redis had lost a write that a reader knew of.
    pub recoveries: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    hits: AtomicU64,
    misses: [AtomicU64; MissReason::ALL.len()],
    read_bytes: AtomicU64,
    pub(crate) puts: AtomicU64,
    pub(crate) put_bytes: AtomicU64,
    pub(crate) deletes: AtomicU64,
    pub(crate) invalidations: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) read_again: AtomicU64,
    pub(crate) recoveries: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self, read: &Read) {
        match read {
            Read::Hit(hit) => {
                add(&self.hits, 1);
                add(&self.read_bytes, hit.payload.len());
            }
            Read::Miss(miss) => add(&self.misses[miss.reason as usize], 1),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            hits: load(&self.hits),
            misses: std::array::from_fn(|reason| load(&self.misses[reason])),
            read_bytes: load(&self.read_bytes),
            puts: load(&self.puts),
            put_bytes: load(&self.put_bytes),
            deletes: load(&self.deletes),
            invalidations: load(&self.invalidations),
            refused: load(&self.refused),
            read_again: load(&self.read_again),
            recoveries: load(&self.recoveries),
        }
    }
}

pub(crate) fn add(counter: &AtomicU64, number: usize) {
    counter.fetch_add(number as u64, Ordering::Relaxed);
}
