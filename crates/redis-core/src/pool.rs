//! Affinity: each thread keeps to one connection.
//!
//! A pool that spreads commands round robin costs up to half of the throughput, as each command becomes a system
//! call of its own. On one connection concurrent commands share a write; only when very many are in flight there, the
//! next one is used. A connection is made by the first thread that needs it, and driven by that thread's runtime, so
//! that no command crosses threads.

use crate::connection::Connection;
use crate::{PoolUsage, RedisConfig, RedisError};
use arc_swap::ArcSwapOption;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) struct Pool {
    config: RedisConfig,
    slots: Vec<ArcSwapOption<Connection>>,
    opening: Mutex<()>,
}

impl Pool {
    pub(crate) fn new(config: RedisConfig) -> Self {
        let slots = (0..config.pool.get()).map(|_| ArcSwapOption::empty()).collect();
        Self { config, slots, opening: Mutex::new(()) }
    }

    /// The connection to use now, on this thread.
    pub(crate) fn connection(&self) -> Result<Arc<Connection>, RedisError> {
        let home = home() % self.slots.len();
        let connection = self.at(home)?;
        if connection.in_flight() < CROWDED {
            return Ok(connection);
        }
        // Crowded: the least busy of those that exist, or the next that does not.
        let mut best = connection;
        for step in 1..self.slots.len() {
            let next = self.at((home + step) % self.slots.len())?;
            if next.in_flight() < CROWDED {
                return Ok(next);
            }
            if next.in_flight() < best.in_flight() {
                best = next;
            }
        }
        Ok(best)
    }

    /// Drops the connections that have been down for so long that they refuse calls. The next call connects at once,
    /// rather than after the pause that the client has come to.
    pub(crate) fn renew(&self) {
        for slot in &self.slots {
            if slot.load().as_ref().is_some_and(|connection| connection.refuse_while_down().is_err()) {
                slot.store(None);
            }
        }
    }

    pub(crate) fn usage(&self) -> PoolUsage {
        let open: Vec<_> = self.slots.iter().filter_map(ArcSwapOption::load_full).collect();
        let in_flight = open.iter().map(|connection| connection.in_flight()).sum();
        PoolUsage { size: self.slots.len(), open: open.len(), in_flight }
    }

    /// Closes what is open. What is sent later opens anew.
    pub(crate) async fn close(&self) {
        for slot in &self.slots {
            if let Some(connection) = slot.swap(None) {
                connection.close().await;
            }
        }
    }

    fn at(&self, index: usize) -> Result<Arc<Connection>, RedisError> {
        let slot = &self.slots[index];
        if let Some(connection) = slot.load_full().filter(|connection| !connection.is_dead()) {
            return Ok(connection);
        }
        let _one_at_a_time = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = slot.load_full().filter(|connection| !connection.is_dead()) {
            return Ok(connection);
        }
        let connection = Arc::new(Connection::open(&self.config)?);
        slot.store(Some(Arc::clone(&connection)));
        Ok(connection)
    }
}

/// This thread's number: threads are counted as they first come here.
pub(crate) fn home() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static HOME: Cell<Option<usize>> = const { Cell::new(None) };
    }
    HOME.with(|home| {
        home.get().unwrap_or_else(|| {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            home.set(Some(number));
            number
        })
    })
}

const CROWDED: usize = 256;
