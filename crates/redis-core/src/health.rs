//! Whether this node should get requests.

use crate::{Redis, RedisError};
use std::time::{Duration, Instant};

/// The answer of a readiness probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Redis answers.
    Ready {
        /// How long the ping took.
        latency: Duration,
    },
    /// It does not; the reason is for a person.
    NotReady {
        /// Why.
        reason: String,
    },
}

impl Readiness {
    /// Send requests here.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready { .. })
    }
}

/// The last probe and its moment. Whoever holds the lock probes; the others wait and read.
#[derive(Default)]
pub(crate) struct LastProbe(tokio::sync::Mutex<Option<(Instant, Readiness)>>);

impl Redis {
    /// Whether Redis answers. At most one round trip a second, however often it is asked.
    pub async fn readiness(&self) -> Readiness {
        let mut last = self.last_probe().0.lock().await;
        if let Some((at, readiness)) = &*last
            && at.elapsed() < FRESH
        {
            return readiness.clone();
        }
        let readiness = match self.ping(FRESH).await {
            Ok(latency) => Readiness::Ready { latency },
            Err(RedisError::Reply(text)) => {
                Readiness::NotReady { reason: format!("redis refused a ping: {text}") }
            }
            Err(error) => Readiness::NotReady { reason: error.to_string() },
        };
        *last = Some((Instant::now(), readiness.clone()));
        readiness
    }
}

const FRESH: Duration = Duration::from_secs(1);
