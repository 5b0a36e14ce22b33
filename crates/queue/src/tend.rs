//! The timer of a node: what time brings to queues that nobody asks.

use crate::handler::REPORT_BOUND;
use crate::queue::Queue;
use crate::queues::{LONGEST_PAUSE, Queues, Ticked};
use crate::report::Reporter;
use domain::QueueName;
use futures_util::future::join_all;
use rand::RngExt;
use redis_core::RedisError;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Ticks each queue when something is due there, and all of them once a second.
pub(crate) struct Tending {
    queues: Queues,
    reporter: Option<Arc<dyn Reporter>>,
    known: HashMap<QueueName, Known>,
    /// When the queues are listed again.
    list_at: Instant,
}

struct Known {
    tick_at: Instant,
    bytes: u64,
}

impl Tending {
    pub(crate) fn new(queues: Queues, reporter: Option<Arc<dyn Reporter>>) -> Self {
        Self { queues, reporter, known: HashMap::new(), list_at: Instant::now() }
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.round().await {
                tracing::debug!(error = %error, "could not tend the queues: {error}");
                self.list_at = next_second();
                self.known.values_mut().for_each(|known| known.tick_at = self.list_at);
            }
            let next = self.known.values().map(|known| known.tick_at).fold(self.list_at, Instant::min);
            tokio::select! { // Both may be dropped: neither has touched Redis.
                () = stop.cancelled() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    async fn round(&mut self) -> Result<(), RedisError> {
        let now = Instant::now();
        let whole = now >= self.list_at;
        if whole {
            let listed = self.queues.list().await?;
            self.queues.register_lost(&listed).await;
            self.known.retain(|name, _| listed.binary_search(name).is_ok());
            for name in listed {
                self.known.entry(name).or_insert(Known { tick_at: now, bytes: 0 });
            }
            self.list_at = next_second();
        }
        for (name, known) in &mut self.known {
            if !whole && known.tick_at > now {
                continue;
            }
            known.tick_at = next_second();
            match look_after(&self.queues.of(name), self.reporter.as_deref()).await {
                Ok(ticked) => {
                    let next = ticked.next.map_or(LONGEST_PAUSE, |next| next.max(SHORTEST_PAUSE));
                    known.tick_at = known.tick_at.min(Instant::now() + next);
                    known.bytes = ticked.bytes;
                }
                // One queue that cannot be read must not stop the others.
                Err(error @ (RedisError::Reply(_) | RedisError::Protocol(_))) => {
                    tracing::error!(queue.name = %name, error = %error, "could not tend {name}: {error}");
                }
                Err(error) => return Err(error),
            }
        }
        self.queues.counted(self.known.values().fold(0, |sum, known| sum.saturating_add(known.bytes)));
        Ok(())
    }
}

/// One tick; then tells of what has ended with no worker to do so. Takes it off only when it was told, or given up: a
/// node that dies before leaves it to another one.
async fn look_after(queue: &Queue, reporter: Option<&dyn Reporter>) -> Result<Ticked, RedisError> {
    let ticked = queue.tick().await?;
    if ticked.untold.is_empty() {
        return Ok(ticked);
    }
    if let Some(reporter) = reporter {
        let tasks = queue.ended(&ticked.untold).await?;
        let told = join_all(tasks.into_iter().map(|task| reporter.ended(queue.name().clone(), task)));
        // Bounded: a reporter that hangs must not hold the other queues up.
        if timeout(REPORT_BOUND, told).await.is_err() {
            tracing::warn!(queue.name = %queue.name(), "gave up telling how tasks of {} have ended", queue.name());
        }
    }
    queue.told(&ticked.untold).await?;
    Ok(ticked)
}

/// In a second, less a jitter, so that the nodes do not all come at once.
fn next_second() -> Instant {
    Instant::now() + LONGEST_PAUSE.mul_f64(rand::rng().random_range(0.8..1.0))
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
