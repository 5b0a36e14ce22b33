//! Asks for the callers whether Redis is back, while the circuit breaker refuses them.
//!
//! The pings run in a task of their own, on the health connection, from the opening on: so Redis is found again also
//! without traffic. A task ends with its runtime; then whoever is refused next, or asks for readiness, starts another.

use crate::breaker::{BreakerReport, Call, Probe};
use crate::redis::Inner;
use crate::{Redis, RedisError};
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Redis {
    /// The circuit breaker of this Redis, as it is now.
    pub fn breaker(&self) -> BreakerReport {
        self.inner.breaker.report()
    }

    /// Lets a call through, or refuses it at once.
    pub(crate) fn admit(&self) -> Result<Call, RedisError> {
        self.inner.breaker.call().map_err(|retry_after| {
            self.probe_until_it_closes();
            RedisError::Unavailable { retry_after }
        })
    }

    /// Notes what came of a call.
    pub(crate) fn settle<T>(&self, call: Call, outcome: &Result<T, RedisError>) {
        if self.inner.breaker.settle(call, outcome) {
            self.probe_until_it_closes();
        }
    }

    pub(crate) fn probe_until_it_closes(&self) {
        if self.inner.probing.swap(true, Ordering::AcqRel) {
            return;
        }
        let probing = Probing(std::sync::Arc::downgrade(&self.inner));
        let closing = self.inner.closing.clone();
        self.inner.tasks.spawn(async move {
            tokio::select! { // Dropped at any time, a ping has changed nothing.
                () = closing.cancelled() => {}
                () = probing.run() => {}
            }
        });
    }
}

/// The one task that asks. It does not keep the handle alive.
struct Probing(Weak<Inner>);

impl Probing {
    async fn run(&self) {
        while let Some(wait) = self.step().await {
            tokio::time::sleep(wait).await;
        }
    }

    /// Asks if it is time; says how long to wait before the next step, nothing once calls pass.
    async fn step(&self) -> Option<Duration> {
        let inner = self.0.upgrade()?;
        if let Some(probe) = inner.breaker.probe() {
            inner.ask(probe).await;
        }
        inner.breaker.wait()
    }
}

impl Drop for Probing {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.probing.store(false, Ordering::Release);
        }
    }
}

impl Inner {
    async fn ask(&self, probe: Probe<'_>) {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        match self.health.send("PING", None, Vec::new(), Some(DEADLINE)).await {
            Ok(_) => {
                // Else the first calls would find their connection down still, and open the breaker again.
                self.pool.renew(PATIENCE).await;
                probe.succeeded();
            }
            Err(_) => probe.failed(),
        }
    }
}

const DEADLINE: Duration = Duration::from_secs(1);
/// For connections that are slow to come back; those of a cluster's lost primary do not.
const PATIENCE: Duration = Duration::from_millis(200);
